/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/sha256.h"
#include "format/verity.h"

struct content;
struct error;
struct maker_observer;

/** The dm-verity tree that an image carries, and the root hash that it must have. */
struct tree {
	struct verity verity;
	struct verity_layout layout;
	uint64_t start; /* byte offset of the tree in the image */
	uint8_t root_hash[SHA256_SIZE];
};

/**
 * Looks for the tree of an image whose UKI (`uki_name`, for messages) has this command line: behind
 * a superblock right behind its data, else where a table on the command line says. *ret_root_hash:
 * lower-case hex, "" when the command line names none. *ret_found is false when there is no tree,
 * or none of SHA-256; it is told why. The tree's top is proved against the root hash. -EBADMSG
 * (ERROR_REFUSED): they do not belong together; -EINVAL: the command line.
 */
int tree_find(const struct content *image, const char *cmdline, const char *uki_name,
	const struct maker_observer *observer, struct tree *ret, bool *ret_found,
	char ret_root_hash[129], struct error *error);

/** Builds a tree from the digests of the data as they come, and compares it with the image's. */
struct tree_check;

/** All is borrowed. Memory: a hash block per level, and one. */
int tree_check_new(const struct tree *tree, const struct content *image, struct tree_check **ret,
	struct error *error);
/** The next data block's digest. -EBADMSG: the image's tree has another one (with the block). */
int tree_check_add(
	struct tree_check *check, const uint8_t digest[SHA256_SIZE], struct error *error);
/** After the last data block. */
int tree_check_end(struct tree_check *check, struct error *error);
/** NULL is fine. */
void tree_check_free(struct tree_check *check);
