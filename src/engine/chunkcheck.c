/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/chunkcheck.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "engine/crew.h"
#include "format/chunkmap.h"
#include "machine/machine.h"

#define UNIT_SIZE (256u << 10)
#define READ_SIZE (1u << 20)

struct chunkcheck {
	struct context *context;
	struct partition *partition;
	const struct chunkmap *map;
	uint32_t unit_size;      /* bytes that a thread takes at once: whole chunks */
	uint8_t *data[CREW_MAX]; /* of each thread */
	uint8_t *wrong;          /* a byte for each block */
};

/* Which blocks of a wrong chunk are wrong; all of them if their hints do not tell. */
static void mark_blocks(struct chunkcheck *check, uint64_t chunk, const uint8_t *data)
{
	const struct chunkmap *map = check->map;
	uint32_t size = chunkmap_chunk_bytes(map, chunk);
	uint64_t first = chunk * map->chunk_size / CHUNKMAP_BLOCK_SIZE;
	uint32_t count = (size - 1) / CHUNKMAP_BLOCK_SIZE + 1, found = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = i * CHUNKMAP_BLOCK_SIZE, left = size - at;

		check->wrong[first + i] = chunkmap_hint_of(data + at, left < CHUNKMAP_BLOCK_SIZE
									      ? left
									      : CHUNKMAP_BLOCK_SIZE)
					  != chunkmap_hint(map, first + i);
		found += check->wrong[first + i];
	}
	if (found == 0)
		memset(check->wrong + first, 1, count);
}

static int check_chunk(
	struct chunkcheck *check, uint64_t chunk, const uint8_t *data, struct error *error)
{
	uint8_t digest[SHA256_SIZE];
	int r;

	r = sha256_of(data, chunkmap_chunk_bytes(check->map, chunk), digest, error);
	if (r == 0 && memcmp(digest, chunkmap_sha256(check->map, chunk), SHA256_SIZE) != 0)
		mark_blocks(check, chunk, data);
	return r;
}

static int check_unit(
	void *opaque, size_t hand, uint64_t unit, uint64_t *ret_bytes, struct error *error)
{
	struct chunkcheck *check = opaque;
	const struct chunkmap *map = check->map;
	struct machine *machine = check->context->machine;
	uint64_t offset = unit * check->unit_size, left = map->size - offset;
	uint32_t size = left < check->unit_size ? (uint32_t)left : check->unit_size;
	uint8_t *data = check->data[hand];
	int r;

	r = machine->ops->partition_read(machine, check->partition, offset, data, size, error);
	for (uint32_t at = 0; r == 0 && at < size; at += map->chunk_size)
		r = check_chunk(check, (offset + at) / map->chunk_size, data + at, error);
	*ret_bytes = size;
	return r;
}

static int tell(const struct chunkcheck *check,
	int (*differs)(void *opaque, uint64_t start, uint64_t end, struct error *error),
	void *opaque, struct error *error)
{
	const struct chunkmap *map = check->map;
	uint64_t start = 0;
	int r = 0;

	for (uint64_t block = 0; r == 0 && block <= map->block_count; block++) {
		bool wrong = block < map->block_count && check->wrong[block];
		bool before = block > 0 && check->wrong[block - 1];
		uint64_t place = block * CHUNKMAP_BLOCK_SIZE;

		if (wrong && !before)
			start = place;
		if (!wrong && before)
			r = differs(opaque, start, place < map->size ? place : map->size, error);
	}
	return r;
}

int chunkcheck_chunks(struct context *context, struct partition *partition,
	const struct chunkmap *map,
	int (*differs)(void *opaque, uint64_t start, uint64_t end, struct error *error),
	void *opaque, struct error *error)
{
	AUTO_FREE uint8_t *wrong = calloc(map->block_count, 1);
	struct chunkcheck check = {
		.context = context,
		.partition = partition,
		.map = map,
		.wrong = wrong,
		.unit_size = map->chunk_size > UNIT_SIZE ? map->chunk_size : UNIT_SIZE,
	};
	const uint64_t units = (map->size - 1) / check.unit_size + 1;
	const struct crew crew = {
		.context = context,
		.phase = "verify",
		.bytes = map->size,
		.count = units,
		.hands = crew_size(context, units),
		.work = check_unit,
		.opaque = &check,
	};
	int r = wrong ? 0 : error_memory(error);

	for (size_t i = 0; r == 0 && i < crew.hands; i++) {
		check.data[i] = aligned_new(check.unit_size);
		r = check.data[i] ? 0 : error_memory(error);
	}
	if (r == 0)
		r = crew_run(&crew, error);
	for (size_t i = 0; i < crew.hands; i++)
		free(check.data[i]);
	return r < 0 ? r : tell(&check, differs, opaque, error);
}

int chunkcheck_whole(struct context *context, struct partition *partition, uint64_t size,
	const uint8_t sha256[32], bool *ret, struct error *error)
{
	struct machine *machine = context->machine;
	AUTO_FREE uint8_t *data = aligned_new(READ_SIZE);
	AUTO_SHA256 struct sha256 *hash = NULL;
	uint8_t digest[SHA256_SIZE];
	uint64_t offset = 0;
	int r;

	if (!data)
		return error_memory(error);
	context_begin_phase(context, "verify", size);
	r = sha256_new(&hash, error);
	while (r == 0 && offset < size) {
		uint64_t left = size - offset;
		size_t part = left < READ_SIZE ? (size_t)left : READ_SIZE;

		if (context_cancelled(context))
			return error_failed(error, ECANCELED, "interrupted");
		r = machine->ops->partition_read(machine, partition, offset, data, part, error);
		if (r == 0)
			r = sha256_update(hash, data, part, error);
		context_progress(context, offset += part);
	}
	if (r == 0)
		r = sha256_final(hash, digest, error);
	*ret = r == 0 && memcmp(digest, sha256, SHA256_SIZE) == 0;
	return r;
}
