/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/oldfiles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/report.h"
#include "crypto/sha256.h"
#include "engine/chunks.h"
#include "engine/context.h"
#include "engine/hints.h"
#include "machine/machine.h"

#define STEP       512u /* FileAlignment of PE files, at least */
#define BLOCK      CHUNKMAP_BLOCK_SIZE
#define PIECE_SIZE (256u << 10)
/* Blocks that begin in a piece end behind it. */
#define READ_SIZE (PIECE_SIZE + BLOCK - STEP)

/** Its places are `first` to before `end`, in steps: one file's behind the other's. */
struct oldfile {
	const char *path;
	uint32_t first, end;
};

struct oldfiles {
	struct context *context;
	const struct chunkmap *map;
	struct hints *hints;
	uint32_t tail;  /* bytes of the payload's last block, if it is short; else 0 */
	uint8_t *piece; /* READ_SIZE bytes */
	struct oldfile files[OLDFILES_MAX];
	size_t count;
};

int oldfiles_new(struct context *context, const struct chunkmap *map, struct oldfiles **ret,
	struct error *error)
{
	AUTO_OLDFILES struct oldfiles *files = calloc(1, sizeof(*files));
	int r;

	if (!files)
		return error_memory(error);
	files->context = context;
	files->map = map;
	files->tail = map->size % BLOCK;
	files->piece = malloc(READ_SIZE);
	if (!files->piece)
		return error_memory(error);
	r = hints_new(map, map->block_count, &files->hints, error);
	if (r < 0)
		return r;
	for (uint64_t block = 0; block < map->block_count; block++)
		hints_want(files->hints, block);
	*ret = TAKE(files);
	return 0;
}

void oldfiles_free(struct oldfiles *files)
{
	if (!files)
		return;
	hints_free(files->hints);
	free(files->piece);
	free(files);
}

/* What begins in the piece, of which `size` bytes were read; its first place. */
static void look_at_piece(struct oldfiles *files, size_t size, uint32_t place)
{
	uint32_t tail = files->tail;

	for (size_t at = 0; at < PIECE_SIZE && at < size; at += STEP, place++) {
		const uint8_t *data = files->piece + at;

		if (at + BLOCK <= size)
			hints_offer(files->hints, chunkmap_hint_of(data, BLOCK), place);
		if (tail > 0 && at + tail <= size)
			hints_offer(files->hints, chunkmap_hint_of(data, tail), place);
	}
}

static int read_at(struct oldfiles *files, const struct oldfile *file, uint32_t place, void *data,
	size_t size, size_t *ret_got, struct error *error)
{
	struct context *context = files->context;

	return context->machine->ops->esp_read_at(context->machine, context->esp, file->path,
		(uint64_t)(place - file->first) * STEP, data, size, ret_got, error);
}

int oldfiles_look(struct oldfiles *files, const char *path, bool *ret_whole, struct error *error)
{
	struct oldfile *file = &files->files[files->count];
	uint32_t first = files->count > 0 ? file[-1].end : 0;
	struct error why = { 0 };
	size_t got = READ_SIZE;
	int r = 0;

	*file = (struct oldfile){ path, first, first };
	files->count++;
	while (r == 0 && got == READ_SIZE && file->end - first < BOOT_FILE_MAX / STEP) {
		if (context_cancelled(files->context))
			return error_failed(error, ECANCELED, "interrupted");
		r = read_at(files, file, file->end, files->piece, READ_SIZE, &got, &why);
		if (r == 0)
			look_at_piece(files, got, file->end);
		file->end += PIECE_SIZE / STEP;
	}
	*ret_whole = r == 0;
	if (r < 0 && r != -ENOENT)
		report_warning(&files->context->observer.report,
			"Some of an old boot file cannot be read, and is fetched instead: %s",
			why.text);
	return 0;
}

bool oldfiles_have(const struct oldfiles *files, uint64_t chunk)
{
	uint64_t block = chunk_block(files->map, chunk);
	uint32_t count = chunk_blocks(files->map, chunk);

	for (uint32_t i = 0; i < count; i++)
		if (hints_find(files->hints, block + i) == HINTS_NOWHERE)
			return false;
	return true;
}

static const struct oldfile *file_of(const struct oldfiles *files, uint32_t place)
{
	size_t i = 0;

	while (files->files[i].end <= place)
		i++;
	return &files->files[i];
}

/* The blocks from `i` on that lie behind each other in a file. */
static uint32_t count_row(
	const struct oldfiles *files, uint64_t block, uint32_t i, uint32_t count, uint32_t place)
{
	uint32_t row = 1;

	while (i + row < count
		&& hints_find(files->hints, block + i + row) == place + row * (BLOCK / STEP))
		row++;
	return row;
}

/* Reads the blocks; false: they are not there any more. */
static bool read_blocks(struct oldfiles *files, uint64_t chunk, uint8_t *data)
{
	uint32_t size = chunkmap_chunk_bytes(files->map, chunk), row;
	uint32_t count = chunk_blocks(files->map, chunk);
	uint64_t block = chunk_block(files->map, chunk);

	for (uint32_t i = 0; i < count; i += row) {
		uint32_t place = hints_find(files->hints, block + i), at = i * BLOCK, part;
		size_t got;

		row = place == HINTS_ZERO ? 1 : count_row(files, block, i, count, place);
		part = size - at < row * BLOCK ? size - at : row * BLOCK;
		if (place == HINTS_ZERO)
			memset(data + at, 0, part);
		else if (read_at(files, file_of(files, place), place, data + at, part, &got, NULL)
				 < 0
			 || got < part)
			return false;
	}
	return true;
}

int oldfiles_copy(
	struct oldfiles *files, uint64_t chunk, uint8_t *data, bool *ret, struct error *error)
{
	const struct chunkmap *map = files->map;
	uint8_t digest[SHA256_SIZE];
	int r;

	*ret = false;
	if (!read_blocks(files, chunk, data))
		return 0;
	r = sha256_of(data, chunkmap_chunk_bytes(map, chunk), digest, error);
	*ret = r == 0 && memcmp(digest, chunkmap_sha256(map, chunk), SHA256_SIZE) == 0;
	return r;
}
