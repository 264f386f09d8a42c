/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"

struct error;

/** What becomes a payload: a file, or bytes in memory. Zero-initialised with fd -1 means none. */
struct content {
	const char *name;      /* for messages; borrowed */
	const uint8_t *memory; /* borrowed; NULL: `fd` */
	int fd;                /* owned; -1: none */
	uint64_t size;         /* bytes */
	dev_t device;          /* of a file: with `inode`, which one it is */
	ino_t inode;
};

/** Opens a regular file or block device. `path` must outlive *ret. content_done() closes it. */
int content_open(const char *path, struct content *ret, struct error *error);
void content_done(struct content *content);

#define AUTO_CONTENT __attribute__((cleanup(content_done)))

/** Reads exactly `size` bytes. -EIO when the file has become shorter. */
int content_read(const struct content *content, uint64_t offset, void *data, size_t size,
	struct error *error);

/** Appends all of it to `out`; -EFBIG above `most` bytes. */
int content_read_all(
	const struct content *content, uint64_t most, struct buffer *out, struct error *error);

/** The content of a small file: content_open() and content_read_all(). */
int content_of_file(const char *path, uint64_t most, struct buffer *out, struct error *error);
