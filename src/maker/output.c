/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/random.h"
#include "base/text.h"
#include "maker/content.h"

#define COPY_SIZE  (256u << 10)
#define COPY_STEP  (64u << 20)
#define OWN_FD_MAX 40

static int failed(const struct output *output, const char *what, struct error *error)
{
	char text[LIMITS_ERROR_MAX];

	return error_failed(error, errno, "cannot %s '%s': %s", what, output->path,
		limits_strerror(errno, text));
}

/* A name that nobody else has, beside the output. NULL: out of memory. */
static char *temporary_name(const char *name)
{
	return text_format("%.200s.%08x.tmp", name, (uint32_t)random_u64());
}

/* What a symbolic link leads to is replaced, not the link. */
static int split_path(struct output *output, const char *given, struct error *error)
{
	AUTO_FREE char *real = realpath(given, NULL);
	const char *path = real ? real : given, *slash = strrchr(path, '/');
	AUTO_FREE char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");

	output->path = strdup(given);
	output->name = strdup(slash ? slash + 1 : path);
	output->temporary = temporary_name(slash ? slash + 1 : path);
	if (!directory || !output->path || !output->name || !output->temporary)
		return error_memory(error);
	if (!*output->name)
		return error_set(error, ERROR_USAGE, EISDIR, "'%s' names a directory", given);
	output->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return output->directory >= 0 ? 0 : failed(output, "create", error);
}

/* A file without a name; -1 where the file system has no such thing, or it could get no name. */
static int open_nameless(int directory)
{
	if (access("/proc/self/fd", F_OK) < 0)
		return -1;
	return openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
}

static int open_named(struct output *output)
{
	output->fd = openat(output->directory, output->temporary,
		O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0666);
	output->named = output->fd >= 0;
	return output->fd;
}

int output_open(const char *path, struct output *ret, struct error *error)
{
	AUTO_OUTPUT struct output output = OUTPUT_NONE;
	struct stat st;
	bool replaces;
	int r;

	r = split_path(&output, path, error);
	if (r < 0)
		return r;
	replaces = fstatat(output.directory, output.name, &st, 0) == 0;
	if (replaces && !S_ISREG(st.st_mode))
		return error_failed(error, EEXIST,
			"'%s' is there already and is no regular file: it is not replaced", path);
	output.fd = open_nameless(output.directory);
	if (output.fd < 0 && open_named(&output) < 0)
		return failed(&output, "create", error);
	if (replaces && fchmod(output.fd, st.st_mode & 0777) < 0)
		return failed(&output, "set the mode of", error);
	*ret = output;
	output = OUTPUT_NONE;
	return 0;
}

int output_check_other(
	const struct output *output, const struct content *content, struct error *error)
{
	struct stat st;

	if (fstatat(output->directory, output->name, &st, 0) < 0 || content->fd < 0
		|| st.st_dev != content->device || st.st_ino != content->inode)
		return 0;
	return error_set(error, ERROR_USAGE, EINVAL,
		"'%s' and '%s' are the same file: the output would replace its input", output->path,
		content->name);
}

int output_write(struct output *output, const void *data, size_t size, struct error *error)
{
	const uint8_t *from = data;

	while (size > 0) {
		ssize_t n = pwrite(output->fd, from, size, (off_t)output->position);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed(output, "write", error);
		from += n;
		size -= (size_t)n;
		output->position += (uint64_t)n;
	}
	return 0;
}

/* Through memory: where the kernel cannot copy between the two files. */
static int copy_bytes(struct output *output, const char *name, int fd, uint64_t offset,
	uint64_t size, struct error *error)
{
	struct content content = { .name = name, .fd = fd };
	AUTO_FREE uint8_t *data = malloc(COPY_SIZE);
	int r = 0;

	if (!data)
		return error_memory(error);
	while (r == 0 && size > 0) {
		size_t part = size < COPY_SIZE ? (size_t)size : COPY_SIZE;

		r = content_read(&content, offset, data, part, error);
		if (r == 0)
			r = output_write(output, data, part, error);
		offset += part;
		size -= part;
	}
	return r;
}

int output_copy(struct output *output, const char *name, int fd, uint64_t offset, uint64_t size,
	struct error *error)
{
	while (size > 0) {
		off_t from = (off_t)offset, to = (off_t)output->position;
		size_t part = size < COPY_STEP ? (size_t)size : COPY_STEP;
		ssize_t n = copy_file_range(fd, &from, output->fd, &to, part, 0);

		if (n <= 0) /* what is wrong shows here too */
			return copy_bytes(output, name, fd, offset, size, error);
		offset += (uint64_t)n;
		size -= (uint64_t)n;
		output->position += (uint64_t)n;
	}
	return 0;
}

int output_commit(struct output *output, struct error *error)
{
	char own[OWN_FD_MAX];

	if (fsync(output->fd) < 0)
		return failed(output, "flush", error);
	if (!output->named) {
		snprintf(own, sizeof(own), "/proc/self/fd/%d", output->fd);
		if (linkat(AT_FDCWD, own, output->directory, output->temporary, AT_SYMLINK_FOLLOW)
			< 0)
			return failed(output, "name", error);
		output->named = true;
	}
	if (renameat(output->directory, output->temporary, output->directory, output->name) < 0)
		return failed(output, "name", error);
	output->named = false;
	return fsync(output->directory) == 0 ? 0 : failed(output, "flush the folder of", error);
}

void output_done(struct output *output)
{
	if (output->named)
		unlinkat(output->directory, output->temporary, 0);
	if (output->fd >= 0)
		close(output->fd);
	if (output->directory >= 0)
		close(output->directory);
	free(output->name);
	free(output->temporary);
	free(output->path);
	*output = OUTPUT_NONE;
}

int output_open_spool(const struct output *output, int *ret_fd, struct error *error)
{
	AUTO_FREE char *name = NULL;
	int fd = open_nameless(output->directory);

	if (fd < 0) {
		name = temporary_name(output->name);
		if (!name)
			return error_memory(error);
		fd = openat(output->directory, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0)
			unlinkat(output->directory, name, 0);
	}
	if (fd < 0)
		return failed(output, "create a temporary file beside", error);
	*ret_fd = fd;
	return 0;
}
