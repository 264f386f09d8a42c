/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct chunkmap;
struct context;
struct error;
struct partition;

/**
 * Compares a partition with a chunk map, on several threads: `differs` is called afterwards with
 * every range of bytes, in order, that does not have what the map says. Blocks are told apart by
 * their hints where these tell something. Memory: a byte a block, and 256 KiB or a chunk for each
 * thread. What `differs` returns below 0 ends it. Also -ECANCELED.
 */
int chunkcheck_chunks(struct context *context, struct partition *partition,
	const struct chunkmap *map,
	int (*differs)(void *opaque, uint64_t start, uint64_t end, struct error *error),
	void *opaque, struct error *error);

/** Whether the first `size` bytes of a partition have this SHA-256. */
int chunkcheck_whole(struct context *context, struct partition *partition, uint64_t size,
	const uint8_t sha256[32], bool *ret, struct error *error);
