/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

struct error;

#define VERITY_SUPERBLOCK_SIZE 512
#define VERITY_DIGEST_MAX      64
#define VERITY_SALT_MAX        256
#define VERITY_LEVELS_MAX      63

/**
 * A dm-verity hash tree of hash format 1 (cryptsetup wiki "DMVerity", kernel
 * drivers/md/dm-verity-target.c).
 */
struct verity {
	uint32_t data_block_size; /* bytes, a power of two from 512 to 1 MiB */
	uint32_t hash_block_size;
	uint64_t data_blocks;
	char algorithm[32]; /* "sha256" */
	uint8_t salt[VERITY_SALT_MAX];
	size_t salt_size;
};

/**
 * Where the levels of the tree lie. Level 0 holds the hashes of the data blocks; the highest level
 * is one block, lies first, and its hash is the root hash. A single data block has no level: its
 * own hash is the root hash. In a hash block, hashes lie at multiples of
 * hash_block_size / hashes_per_block bytes. When a superblock is used, the tree starts in the next
 * hash block behind it.
 */
struct verity_layout {
	size_t level_count;
	uint64_t level_start[VERITY_LEVELS_MAX];  /* in hash blocks from the start of the tree */
	uint64_t level_blocks[VERITY_LEVELS_MAX]; /* hash blocks */
	uint64_t total_blocks;                    /* hash blocks of the whole tree */
	uint32_t hashes_per_block;
};

/** True if the 8 bytes at `block` are the signature "verity\0\0" (cheap; for scanning). */
static inline bool verity_is_superblock(const uint8_t *block)
{
	return memcmp(block, "verity\0\0", 8) == 0;
}

/** Parses a superblock. -EBADMSG; -EOPNOTSUPP: version or hash type other than 1. */
int verity_parse(struct span bytes, struct verity *ret, struct error *error);

/**
 * Where the tree of a superblock at byte `superblock` starts: in the next hash block behind it
 * (cryptsetup's VERITY_hash_offset_block()). False when that overflows.
 */
bool verity_tree_start(const struct verity *verity, uint64_t superblock, uint64_t *ret);

/**
 * Lays the tree out for digests of `digest_size` bytes, as verity_ctr() of the kernel does.
 * -EBADMSG when it overflows 64 bits of bytes, is empty, or the digest or a block has no valid
 * size.
 */
int verity_lay_out(const struct verity *verity, size_t digest_size, struct verity_layout *ret,
	struct error *error);
