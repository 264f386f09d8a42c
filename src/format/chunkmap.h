/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

struct error;

/*
 * The entry "<payload>.chunks", little-endian: where each chunk of a payload lies in its entry and
 * what it must hash to, then what each block of it might be found by elsewhere.
 *
 *	 0  "bistchnk"
 *	 8  u32 version 1
 *	12  u32 header size 40
 *	16  u32 chunk size
 *	20  u32 block size 4096
 *	24  u64 payload size
 *	32  u64 0
 *	40  per chunk: u32 compressed length, SHA-256 of the plain chunk
 *	    per block: u64 XXH3-64, seed 0; a hint, never trusted
 *
 * The last chunk and the last block may be short. Nothing follows.
 */
#define CHUNKMAP_HEADER_SIZE 40
#define CHUNKMAP_CHUNK_BYTES 36 /* of one chunk's record */
#define CHUNKMAP_HINT_BYTES  8
#define CHUNKMAP_BLOCK_SIZE  4096u
#define CHUNKMAP_CHUNK_MIN   4096u
#define CHUNKMAP_CHUNK_MAX   (1u << 20)
#define CHUNKMAP_PAYLOAD_MAX (UINT64_C(1) << 40)

/** A chunk map that was checked. Borrows its bytes. */
struct chunkmap {
	uint64_t size;        /* of the payload, plain */
	uint32_t chunk_size;  /* plain bytes of each chunk but the last */
	uint64_t chunk_count; /* at least 1 */
	uint64_t block_count;
	const uint8_t *chunks;
	const uint8_t *hints;
	uint64_t compressed_size; /* the sum of all lengths: what the chunks take in their entry */
};

/**
 * *ret = the length in bytes of the map of such a payload. -EINVAL when `size` is 0 or above
 * CHUNKMAP_PAYLOAD_MAX, or `chunk_size` no power of two from CHUNKMAP_CHUNK_MIN to _MAX.
 */
int chunkmap_bytes(uint64_t size, uint32_t chunk_size, uint64_t *ret, struct error *error);

/**
 * Checks the bytes of a chunk map against the payload's size and chunk size (of the manifest): the
 * header, the exact length, every compressed length (1 … chunkmap_length_max()). *ret borrows
 * `bytes`. -EINVAL (as above), -EBADMSG, -EOPNOTSUPP (its version). That the chunks end inside of
 * their entry is for the caller to check.
 */
int chunkmap_parse(struct span bytes, uint64_t size, uint32_t chunk_size, struct chunkmap *ret,
	struct error *error);

/** XXH3-64 with seed 0 of a block: of CHUNKMAP_BLOCK_SIZE bytes, or less for the last one. */
uint64_t chunkmap_hint_of(const void *block, size_t size);

/**
 * The most bytes that `plain` bytes may take as a frame: ZSTD_compressBound() at its largest.
 * zstd's raw blocks, and deflate's stored blocks with a full flush, need less; stored chunks need
 * none of it.
 */
static inline uint32_t chunkmap_length_max(uint32_t plain)
{
	return plain + (plain >> 8) + 64;
}

/** Plain bytes of chunk `i`. */
static inline uint32_t chunkmap_chunk_bytes(const struct chunkmap *map, uint64_t i)
{
	return i + 1 < map->chunk_count ? map->chunk_size
					: (uint32_t)(map->size - i * map->chunk_size);
}

/** Compressed bytes of chunk `i`. */
static inline uint32_t chunkmap_length(const struct chunkmap *map, uint64_t i)
{
	return le32(map->chunks + i * CHUNKMAP_CHUNK_BYTES);
}

/** The SHA-256 (32 bytes) of the plain chunk `i`. */
static inline const uint8_t *chunkmap_sha256(const struct chunkmap *map, uint64_t i)
{
	return map->chunks + i * CHUNKMAP_CHUNK_BYTES + 4;
}

/** The hint of the payload's block `block`. */
static inline uint64_t chunkmap_hint(const struct chunkmap *map, uint64_t block)
{
	return le64(map->hints + block * CHUNKMAP_HINT_BYTES);
}

/** A chunk map that is being made; `bytes` is complete once every chunk and block was put. */
struct chunkmap_writer {
	struct buffer bytes;
	uint64_t chunk_count;
	uint64_t block_count;
};

/** Starts the map of such a payload. -EINVAL as chunkmap_bytes(), -ENOMEM. */
int chunkmap_writer_init(
	struct chunkmap_writer *ret, uint64_t size, uint32_t chunk_size, struct error *error);
/** Frees the bytes; buffer_take() them before to keep them. */
void chunkmap_writer_done(struct chunkmap_writer *writer);

#define AUTO_CHUNKMAP_WRITER __attribute__((cleanup(chunkmap_writer_done)))

/** In any order, and from several threads as long as they put different ones. */
static inline void chunkmap_put_chunk(
	struct chunkmap_writer *writer, uint64_t i, uint32_t length, const uint8_t sha256[32])
{
	uint8_t *record = writer->bytes.data + CHUNKMAP_HEADER_SIZE + i * CHUNKMAP_CHUNK_BYTES;

	put_le32(record, length);
	memcpy(record + 4, sha256, 32);
}

/** As chunkmap_put_chunk(). */
static inline void chunkmap_put_hint(struct chunkmap_writer *writer, uint64_t block, uint64_t hint)
{
	put_le64(writer->bytes.data + CHUNKMAP_HEADER_SIZE
			 + writer->chunk_count * CHUNKMAP_CHUNK_BYTES + block * CHUNKMAP_HINT_BYTES,
		hint);
}
