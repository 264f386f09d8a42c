/* SPDX-License-Identifier: Apache-2.0 */

/* One operation at a time: flock(2) on a folder of the ESP. */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/linux_esp.h"
#include "machine/linux_private.h"

struct machine_lock {
	int fd;
};

/* "7: FLOCK  ADVISORY  WRITE 706 08:01:1234 0 EOF"; those that wait have a "->". 0: not this one.
 */
static int holder_of_line(const char *line, const struct stat *folder)
{
	unsigned major_number, minor_number;
	unsigned long inode;
	int pid;

	if (sscanf(line, "%*u: FLOCK ADVISORY WRITE %d %x:%x:%lu", &pid, &major_number,
		    &minor_number, &inode)
			!= 4
		|| inode != folder->st_ino || makedev(major_number, minor_number) != folder->st_dev)
		return 0;
	return pid > 0 ? pid : 0;
}

/* Which process holds the lock; 0: it cannot be told. */
static int find_holder(const struct root_dir *host, int fd)
{
	AUTO_FREE char *text = NULL;
	struct stat folder;
	char *rest, *line;
	int pid = 0;

	if (fstat(fd, &folder) < 0 || root_read_text(host, "/proc/locks", &text) < 0)
		return 0;
	rest = text;
	while (pid == 0 && (line = strsep(&rest, "\n")))
		pid = holder_of_line(line, &folder);
	return pid;
}

/* The command's own word: options and what they name may be long, or secret. */
static bool is_command(const char *word)
{
	if (!islower((unsigned char)*word))
		return false;
	while (islower((unsigned char)*word) || *word == '-')
		word++;
	return *word == '\0';
}

/* "bistable install", owned by the caller; NULL: it cannot be told. */
static char *name_process(const struct root_dir *host, int pid)
{
	AUTO_FREE char *path = text_format("/proc/%d/cmdline", pid);
	AUTO_BUFFER struct buffer words = { 0 };
	const char *slash, *word;

	if (!path || root_read_file(host, path, MACHINE_TEXT_MAX, &words) < 0 || words.size == 0
		|| buffer_append(&words, NULL, 1, NULL) < 0)
		return NULL;
	word = (const char *)words.data;
	slash = strrchr(word, '/');
	for (size_t at = strlen(word) + 1; at < words.size;) {
		const char *next = (const char *)words.data + at;

		if (is_command(next))
			return text_format("%s %s", slash ? slash + 1 : word, next);
		at += strlen(next) + 1;
	}
	return strdup(slash ? slash + 1 : word);
}

static int lock_failed(int fd, const char *folder, int number, struct error *error)
{
	AUTO_CLOSE int slash = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* Wherever --root leads, locks are those of this machine. */
	const struct root_dir host = { .fd = slash, .text = "" };
	int pid = number == EWOULDBLOCK && slash >= 0 ? find_holder(&host, fd) : 0;
	AUTO_FREE char *name = pid > 0 ? name_process(&host, pid) : NULL;

	if (name)
		return error_set(error, ERROR_BUSY, number,
			"'%s' (PID %d) is at work (it holds the lock on %s of the ESP); wait until "
			"it is done",
			name, pid, folder);
	if (number == EWOULDBLOCK)
		return error_set(error, ERROR_BUSY, number,
			"another operation is running (it holds the lock on %s of the ESP); wait "
			"until it is done",
			folder);
	if (number == EINTR)
		return error_failed(error, number,
			"interrupted while waiting for the lock on %s of the ESP", folder);
	return error_failed(
		error, number, "cannot lock %s on the ESP: %s", folder, strerror(number));
}

static int open_folder(struct machine *machine, struct esp *esp, const char *folder, bool make,
	int *ret, struct error *error)
{
	struct error why = { 0 };
	int r = esp_walk(esp, folder, ESP_CHANGE, ret, NULL, &why);

	if (r != -ENOENT)
		return r < 0 ? error_pass(error, &why) : 0;
	if (!make)
		return -ENOENT;
	r = esp_make_writable(machine, esp, error);
	return r < 0 ? r : esp_walk(esp, folder, ESP_CREATE, ret, NULL, error);
}

int linux_lock(struct machine *machine, struct esp *esp, const char *folder, bool wait, bool make,
	struct machine_lock **ret, struct error *error)
{
	AUTO_FREE struct machine_lock *lock = malloc(sizeof(*lock));
	AUTO_CLOSE int fd = -1;
	int r;

	if (!lock)
		return error_memory(error);
	r = open_folder(machine, esp, folder, make, &fd, error);
	if (r == -ENOENT && !make) {
		*ret = NULL;
		return 0;
	}
	if (r < 0)
		return r;
	/* A signal ends the waiting. */
	if (flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB) < 0)
		return lock_failed(fd, folder, errno, error);
	lock->fd = take_fd(&fd);
	*ret = TAKE(lock);
	return 0;
}

void linux_unlock(struct machine *machine, struct machine_lock *lock)
{
	(void)machine;
	if (!lock)
		return;
	close(lock->fd); /* and with it the flock */
	free(lock);
}
