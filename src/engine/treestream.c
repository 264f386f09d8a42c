/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/treestream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "maker/treebuild.h"
#include "maker/treematch.h"

/*
 * The tree is built from the data and its root compared with the one that the UKI names. Behind the
 * data the tree of the image itself comes by, which has to be the same one: of each level the
 * digest of all its blocks is kept, not the blocks.
 */
struct treestream {
	struct verity_tree tree;
	struct verity_layout layout;
	uint64_t data_end, tree_end; /* bytes of the image */
	uint64_t offset;             /* bytes that came */
	struct treebuild *build;
	struct sha256 *hash;                     /* of a data block */
	struct sha256 *built[VERITY_LEVELS_MAX]; /* of each level as it is built */
	struct sha256 *seen;                     /* of the level that comes by */
};

DEFINE_CLEANUP(treestream_freep, struct treestream *, treestream_free)

static int on_block(
	void *context, size_t level, uint64_t index, const uint8_t *block, struct error *error)
{
	struct treestream *stream = context;

	(void)index;
	return sha256_update(
		stream->built[level], block, stream->tree.verity.hash_block_size, error);
}

static int lay_out(struct treestream *stream, struct error *error)
{
	const struct verity *verity = &stream->tree.verity;
	uint64_t size;
	int r;

	r = verity_lay_out(verity, SHA256_SIZE, &stream->layout, error);
	if (r < 0)
		return r;
	size = stream->layout.total_blocks * verity->hash_block_size;
	if (__builtin_mul_overflow(verity->data_blocks, verity->data_block_size, &stream->data_end)
		|| __builtin_add_overflow(stream->tree.start, size, &stream->tree_end))
		return error_failed(error, EBADMSG, "the image's hash tree is too large");
	if (stream->tree.start < stream->data_end)
		return error_failed(
			error, EOPNOTSUPP, "the hash tree does not lie behind its data");
	return 0;
}

int treestream_new(const struct verity_tree *tree, struct treestream **ret, struct error *error)
{
	CLEANUP(treestream_freep) struct treestream *stream = calloc(1, sizeof(*stream));
	int r;

	if (!stream)
		return error_memory(error);
	stream->tree = *tree;
	r = lay_out(stream, error);
	for (size_t i = 0; r == 0 && i < stream->layout.level_count; i++)
		r = sha256_new(&stream->built[i], error);
	if (r == 0)
		r = sha256_new(&stream->seen, error);
	if (r == 0)
		r = sha256_new(&stream->hash, error);
	if (r == 0)
		r = treebuild_new(&stream->tree.verity, &stream->layout, on_block, stream,
			&stream->build, error);
	if (r < 0)
		return r;
	*ret = TAKE(stream);
	return 0;
}

static int check_root(struct treestream *stream, struct error *error)
{
	char found[SHA256_TEXT_SIZE], wanted[SHA256_TEXT_SIZE];
	uint8_t root[SHA256_SIZE];
	int r;

	r = treebuild_end(stream->build, root, error);
	if (r < 0 || memcmp(root, stream->tree.root_hash, SHA256_SIZE) == 0)
		return r;
	text_hex(root, SHA256_SIZE, found);
	text_hex(stream->tree.root_hash, SHA256_SIZE, wanted);
	return error_failed(error, EBADMSG,
		"the image's data have the root hash %s, the UKI's command line names %s: UKI and "
		"image do not belong together, or the image is damaged",
		found, wanted);
}

static int add_data(
	struct treestream *stream, const uint8_t *data, size_t size, struct error *error)
{
	const struct verity *verity = &stream->tree.verity;
	uint32_t block = verity->data_block_size;
	uint8_t digest[SHA256_SIZE];

	for (size_t i = 0; i + block <= size; i += block) {
		int r = treebuild_hash(verity, stream->hash, data + i, block, digest, error);

		if (r == 0)
			r = treebuild_add(stream->build, digest, error);
		if (r < 0)
			return r;
	}
	return stream->offset + size == stream->data_end ? check_root(stream, error) : 0;
}

static int compare_level(struct treestream *stream, size_t level, struct error *error)
{
	uint8_t built[SHA256_SIZE], seen[SHA256_SIZE];
	int r;

	r = sha256_final(stream->built[level], built, error);
	if (r == 0)
		r = sha256_final(stream->seen, seen, error);
	if (r == 0)
		r = sha256_reset(stream->seen, error);
	if (r == 0 && memcmp(built, seen, SHA256_SIZE) != 0)
		return error_failed(error, EBADMSG,
			"the image's hash tree is not that of its data (level %zu): the image is "
			"damaged",
			level);
	return r;
}

/* What of the `size` bytes belongs to the level. */
static int add_level(struct treestream *stream, size_t level, const uint8_t *data, size_t size,
	struct error *error)
{
	uint32_t block = stream->tree.verity.hash_block_size;
	uint64_t start = stream->tree.start + stream->layout.level_start[level] * block;
	uint64_t end = start + stream->layout.level_blocks[level] * block;
	uint64_t from = stream->offset, to = from + size;
	int r;

	if (to <= start || from >= end)
		return 0;
	if (from < start)
		from = start;
	if (to > end)
		to = end;
	r = sha256_update(stream->seen, data + (from - stream->offset), (size_t)(to - from), error);
	return r == 0 && to == end ? compare_level(stream, level, error) : r;
}

int treestream_add(struct treestream *stream, const uint8_t *data, size_t size, struct error *error)
{
	uint64_t left = stream->offset < stream->data_end ? stream->data_end - stream->offset : 0;
	int r = 0;

	if (left > 0)
		r = add_data(stream, data, left < size ? (size_t)left : size, error);
	/* The top lies first. */
	for (size_t level = stream->layout.level_count; r == 0 && level-- > 0;)
		r = add_level(stream, level, data, size, error);
	stream->offset += size;
	return r;
}

int treestream_end(const struct treestream *stream, struct error *error)
{
	if (stream->offset >= stream->data_end && stream->offset >= stream->tree_end)
		return 0;
	return error_failed(
		error, EBADMSG, "the image ends before its hash tree does: it is truncated");
}

void treestream_free(struct treestream *stream)
{
	if (!stream)
		return;
	treebuild_free(stream->build);
	sha256_free(stream->hash);
	sha256_free(stream->seen);
	for (size_t i = 0; i < VERITY_LEVELS_MAX; i++)
		sha256_free(stream->built[i]);
	free(stream);
}
