/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/thread.h"
#include "machine/linux_partition.h"
#include "machine/linux_private.h"

#define ALIGNMENT       4096u      /* suits every logical block size */
#define WINDOW_SIZE     (1u << 20) /* read at once for small or sequential reads */
#define WRITEBACK_BYTES (8u << 20) /* dirty pages are sent off after so much */

struct partition *partition_new(const char *name)
{
	AUTO_FREE struct partition *partition = calloc(1, sizeof(*partition));

	if (!partition)
		return NULL;
	partition->name = strdup(name);
	if (!partition->name)
		return NULL;
	partition->fd = partition->direct = -1;
	pthread_mutex_init(&partition->lock, NULL);
	return TAKE(partition);
}

void partition_free(struct partition *partition)
{
	if (!partition)
		return;
	if (partition->direct >= 0)
		close(partition->direct);
	if (partition->fd >= 0)
		close(partition->fd);
	pthread_mutex_destroy(&partition->lock);
	free(partition->window);
	free(partition->name);
	free(partition);
}

static int check_range(const struct partition *partition, const char *what, uint64_t offset,
	size_t size, struct error *error)
{
	if (offset <= partition->size && size <= partition->size - offset)
		return 0;
	return error_failed(error, EINVAL, "cannot %s %zu bytes at %llu of %s: it has %llu bytes",
		what, size, (unsigned long long)offset, partition->name,
		(unsigned long long)partition->size);
}

static int io_failed(const struct partition *partition, const char *what, uint64_t offset,
	int number, struct error *error)
{
	char text[LIMITS_ERROR_MAX];

	return error_failed(error, number, "cannot %s %s at offset %llu: %s%s", what,
		partition->name, (unsigned long long)offset, limits_strerror(number, text),
		number == EIO ? "; the medium may be failing, see the kernel log" : "");
}

/* Reads until `size` or the end of the device. Bytes read, or -errno. */
static ssize_t read_fully(int fd, uint8_t *data, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, data + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
		/* A short direct read ends at the end of the device: what follows is unaligned. */
		if (done % ALIGNMENT != 0 && done < size)
			break;
	}
	return (ssize_t)done;
}

/* The page cache is emptied first: the next best to reading past it. */
static int read_cached(struct partition *partition, uint8_t *data, size_t size, uint64_t offset,
	struct error *error)
{
	size_t done = 0;

	posix_fadvise(partition->fd, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
	while (done < size) {
		ssize_t n = pread(partition->fd, data + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return io_failed(
				partition, "read", offset + done, n < 0 ? errno : EIO, error);
		done += (size_t)n;
	}
	return 0;
}

/* Aligned; `size` may reach past the end, where fewer bytes are read. Bytes read, or -errno. */
static ssize_t read_direct(
	const struct partition *partition, uint8_t *data, size_t size, uint64_t offset)
{
	return partition->direct < 0 ? -EINVAL : read_fully(partition->direct, data, size, offset);
}

static bool is_aligned(const void *data, size_t size, uint64_t offset)
{
	return ((uintptr_t)data | size | offset) % ALIGNMENT == 0;
}

/* Fills the window with what lies around `offset`. 0 or -errno. */
static int fill_window(struct partition *partition, uint64_t offset)
{
	uint64_t start = offset / ALIGNMENT * ALIGNMENT;
	ssize_t n;

	partition->window_at = (struct extent){ 0 };
	if (!partition->window
		&& posix_memalign((void **)&partition->window, ALIGNMENT, WINDOW_SIZE) != 0) {
		partition->window = NULL;
		return -ENOMEM;
	}
	n = read_direct(partition, partition->window, WINDOW_SIZE, start);
	if (n < 0)
		return (int)n;
	partition->window_at = (struct extent){ start, start + (uint64_t)n };
	return start + (uint64_t)n > offset ? 0 : -EIO;
}

/* Through the window, which also reads ahead. 0 or -errno. */
static int read_windowed(struct partition *partition, uint8_t *data, size_t size, uint64_t offset)
{
	LOCKED(&partition->lock);

	while (size > 0) {
		const struct extent *at = &partition->window_at;
		size_t part;
		int r;

		if (offset < at->start || offset >= at->end) {
			r = fill_window(partition, offset);
			if (r < 0)
				return r;
		}
		part = at->end - offset < size ? (size_t)(at->end - offset) : size;
		memcpy(data, partition->window + (offset - at->start), part);
		data += part;
		size -= part;
		offset += part;
	}
	partition->expected = offset;
	return 0;
}

/* Whether the window has it, or a sequential reader will want what follows. */
static bool wants_window(struct partition *partition, size_t size, uint64_t offset)
{
	LOCKED(&partition->lock);

	return size < WINDOW_SIZE
	       && (offset == partition->expected
		       || (offset >= partition->window_at.start
			       && offset < partition->window_at.end));
}

static void expect(struct partition *partition, uint64_t offset)
{
	LOCKED(&partition->lock);

	partition->expected = offset;
}

int linux_partition_read(struct machine *machine, struct partition *partition, uint64_t offset,
	void *data, size_t size, struct error *error)
{
	int r = check_range(partition, "read", offset, size, error);

	(void)machine;
	if (r < 0 || size == 0)
		return r;
	if (is_aligned(data, size, offset) && !wants_window(partition, size, offset)) {
		ssize_t n = read_direct(partition, data, size, offset);

		expect(partition, offset + size);
		r = n == (ssize_t)size ? 0 : n < 0 ? (int)n : -EIO;
	} else {
		r = read_windowed(partition, data, size, offset);
	}
	/* Some file systems open with O_DIRECT and then refuse each read. */
	if (r == -EINVAL || r == -EOPNOTSUPP)
		return read_cached(partition, data, size, offset, error);
	return r < 0 ? io_failed(partition, "read", offset, -r, error) : 0;
}

/* Sends off what was written and waits for what was sent off before: dirty pages stay few. */
static int write_back(struct partition *partition)
{
	const struct extent *done = &partition->started, *next = &partition->dirty;

	if (done->end > done->start) {
		if (sync_file_range(partition->fd, (off_t)done->start,
			    (off_t)(done->end - done->start),
			    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE
				    | SYNC_FILE_RANGE_WAIT_AFTER)
			< 0)
			return -errno;
		posix_fadvise(partition->fd, (off_t)done->start, (off_t)(done->end - done->start),
			POSIX_FADV_DONTNEED);
	}
	if (sync_file_range(partition->fd, (off_t)next->start, (off_t)(next->end - next->start),
		    SYNC_FILE_RANGE_WRITE)
		< 0)
		return -errno;
	partition->started = *next;
	partition->dirty = (struct extent){ 0 };
	partition->dirty_bytes = 0;
	return 0;
}

static int note_written(struct partition *partition, uint64_t offset, size_t size)
{
	struct extent *dirty = &partition->dirty;

	LOCKED(&partition->lock);
	partition->window_at = (struct extent){ 0 };
	if (dirty->start == dirty->end)
		*dirty = (struct extent){ offset, offset + size };
	if (offset < dirty->start)
		dirty->start = offset;
	if (offset + size > dirty->end)
		dirty->end = offset + size;
	partition->dirty_bytes += size;
	return partition->dirty_bytes < WRITEBACK_BYTES ? 0 : write_back(partition);
}

/* Past the page cache, as far as that is aligned. *ret_done: bytes written, of an error too. */
static int write_direct(struct partition *partition, const uint8_t *data, size_t size,
	uint64_t offset, size_t *ret_done)
{
	size_t whole = size / ALIGNMENT * ALIGNMENT;

	*ret_done = 0;
	if (partition->direct < 0 || !is_aligned(data, whole, offset))
		return 0;
	while (*ret_done < whole) {
		ssize_t n = pwrite(partition->direct, data + *ret_done, whole - *ret_done,
			(off_t)(offset + *ret_done));

		if (n < 0 && errno == EINTR)
			continue;
		/* Some file systems open with O_DIRECT and then refuse each write. */
		if (n < 0 && (errno == EINVAL || errno == EOPNOTSUPP))
			break;
		if (n < 0)
			return -errno;
		*ret_done += (size_t)n;
		if (n == 0 || n % ALIGNMENT != 0)
			break;
	}
	return 0;
}

int linux_partition_write(struct machine *machine, struct partition *partition, uint64_t offset,
	const void *data, size_t size, struct error *error)
{
	int r = check_range(partition, "write", offset, size, error);
	size_t done, direct;

	(void)machine;
	if (r < 0)
		return r;
	if (!partition->writable)
		return error_failed(error, EBADF, "%s was opened for reading", partition->name);
	r = write_direct(partition, data, size, offset, &direct);
	if (r < 0)
		return io_failed(partition, "write to", offset + direct, -r, error);
	done = direct;
	while (done < size) {
		ssize_t n = pwrite(partition->fd, (const uint8_t *)data + done, size - done,
			(off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return io_failed(
				partition, "write to", offset + done, n < 0 ? errno : EIO, error);
		done += (size_t)n;
	}
	r = note_written(partition, offset + direct, size - direct);
	return r < 0 && r != -ENOSYS ? io_failed(partition, "write back", offset, -r, error) : 0;
}

int linux_partition_flush(struct machine *machine, struct partition *partition, struct error *error)
{
	(void)machine;
	LOCKED(&partition->lock);
	/* On a block device this flushes the drive's cache as well. */
	if (partition->writable && fdatasync(partition->fd) < 0)
		return error_failed(error, errno,
			"cannot flush %s: %s; the medium may be failing, see the kernel log",
			partition->name, strerror(errno));
	partition->dirty = partition->started = (struct extent){ 0 };
	partition->dirty_bytes = 0;
	partition->window_at = (struct extent){ 0 };
	return 0;
}

uint64_t linux_partition_size(struct machine *machine, struct partition *partition)
{
	(void)machine;
	return partition->size;
}
