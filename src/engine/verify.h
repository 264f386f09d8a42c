/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

struct cmdline_verity;
struct context;
struct error;
struct image;
struct partition;
struct target;
struct verity_tree;

/**
 * Reads the image back from the medium and checks that it is what was written and, with `tree`
 * (may be NULL), every data block against the hash tree up to the root hash. A large image is
 * checked by several threads. Memory: a chunk, 64 KiB and one hash block per level for each.
 * -EIO: what was read is not what was written; -EBADMSG: the tree does not hold (with the block);
 * -ECANCELED.
 */
int verify_image(struct context *context, struct partition *partition, const struct image *image,
	const struct verity_tree *tree, struct error *error);

/**
 * Which of the trees that the UKI's command line names (`named`) the image on the target carries:
 * treematch(), with its messages and errors.
 */
int verify_find_tree(struct context *context, struct target *target, const struct image *image,
	const struct cmdline_verity *named, struct verity_tree *ret, bool *ret_found,
	struct error *error);
