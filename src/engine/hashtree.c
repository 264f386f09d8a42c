/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/hashtree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "machine/machine.h"
#include "maker/treebuild.h"
#include "maker/treematch.h"

#define AHEAD_SIZE (64u << 10)

/* Walks the tree from its leaves, holding the current block of each level. */
struct hashtree {
	struct machine *machine;
	struct partition *partition;
	const struct verity_tree *tree;
	struct verity_layout layout;
	struct sha256 *hash;
	uint8_t *blocks;                    /* one hash block per level */
	uint64_t loaded[VERITY_LEVELS_MAX]; /* index + 1 of the block of each level; 0: none */
	uint8_t *ahead;                  /* what follows the leaf that was read last, unchecked */
	size_t ahead_size;               /* bytes that fit */
	uint64_t ahead_start, ahead_end; /* bytes of the partition */
};

static int check_extent(const struct hashtree *hashtree, uint64_t size, struct error *error)
{
	const struct verity *verity = &hashtree->tree->verity;
	uint64_t data, tree, end;

	if (__builtin_mul_overflow(verity->data_blocks, verity->data_block_size, &data)
		|| __builtin_mul_overflow(
			hashtree->layout.total_blocks, verity->hash_block_size, &tree)
		|| __builtin_add_overflow(hashtree->tree->start, tree, &end) || data > size
		|| end > size)
		return error_failed(error, EBADMSG,
			"the image ends before its hash tree does: it is truncated");
	return 0;
}

DEFINE_CLEANUP(hashtree_freep, struct hashtree *, hashtree_free)

int hashtree_new(struct machine *machine, struct partition *partition, uint64_t size,
	const struct verity_tree *tree, struct hashtree **ret, struct error *error)
{
	CLEANUP(hashtree_freep) struct hashtree *hashtree = calloc(1, sizeof(*hashtree));
	uint32_t block = tree->verity.hash_block_size;
	int r;

	if (!hashtree)
		return error_memory(error);
	hashtree->machine = machine;
	hashtree->partition = partition;
	hashtree->tree = tree;
	r = verity_lay_out(&tree->verity, SHA256_SIZE, &hashtree->layout, error);
	if (r == 0)
		r = check_extent(hashtree, size, error);
	if (r < 0)
		return r;
	hashtree->ahead_size = block > AHEAD_SIZE ? block : AHEAD_SIZE;
	hashtree->ahead = aligned_new(hashtree->ahead_size);
	hashtree->blocks = calloc(hashtree->layout.level_count + 1, block);
	if (!hashtree->ahead || !hashtree->blocks)
		return error_memory(error);
	r = sha256_new(&hashtree->hash, error);
	if (r < 0)
		return r;
	*ret = TAKE(hashtree);
	return 0;
}

void hashtree_free(struct hashtree *hashtree)
{
	if (!hashtree)
		return;
	sha256_free(hashtree->hash);
	free(hashtree->blocks);
	free(hashtree->ahead);
	free(hashtree);
}

static int check_digest(struct hashtree *hashtree, size_t level, uint64_t index,
	const uint8_t digest[SHA256_SIZE], struct error *error);

/* Reads a hash block; what follows is wanted soon, and small reads are slow on most media. */
static int read_block(struct hashtree *hashtree, uint64_t place, uint8_t *ret, struct error *error)
{
	uint32_t size = hashtree->tree->verity.hash_block_size;
	uint64_t end = hashtree->tree->start + hashtree->layout.total_blocks * size;
	size_t part = end - place < hashtree->ahead_size ? (size_t)(end - place)
							 : hashtree->ahead_size;
	int r;

	if (place < hashtree->ahead_start || place + size > hashtree->ahead_end) {
		hashtree->ahead_start = hashtree->ahead_end = 0;
		r = hashtree->machine->ops->partition_read(hashtree->machine, hashtree->partition,
			place, hashtree->ahead, part, error);
		if (r < 0)
			return r;
		hashtree->ahead_start = place;
		hashtree->ahead_end = place + part;
	}
	memcpy(ret, hashtree->ahead + (place - hashtree->ahead_start), size);
	return 0;
}

/* Loads a hash block and proves it against its parent, up to the root hash. */
static int load_block(struct hashtree *hashtree, size_t level, uint64_t index, struct error *error)
{
	uint32_t size = hashtree->tree->verity.hash_block_size;
	uint8_t *block = hashtree->blocks + level * size, digest[SHA256_SIZE];
	uint64_t place;
	int r;

	if (hashtree->loaded[level] == index + 1)
		return 0;
	hashtree->loaded[level] = 0;
	place = hashtree->tree->start + (hashtree->layout.level_start[level] + index) * size;
	r = read_block(hashtree, place, block, error);
	if (r == 0)
		r = treebuild_hash(
			&hashtree->tree->verity, hashtree->hash, block, size, digest, error);
	if (r == 0)
		r = check_digest(hashtree, level + 1, index, digest, error);
	if (r == 0)
		hashtree->loaded[level] = index + 1;
	return r;
}

/* Checks the digest of block `index` of the level below `level`; level 0 holds the data's. */
static int check_digest(struct hashtree *hashtree, size_t level, uint64_t index,
	const uint8_t digest[SHA256_SIZE], struct error *error)
{
	uint32_t per_block = hashtree->layout.hashes_per_block;
	uint32_t size = hashtree->tree->verity.hash_block_size;
	const uint8_t *wanted = hashtree->tree->root_hash;
	int r;

	if (level < hashtree->layout.level_count) {
		r = load_block(hashtree, level, index / per_block, error);
		if (r < 0)
			return r;
		wanted = hashtree->blocks + level * size + index % per_block * (size / per_block);
	}
	if (memcmp(wanted, digest, SHA256_SIZE) == 0)
		return 0;
	if (level == hashtree->layout.level_count)
		return error_failed(error, EBADMSG,
			"the image's hash tree has another root hash than the UKI's command line "
			"names: UKI and image do not belong together");
	return error_failed(error, EBADMSG,
		"%s block %llu does not match the image's hash tree (level %zu): the image is "
		"damaged",
		level == 0 ? "data" : "hash", (unsigned long long)index, level);
}

int hashtree_check(struct hashtree *hashtree, uint64_t offset, const uint8_t *data, size_t size,
	struct error *error)
{
	const struct verity *verity = &hashtree->tree->verity;
	uint32_t block = verity->data_block_size;

	for (size_t i = 0; i + block <= size; i += block) {
		uint64_t index = (offset + i) / block;
		uint8_t digest[SHA256_SIZE];
		int r;

		if (index >= verity->data_blocks)
			return 0;
		r = treebuild_hash(verity, hashtree->hash, data + i, block, digest, error);
		if (r == 0)
			r = check_digest(hashtree, 0, index, digest, error);
		if (r < 0)
			return r;
	}
	return 0;
}
