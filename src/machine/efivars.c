/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/efivars.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/guid.h"
#include "base/text.h"
#include "machine/efivars_private.h"

#define GUID_SUFFIX "-" EFIVARS_GLOBAL_GUID

/* U-Boot keeps it under its own GUID (U_BOOT_EFI_RT_VAR_FILE_GUID). */
#define VOLATILE_FILE "RTStorageVolatile-b2ac5fc9-92b7-4acd-aeac-11e818c3130c"

#define EFIVARFS_TYPE   0xde5e81e4u /* EFIVARFS_MAGIC, linux/magic.h */
#define ATTRIBUTES_SIZE 4
#define READ_SIZE       4096

/* A variable's file name. */
struct variable {
	char file[NAME_MAX + 1];
};

static void cleanup_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

static ssize_t real_read(void *context, int fd, void *data, size_t size)
{
	(void)context;
	return read(fd, data, size);
}

static ssize_t real_write(void *context, int fd, const void *data, size_t size)
{
	(void)context;
	return write(fd, data, size);
}

static int real_unlinkat(void *context, int dir, const char *file)
{
	(void)context;
	return unlinkat(dir, file, 0);
}

static void real_pause(void *context)
{
	const struct timespec delay = { .tv_nsec = EFIVARS_PAUSE_MS * 1000000L };

	(void)context;
	nanosleep(&delay, NULL);
}

static const struct efivars_io real_io = {
	.read = real_read,
	.write = real_write,
	.unlinkat = real_unlinkat,
	.pause = real_pause,
};

/* "StubInfo-4a67b082-…": a variable of another vendor. */
static bool has_vendor(const char *name)
{
	size_t length = strlen(name);
	struct guid guid;

	return length >= GUID_TEXT_SIZE && name[length - GUID_TEXT_SIZE] == '-'
	       && guid_from_text(name + length - (GUID_TEXT_SIZE - 1), &guid);
}

static int name_variable(const char *name, struct variable *ret, struct error *error)
{
	if (!*name || strchr(name, '/') || strlen(name) + strlen(GUID_SUFFIX) > NAME_MAX)
		return error_failed(error, EINVAL, "'%s' is no name of a firmware variable", name);
	snprintf(ret->file, sizeof(ret->file), "%s%s", name, has_vendor(name) ? "" : GUID_SUFFIX);
	return 0;
}

/* `action` completes "cannot …". */
static int variable_error(struct error *error, int number, const char *action, const char *file)
{
	const char *advice = "";

	if (number == ENOSPC)
		advice = ": its store is full; crash dumps usually take the room: delete "
			 "dump-type0-* (in /sys/fs/pstore or efivarfs) and try again";
	else if (number == EROFS)
		advice = ": efivarfs is mounted read-only; remount it with 'mount -o remount,rw "
			 "/sys/firmware/efi/efivars'";
	else if (number == EINVAL || number == EIO)
		advice = ": the firmware refuses it";
	return error_failed(error, number, "cannot %s firmware variable %s: %s%s", action, file,
		strerrordesc_np(number), advice);
}

int efivars_list(int dir, struct text_list *ret, struct error *error)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	CLEANUP(cleanup_directory) DIR *listing = NULL;
	AUTO_CLOSE int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	listing = fd < 0 ? NULL : fdopendir(fd);
	if (!listing)
		return error_failed(error, errno, "cannot list the firmware variables: %s",
			strerrordesc_np(errno));
	take_fd(&fd);
	for (;;) {
		const struct dirent *entry;
		size_t length;

		errno = 0;
		entry = readdir(listing);
		if (!entry)
			break;
		if (!text_ends_with(entry->d_name, GUID_SUFFIX))
			continue;
		length = strlen(entry->d_name) - strlen(GUID_SUFFIX);
		if (length == 0)
			continue;
		r = text_list_add(&names, error, "%.*s", (int)length, entry->d_name);
		if (r < 0)
			return r;
	}
	if (errno != 0)
		return error_failed(error, errno, "cannot list the firmware variables: %s",
			strerrordesc_np(errno));
	text_list_sort(&names);
	*ret = names;
	names = (struct text_list){ 0 };
	return 0;
}

/* One read() of the whole file, of at most `size` bytes. The number of bytes or -errno. */
static ssize_t read_once(
	const struct efivars_io *io, int dir, const char *file, uint8_t *data, size_t size)
{
	/* O_NONBLOCK: a FIFO in a plain directory must not stop us. */
	AUTO_CLOSE int fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got;

	if (fd < 0)
		return -errno;
	for (int try = 1;; try++) {
		got = io->read(io->context, fd, data, size);
		/* Kernels before 5.8 limit the rate of reads by all but root, with EINTR. */
		if (got >= 0 || errno != EINTR || try == EFIVARS_TRIES)
			break;
		io->pause(io->context);
	}
	return got < 0 ? -errno : got;
}

/* st_size says nothing on efivarfs: a read that fills the buffer is made again with a larger one.
 */
static int read_whole(const struct efivars_io *io, int dir, const char *file, struct buffer *ret,
	struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	ssize_t got;
	int r;

	for (size_t size = READ_SIZE;; size *= 2) {
		r = buffer_reserve(&bytes, size, error);
		if (r < 0)
			return r;
		got = read_once(io, dir, file, bytes.data, size);
		if (got < 0)
			return variable_error(error, (int)-got, "read", file);
		if ((size_t)got < size)
			break;
		if (size > EFIVARS_SIZE_MAX)
			return variable_error(error, EFBIG, "read", file);
	}
	bytes.size = (size_t)got;
	*ret = buffer_take(&bytes);
	return 0;
}

int efivars_read_with(const struct efivars_io *io, int dir, const char *name,
	uint32_t *ret_attributes, struct buffer *ret, struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	struct variable variable;
	int r;

	r = name_variable(name, &variable, error);
	if (r == 0)
		r = read_whole(io, dir, variable.file, &bytes, error);
	if (r < 0)
		return r;
	if (bytes.size == 0)
		return error_failed(
			error, ENODATA, "firmware variable %s has no content yet", variable.file);
	if (bytes.size < ATTRIBUTES_SIZE)
		return error_failed(error, EBADMSG,
			"firmware variable %s is cut off: %zu bytes, its attributes alone take %d",
			variable.file, bytes.size, ATTRIBUTES_SIZE);
	*ret_attributes = le32(bytes.data);
	bytes.size -= ATTRIBUTES_SIZE;
	memmove(bytes.data, bytes.data + ATTRIBUTES_SIZE, bytes.size);
	*ret = buffer_take(&bytes);
	return 0;
}

int efivars_read(int dir, const char *name, uint32_t *ret_attributes, struct buffer *ret,
	struct error *error)
{
	return efivars_read_with(&real_io, dir, name, ret_attributes, ret, error);
}

/* 0: holds exactly this; -ESTALE: holds something else; else as efivars_read(). */
static int compare(const struct efivars_io *io, int dir, const char *name, uint32_t attributes,
	struct span data, struct error *error)
{
	AUTO_BUFFER struct buffer held = { 0 };
	uint32_t held_attributes;
	int r;

	r = efivars_read_with(io, dir, name, &held_attributes, &held, error);
	if (r < 0)
		return r;
	return held_attributes == attributes && span_equal(span_of(&held), data) ? 0 : -ESTALE;
}

static bool may_pass(int number)
{
	/* Some firmware answers EINVAL (Dasharo issue 303) or EIO for a moment; EFI_ABORTED is
	 * EINTR. */
	return number == EINTR || number == EINVAL || number == EIO;
}

/* Exactly one write() that succeeds: efivarfs takes every write() as the whole variable. */
static int write_once(const struct efivars_io *io, int fd, struct span bytes)
{
	ssize_t written;

	for (int try = 1;; try++) {
		written = io->write(io->context, fd, bytes.data, bytes.size);
		if (written >= 0 || !may_pass(errno) || try == EFIVARS_TRIES)
			break;
		io->pause(io->context);
	}
	if (written < 0)
		return -errno;
	return (size_t)written == bytes.size ? 0 : -EIO;
}

/*
 * Older kernels show a variable opened with O_TRUNC as uncommitted, and efivarfs has no use for it;
 * a plain file must lose its old end.
 */
static int cut_plain_file(int fd, size_t size)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if ((unsigned long)fs.f_type == EFIVARFS_TYPE)
		return 0;
	return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

/* O_EXCL: a variable that appeared since it was looked for is somebody else's. */
static int put_variable(
	const struct efivars_io *io, int dir, const char *file, bool create, struct span bytes)
{
	AUTO_CLOSE int fd = openat(dir, file,
		O_WRONLY | O_CLOEXEC | O_NONBLOCK | (create ? O_CREAT | O_EXCL : 0), 0644);
	int r;

	if (fd < 0)
		return -errno;
	r = write_once(io, fd, bytes);
	if (r == 0)
		r = cut_plain_file(fd, bytes.size);
	if (r < 0 && create)
		io->unlinkat(io->context, dir, file);
	return r;
}

/* A variable's content as efivarfs takes it. */
static int join(uint32_t attributes, struct span data, struct buffer *ret, struct error *error)
{
	uint8_t prefix[ATTRIBUTES_SIZE];
	int r;

	put_le32(prefix, attributes);
	r = buffer_append(ret, prefix, sizeof(prefix), error);
	return r < 0 ? r : buffer_append(ret, data.data, data.size, error);
}

int efivars_write_with(const struct efivars_io *io, int dir, const char *name, uint32_t attributes,
	struct span data, bool create, struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	struct error looking = { 0 };
	struct variable variable;
	int r, held;

	r = name_variable(name, &variable, error);
	if (r < 0)
		return r;
	if (data.size == 0)
		return error_failed(error, EINVAL,
			"firmware variable %s cannot be empty: that would delete it",
			variable.file);

	/* Flash wears out: what is there already is not written again. */
	held = compare(io, dir, name, attributes, data, &looking);
	if (held == 0)
		return 0;
	/* Half-created and malformed ones are written over; any other answer is a failure. */
	if ((held != -ENOENT || !create) && held != -ESTALE && held != -ENODATA
		&& held != -EBADMSG) {
		if (error)
			*error = looking;
		return held;
	}

	r = join(attributes, data, &bytes, error);
	if (r < 0)
		return r;
	r = put_variable(io, dir, variable.file, held == -ENOENT, span_of(&bytes));
	if (r < 0)
		return variable_error(error, -r, "write", variable.file);

	r = compare(io, dir, name, attributes, data, error);
	if (r == -ESTALE || r == -ENOENT || r == -ENODATA)
		return error_failed(error, ESTALE,
			"the firmware accepted a write to %s but does not hold what was written "
			"(is there a boot order lock in its setup?)",
			variable.file);
	return r;
}

int efivars_write(int dir, const char *name, uint32_t attributes, struct span data, bool create,
	struct error *error)
{
	return efivars_write_with(&real_io, dir, name, attributes, data, create, error);
}

int efivars_delete_with(const struct efivars_io *io, int dir, const char *name, struct error *error)
{
	struct variable variable;
	int r;

	r = name_variable(name, &variable, error);
	if (r < 0)
		return r;
	for (int try = 1;; try++) {
		if (io->unlinkat(io->context, dir, variable.file) == 0 || errno == ENOENT)
			return 0;
		if (!may_pass(errno) || try == EFIVARS_TRIES)
			return variable_error(error, errno, "delete", variable.file);
		io->pause(io->context);
	}
}

int efivars_delete(int dir, const char *name, struct error *error)
{
	return efivars_delete_with(&real_io, dir, name, error);
}

bool efivars_volatile(int dir)
{
	return faccessat(dir, VOLATILE_FILE, F_OK, 0) == 0;
}
