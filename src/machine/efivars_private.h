/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"

struct error;

/** How often a call is made before a passing error is believed, and the time between, in ms. */
#define EFIVARS_TRIES    5
#define EFIVARS_PAUSE_MS 50

/** The system calls of efivars.c, as a place to inject faults. All return -1 and set errno. */
struct efivars_io {
	ssize_t (*read)(void *context, int fd, void *data, size_t size);
	ssize_t (*write)(void *context, int fd, const void *data, size_t size);
	int (*unlinkat)(void *context, int dir, const char *file);
	void (*pause)(void *context); /* waits before the next try */
	void *context;
};

/** efivars_read(), efivars_write() and efivars_delete() over `io`. */
int efivars_read_with(const struct efivars_io *io, int dir, const char *name,
	uint32_t *ret_attributes, struct buffer *ret, struct error *error);
int efivars_write_with(const struct efivars_io *io, int dir, const char *name, uint32_t attributes,
	struct span data, bool create, struct error *error);
int efivars_delete_with(
	const struct efivars_io *io, int dir, const char *name, struct error *error);
