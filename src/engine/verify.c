/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "engine/context.h"
#include "engine/target.h"
#include "format/cmdline.h"
#include "machine/machine.h"

/* Walks a hash tree from its leaves, holding the current block of each level. */
struct walk {
	struct machine *machine;
	struct partition *partition;
	const struct verify_tree *tree;
	struct verity_layout layout;
	struct sha256 *hash;
	uint8_t *blocks;                    /* one hash block per level */
	uint64_t loaded[VERITY_LEVELS_MAX]; /* index + 1 of the block of each level; 0: none */
};

static void walk_done(struct walk *walk)
{
	sha256_free(walk->hash);
	free(walk->blocks);
}

#define AUTO_WALK CLEANUP(walk_done)

static int walk_init(struct walk *walk, struct error *error)
{
	const struct verity *verity = &walk->tree->verity;
	int r;

	r = verity_lay_out(verity, SHA256_SIZE, &walk->layout, error);
	if (r < 0)
		return r;
	walk->blocks = calloc(walk->layout.level_count + 1, verity->hash_block_size);
	if (!walk->blocks)
		return error_memory(error);
	return sha256_new(&walk->hash, error);
}

static int hash_block(struct walk *walk, const uint8_t *block, size_t size,
	uint8_t ret[SHA256_SIZE], struct error *error)
{
	const struct verity *verity = &walk->tree->verity;
	int r;

	r = sha256_reset(walk->hash, error);
	if (r == 0)
		r = sha256_update(walk->hash, verity->salt, verity->salt_size, error);
	if (r == 0)
		r = sha256_update(walk->hash, block, size, error);
	return r < 0 ? r : sha256_final(walk->hash, ret, error);
}

static int check_digest(struct walk *walk, size_t level, uint64_t index,
	const uint8_t digest[SHA256_SIZE], struct error *error);

/* Loads a hash block and proves it against its parent, up to the root hash. */
static int load_block(struct walk *walk, size_t level, uint64_t index, struct error *error)
{
	uint32_t size = walk->tree->verity.hash_block_size;
	uint8_t *block = walk->blocks + level * size, digest[SHA256_SIZE];
	uint64_t place;
	int r;

	if (walk->loaded[level] == index + 1)
		return 0;
	walk->loaded[level] = 0;
	place = walk->tree->start + (walk->layout.level_start[level] + index) * size;
	r = walk->machine->ops->partition_read(
		walk->machine, walk->partition, place, block, size, error);
	if (r == 0)
		r = hash_block(walk, block, size, digest, error);
	if (r == 0)
		r = check_digest(walk, level + 1, index, digest, error);
	if (r == 0)
		walk->loaded[level] = index + 1;
	return r;
}

/* Checks the digest of block `index` of the level below `level`; level 0 holds the data's. */
static int check_digest(struct walk *walk, size_t level, uint64_t index,
	const uint8_t digest[SHA256_SIZE], struct error *error)
{
	uint32_t per_block = walk->layout.hashes_per_block;
	uint32_t size = walk->tree->verity.hash_block_size;
	const uint8_t *wanted = walk->tree->root_hash;
	int r;

	if (level < walk->layout.level_count) {
		r = load_block(walk, level, index / per_block, error);
		if (r < 0)
			return r;
		wanted = walk->blocks + level * size + index % per_block * (size / per_block);
	}
	if (memcmp(wanted, digest, SHA256_SIZE) == 0)
		return 0;
	if (level == walk->layout.level_count)
		return error_failed(error, EBADMSG,
			"the image's hash tree has another root hash than the UKI's command line "
			"names: UKI and image do not belong together");
	return error_failed(error, EBADMSG,
		"%s block %llu does not match the image's hash tree (level %zu): the image is "
		"damaged",
		level == 0 ? "data" : "hash", (unsigned long long)index, level);
}

/* Checks the data blocks among the `size` bytes read at `offset`, both multiples of a block. */
static int check_data(
	struct walk *walk, uint64_t offset, const uint8_t *data, size_t size, struct error *error)
{
	const struct verity *verity = &walk->tree->verity;
	uint32_t block = verity->data_block_size;

	for (size_t i = 0; i + block <= size; i += block) {
		uint64_t index = (offset + i) / block;
		uint8_t digest[SHA256_SIZE];
		int r;

		if (index >= verity->data_blocks)
			return 0;
		r = hash_block(walk, data + i, block, digest, error);
		if (r == 0)
			r = check_digest(walk, 0, index, digest, error);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_extent(const struct walk *walk, uint64_t size, struct error *error)
{
	const struct verity *verity = &walk->tree->verity;
	uint64_t data, tree, end;

	if (__builtin_mul_overflow(verity->data_blocks, verity->data_block_size, &data)
		|| __builtin_mul_overflow(walk->layout.total_blocks, verity->hash_block_size, &tree)
		|| __builtin_add_overflow(walk->tree->start, tree, &end) || data > size
		|| end > size)
		return error_failed(error, EBADMSG,
			"the image ends before its hash tree does: it is truncated");
	return 0;
}

int verify_image(struct context *context, struct partition *partition, uint64_t size,
	const uint8_t digest[SHA256_SIZE], const struct verify_tree *tree, struct error *error)
{
	AUTO_WALK struct walk walk = {
		.machine = context->machine,
		.partition = partition,
		.tree = tree,
	};
	AUTO_FREE uint8_t *data = malloc(TARGET_CHUNK);
	AUTO_SHA256 struct sha256 *whole = NULL;
	uint8_t found[SHA256_SIZE];
	uint64_t done = 0;
	int r;

	if (!data)
		return error_memory(error);
	context_begin_phase(context, "verify", size);
	r = sha256_new(&whole, error);
	if (r == 0 && tree)
		r = walk_init(&walk, error);
	if (r == 0 && tree)
		r = check_extent(&walk, size, error);
	while (r == 0 && done < size) {
		uint64_t left = size - done;
		size_t part = left < TARGET_CHUNK ? (size_t)left : TARGET_CHUNK;

		if (context_cancelled(context))
			return error_failed(error, ECANCELED, "interrupted while reading back");
		r = context->machine->ops->partition_read(
			context->machine, partition, done, data, part, error);
		if (r == 0)
			r = sha256_update(whole, data, part, error);
		if (r == 0 && tree)
			r = check_data(&walk, done, data, part, error);
		done += part;
		context_progress(context, done);
	}
	if (r == 0)
		r = sha256_final(whole, found, error);
	if (r < 0)
		return r;
	if (memcmp(found, digest, SHA256_SIZE) != 0)
		return error_failed(error, EIO,
			"what was read back from the partition is not what was written: the "
			"medium is failing");
	return 0;
}

bool verify_tree_of_table(const struct cmdline_verity *table, struct verify_tree *ret)
{
	struct verity verity = {
		.data_block_size = table->data_block_size,
		.hash_block_size = table->hash_block_size,
		.data_blocks = table->data_blocks,
		.salt_size = strcmp(table->salt, "-") == 0 ? 0 : strlen(table->salt) / 2,
	};

	_Static_assert(sizeof(verity.algorithm) == sizeof(table->algorithm), "same field");
	if (!table->table || verity.salt_size > sizeof(verity.salt)
		|| (verity.salt_size > 0 && !text_unhex(table->salt, verity.salt, verity.salt_size))
		|| __builtin_mul_overflow(table->hash_start, table->hash_block_size, &ret->start))
		return false;
	memcpy(verity.algorithm, table->algorithm, sizeof(verity.algorithm));
	ret->verity = verity;
	return true;
}
