/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The calls of linux_vfat.c, carried out and recorded. For tests with cmocka included. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/linux_private.h"

#define FDS 64

/* Records the calls of vfat_*() by name, and lets the n-th one fail, or all from there on. */
static struct {
	char log[4096];
	char names[FDS][64]; /* of the open descriptors */
	unsigned int count, fail_at;
	int fail_errno; /* 0: EIO */
	bool fail_lasts;
	size_t write_max; /* bytes that one write takes at most; 0: all */
	bool fat;
	struct {
		const char *name;
		uint32_t sector;
	} sectors[4]; /* where files lie on the pretended FAT */
	uint64_t free;
} recorder;

/* True: this call has to fail. */
static bool fails(void)
{
	recorder.count++;
	errno = recorder.fail_errno ? recorder.fail_errno : EIO;
	return recorder.fail_lasts && recorder.fail_at ? recorder.count >= recorder.fail_at
						       : recorder.count == recorder.fail_at;
}

static void note(const char *what, const char *name)
{
	char line[128];

	assert_in_range(snprintf(line, sizeof(line), "%s %s\n", what, name), 1, sizeof(line) - 1);
	assert_true(strlen(recorder.log) + strlen(line) < sizeof(recorder.log));
	strcat(recorder.log, line);
}

static const char *name_of(int fd)
{
	assert_true(fd >= 0 && fd < FDS);
	return recorder.names[fd];
}

static void name_fd(int fd, const char *name)
{
	assert_true(fd >= 0 && fd < FDS);
	snprintf(recorder.names[fd], sizeof(recorder.names[fd]), "%s", name);
}

static int recorded_open(int directory, const char *name, int flags, mode_t mode)
{
	int fd;

	if (fails())
		return -1;
	fd = openat(directory, name, flags, mode);
	if (fd < 0)
		return fd;
	assert_true(flags & O_CLOEXEC);
	assert_true(flags & O_NOFOLLOW);
	assert_false(flags & O_TRUNC);
	name_fd(fd, name);
	note(flags & O_CREAT ? "create" : "open", name);
	return fd;
}

static int recorded_close(int fd)
{
	note("close", name_of(fd));
	return close(fd);
}

static int recorded_stat(int fd, struct stat *ret)
{
	return fails() ? -1 : fstat(fd, ret);
}

static ssize_t recorded_read(int fd, void *data, size_t size, off_t offset)
{
	if (fails())
		return -1;
	note("read", name_of(fd));
	return pread(fd, data, size, offset);
}

static ssize_t recorded_write(int fd, const void *data, size_t size, off_t offset)
{
	if (fails())
		return -1;
	note("write", name_of(fd));
	if (recorder.write_max > 0 && size > recorder.write_max)
		size = recorder.write_max;
	return pwrite(fd, data, size, offset);
}

static int recorded_truncate(int fd, off_t size)
{
	if (fails())
		return -1;
	note("truncate", name_of(fd));
	return ftruncate(fd, size);
}

static int recorded_drop_cache(int fd)
{
	if (fails())
		return -1;
	note("drop", name_of(fd));
	return 0;
}

static int recorded_sync(int fd)
{
	if (fails())
		return -1;
	note("sync", name_of(fd));
	return fsync(fd);
}

static int recorded_sync_all(int fd)
{
	if (fails())
		return -1;
	note("syncfs", name_of(fd));
	return 0;
}

static int recorded_rename(int directory, const char *from, const char *to)
{
	if (fails())
		return -1;
	note("rename", to);
	return renameat(directory, from, directory, to);
}

static int recorded_unlink(int directory, const char *name)
{
	if (fails())
		return -1;
	note("unlink", name);
	return unlinkat(directory, name, 0);
}

static int recorded_make_folder(int directory, const char *name)
{
	if (fails())
		return -1;
	note("mkdir", name);
	return mkdirat(directory, name, 0700);
}

static int recorded_list(int directory, struct text_list *ret)
{
	return fails() ? -1 : directory_list(directory, ret);
}

static int recorded_first_sector(int fd, uint32_t *ret)
{
	if (fails())
		return -1;
	*ret = 0;
	for (size_t i = 0; i < 4; i++) {
		if (recorder.sectors[i].name && strcmp(recorder.sectors[i].name, name_of(fd)) == 0)
			*ret = recorder.sectors[i].sector;
	}
	return 0;
}

static bool recorded_is_fat(int fd)
{
	(void)fd;
	return recorder.fat;
}

static int recorded_space(int fd, uint64_t *ret_free, uint32_t *ret_cluster)
{
	(void)fd;
	if (fails())
		return -1;
	*ret_free = recorder.free;
	*ret_cluster = 512;
	return 0;
}

static const struct vfat_calls recorded_calls = {
	.open = recorded_open,
	.close = recorded_close,
	.stat = recorded_stat,
	.read = recorded_read,
	.write = recorded_write,
	.truncate = recorded_truncate,
	.drop_cache = recorded_drop_cache,
	.sync = recorded_sync,
	.sync_all = recorded_sync_all,
	.rename = recorded_rename,
	.unlink = recorded_unlink,
	.make_folder = recorded_make_folder,
	.list = recorded_list,
	.first_sector = recorded_first_sector,
	.is_fat = recorded_is_fat,
	.space = recorded_space,
};
