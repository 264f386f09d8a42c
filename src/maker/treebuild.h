/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/sha256.h"
#include "format/verity.h"

struct error;

/** The digest of a data or hash block: the salt first, then its `size` bytes. */
int treebuild_hash(const struct verity *verity, struct sha256 *hash, const uint8_t *block,
	uint32_t size, uint8_t ret[SHA256_SIZE], struct error *error);

/**
 * Builds a dm-verity hash tree of SHA-256 from the digests of its data blocks. Memory: one hash
 * block per level.
 */
struct treebuild;

/**
 * `block` is called with every hash block once it is complete, level by level in the order of the
 * data; what it returns below 0 ends the building. All is borrowed. *ret belongs to the caller
 * (treebuild_free). -ENOMEM.
 */
int treebuild_new(const struct verity *verity, const struct verity_layout *layout,
	int (*block)(void *context, size_t level, uint64_t index, const uint8_t *block,
		struct error *error),
	void *context, struct treebuild **ret, struct error *error);
/** The next data block's digest. */
int treebuild_add(struct treebuild *build, const uint8_t digest[SHA256_SIZE], struct error *error);
/** After the last data block. *ret is the root hash. */
int treebuild_end(struct treebuild *build, uint8_t ret[SHA256_SIZE], struct error *error);
/** NULL is fine. */
void treebuild_free(struct treebuild *build);

static inline void treebuild_freep(struct treebuild **build)
{
	treebuild_free(*build);
}

#define AUTO_TREEBUILD __attribute__((cleanup(treebuild_freep)))
