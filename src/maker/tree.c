/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "format/cmdline.h"
#include "format/manifest.h"
#include "maker/content.h"
#include "maker/maker.h"
#include "maker/treebuild.h"
#include "maker/treematch.h"

#define SCAN_SIZE  (1u << 20)
#define SCAN_BLOCK 512u /* where a superblock can lie: behind a data block */

/* Whether a superblock at `offset` of the image speaks of the data before it. */
static bool is_superblock(const uint8_t *bytes, uint64_t offset, struct verity *ret)
{
	struct span span = { bytes, VERITY_SUPERBLOCK_SIZE };

	return verity_is_superblock(bytes) && verity_parse(span, ret, NULL) == 0
	       && ret->data_blocks * ret->data_block_size == offset;
}

static bool scan_piece(const uint8_t *data, uint64_t offset, size_t size, struct verity *ret)
{
	for (size_t i = size; i >= SCAN_BLOCK; i -= SCAN_BLOCK)
		if (is_superblock(data + i - SCAN_BLOCK, offset + i - SCAN_BLOCK, ret))
			return true;
	return false;
}

/* From the end: a tree takes less than a hundredth of the image, and nothing much follows it. */
static int find_superblock(const struct content *image, const struct maker_observer *observer,
	struct verity_tree *tree, bool *ret_found, struct error *error)
{
	AUTO_FREE uint8_t *data = malloc(SCAN_SIZE);
	uint64_t end = image->size - image->size % SCAN_BLOCK;
	int r;

	if (!data)
		return error_memory(error);
	*ret_found = false;
	while (end > 0 && !*ret_found) {
		size_t size = end < SCAN_SIZE ? (size_t)end : SCAN_SIZE;

		end -= size;
		r = maker_check_cancelled(observer, error);
		if (r == 0)
			r = content_read(image, end, data, size, error);
		if (r < 0)
			return r;
		*ret_found = scan_piece(data, end, size, &tree->verity);
	}
	if (*ret_found)
		*ret_found = verity_tree_start(&tree->verity,
			tree->verity.data_blocks * tree->verity.data_block_size, &tree->start);
	return 0;
}

static int read_content(void *opaque, uint64_t offset, void *data, size_t size, struct error *error)
{
	return content_read(opaque, offset, data, size, error);
}

/* Of more than one root hash, the image's is known by its tree alone. */
static void take_root_hash(const struct cmdline_verity *named, const struct verity_tree *found,
	char ret_root_hash[129])
{
	const char *only = named->count == 1 ? named->trees[0].root_hash : "";

	if (found)
		text_hex(found->root_hash, SHA256_SIZE, ret_root_hash);
	else if (manifest_takes_root_hash(only))
		memcpy(ret_root_hash, only, strlen(only) + 1);
	else
		*ret_root_hash = '\0';
}

int tree_find(const struct content *image, const char *cmdline,
	const struct maker_observer *observer, struct verity_tree *ret, bool *ret_found,
	char ret_root_hash[129], struct error *error)
{
	const struct treematch_image content = {
		.name = image->name,
		.size = image->size,
		.read = read_content,
		.opaque = (void *)image,
	};
	struct cmdline_verity named;
	struct verity_tree seen = { 0 };
	bool has_superblock = false;
	int r;

	*ret_found = false;
	r = cmdline_verity(cmdline, &named, error);
	if (r < 0)
		return r;
	treematch_tell_foreign(&named, &observer->report);
	if (named.count > 0)
		r = find_superblock(image, observer, &seen, &has_superblock, error);
	if (r == 0)
		r = treematch(&content, &named, has_superblock ? &seen : NULL, &observer->report,
			ret, ret_found, error);
	if (r == 0)
		take_root_hash(&named, *ret_found ? ret : NULL, ret_root_hash);
	return r;
}

struct tree_check {
	const struct verity_tree *tree;
	struct verity_layout layout;
	const struct content *image;
	struct treebuild *build;
	uint8_t *stored; /* a hash block of the image */
};

DEFINE_CLEANUP(tree_check_freep, struct tree_check *, tree_check_free)

/* Says which of the things below a hash block it contradicts. */
static int mismatch(const struct tree_check *check, size_t level, uint64_t index,
	const uint8_t *block, struct error *error)
{
	uint32_t per_block = check->layout.hashes_per_block;
	size_t stride = check->tree->verity.hash_block_size / per_block;
	uint64_t child = index * per_block;

	for (uint32_t i = 0; i < per_block; i++) {
		if (memcmp(block + i * stride, check->stored + i * stride, stride) != 0) {
			child += i;
			break;
		}
	}
	if (level > 0)
		return error_failed(error, EBADMSG,
			"'%s' is damaged: block %" PRIu64 " of level %zu of its hash tree does not "
			"match the level above",
			check->image->name, child, level - 1);
	return error_failed(error, EBADMSG,
		"'%s' is damaged: the data block at byte %" PRIu64 " does not match its hash tree",
		check->image->name, child * check->tree->verity.data_block_size);
}

static int compare(
	void *context, size_t level, uint64_t index, const uint8_t *block, struct error *error)
{
	struct tree_check *check = context;
	const struct verity_tree *tree = check->tree;
	uint32_t size = tree->verity.hash_block_size;
	uint64_t place = tree->start + (check->layout.level_start[level] + index) * size;
	int r;

	r = content_read(check->image, place, check->stored, size, error);
	if (r < 0 || memcmp(block, check->stored, size) == 0)
		return r;
	return mismatch(check, level, index, block, error);
}

int tree_check_new(const struct verity_tree *tree, const struct content *image,
	struct tree_check **ret, struct error *error)
{
	CLEANUP(tree_check_freep) struct tree_check *check = calloc(1, sizeof(*check));
	int r;

	if (!check)
		return error_memory(error);
	check->tree = tree;
	check->image = image;
	check->stored = malloc(tree->verity.hash_block_size);
	if (!check->stored)
		return error_memory(error);
	r = verity_lay_out(&tree->verity, SHA256_SIZE, &check->layout, error);
	if (r == 0)
		r = treebuild_new(
			&tree->verity, &check->layout, compare, check, &check->build, error);
	if (r < 0)
		return r;
	*ret = TAKE(check);
	return 0;
}

int tree_check_add(struct tree_check *check, const uint8_t digest[SHA256_SIZE], struct error *error)
{
	return treebuild_add(check->build, digest, error);
}

int tree_check_end(struct tree_check *check, struct error *error)
{
	uint8_t root[SHA256_SIZE];

	return treebuild_end(check->build, root, error);
}

void tree_check_free(struct tree_check *check)
{
	if (!check)
		return;
	treebuild_free(check->build);
	free(check->stored);
	free(check);
}
