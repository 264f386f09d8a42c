/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "machine/linux_esp.h"
#include "machine/linux_private.h"

/* Bytes that are read and hashed at once. */
#define HASH_STEP (64u << 10)

/* The kernel turns a damaged FAT read-only by itself; the mount as such is then still writable. */
static bool is_read_only_by_damage(const struct root_dir *root, const struct esp *esp)
{
	AUTO_MOUNTS struct mount_list mounts = { 0 };
	const struct mount_entry *entry;
	struct stat status;

	if (fstat(esp->directory, &status) < 0 || mounts_read(root, &mounts, NULL) < 0)
		return false;
	entry = mounts_at(&mounts, esp->where);
	return entry && entry->device == status.st_dev && !entry->read_only;
}

int esp_make_writable(struct machine *machine, struct esp *esp, struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	struct statvfs status;
	int r;

	if (fstatvfs(esp->directory, &status) < 0)
		return error_failed(
			error, errno, "cannot look at the ESP %s: %s", esp->where, strerror(errno));
	if (!(status.f_flag & ST_RDONLY))
		return 0;
	if (esp->mount >= 0)
		return mount_private_writable(esp->directory, error);
	if (root->confined || !esp->remount)
		return error_failed(error, EROFS,
			"the ESP %s is mounted read-only; remount it writable or set [esp] "
			"remount = yes",
			esp->where);
	if (is_read_only_by_damage(root, esp))
		return error_failed(error, EROFS,
			"the kernel made the ESP %s read-only because it is damaged; unmount it "
			"and repair it with fsck.vfat /dev/%s",
			esp->where, esp->facts.node);
	r = mount_set_read_only(esp->directory, false);
	if (r < 0)
		return error_failed(error, -r, "cannot remount the read-only ESP %s writable: %s%s",
			esp->where, strerror(-r), r == -EPERM ? "; run as root" : "");
	esp->remounted = true;
	return 0;
}

static int read_failed(const char *path, int number, struct error *error)
{
	return error_failed(error, number, "cannot read \"%s\" on the ESP: %s%s", path,
		strerror(number), number == EACCES ? "; run as root" : "");
}

static int read_whole(
	int fd, const char *path, size_t size, struct buffer *ret, struct error *error)
{
	int r = buffer_reserve(ret, size, error);

	while (r == 0 && ret->size < size) {
		ssize_t n = read(fd, ret->data + ret->size, size - ret->size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return read_failed(path, n < 0 ? errno : EIO, error);
		ret->size += (size_t)n;
	}
	return r;
}

static int open_file(
	struct esp *esp, const char *path, int *ret, uint64_t *ret_size, struct error *error)
{
	AUTO_CLOSE int folder = -1, fd = -1;
	AUTO_FREE char *name = NULL;
	struct stat status;
	int r = esp_walk(esp, path, ESP_READ, &folder, &name, error);

	if (r < 0)
		return r;
	fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		return read_failed(path, errno, error);
	if (!S_ISREG(status.st_mode))
		return read_failed(path, S_ISDIR(status.st_mode) ? EISDIR : EINVAL, error);
	/* A power cut while a file was being created can leave it empty. */
	if (status.st_size == 0)
		return read_failed(path, ENOENT, error);
	*ret_size = (uint64_t)status.st_size;
	*ret = take_fd(&fd);
	return 0;
}

int linux_esp_read(struct machine *machine, struct esp *esp, const char *path, size_t max,
	struct buffer *ret, struct error *error)
{
	AUTO_BUFFER struct buffer content = { 0 };
	AUTO_CLOSE int fd = -1;
	uint64_t size;
	int r = open_file(esp, path, &fd, &size, error);

	(void)machine;
	if (r < 0)
		return r;
	if (size > max)
		return error_failed(error, EFBIG,
			"\"%s\" on the ESP has %llu bytes, more than the %zu allowed", path,
			(unsigned long long)size, max);
	r = read_whole(fd, path, (size_t)size, &content, error);
	if (r == 0)
		*ret = buffer_take(&content);
	return r;
}

int linux_esp_read_at(struct machine *machine, struct esp *esp, const char *path, uint64_t offset,
	void *data, size_t size, size_t *ret_got, struct error *error)
{
	AUTO_CLOSE int fd = -1;
	uint64_t whole;
	size_t got = 0;
	int r = open_file(esp, path, &fd, &whole, error);

	(void)machine;
	while (r == 0 && got < size) {
		ssize_t n = pread(fd, (uint8_t *)data + got, size - got, (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return read_failed(path, errno, error);
		if (n == 0)
			break;
		got += (size_t)n;
	}
	if (r == 0)
		*ret_got = got;
	return r;
}

static int hash_file(int fd, const char *path, uint8_t *ret, struct error *error)
{
	AUTO_SHA256 struct sha256 *hash = NULL;
	AUTO_FREE uint8_t *part = malloc(HASH_STEP);
	int r = part ? sha256_new(&hash, error) : error_memory(error);

	while (r == 0) {
		ssize_t n = read(fd, part, HASH_STEP);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return read_failed(path, errno, error);
		if (n == 0)
			return sha256_final(hash, ret, error);
		r = sha256_update(hash, part, (size_t)n, error);
	}
	return r;
}

int linux_esp_digest(struct machine *machine, struct esp *esp, const char *path,
	uint8_t *ret_sha256, uint64_t *ret_size, struct error *error)
{
	AUTO_CLOSE int fd = -1;
	uint64_t size;
	int r = open_file(esp, path, &fd, &size, error);

	(void)machine;
	if (r == 0 && ret_sha256)
		r = hash_file(fd, path, ret_sha256, error);
	if (r == 0 && ret_size)
		*ret_size = size;
	return r;
}

int linux_esp_replace(struct machine *machine, struct esp *esp, const char *path,
	struct span content, struct error *error)
{
	AUTO_CLOSE int folder = -1;
	AUTO_FREE char *name = NULL;
	int r;

	if (content.size == 0)
		return error_failed(error, EINVAL,
			"\"%s\" on the ESP shall not be empty: an empty file counts as absent",
			path);
	r = esp_make_writable(machine, esp, error);
	if (r == 0)
		r = esp_walk(esp, path, ESP_CREATE, &folder, &name, error);
	if (r < 0)
		return r;
	return vfat_replace(&(struct vfat_folder){ &vfat_linux_calls, folder, esp->device }, name,
		content, error);
}

int linux_esp_remove(
	struct machine *machine, struct esp *esp, const char *path, struct error *error)
{
	AUTO_CLOSE int folder = -1;
	AUTO_FREE char *name = NULL;
	struct stat status;
	int r = esp_walk(esp, path, ESP_CHANGE, &folder, &name, error);

	if (r == -ENOENT) {
		if (error)
			*error = (struct error){ 0 };
		return 0;
	}
	if (r < 0)
		return r;
	if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0; /* without remounting for nothing */
	r = esp_make_writable(machine, esp, error);
	if (r < 0)
		return r;
	return vfat_remove(
		&(struct vfat_folder){ &vfat_linux_calls, folder, esp->device }, name, error);
}

int linux_esp_list(struct machine *machine, struct esp *esp, const char *path,
	struct text_list *ret, struct error *error)
{
	AUTO_CLOSE int folder = -1;
	int r = esp_walk(esp, path, ESP_READ, &folder, NULL, error);

	(void)machine;
	if (r < 0)
		return r;
	r = directory_list(folder, ret);
	return r < 0 ? esp_folder_failed(path, -r, error) : 0;
}

int linux_esp_space(
	struct machine *machine, struct esp *esp, struct esp_space *ret, struct error *error)
{
	struct statvfs status;

	(void)machine;
	if (fstatvfs(esp->directory, &status) < 0)
		return error_failed(
			error, errno, "cannot tell the ESP's free space: %s", strerror(errno));
	*ret = (struct esp_space){
		.free = (uint64_t)status.f_bavail * status.f_frsize,
		.size = (uint64_t)status.f_blocks * status.f_frsize,
		/* Our own mount is read-only until something is written. */
		.read_only = (status.f_flag & ST_RDONLY) && esp->mount < 0,
	};
	return 0;
}

void linux_esp_close(struct machine *machine, struct esp *esp)
{
	(void)machine;
	if (!esp)
		return;
	if (esp->remounted) {
		syncfs(esp->directory);
		/* Someone else may write there by now: then it stays writable for them. */
		mount_set_read_only(esp->directory, true);
	}
	esp_free(esp);
}
