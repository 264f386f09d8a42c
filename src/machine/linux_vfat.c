/* SPDX-License-Identifier: Apache-2.0 */

/*
 * On vfat a file's size and first cluster are on the disk only once that file is synced, and the
 * clusters of a replaced file are freed when its last descriptor is closed. So the order of the
 * calls here is all that keeps a power cut from leaving a name on freed clusters:
 *
 *   open the old file, write the new one beside it, sync it and the folder; rename; sync the same
 *   descriptor again and the folder; sync the file system; only then close the old file.
 *
 * fsync on vfat does not flush the disk's own cache on older kernels: the block device is synced
 * as well, wherever the next step relies on what is before it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "format/fatname.h"
#include "machine/linux_private.h"

#define FILE_MODE      0600
#define FOLDER_MODE    0700
#define WRITE_STEP     (1u << 20)
#define COMPARE_STEP   (256u << 10)
#define MARGIN         4 /* clusters, for the folder to grow */
#define LOST_MAX       100
#define LOST_SUFFIX    ".lost"
#define FOLLOW_NOTHING (O_NOFOLLOW | O_CLOEXEC)

static int call_open(int directory, const char *name, int flags, mode_t mode)
{
	return openat(directory, name, flags, mode);
}

static int call_drop_cache(int fd)
{
	errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return errno ? -1 : 0;
}

static int call_rename(int directory, const char *from, const char *to)
{
	return renameat(directory, from, directory, to);
}

static int call_unlink(int directory, const char *name)
{
	return unlinkat(directory, name, 0);
}

static int call_make_folder(int directory, const char *name)
{
	return mkdirat(directory, name, FOLDER_MODE);
}

static int call_list(int directory, struct text_list *ret)
{
	int r = directory_list(directory, ret);

	errno = -r;
	return r < 0 ? -1 : 0;
}

static int call_first_sector(int fd, uint32_t *ret)
{
	int block = 0;

	if (ioctl(fd, FIBMAP, &block) < 0)
		return -1;
	*ret = (uint32_t)block;
	return 0;
}

static int call_space(int fd, uint64_t *ret_free, uint32_t *ret_cluster)
{
	struct statvfs space;

	if (fstatvfs(fd, &space) < 0)
		return -1;
	*ret_free = (uint64_t)space.f_bavail * space.f_frsize;
	*ret_cluster = (uint32_t)space.f_frsize;
	return 0;
}

const struct vfat_calls vfat_linux_calls = {
	.open = call_open,
	.close = close,
	.stat = fstat,
	.read = pread,
	.write = pwrite,
	.truncate = ftruncate,
	.drop_cache = call_drop_cache,
	.sync = fsync,
	.sync_all = syncfs,
	.rename = call_rename,
	.unlink = call_unlink,
	.make_folder = call_make_folder,
	.list = call_list,
	.first_sector = call_first_sector,
	.is_fat = mount_is_fat,
	.space = call_space,
};

/* A descriptor that is closed through the table. */
struct held {
	const struct vfat_calls *calls;
	int fd;
};

static void held_close(struct held *held)
{
	if (held->fd >= 0)
		held->calls->close(held->fd);
	held->fd = -1;
}

#define AUTO_HELD CLEANUP(held_close)

static int fail(struct error *error, const char *what, const char *name)
{
	char text[LIMITS_ERROR_MAX];
	int number = errno;

	return error_failed(error, number, "cannot %s \"%s\" on the ESP: %s%s", what, name,
		limits_strerror(number, text),
		number == EROFS || number == EIO ? "; check the kernel log and fsck.vfat" : "");
}

/* The disk's cache goes to the medium. */
static int flush_device(const struct vfat_folder *folder, const char *name, struct error *error)
{
	if (folder->device >= 0 && folder->calls->sync(folder->device) < 0)
		return fail(error, "flush the disk for", name);
	return 0;
}

/* The file, the folder, the disk. */
static int sync_file(
	const struct vfat_folder *folder, int fd, const char *name, struct error *error)
{
	if (folder->calls->sync(fd) < 0)
		return fail(error, "sync", name);
	if (folder->calls->sync(folder->fd) < 0)
		return fail(error, "sync the folder of", name);
	return flush_device(folder, name, error);
}

static int sync_all(const struct vfat_folder *folder, const char *name, struct error *error)
{
	if (folder->calls->sync_all(folder->fd) < 0)
		return fail(error, "sync the file system after writing", name);
	return flush_device(folder, name, error);
}

/* *ret_fd = -1: absent. Anything but a file is an error. */
static int open_file(const struct vfat_folder *folder, const char *name, int flags, int *ret_fd,
	struct error *error)
{
	struct held file = { folder->calls, -1 };
	struct stat status;
	int r = 0;

	file.fd = folder->calls->open(folder->fd, name, flags | FOLLOW_NOTHING, 0);
	if (file.fd < 0 && errno == ENOENT) {
		*ret_fd = -1;
		return 0;
	}
	if (file.fd < 0)
		return fail(error, "open", name);
	if (folder->calls->stat(file.fd, &status) < 0)
		r = fail(error, "look at", name);
	else if (!S_ISREG(status.st_mode))
		r = error_failed(error, EEXIST, "\"%s\" on the ESP is no file; remove it", name);
	if (r < 0)
		held_close(&file);
	else
		*ret_fd = file.fd;
	return r;
}

/* The first cluster and the size of an open file. */
static bool file_chain(const struct vfat_folder *folder, const struct fat_volume *volume, int fd,
	uint32_t *ret_first, uint64_t *ret_size)
{
	struct stat status;
	uint32_t sector;

	if (folder->calls->stat(fd, &status) < 0 || !S_ISREG(status.st_mode)
		|| folder->calls->first_sector(fd, &sector) < 0)
		return false;
	*ret_first = sector ? fat_cluster_of(volume, sector) : 0;
	*ret_size = (uint64_t)status.st_size;
	return true;
}

/* Those put aside own nothing. */
static bool is_put_aside(const char *name)
{
	return strcasestr(name, MACHINE_NEW_SUFFIX LOST_SUFFIX);
}

/* Marks the clusters of every file of the folder but `except`. False: not all could be seen. */
static bool claim_others(const struct vfat_folder *folder, const struct fat_volume *volume,
	const char *except, uint8_t *claimed)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };

	if (folder->calls->list(folder->fd, &names) < 0)
		return false;
	for (size_t i = 0; i < names.count; i++) {
		AUTO_HELD struct held file = { folder->calls, -1 };
		struct stat status;
		uint32_t first;
		uint64_t size;

		if (strcasecmp(names.items[i], except) == 0 || is_put_aside(names.items[i]))
			continue;
		file.fd = folder->calls->open(
			folder->fd, names.items[i], O_RDONLY | O_NONBLOCK | FOLLOW_NOTHING, 0);
		if (file.fd < 0 || folder->calls->stat(file.fd, &status) < 0)
			return false;
		if (!S_ISREG(status.st_mode))
			continue;
		if (!file_chain(folder, volume, file.fd, &first, &size))
			return false;
		/* Others may be unsound themselves: all that counts is what they reach. */
		fat_claim(volume, first, size, claimed);
	}
	return true;
}

/*
 * The clusters of a leftover file. After a power cut they may be the live file's as well, or free:
 * overwriting or deleting it would then destroy the live file, or make Linux find the file system
 * damaged and read-only. When it cannot be told, it is unsound.
 */
static enum fat_chain leftover_chain(const struct vfat_folder *folder, const char *name, int fd)
{
	AUTO_FREE uint8_t *claimed = NULL;
	struct fat_volume volume;
	uint32_t first;
	uint64_t size;

	if (!folder->calls->is_fat(fd))
		return FAT_CHAIN_SOUND;
	if (folder->device < 0 || fat_open(folder->device, &volume) < 0)
		return FAT_CHAIN_UNSOUND;
	claimed = calloc(1, fat_bitmap_size(&volume));
	if (!claimed || !file_chain(folder, &volume, fd, &first, &size)
		|| !claim_others(folder, &volume, name, claimed))
		return FAT_CHAIN_UNSOUND;
	return fat_claim(&volume, first, size, claimed);
}

/* Out of the way, under a name that nothing uses again; a rename touches no cluster. */
static int put_aside(const struct vfat_folder *folder, const char *name, struct error *error)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	const char *found, *other;

	if (folder->calls->list(folder->fd, &names) < 0)
		return fail(error, "list the folder of", name);
	for (unsigned int i = 0; i < LOST_MAX; i++) {
		AUTO_FREE char *lost = text_format("%s" LOST_SUFFIX "%u", name, i);

		if (!lost)
			return error_memory(error);
		fatname_find(&names, lost, &found, &other);
		if (found)
			continue;
		if (folder->calls->rename(folder->fd, name, lost) < 0)
			return fail(error, "put aside the damaged", name);
		if (folder->calls->sync(folder->fd) < 0)
			return fail(error, "sync the folder of", lost);
		return flush_device(folder, lost, error);
	}
	return error_failed(error, EEXIST,
		"the ESP is full of damaged leftovers (%s" LOST_SUFFIX "*); repair it with "
		"fsck.vfat",
		name);
}

/* Opens what an earlier attempt left, ready to be written over; *file stays closed without any. */
static int open_leftover(
	const struct vfat_folder *folder, const char *name, struct held *file, struct error *error)
{
	int r = open_file(folder, name, O_RDWR | O_NONBLOCK, &file->fd, error);

	if (r < 0 || file->fd < 0)
		return r;
	switch (leftover_chain(folder, name, file->fd)) {
	case FAT_CHAIN_SOUND:
		return 0;
	case FAT_CHAIN_LONG:
		return folder->calls->truncate(file->fd, 0) < 0 ? fail(error, "empty", name) : 0;
	case FAT_CHAIN_UNSOUND:
		break;
	}
	held_close(file);
	return put_aside(folder, name, error);
}

/* The new file, to be written. *ret_size is what it holds now. */
static int open_new(const struct vfat_folder *folder, const char *name, struct held *ret,
	uint64_t *ret_size, struct error *error)
{
	struct stat status;
	int r = open_leftover(folder, name, ret, error);

	if (r < 0)
		return r;
	if (ret->fd < 0)
		ret->fd = folder->calls->open(
			folder->fd, name, O_RDWR | O_CREAT | O_EXCL | FOLLOW_NOTHING, FILE_MODE);
	if (ret->fd < 0)
		return fail(error, "create", name);
	if (folder->calls->stat(ret->fd, &status) < 0)
		return fail(error, "look at", name);
	*ret_size = (uint64_t)status.st_size;
	return 0;
}

static uint64_t round_up(uint64_t size, uint64_t unit)
{
	return (size + unit - 1) / unit * unit;
}

static int check_space(const struct vfat_folder *folder, const char *name, uint64_t size,
	uint64_t held, struct error *error)
{
	char needed_text[16], free_text[16];
	uint64_t unused, needed;
	uint32_t cluster;

	if (folder->calls->space(folder->fd, &unused, &cluster) < 0)
		return fail(error, "tell the free space for", name);
	if (cluster == 0)
		return 0;
	needed = round_up(size, cluster) + (uint64_t)MARGIN * cluster;
	unused += round_up(held, cluster);
	if (needed <= unused)
		return 0;
	text_size(needed, needed_text);
	text_size(unused, free_text);
	return error_failed(error, ENOSPC,
		"the ESP has no room for \"%s\": %s needed, %s free; the old file stays until the "
		"new one is written, so remove something else or use a larger ESP",
		name, needed_text, free_text);
}

static int write_content(const struct vfat_folder *folder, int fd, const char *name,
	struct span content, uint64_t old_size, struct error *error)
{
	for (size_t done = 0; done < content.size;) {
		size_t step = content.size - done < WRITE_STEP ? content.size - done : WRITE_STEP;
		ssize_t n = folder->calls->write(fd, content.data + done, step, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return fail(error, "write", name);
		done += (size_t)n;
	}
	if (old_size > content.size && folder->calls->truncate(fd, (off_t)content.size) < 0)
		return fail(error, "shorten", name);
	return 0;
}

/* What is on the medium, not what the page cache remembers. */
static int check_content(const struct vfat_folder *folder, int fd, const char *name,
	struct span content, struct error *error)
{
	AUTO_FREE uint8_t *part = malloc(COMPARE_STEP);
	struct stat status;

	if (!part)
		return error_memory(error);
	if (folder->calls->stat(fd, &status) < 0 || folder->calls->drop_cache(fd) < 0)
		return fail(error, "read back", name);
	if ((uint64_t)status.st_size != content.size)
		return error_failed(error, EIO, "\"%s\" on the ESP has %lld bytes instead of %zu",
			name, (long long)status.st_size, content.size);
	for (size_t done = 0; done < content.size;) {
		ssize_t n = folder->calls->read(fd, part, COMPARE_STEP, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return fail(error, "read back", name);
		if ((size_t)n > content.size - done || memcmp(part, content.data + done, (size_t)n))
			return error_failed(error, EIO,
				"\"%s\" on the ESP reads back differently between bytes %zu and "
				"%zu: the medium is failing or the file system is damaged",
				name, done, done + (size_t)n);
		done += (size_t)n;
	}
	return 0;
}

/* Its clusters stay taken until everything that points to them is off the disk. */
static int remove_held(
	const struct vfat_folder *folder, const char *name, struct held *file, struct error *error)
{
	int r;

	if (folder->calls->unlink(folder->fd, name) < 0)
		return fail(error, "remove", name);
	if (folder->calls->sync(folder->fd) < 0)
		return fail(error, "sync the folder of", name);
	r = sync_all(folder, name, error);
	if (r < 0)
		return r;
	held_close(file);
	return sync_all(folder, name, error);
}

static int write_new(const struct vfat_folder *folder, const char *name, struct held *file,
	struct span content, struct error *error)
{
	uint64_t old_size = 0;
	int r = open_new(folder, name, file, &old_size, error);

	if (r < 0)
		return r;
	r = check_space(folder, name, content.size, old_size, error);
	if (r == 0)
		r = write_content(folder, file->fd, name, content, old_size, error);
	if (r == 0)
		r = sync_file(folder, file->fd, name, error);
	/* Nothing but a full disk is made worse by a leftover. */
	if (r < 0)
		remove_held(folder, name, file, NULL);
	return r;
}

static int put_in_place(const struct vfat_folder *folder, const char *from, const char *name,
	struct held *file, struct held *old, struct error *error)
{
	int r;

	if (folder->calls->rename(folder->fd, from, name) < 0) {
		r = fail(error, "rename the new file to", name);
		remove_held(folder, from, file, NULL);
		return r;
	}
	r = sync_file(folder, file->fd, name, error);
	if (r == 0)
		r = sync_all(folder, name, error);
	if (r < 0) {
		error_prefix(error, "the old or the new file is in place");
		return r;
	}
	held_close(old); /* frees its clusters */
	return sync_all(folder, name, error);
}

static int check_name(const char *name, struct error *error)
{
	/* Room for ".new.lost99". */
	if (strlen(name) + 16 > NAME_MAX)
		return error_failed(error, ENAMETOOLONG, "\"%s\" is too long for the ESP", name);
	return 0;
}

/* What is or comes beside `name`, spelled as it is there. */
static int name_beside(
	const struct vfat_folder *folder, const char *name, char **ret, struct error *error)
{
	AUTO_FREE char *beside = text_format("%s" MACHINE_NEW_SUFFIX, name), *clash = NULL;
	AUTO_TEXT_LIST struct text_list names = { 0 };
	const char *found, *other;

	if (!beside)
		return error_memory(error);
	if (folder->calls->list(folder->fd, &names) < 0)
		return fail(error, "list the folder of", name);
	fatname_find(&names, beside, &found, &other);
	if (other) {
		clash = text_format("\"%s\" and \"%s\"", found, other);
		return clash ? error_set(error, ERROR_REFUSED, ENOTUNIQ, MACHINE_CLASH, clash)
			     : error_memory(error);
	}
	*ret = found ? strdup(found) : TAKE(beside);
	return *ret ? 0 : error_memory(error);
}

int vfat_replace(const struct vfat_folder *folder, const char *name, struct span content,
	struct error *error)
{
	AUTO_HELD struct held old = { folder->calls, -1 }, file = { folder->calls, -1 };
	AUTO_FREE char *beside = NULL;
	int r = check_name(name, error);

	if (r == 0)
		r = name_beside(folder, name, &beside, error);
	if (r == 0)
		r = open_file(folder, name, O_RDONLY | O_NONBLOCK, &old.fd, error);
	if (r == 0)
		r = write_new(folder, beside, &file, content, error);
	if (r == 0)
		r = put_in_place(folder, beside, name, &file, &old, error);
	if (r == 0)
		r = check_content(folder, file.fd, name, content, error);
	return r;
}

/* A leftover that shares its clusters with a file to be removed would be left without any. */
static int settle_leftover(const struct vfat_folder *folder, const char *name, struct error *error)
{
	AUTO_HELD struct held file = { folder->calls, -1 };
	AUTO_FREE char *beside = NULL;
	int r = name_beside(folder, name, &beside, error);

	if (r == 0)
		r = open_file(folder, beside, O_RDONLY | O_NONBLOCK, &file.fd, error);
	if (r < 0 || file.fd < 0)
		return r;
	if (leftover_chain(folder, beside, file.fd) == FAT_CHAIN_UNSOUND)
		return put_aside(folder, beside, error);
	return remove_held(folder, beside, &file, error);
}

int vfat_remove(const struct vfat_folder *folder, const char *name, struct error *error)
{
	AUTO_HELD struct held file = { folder->calls, -1 };
	int r = check_name(name, error);

	if (r == 0)
		r = settle_leftover(folder, name, error);
	if (r == 0)
		r = open_file(folder, name, O_RDONLY | O_NONBLOCK, &file.fd, error);
	if (r < 0 || file.fd < 0)
		return r;
	return remove_held(folder, name, &file, error);
}

int vfat_make_folder(const struct vfat_folder *folder, const char *name, struct error *error)
{
	AUTO_HELD struct held made = { folder->calls, -1 };

	if (folder->calls->make_folder(folder->fd, name) < 0)
		return errno == EEXIST ? 0 : fail(error, "make the folder", name);
	made.fd = folder->calls->open(folder->fd, name, O_RDONLY | O_DIRECTORY | FOLLOW_NOTHING, 0);
	if (made.fd < 0)
		return fail(error, "open the folder", name);
	return sync_file(folder, made.fd, name, error);
}
