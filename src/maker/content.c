/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/content.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"

static int failed(const char *path, const char *what, struct error *error)
{
	return error_failed(error, errno, "cannot %s '%s': %s", what, path, strerror(errno));
}

int content_open(const char *path, struct content *ret, struct error *error)
{
	/* O_NONBLOCK: a pipe must not block here before it is refused. */
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	off_t end;

	if (fd < 0)
		return failed(path, "open", error);
	if (fstat(fd, &st) < 0)
		return failed(path, "look at", error);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_failed(
			error, EINVAL, "'%s' is neither a file nor a block device", path);
	end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return failed(path, "tell the size of", error);
	*ret = (struct content){
		.name = path,
		.size = (uint64_t)end,
		.device = st.st_dev,
		.inode = st.st_ino,
		.fd = take_fd(&fd),
	};
	return 0;
}

void content_done(struct content *content)
{
	if (content->fd >= 0)
		close(content->fd);
	*content = (struct content){ .fd = -1 };
}

int content_read(const struct content *content, uint64_t offset, void *data, size_t size,
	struct error *error)
{
	uint8_t *to = data;

	if (content->memory) {
		memcpy(to, content->memory + offset, size);
		return 0;
	}
	while (size > 0) {
		ssize_t n = pread(content->fd, to, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_failed(error, errno,
				"cannot read '%s' at byte %" PRIu64 ": %s", content->name, offset,
				strerror(errno));
		if (n == 0)
			return error_failed(error, EIO,
				"'%s' has become shorter while it was read: it ends at byte "
				"%" PRIu64,
				content->name, offset);
		to += n;
		offset += (uint64_t)n;
		size -= (size_t)n;
	}
	return 0;
}

int content_read_all(
	const struct content *content, uint64_t most, struct buffer *out, struct error *error)
{
	int r;

	if (content->size > most)
		return error_failed(error, EFBIG,
			"'%s' has %" PRIu64 " bytes, at most %" PRIu64 " are allowed",
			content->name, content->size, most);
	r = buffer_reserve(out, (size_t)content->size, error);
	if (r == 0)
		r = content_read(content, 0, out->data + out->size, (size_t)content->size, error);
	if (r == 0)
		out->size += (size_t)content->size;
	return r;
}

int content_of_file(const char *path, uint64_t most, struct buffer *out, struct error *error)
{
	AUTO_CONTENT struct content content = { .fd = -1 };
	int r;

	r = content_open(path, &content, error);
	return r < 0 ? r : content_read_all(&content, most, out, error);
}
