/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "format/cmdline.h"
#include "maker/content.h"
#include "maker/maker.h"
#include "maker/treebuild.h"

#define SCAN_SIZE  (1u << 20)
#define SCAN_BLOCK 4096u /* where a superblock can lie, as install looks for it */

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
	struct tree *tree, bool *ret_found, struct error *error)
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
		tree->start = tree->verity.data_blocks * tree->verity.data_block_size
			      + tree->verity.hash_block_size;
	return 0;
}

static int check_extent(const struct tree *tree, const struct content *image, struct error *error)
{
	uint64_t size = tree->layout.total_blocks * tree->verity.hash_block_size, end;

	if (__builtin_add_overflow(tree->start, size, &end) || end > image->size
		|| tree->verity.data_blocks * tree->verity.data_block_size > image->size)
		return error_failed(error, EBADMSG,
			"'%s' has %" PRIu64 " bytes and ends before its hash tree does: it is "
			"truncated",
			image->name, image->size);
	return 0;
}

/* The block whose hash is the root hash: the tree's first, or the only data block. */
static int check_top(const struct tree *tree, const struct content *image, const char *uki_name,
	struct error *error)
{
	bool has_levels = tree->layout.level_count > 0;
	uint32_t size = has_levels ? tree->verity.hash_block_size : tree->verity.data_block_size;
	AUTO_FREE uint8_t *block = malloc(size);
	AUTO_SHA256 struct sha256 *hash = NULL;
	char found[SHA256_TEXT_SIZE], wanted[SHA256_TEXT_SIZE];
	uint8_t digest[SHA256_SIZE];
	int r;

	if (!block)
		return error_memory(error);
	r = sha256_new(&hash, error);
	if (r == 0)
		r = content_read(image, has_levels ? tree->start : 0, block, size, error);
	if (r == 0)
		r = treebuild_hash(&tree->verity, hash, block, size, digest, error);
	if (r < 0 || memcmp(digest, tree->root_hash, SHA256_SIZE) == 0)
		return r;
	text_hex(digest, SHA256_SIZE, found);
	text_hex(tree->root_hash, SHA256_SIZE, wanted);
	return error_set(error, ERROR_REFUSED, EBADMSG,
		"'%s' and '%s' do not belong together: the UKI's command line names the root hash "
		"%s, the image's hash tree has %s",
		uki_name, image->name, wanted, found);
}

/* Takes the place of the tree from a superblock, or else from the table on the command line. */
static int locate(const struct content *image, const struct cmdline_verity *named,
	const struct maker_observer *observer, struct tree *tree, bool *ret_found,
	struct error *error)
{
	int r;

	r = find_superblock(image, observer, tree, ret_found, error);
	if (r < 0 || *ret_found)
		return r;
	*ret_found = cmdline_verity_tree(named, &tree->verity, &tree->start)
		     && tree->start < image->size;
	return 0;
}

int tree_find(const struct content *image, const char *cmdline, const char *uki_name,
	const struct maker_observer *observer, struct tree *ret, bool *ret_found,
	char ret_root_hash[129], struct error *error)
{
	struct cmdline_verity named;
	bool found = false;
	int r;

	r = cmdline_verity(cmdline, &named, error);
	if (r < 0)
		return r;
	memcpy(ret_root_hash, named.root_hash, sizeof(named.root_hash));
	*ret_found = false;
	if (!named.root_hash[0])
		return 0;
	r = locate(image, &named, observer, ret, &found, error);
	if (r < 0)
		return r;
	if (!found) {
		report_note(&observer->report,
			"The UKI names a root hash, but '%s' carries no hash tree: whether they "
			"belong together is not checked",
			image->name);
		return 0;
	}
	if (strcmp(ret->verity.algorithm, "sha256") != 0
		|| !text_unhex(named.root_hash, ret->root_hash, SHA256_SIZE)) {
		report_note(&observer->report,
			"The hash tree of '%s' uses %s: whether it belongs to the UKI is not "
			"checked",
			image->name, ret->verity.algorithm);
		return 0;
	}
	r = verity_lay_out(&ret->verity, SHA256_SIZE, &ret->layout, error);
	if (r == 0)
		r = check_extent(ret, image, error);
	if (r == 0)
		r = check_top(ret, image, uki_name, error);
	*ret_found = r == 0;
	return r;
}

struct tree_check {
	const struct tree *tree;
	const struct content *image;
	struct treebuild *build;
	uint8_t *stored; /* a hash block of the image */
};

DEFINE_CLEANUP(tree_check_freep, struct tree_check *, tree_check_free)

/* Says which of the things below a hash block it contradicts. */
static int mismatch(const struct tree_check *check, size_t level, uint64_t index,
	const uint8_t *block, struct error *error)
{
	uint32_t per_block = check->tree->layout.hashes_per_block;
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
	const struct tree *tree = check->tree;
	uint32_t size = tree->verity.hash_block_size;
	uint64_t place = tree->start + (tree->layout.level_start[level] + index) * size;
	int r;

	r = content_read(check->image, place, check->stored, size, error);
	if (r < 0 || memcmp(block, check->stored, size) == 0)
		return r;
	return mismatch(check, level, index, block, error);
}

int tree_check_new(const struct tree *tree, const struct content *image, struct tree_check **ret,
	struct error *error)
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
	r = treebuild_new(&tree->verity, &tree->layout, compare, check, &check->build, error);
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
