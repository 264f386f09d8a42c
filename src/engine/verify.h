/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/sha256.h"
#include "format/verity.h"

struct cmdline_verity;
struct context;
struct error;
struct partition;

/** A dm-verity tree inside the image, and the root hash it must have. */
struct verify_tree {
	struct verity verity;
	uint64_t start; /* byte offset of the tree in the partition */
	uint8_t root_hash[SHA256_SIZE];
};

/**
 * Reads `size` bytes of the partition back from the medium and checks that their SHA-256 is
 * `digest` and, with `tree` (may be NULL), every data block against the hash tree up to the root
 * hash. Memory: two chunks and one hash block per level. -EIO: what was read is not what was
 * written; -EBADMSG: the tree does not hold (with the block); -ECANCELED.
 */
int verify_image(struct context *context, struct partition *partition, uint64_t size,
	const uint8_t digest[SHA256_SIZE], const struct verify_tree *tree, struct error *error);

/** Fills *ret but for the root hash from a dm-mod.create table. False: there is none, or not so. */
bool verify_tree_of_table(const struct cmdline_verity *table, struct verify_tree *ret);
