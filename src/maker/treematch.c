/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/treematch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/report.h"
#include "base/text.h"
#include "format/cmdline.h"
#include "maker/treebuild.h"

struct search {
	const struct treematch_image *image;
	const struct cmdline_verity *named;
	const char *names; /* the root hashes, in words */
	struct sha256 *hash;
	struct verity_tree *ret;
	bool found;
	const char *algorithm; /* of a tree that is not of SHA-256; owned */
	int result;            /* what is wrong with the first tree that is none of them */
	struct error why;
};

static void search_done(struct search *search)
{
	sha256_free(search->hash);
	free((char *)search->names);
	free((char *)search->algorithm);
}

/* A tree that is not right, until another one is. */
static void keep_result(struct search *search, int r, const struct error *why)
{
	if (search->result < 0)
		return;
	search->result = r;
	search->why = *why;
}

static int check_extent(const struct treematch_image *image, const struct verity_tree *tree,
	struct verity_layout *ret_layout, struct error *error)
{
	const struct verity *verity = &tree->verity;
	uint64_t end;
	int r;

	r = verity_lay_out(verity, SHA256_SIZE, ret_layout, error);
	if (r < 0)
		return r;
	if (__builtin_add_overflow(
		    tree->start, ret_layout->total_blocks * verity->hash_block_size, &end)
		|| end > image->size || verity->data_blocks * verity->data_block_size > image->size)
		return error_failed(error, EBADMSG,
			"'%s' has %" PRIu64 " bytes and ends before its hash tree does: it is "
			"truncated",
			image->name, image->size);
	return 0;
}

/* The hash of the tree's first block, or of the only data block. */
static int read_root(struct search *search, const struct verity_tree *tree,
	const struct verity_layout *layout, uint8_t ret[SHA256_SIZE], struct error *error)
{
	const struct treematch_image *image = search->image;
	const struct verity *verity = &tree->verity;
	bool has_levels = layout->level_count > 0;
	uint32_t size = has_levels ? verity->hash_block_size : verity->data_block_size;
	AUTO_FREE uint8_t *block = aligned_new(size);
	int r;

	if (!block)
		return error_memory(error);
	r = image->read(image->opaque, has_levels ? tree->start : 0, block, size, error);
	return r < 0 ? r : treebuild_hash(verity, search->hash, block, size, ret, error);
}

static int look_at_sha256(
	struct search *search, const struct verity_tree *tree, struct error *error)
{
	struct verity_layout layout;
	char text[SHA256_TEXT_SIZE];
	uint8_t root[SHA256_SIZE];
	struct error why = { 0 };
	int r;

	r = check_extent(search->image, tree, &layout, &why);
	if (r < 0) {
		keep_result(search, r, &why);
		return 0;
	}
	r = read_root(search, tree, &layout, root, error);
	if (r < 0)
		return r;
	text_hex(root, SHA256_SIZE, text);
	search->found = cmdline_verity_names(search->named, text);
	if (search->found) {
		*search->ret = *tree;
		memcpy(search->ret->root_hash, root, SHA256_SIZE);
		return 0;
	}
	r = error_set(&why, ERROR_REFUSED, EBADMSG,
		"UKI and image do not belong together: the hash tree of '%s' has the root hash %s, "
		"the UKI's command line names %s",
		search->image->name, text, search->names);
	keep_result(search, r, &why);
	return 0;
}

static int look_at_tree(struct search *search, const struct verity_tree *tree, struct error *error)
{
	if (strcmp(tree->verity.algorithm, "sha256") == 0)
		return look_at_sha256(search, tree, error);
	if (!search->algorithm)
		search->algorithm = strdup(tree->verity.algorithm);
	return search->algorithm ? 0 : error_memory(error);
}

/* Where options on the command line say that a superblock is, if one is. */
static int look_at_superblock(struct search *search, uint64_t offset, struct error *error)
{
	AUTO_FREE uint8_t *block = aligned_new(VERITY_SUPERBLOCK_SIZE);
	struct span span = { block, VERITY_SUPERBLOCK_SIZE };
	struct verity_tree tree = { 0 };
	int r;

	if (offset == 0 || offset > search->image->size
		|| search->image->size - offset < VERITY_SUPERBLOCK_SIZE)
		return 0;
	if (!block)
		return error_memory(error);
	r = search->image->read(
		search->image->opaque, offset, block, VERITY_SUPERBLOCK_SIZE, error);
	if (r < 0 || verity_parse(span, &tree.verity, NULL) < 0
		|| !verity_tree_start(&tree.verity, offset, &tree.start))
		return r;
	return look_at_tree(search, &tree, error);
}

static int look_at_table(
	struct search *search, const struct cmdline_tree *named, struct error *error)
{
	struct verity_tree tree = { 0 };

	if (!cmdline_tree_of_table(named, &tree.verity, &tree.start)
		|| tree.start >= search->image->size)
		return 0;
	return look_at_tree(search, &tree, error);
}

static int search_all(struct search *search, const struct verity_tree *seen, struct error *error)
{
	const struct cmdline_verity *named = search->named;
	int r = seen ? look_at_tree(search, seen, error) : 0;

	for (size_t i = 0; r == 0 && !search->found && i < named->count; i++)
		r = look_at_superblock(search, named->trees[i].superblock, error);
	for (size_t i = 0; r == 0 && !search->found && i < named->count; i++)
		r = look_at_table(search, &named->trees[i], error);
	if (r == 0 && !search->found && search->result < 0)
		return error_pass(error, &search->why);
	return r;
}

static void tell_unverified(const struct search *search, const struct report *report)
{
	const char *name = search->image->name;

	if (search->algorithm)
		report_note(report,
			"The hash tree of '%s' uses %s and is not verified here, only SHA-256 is: "
			"whether it has %s, which the UKI's command line names, is not known",
			name, search->algorithm, search->names);
	else
		report_warning(report,
			"The UKI's command line names %s, but no hash tree was found in '%s', "
			"neither right behind its data nor where the command line says: whether "
			"they belong together was not checked",
			search->names, name);
}

int treematch(const struct treematch_image *image, const struct cmdline_verity *named,
	const struct verity_tree *seen, const struct report *report, struct verity_tree *ret,
	bool *ret_found, struct error *error)
{
	CLEANUP(search_done)
	struct search search = { .image = image, .named = named, .ret = ret };
	int r;

	*ret_found = false;
	if (named->count == 0)
		return 0;
	search.names = cmdline_verity_text(named);
	if (!search.names)
		return error_memory(error);
	r = sha256_new(&search.hash, error);
	if (r == 0)
		r = search_all(&search, seen, error);
	if (r == 0 && !search.found)
		tell_unverified(&search, report);
	*ret_found = search.found;
	return r;
}

int treematch_check_manifest(
	const struct cmdline_verity *named, const char *root_hash, struct error *error)
{
	AUTO_FREE char *names = NULL;

	if (named->count == 0 || !*root_hash || cmdline_verity_names(named, root_hash))
		return 0;
	names = cmdline_verity_text(named);
	if (!names)
		return error_memory(error);
	return error_set(error, ERROR_REFUSED, EBADMSG,
		"UKI and image do not belong together: the manifest gives the root hash %s for the "
		"image, the UKI's command line names %s",
		root_hash, names);
}

void treematch_tell_foreign(const struct cmdline_verity *named, const struct report *report)
{
	if (named->flatcar)
		report_note(report,
			"The UKI's command line has verity.usrhash=, which Flatcar's initrd reads "
			"and systemd does not: it is not compared with the image");
}
