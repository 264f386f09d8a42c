/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/sha256.h"

struct content;
struct error;
struct maker_observer;
struct verity_tree;

/**
 * Looks for the tree of an image whose UKI has this command line (maker/treematch.h).
 * *ret_root_hash: of the image's tree, lower-case hex; "" when there is none, or it is not known.
 * *ret_found: the tree was proved as far as its top. -EBADMSG (ERROR_REFUSED): they do not belong
 * together; -EINVAL: the command line.
 */
int tree_find(const struct content *image, const char *cmdline,
	const struct maker_observer *observer, struct verity_tree *ret, bool *ret_found,
	char ret_root_hash[129], struct error *error);

/** Builds a tree from the digests of the data as they come, and compares it with the image's. */
struct tree_check;

/** All is borrowed. Memory: a hash block per level, and one. */
int tree_check_new(const struct verity_tree *tree, const struct content *image,
	struct tree_check **ret, struct error *error);
/** The next data block's digest. -EBADMSG: the image's tree has another one (with the block). */
int tree_check_add(
	struct tree_check *check, const uint8_t digest[SHA256_SIZE], struct error *error);
/** After the last data block. */
int tree_check_end(struct tree_check *check, struct error *error);
/** NULL is fine. */
void tree_check_free(struct tree_check *check);
