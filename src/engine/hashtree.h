/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/sha256.h"
#include "format/verity.h"

struct error;
struct hashtree;
struct machine;
struct partition;

/** A dm-verity tree inside the image, and the root hash it must have. */
struct verify_tree {
	struct verity verity;
	uint64_t start; /* byte offset of the tree in the partition */
	uint8_t root_hash[SHA256_SIZE];
};

/**
 * Checks data blocks against a hash tree on a partition, which is itself checked up to the root
 * hash. `size`: bytes of the image. All is borrowed; *ret belongs to the caller (hashtree_free).
 * Memory: one hash block per level and 64 KiB. -EBADMSG: the tree reaches beyond the image.
 */
int hashtree_new(struct machine *machine, struct partition *partition, uint64_t size,
	const struct verify_tree *tree, struct hashtree **ret, struct error *error);

/**
 * Checks the data blocks among the `size` bytes that were read at `offset`; both are multiples of a
 * data block, or the image ends there. -EBADMSG, with the block.
 */
int hashtree_check(struct hashtree *hashtree, uint64_t offset, const uint8_t *data, size_t size,
	struct error *error);

/** Checks the tree's first block, whose hash is the root hash. -EBADMSG. */
int hashtree_check_top(struct machine *machine, struct partition *partition, uint64_t size,
	const struct verify_tree *tree, struct error *error);

/** NULL is fine. */
void hashtree_free(struct hashtree *hashtree);
