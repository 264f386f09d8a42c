/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between linux_partition.c, which finds and opens, and linux_partition_io.c. */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A part of the partition, bytes. Empty when start == end. */
struct extent {
	uint64_t start, end;
};

/** An open partition. */
struct partition {
	char *name; /* as asked for, for messages */
	int fd;     /* through the page cache */
	int direct; /* past it; -1: that does not work here */
	bool writable;
	uint64_t size;        /* bytes */
	pthread_mutex_t lock; /* of all below */
	uint8_t *window; /* what lies at `window_at`, aligned for O_DIRECT; NULL: not yet needed */
	struct extent window_at;
	uint64_t expected;            /* where a sequential reader goes on */
	struct extent dirty, started; /* written; and on its way to the medium */
	uint64_t dirty_bytes;
};

/** NULL when out of memory. */
struct partition *partition_new(const char *name);
/** Closes and frees. NULL and half-built ones are fine. */
void partition_free(struct partition *partition);
