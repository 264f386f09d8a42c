/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct error;
struct hashtree;
struct machine;
struct partition;
struct verity_tree;

/**
 * Checks data blocks against a hash tree on a partition, which is itself checked up to the root
 * hash. `size`: bytes of the image. All is borrowed; *ret belongs to the caller (hashtree_free).
 * Memory: one hash block per level and 64 KiB. -EBADMSG: the tree reaches beyond the image.
 */
int hashtree_new(struct machine *machine, struct partition *partition, uint64_t size,
	const struct verity_tree *tree, struct hashtree **ret, struct error *error);

/**
 * Checks the data blocks among the `size` bytes that were read at `offset`; both are multiples of a
 * data block, or the image ends there. -EBADMSG, with the block.
 */
int hashtree_check(struct hashtree *hashtree, uint64_t offset, const uint8_t *data, size_t size,
	struct error *error);

/** NULL is fine. */
void hashtree_free(struct hashtree *hashtree);
