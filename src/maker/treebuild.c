/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/treebuild.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"

struct treebuild {
	const struct verity *verity;
	const struct verity_layout *layout;
	int (*block)(void *context, size_t level, uint64_t index, const uint8_t *block,
		struct error *error);
	void *context;
	struct sha256 *hash;
	uint8_t *blocks;                   /* one of each level, as far as it is known */
	uint64_t count[VERITY_LEVELS_MAX]; /* digests that have come to each level */
	uint8_t last[SHA256_SIZE];         /* that came to the top: at the end, the root hash */
};

int treebuild_hash(const struct verity *verity, struct sha256 *hash, const uint8_t *block,
	uint32_t size, uint8_t ret[SHA256_SIZE], struct error *error)
{
	int r;

	r = sha256_reset(hash, error);
	if (r == 0)
		r = sha256_update(hash, verity->salt, verity->salt_size, error);
	if (r == 0)
		r = sha256_update(hash, block, size, error);
	return r < 0 ? r : sha256_final(hash, ret, error);
}

int treebuild_new(const struct verity *verity, const struct verity_layout *layout,
	int (*block)(void *context, size_t level, uint64_t index, const uint8_t *block,
		struct error *error),
	void *context, struct treebuild **ret, struct error *error)
{
	AUTO_TREEBUILD struct treebuild *build = calloc(1, sizeof(*build));
	int r;

	if (!build)
		return error_memory(error);
	build->verity = verity;
	build->layout = layout;
	build->block = block;
	build->context = context;
	build->blocks = calloc(layout->level_count + 1, verity->hash_block_size);
	if (!build->blocks)
		return error_memory(error);
	r = sha256_new(&build->hash, error);
	if (r < 0)
		return r;
	*ret = TAKE(build);
	return 0;
}

/* Hands out the block of a level that is now full, or the last one, and hashes it. */
static int close_block(
	struct treebuild *build, size_t level, uint8_t ret[SHA256_SIZE], struct error *error)
{
	uint32_t size = build->verity->hash_block_size;
	uint64_t index = (build->count[level] - 1) / build->layout->hashes_per_block;
	uint8_t *block = build->blocks + level * size;
	int r;

	r = build->block(build->context, level, index, block, error);
	if (r < 0)
		return r;
	r = treebuild_hash(build->verity, build->hash, block, size, ret, error);
	memset(block, 0, size);
	return r;
}

static void put(struct treebuild *build, size_t level, const uint8_t digest[SHA256_SIZE])
{
	uint32_t size = build->verity->hash_block_size;
	uint32_t per_block = build->layout->hashes_per_block;
	uint64_t at;

	if (level == build->layout->level_count) {
		memcpy(build->last, digest, SHA256_SIZE);
		return;
	}
	at = build->count[level]++ % per_block;
	memcpy(build->blocks + level * size + at * (size / per_block), digest, SHA256_SIZE);
}

int treebuild_add(struct treebuild *build, const uint8_t digest[SHA256_SIZE], struct error *error)
{
	const struct verity_layout *layout = build->layout;
	uint8_t current[SHA256_SIZE];

	memcpy(current, digest, SHA256_SIZE);
	put(build, 0, current);
	for (size_t level = 0; level < layout->level_count; level++) {
		int r;

		if (build->count[level] % layout->hashes_per_block != 0)
			return 0;
		r = close_block(build, level, current, error);
		if (r < 0)
			return r;
		put(build, level + 1, current);
	}
	return 0;
}

int treebuild_end(struct treebuild *build, uint8_t ret[SHA256_SIZE], struct error *error)
{
	const struct verity_layout *layout = build->layout;
	uint8_t digest[SHA256_SIZE];

	for (size_t level = 0; level < layout->level_count; level++) {
		int r;

		if (build->count[level] % layout->hashes_per_block == 0)
			continue;
		r = close_block(build, level, digest, error);
		if (r < 0)
			return r;
		put(build, level + 1, digest);
	}
	memcpy(ret, build->last, SHA256_SIZE);
	return 0;
}

void treebuild_free(struct treebuild *build)
{
	if (!build)
		return;
	sha256_free(build->hash);
	free(build->blocks);
	free(build);
}
