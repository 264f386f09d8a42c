/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/error.h"
#include "engine/target.h"
#include "engine/treestream.h"

int writer_init(struct writer *writer, struct error *error)
{
	struct image *image = &writer->image;

	image->capacity = (size_t)(target_capacity(writer->target) / CHUNK_SIZE + 1);
	image->sums = calloc(image->capacity, sizeof(*image->sums));
	writer->present = aligned_new(CHUNK_SIZE);
	if (!image->sums || !writer->present)
		return error_memory(error);
	return sha256_new(&writer->hash, error);
}

void writer_done(struct writer *writer)
{
	sha256_free(writer->hash);
	treestream_free(writer->tree);
	free(writer->image.sums);
	free(writer->present);
}

/* The smallest run of blocks that holds every difference; false if there is none. */
static bool differing_range(
	const uint8_t *a, const uint8_t *b, size_t size, size_t *ret_start, size_t *ret_end)
{
	size_t start = 0, end = size;

	if (memcmp(a, b, size) == 0)
		return false;
	while (memcmp(a + start, b + start,
		       size - start < TARGET_BLOCK ? size - start : TARGET_BLOCK)
		== 0)
		start += TARGET_BLOCK;
	while (end > start) {
		size_t tail = (end - 1) / TARGET_BLOCK * TARGET_BLOCK;

		if (memcmp(a + tail, b + tail, end - tail) != 0)
			break;
		end = tail;
	}
	*ret_start = start;
	*ret_end = end;
	return true;
}

/* Nothing of the partition was touched before this. */
static int begin(struct writer *writer, struct error *error)
{
	int r;

	if (writer->begun)
		return 0;
	r = writer->begin(writer->opaque, error);
	writer->begun = r == 0;
	return r;
}

static int read_present(struct writer *writer, size_t start, size_t size, struct error *error)
{
	return target_read(
		writer->target, writer->image.size + start, writer->present + start, size, error);
}

/*
 * Whether the chunk differs in its first and in its last block: then all of it will be written, and
 * what lies between need not be read. The last one first, or it looks like reading on and on.
 */
static int differs_at_both_ends(
	struct writer *writer, const uint8_t *data, size_t size, bool *ret, struct error *error)
{
	size_t last = (size - 1) / TARGET_BLOCK * TARGET_BLOCK;
	int r;

	*ret = false;
	r = read_present(writer, last, size - last, error);
	if (r < 0 || memcmp(data + last, writer->present + last, size - last) == 0)
		return r;
	r = read_present(writer, 0, size < TARGET_BLOCK ? size : TARGET_BLOCK, error);
	if (r == 0)
		*ret = memcmp(data, writer->present, size < TARGET_BLOCK ? size : TARGET_BLOCK)
		       != 0;
	return r;
}

/* What has to be written of the chunk; an empty range if it is there already. */
static int find_range(struct writer *writer, const uint8_t *data, size_t size, size_t *ret_start,
	size_t *ret_end, struct error *error)
{
	bool whole;
	int r;

	*ret_start = 0;
	*ret_end = size;
	r = differs_at_both_ends(writer, data, size, &whole, error);
	if (r < 0 || whole)
		return r;
	r = read_present(writer, 0, size, error);
	if (r == 0 && !differing_range(data, writer->present, size, ret_start, ret_end))
		*ret_end = 0;
	return r;
}

/* Writes what differs from what is there. */
static int converge(struct writer *writer, const uint8_t *data, size_t size, struct error *error)
{
	struct error why = { 0 };
	size_t start, end;
	int r;

	r = find_range(writer, data, size, &start, &end, &why);
	/* A sector that cannot be read may be whole again once it was written. */
	if (r == -EIO) {
		start = 0;
		end = size;
		r = 0;
	}
	if (r < 0)
		return error_pass(error, &why);
	if (end == 0)
		return 0;
	r = begin(writer, error);
	if (r < 0)
		return r;
	return target_write(
		writer->target, writer->image.size + start, data + start, end - start, error);
}

int writer_write(struct writer *writer, const uint8_t *data, size_t size, struct error *error)
{
	struct image *image = &writer->image;
	int r;

	if (image->size == 0)
		target_set_first(writer->target, data, size);
	image_look_for_verity(image, image->size, data, size);
	image->sums[image->size / CHUNK_SIZE] = checksum_of(data, size);
	r = sha256_update(writer->hash, data, size, error);
	if (r == 0 && writer->tree)
		r = treestream_add(writer->tree, data, size, error);
	if (r == 0)
		r = converge(writer, data, size, error);
	if (r == 0)
		image->size += size;
	return r;
}

int writer_finish(struct writer *writer, struct error *error)
{
	int r;

	r = sha256_final(writer->hash, writer->image.sha256, error);
	if (r == 0 && writer->tree)
		r = treestream_end(writer->tree, error);
	writer->image.tree_checked = writer->tree;
	return r < 0 ? r : target_finish(writer->target, error);
}
