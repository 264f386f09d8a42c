/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct content;
struct error;

/**
 * A file that appears under its name when it is whole, or not at all. Until then it has no name
 * where the file system can do that (O_TMPFILE), so that not even a SIGKILL leaves anything;
 * elsewhere it is NAME.xxxxxxxx.tmp.
 */
struct output {
	int fd;          /* owned; -1: none */
	int directory;   /* owned; -1: none */
	char *name;      /* in the directory; owned */
	char *temporary; /* NAME.xxxxxxxx.tmp; owned */
	char *path;      /* as given, for messages; owned */
	bool named;      /* `temporary` exists and is ours */
	uint64_t position;
};

#define OUTPUT_NONE                       \
	(struct output)                   \
	{                                 \
		.fd = -1, .directory = -1 \
	}

/**
 * Follows a symbolic link. What is replaced hands on its mode, not its owner. -EEXIST: `path` is
 * there and no regular file. output_done() gives up or frees.
 */
int output_open(const char *path, struct output *ret, struct error *error);
/** -EINVAL (ERROR_USAGE) when `content` is the file that the output would replace. */
int output_check_other(
	const struct output *output, const struct content *content, struct error *error);
/** Appends. */
int output_write(struct output *output, const void *data, size_t size, struct error *error);
/** Appends `size` bytes of a file from `offset`, inside the kernel where it can. */
int output_copy(struct output *output, const char *name, int fd, uint64_t offset, uint64_t size,
	struct error *error);
/** Flushes it and gives it its name; what was there before is replaced. */
int output_commit(struct output *output, struct error *error);
void output_done(struct output *output);

#define AUTO_OUTPUT __attribute__((cleanup(output_done)))

/** A file without a name in the directory of `output`, for what is put together later. */
int output_open_spool(const struct output *output, int *ret_fd, struct error *error);
