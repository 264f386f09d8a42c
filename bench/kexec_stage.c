/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs in the guest of bench/kexec: kexec_stage KERNEL INITRD CMDLINE
 * Prints, in milliseconds, how long it takes to copy both files from memory to memory, to put them
 * into sealed memory files (our part of staging), to call kexec_file_load() with two files in
 * memory (what nobody can leave out), and to stage them (both).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "machine/kexec.h"
#include "machine/kexec_private.h"

static double now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static struct span map(const char *path)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *data;

	if (fd < 0 || fstat(fd, &status) < 0)
		exit(1);
	data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (data == MAP_FAILED)
		exit(1);
	return (struct span){ data, (size_t)status.st_size };
}

/* What any program would do that copies bytes: write them to a new file in memory. */
static void copy(const char *path, struct span content)
{
	AUTO_CLOSE int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	if (write(fd, content.data, content.size) != (ssize_t)content.size)
		exit(1);
}

static void put(const char *name, struct span content)
{
	AUTO_CLOSE int fd = -1;

	if (kexec_memfd(name, content, &fd, NULL) < 0)
		exit(1);
}

static void load(const char *kernel_path, const char *initrd_path, const char *cmdline)
{
	AUTO_CLOSE int kernel = open(kernel_path, O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int initrd = open(initrd_path, O_RDONLY | O_CLOEXEC);

	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(cmdline) + 1, cmdline, 0) < 0)
		exit(1);
}

int main(int argc, char **argv)
{
	struct error error = { 0 };
	struct span kernel, initrd;
	double start, copied, put_away, loaded, staged;

	if (argc != 4)
		return 2;
	kernel = map(argv[1]);
	initrd = map(argv[2]);
	start = now();
	copy("/run/copy1", kernel);
	copy("/run/copy2", initrd);
	copied = now();
	put("kernel", kernel);
	put("initrd", initrd);
	put_away = now();
	load("/run/copy1", "/run/copy2", argv[3]);
	loaded = now();
	if (kexec_stage(kernel, initrd, argv[3], &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	staged = now();
	printf("%f %f %f %f\n", copied - start, put_away - copied, loaded - put_away,
		staged - loaded);
	return 0;
}
