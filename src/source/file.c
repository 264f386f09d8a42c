/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "source/source.h"
#include "source/source_private.h"

#define POLL_MS 200 /* how late a cancellation may be noticed */

struct file {
	struct source source;
	const struct source_options *options;
	int fd;
	bool borrowed; /* the descriptor is another one's, who is closed later */
	bool waits;    /* a pipe, socket or terminal: reading may block for long */
};

/* Waits until a read will not block. */
static int file_wait(struct file *file, struct error *error)
{
	const struct source_options *options = file->options;
	struct pollfd fd = { .fd = file->fd, .events = POLLIN };
	int r;

	do {
		if (options->cancelled && options->cancelled(options->context))
			return error_failed(error, ECANCELED, "cancelled while reading '%s'",
				file->source.name);
		r = poll(&fd, 1, POLL_MS);
	} while (r == 0 || (r < 0 && errno == EINTR));
	if (r < 0)
		return error_failed(error, errno, "cannot wait for '%s': %s", file->source.name,
			strerror(errno));
	return 0;
}

static int file_read(
	struct source *source, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct file *file = (struct file *)source;
	ssize_t n;

	do {
		if (file->waits) {
			int r = file_wait(file, error);

			if (r < 0)
				return r;
		}
		n = source->seekable ? pread(file->fd, data, size, (off_t)source->position)
				     : read(file->fd, data, size);
	} while (n < 0 && (errno == EINTR || (errno == EAGAIN && file->waits)));
	if (n < 0)
		return error_failed(error, errno, "cannot read '%s' at byte %" PRIu64 ": %s",
			source->name, source->position, strerror(errno));
	source->position += (uint64_t)n;
	*ret_got = (size_t)n;
	return 0;
}

static int file_seek(struct source *source, uint64_t offset, struct error *error)
{
	if (offset > INT64_MAX)
		return error_failed(error, EINVAL, "cannot seek to byte %" PRIu64 " of '%s'",
			offset, source->name);
	source->position = offset;
	return 0;
}

static void file_close(struct source *source)
{
	struct file *file = (struct file *)source;

	if (file->fd >= 0 && !file->borrowed)
		close(file->fd);
	free(source->name);
	free(file);
}

static int file_clone(struct source *source, struct source **ret, struct error *error)
{
	const struct file *from = (const struct file *)source;
	struct file *file = calloc(1, sizeof(*file));

	if (!file)
		return error_memory(error);
	*file = *from;
	file->borrowed = true;
	file->source.position = 0;
	file->source.name = strdup(source->name);
	if (!file->source.name) {
		free(file);
		return error_memory(error);
	}
	*ret = &file->source;
	return 0;
}

static const struct source_ops file_ops = {
	.read = file_read,
	.seek = file_seek,
	.clone = file_clone,
	.close = file_close,
};

/* Finds out what kind of file it is. */
static int file_probe(struct file *file, bool is_stdin, struct error *error)
{
	struct source *source = &file->source;
	struct stat st;
	off_t end;

	if (fstat(file->fd, &st) < 0)
		return error_failed(
			error, errno, "cannot look at '%s': %s", source->name, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return error_failed(error, EISDIR, "'%s' is a directory, not a file", source->name);
	file->waits = !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
	if (is_stdin || file->waits)
		return 0;
	end = lseek(file->fd, 0, SEEK_END);
	if (end < 0 || lseek(file->fd, 0, SEEK_SET) < 0)
		return error_failed(error, errno, "cannot tell the size of '%s': %s", source->name,
			strerror(errno));
	source->size = (uint64_t)end;
	source->seekable = true;
	posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

int source_descriptor(const struct source *source)
{
	return source->ops == &file_ops ? ((const struct file *)source)->fd : -1;
}

int file_open(const char *path, const struct source_options *options, struct source **ret,
	struct error *error)
{
	AUTO_SOURCE struct source *source = NULL;
	bool is_stdin = strcmp(path, "-") == 0;
	struct file *file = calloc(1, sizeof(*file));
	int r;

	if (!file)
		return error_memory(error);
	source = &file->source;
	*source = (struct source){ .ops = &file_ops, .size = SOURCE_SIZE_UNKNOWN };
	file->options = options;
	file->fd = -1;
	source->name = source_display(path);
	if (!source->name)
		return error_memory(error);
	/* O_NONBLOCK: a pipe that nobody writes to yet must not block here. */
	file->fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
			    : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file->fd < 0)
		return error_failed(
			error, errno, "cannot open '%s': %s", source->name, strerror(errno));
	r = file_probe(file, is_stdin, error);
	if (r < 0)
		return r;
	*ret = TAKE(source);
	return 0;
}
