/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/crc64.h>

#include "base/error.h"
#include "engine/treestream.h"
#include "machine/machine.h"

int writer_init(struct writer *writer, uint64_t capacity, struct error *error)
{
	struct image *image = &writer->image;

	image->capacity = (size_t)(capacity / CHUNK_SIZE + 1);
	image->sums = calloc(image->capacity, sizeof(*image->sums));
	writer->present = aligned_new(CHUNK_SIZE);
	writer->first = aligned_new(WRITER_BLOCK);
	if (!image->sums || !writer->present || !writer->first)
		return error_memory(error);
	return sha256_new(&writer->hash, error);
}

void writer_done(struct writer *writer)
{
	sha256_free(writer->hash);
	treestream_free(writer->tree);
	free(writer->image.sums);
	free(writer->present);
	free(writer->first);
}

/* The smallest run of blocks that holds every difference; false if there is none. */
static bool differing_range(
	const uint8_t *a, const uint8_t *b, size_t size, size_t *ret_start, size_t *ret_end)
{
	size_t start = 0, end = size;

	if (memcmp(a, b, size) == 0)
		return false;
	while (memcmp(a + start, b + start,
		       size - start < WRITER_BLOCK ? size - start : WRITER_BLOCK)
		== 0)
		start += WRITER_BLOCK;
	while (end > start) {
		size_t tail = (end - 1) / WRITER_BLOCK * WRITER_BLOCK;

		if (memcmp(a + tail, b + tail, end - tail) != 0)
			break;
		end = tail;
	}
	*ret_start = start;
	*ret_end = end;
	return true;
}

/* A verity superblock lies right behind the data it protects. */
static void look_for_verity(struct image *image, const uint8_t *data, size_t size)
{
	for (size_t i = 0; !image->has_verity && i + VERITY_SUPERBLOCK_SIZE <= size;
		i += WRITER_BLOCK) {
		uint64_t offset = image->size + i, end;
		struct verity verity;

		if (!verity_is_superblock(data + i))
			continue;
		if (verity_parse((struct span){ data + i, VERITY_SUPERBLOCK_SIZE }, &verity, NULL)
				< 0
			|| __builtin_mul_overflow(verity.data_blocks, verity.data_block_size, &end)
			|| end != offset)
			continue;
		image->has_verity = true;
		image->verity = verity;
		image->tree = offset + verity.hash_block_size;
	}
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
	return writer->machine->ops->partition_read(writer->machine, writer->partition,
		writer->image.size + start, writer->present + start, size, error);
}

/*
 * Whether the chunk differs in its first and in its last block: then all of it will be written, and
 * what lies between need not be read. The last one first, or it looks like reading on and on.
 */
static int differs_at_both_ends(
	struct writer *writer, const uint8_t *data, size_t size, bool *ret, struct error *error)
{
	size_t last = (size - 1) / WRITER_BLOCK * WRITER_BLOCK;
	int r;

	*ret = false;
	r = read_present(writer, last, size - last, error);
	if (r < 0 || memcmp(data + last, writer->present + last, size - last) == 0)
		return r;
	r = read_present(writer, 0, size < WRITER_BLOCK ? size : WRITER_BLOCK, error);
	if (r == 0)
		*ret = memcmp(data, writer->present, size < WRITER_BLOCK ? size : WRITER_BLOCK)
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
	struct machine *machine = writer->machine;
	uint64_t offset = writer->image.size;
	size_t start, end, skip = offset == 0 ? writer->first_size : 0;
	int r;

	r = find_range(writer, data, size, &start, &end, error);
	if (r < 0 || end == 0)
		return r;
	r = begin(writer, error);
	if (r < 0)
		return r;
	if (start < skip)
		start = skip;
	if (start >= end)
		return 0;
	r = machine->ops->partition_write(
		machine, writer->partition, offset + start, data + start, end - start, error);
	if (r == 0)
		writer->written += end - start;
	return r;
}

int writer_write(struct writer *writer, const uint8_t *data, size_t size, struct error *error)
{
	struct image *image = &writer->image;
	int r;

	if (image->size == 0) {
		writer->first_size = size < WRITER_BLOCK ? size : WRITER_BLOCK;
		memcpy(writer->first, data, writer->first_size);
	}
	look_for_verity(image, data, size);
	image->sums[image->size / CHUNK_SIZE] = crc64_ecma_refl(0, data, size);
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
	struct machine *machine = writer->machine;
	int r;

	r = sha256_final(writer->hash, writer->image.sha256, error);
	if (r == 0 && writer->tree)
		r = treestream_end(writer->tree, error);
	writer->image.tree_checked = writer->tree;
	if (r < 0 || !writer->begun)
		return r;
	r = machine->ops->partition_flush(machine, writer->partition, error);
	if (r == 0)
		r = machine->ops->partition_write(
			machine, writer->partition, 0, writer->first, writer->first_size, error);
	if (r < 0)
		return r;
	writer->written += writer->first_size;
	return machine->ops->partition_flush(machine, writer->partition, error);
}
