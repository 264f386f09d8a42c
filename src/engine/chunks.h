/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "format/chunkmap.h"

/** What becomes of a chunk of a payload; it is kept in a byte. */
enum chunk_state {
	CHUNK_FETCH, /* what nothing else is known of */
	CHUNK_KEEP,
	CHUNK_COPY,
	CHUNK_ASKED, /* its frame is under way */
	CHUNK_DONE,  /* it came, or was copied */
};

/** Where a chunk begins, in bytes of the payload. */
static inline uint64_t chunk_offset(const struct chunkmap *map, uint64_t chunk)
{
	return chunk * map->chunk_size;
}

/** The first block of a chunk. */
static inline uint64_t chunk_block(const struct chunkmap *map, uint64_t chunk)
{
	return chunk_offset(map, chunk) / CHUNKMAP_BLOCK_SIZE;
}

/** The blocks of a chunk. */
static inline uint32_t chunk_blocks(const struct chunkmap *map, uint64_t chunk)
{
	return (chunkmap_chunk_bytes(map, chunk) + CHUNKMAP_BLOCK_SIZE - 1) / CHUNKMAP_BLOCK_SIZE;
}

/** Bytes of block `i` of a chunk of `size` bytes. */
static inline uint32_t block_bytes(uint32_t size, uint32_t i)
{
	uint32_t left = size - i * CHUNKMAP_BLOCK_SIZE;

	return left < CHUNKMAP_BLOCK_SIZE ? left : CHUNKMAP_BLOCK_SIZE;
}
