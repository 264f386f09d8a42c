/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct error;
struct verity_tree;

/**
 * Checks an image against its dm-verity hash tree while it goes by, for those who know where the
 * tree lies and its salt before the first byte. Memory: a hash block per level.
 */
struct treestream;

/**
 * `tree` is copied. *ret belongs to the caller (treestream_free). -EOPNOTSUPP: the tree does not
 * lie behind its data; -EBADMSG: it cannot be.
 */
int treestream_new(const struct verity_tree *tree, struct treestream **ret, struct error *error);

/**
 * The next `size` bytes of the image: a multiple of 1 MiB but for the last ones. -EBADMSG: UKI and
 * image do not belong together, or the tree in the image is not that of its data.
 */
int treestream_add(
	struct treestream *stream, const uint8_t *data, size_t size, struct error *error);

/** After the last byte. -EBADMSG: the image ended before its tree did. */
int treestream_end(const struct treestream *stream, struct error *error);

/** NULL is fine. */
void treestream_free(struct treestream *stream);
