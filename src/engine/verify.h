/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "engine/hashtree.h"

struct cmdline_verity;
struct context;
struct error;
struct image;
struct partition;
struct report;

/**
 * Reads the image back from the medium and checks that it is what was written and, with `tree`
 * (may be NULL), every data block against the hash tree up to the root hash. A large image is
 * checked by several threads. Memory: a chunk, 64 KiB and one hash block per level for each.
 * -EIO: what was read is not what was written; -EBADMSG: the tree does not hold (with the block);
 * -ECANCELED.
 */
int verify_image(struct context *context, struct partition *partition, const struct image *image,
	const struct verify_tree *tree, struct error *error);

/** Fills *ret but for the root hash from a dm-mod.create table. False: there is none, or not so. */
bool verify_tree_of_table(const struct cmdline_verity *table, struct verify_tree *ret);

/**
 * The tree that the image must be checked against: the UKI names its root hash, and it lies behind
 * a superblock in the image, else where the UKI's table says. False: none; if there should be one,
 * it is said.
 */
bool verify_find_tree(const struct cmdline_verity *named, const struct image *image,
	const struct report *report, struct verify_tree *ret);

/** Sets the root hash that the command line names. False: it, or the tree, is not of SHA-256. */
bool verify_tree_set_root(struct verify_tree *tree, const struct cmdline_verity *named);
