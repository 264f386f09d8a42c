/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/converge_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/thread.h"
#include "engine/context.h"
#include "engine/target.h"
#include "machine/machine.h"

static int add_hand(struct converge *converge, struct error *error)
{
	struct converge_hand *hand = &converge->hands[converge->hand_count++];

	hand->data = aligned_new(converge->unit_size);
	hand->present = aligned_new(converge->unit_size);
	if (!hand->data || !hand->present)
		return error_memory(error);
	return sha256_new(&hand->hash, error);
}

int converge_new(struct context *context, struct target *target, const struct chunkmap *map,
	struct converge **ret, struct error *error)
{
	AUTO_CONVERGE struct converge *converge = calloc(1, sizeof(*converge));
	size_t hands;
	int r = 0;

	if (!converge)
		return error_memory(error);
	pthread_mutex_init(&converge->lock, NULL);
	converge->context = context;
	converge->target = target;
	converge->map = map;
	converge->image.size = map->size;
	converge->unit_size = map->chunk_size > CONVERGE_UNIT ? map->chunk_size : CONVERGE_UNIT;
	converge->unit_chunks = converge->unit_size / map->chunk_size;
	converge->units = (map->chunk_count - 1) / converge->unit_chunks + 1;
	converge->state = calloc(map->chunk_count, 1);
	converge->right = calloc(map->block_count / 8 + 1, 1);
	converge->sums = calloc(map->chunk_count, sizeof(*converge->sums));
	if (!converge->state || !converge->right || !converge->sums)
		return error_memory(error);
	hands = crew_size(context, converge->units);
	while (r == 0 && converge->hand_count < hands)
		r = add_hand(converge, error);
	if (r < 0)
		return r;
	*ret = TAKE(converge);
	return 0;
}

void converge_free(struct converge *converge)
{
	if (!converge)
		return;
	for (size_t i = 0; i < converge->hand_count; i++) {
		sha256_free(converge->hands[i].hash);
		free(converge->hands[i].data);
		free(converge->hands[i].present);
	}
	hints_free(converge->hints);
	free(converge->state);
	free(converge->right);
	free(converge->sums);
	pthread_mutex_destroy(&converge->lock);
	free(converge);
}

int converge_crew(struct converge *converge, const char *phase, uint64_t bytes,
	int (*work)(
		void *opaque, size_t hand, uint64_t unit, uint64_t *ret_bytes, struct error *error),
	struct error *error)
{
	const struct crew crew = {
		.context = converge->context,
		.phase = phase,
		.bytes = bytes,
		.count = converge->units,
		.hands = converge->hand_count,
		.work = work,
		.opaque = converge,
	};

	return crew_run(&crew, error);
}

struct converge_counts converge_counts(const struct converge *converge)
{
	return converge->counts;
}

bool converge_is_done(const struct converge *converge)
{
	return converge->counts.kept == converge->map->size;
}

const struct image *converge_image(const struct converge *converge)
{
	return &converge->image;
}

int converge_matches(struct converge *converge, struct converge_hand *hand, uint64_t chunk,
	const uint8_t *data, bool *ret, struct error *error)
{
	uint32_t size = chunkmap_chunk_bytes(converge->map, chunk);
	uint8_t digest[SHA256_SIZE];
	int r;

	r = sha256_reset(hand->hash, error);
	if (r == 0)
		r = sha256_update(hand->hash, data, size, error);
	if (r == 0)
		r = sha256_final(hand->hash, digest, error);
	if (r < 0)
		return r;
	*ret = memcmp(digest, chunkmap_sha256(converge->map, chunk), SHA256_SIZE) == 0;
	if (*ret) {
		LOCKED(&converge->lock);
		image_look_for_verity(
			&converge->image, chunk_offset(converge->map, chunk), data, size);
	}
	return 0;
}

/* --- what is there already --- */

/* Marks the blocks that have their hints; whether all of them do. */
static bool look_at_blocks(struct converge *converge, uint64_t chunk, const uint8_t *data)
{
	const struct chunkmap *map = converge->map;
	uint32_t size = chunkmap_chunk_bytes(map, chunk), count = chunk_blocks(map, chunk);
	uint64_t block = chunk_block(map, chunk);
	bool all = true;

	for (uint32_t i = 0; i < count; i++, block++) {
		bool right = chunkmap_hint_of(data + i * CHUNKMAP_BLOCK_SIZE, block_bytes(size, i))
			     == chunkmap_hint(map, block);

		all = all && right;
		if (right)
			converge->right[block / 8] |= (uint8_t)(1u << block % 8);
	}
	return all;
}

static int look_at_chunk(struct converge *converge, struct converge_hand *hand, uint64_t chunk,
	const uint8_t *data, struct error *error)
{
	bool matches = false;
	int r;

	if (!look_at_blocks(converge, chunk, data))
		return 0;
	r = converge_matches(converge, hand, chunk, data, &matches, error);
	if (r < 0 || !matches)
		return r;
	converge->state[chunk] = CHUNK_KEEP;
	/* Its first block is overwritten while anything else is. */
	if (chunk == 0) {
		uint32_t size = chunkmap_chunk_bytes(converge->map, chunk);

		converge->sums[chunk] = checksum_of(data, size);
		target_set_first(converge->target, data, size);
	}
	return 0;
}

/* The chunks of a unit: from *ret_first to before *ret_end; its bytes. */
static uint32_t unit_range(
	const struct converge *converge, uint64_t unit, uint64_t *ret_first, uint64_t *ret_end)
{
	const struct chunkmap *map = converge->map;
	uint64_t offset = unit * converge->unit_size, left = map->size - offset;

	*ret_first = unit * converge->unit_chunks;
	*ret_end = *ret_first + converge->unit_chunks;
	if (*ret_end > map->chunk_count)
		*ret_end = map->chunk_count;
	return left < converge->unit_size ? (uint32_t)left : converge->unit_size;
}

static int look_at_unit(
	void *opaque, size_t number, uint64_t unit, uint64_t *ret_bytes, struct error *error)
{
	struct converge *converge = opaque;
	struct converge_hand *hand = &converge->hands[number];
	uint64_t first, end;
	uint32_t size = unit_range(converge, unit, &first, &end);
	struct error why = { 0 };
	int r;

	*ret_bytes = size;
	r = target_read(converge->target, unit * converge->unit_size, hand->data, size, &why);
	/* A sector that cannot be read may be whole again once it was written: it is as if empty.
	 */
	if (r == -EIO) {
		atomic_store(&converge->target_unreadable, true);
		return 0;
	}
	if (r < 0)
		return error_pass(error, &why);
	if (unit == 0)
		memcpy(converge->first, hand->data, block_bytes(size, 0));
	for (uint64_t chunk = first; r == 0 && chunk < end; chunk++)
		r = look_at_chunk(converge, hand, chunk,
			hand->data + (chunk - first) * converge->map->chunk_size, error);
	return r;
}

int converge_look(struct converge *converge, struct error *error)
{
	const struct chunkmap *map = converge->map;
	int r;

	r = converge_crew(converge, "compare", map->size, look_at_unit, error);
	if (r == 0 && converge->target_unreadable)
		report_warning(&converge->context->observer.report,
			"Some of %s cannot be read and is written anew: the medium may be failing",
			target_device(converge->target));
	for (uint64_t chunk = 0; r == 0 && chunk < map->chunk_count; chunk++)
		if (converge->state[chunk] == CHUNK_KEEP)
			converge->counts.kept += chunkmap_chunk_bytes(map, chunk);
		else
			converge->counts.frames += chunkmap_length(map, chunk);
	converge->counts.fetched = map->size - converge->counts.kept;
	return r;
}

/* --- writing --- */

/* Whether the target holds this block already, by its own bytes. */
static bool is_there(const struct converge *converge, const struct converge_hand *hand,
	uint64_t block, uint32_t at, const uint8_t *data, uint32_t size)
{
	return block_is_right(converge, block) && memcmp(hand->present + at, data + at, size) == 0;
}

/* Reads what the target holds of a chunk if some of it may be right. `at`: bytes into the buffer.
 */
static int read_present(struct converge *converge, struct converge_hand *hand, uint64_t chunk,
	uint32_t at, struct error *error)
{
	const struct chunkmap *map = converge->map;
	uint32_t count = chunk_blocks(map, chunk);

	for (uint32_t i = 0; i < count; i++)
		if (block_is_right(converge, chunk_block(map, chunk) + i))
			return target_read(converge->target, chunk_offset(map, chunk),
				hand->present + at, chunkmap_chunk_bytes(map, chunk), error);
	return 0;
}

/* Writes the blocks of `size` bytes at `offset` that are not there, as few runs of them. */
static int write_blocks(struct converge *converge, const struct converge_hand *hand,
	uint64_t offset, const uint8_t *data, uint32_t size, struct error *error)
{
	uint32_t start = 0, at = 0;
	int r = 0;

	while (r == 0 && at < size) {
		uint32_t left = size - at;
		uint32_t part = left < CHUNKMAP_BLOCK_SIZE ? left : CHUNKMAP_BLOCK_SIZE;
		bool there = is_there(
			converge, hand, (offset + at) / CHUNKMAP_BLOCK_SIZE, at, data, part);

		if (there && at > start)
			r = target_write(
				converge->target, offset + start, data + start, at - start, error);
		at += part;
		if (there)
			start = at;
	}
	if (r == 0 && at > start)
		r = target_write(converge->target, offset + start, data + start, at - start, error);
	return r;
}

int converge_write(struct converge *converge, struct converge_hand *hand, uint64_t first,
	uint64_t end, const uint8_t *data, struct error *error)
{
	const struct chunkmap *map = converge->map;
	uint32_t size = 0;
	int r = 0;

	for (uint64_t chunk = first; r == 0 && chunk < end; chunk++) {
		uint32_t part = chunkmap_chunk_bytes(map, chunk);

		converge->sums[chunk] = checksum_of(data + size, part);
		r = read_present(converge, hand, chunk, size, error);
		size += part;
	}
	if (first == 0)
		target_set_first(converge->target, data, size);
	if (r == 0)
		r = write_blocks(converge, hand, chunk_offset(map, first), data, size, error);
	for (uint64_t chunk = first; r == 0 && chunk < end; chunk++)
		converge->state[chunk] = CHUNK_DONE;
	return r;
}

/* --- reading back --- */

static int check_read_back(struct converge *converge, uint64_t chunk, const uint8_t *data,
	uint32_t size, struct error *error)
{
	if (checksum_of(data, size) == converge->sums[chunk])
		return 0;
	return error_failed(error, EIO,
		"what was read back from the partition is not what was written (in the %u bytes at "
		"offset %" PRIu64 "): the medium is failing",
		size, chunk_offset(converge->map, chunk));
}

/* Chunks that follow each other, in one go. */
static int read_back_chunks(struct converge *converge, struct converge_hand *hand, uint64_t first,
	uint64_t end, uint64_t *ret_bytes, struct error *error)
{
	const struct chunkmap *map = converge->map;
	uint32_t last = chunkmap_chunk_bytes(map, end - 1);
	uint32_t size = (uint32_t)(end - 1 - first) * map->chunk_size + last;
	int r;

	r = target_read(converge->target, chunk_offset(map, first), hand->data, size, error);
	for (uint64_t chunk = first; r == 0 && chunk < end; chunk++)
		r = check_read_back(converge, chunk, hand->data + (chunk - first) * map->chunk_size,
			chunkmap_chunk_bytes(map, chunk), error);
	*ret_bytes += size;
	return r;
}

/* The first one always was, at least in part: target_finish(). */
static bool was_written(const struct converge *converge, uint64_t chunk)
{
	return chunk == 0 || converge->state[chunk] == CHUNK_DONE;
}

static int read_back_unit(
	void *opaque, size_t number, uint64_t unit, uint64_t *ret_bytes, struct error *error)
{
	struct converge *converge = opaque;
	uint64_t first, end, next;
	int r = 0;

	unit_range(converge, unit, &first, &end);
	for (; r == 0 && first < end; first = next) {
		for (next = first; next < end && was_written(converge, next); next++)
			;
		if (next > first)
			r = read_back_chunks(
				converge, &converge->hands[number], first, next, ret_bytes, error);
		else
			next++;
	}
	return r;
}

int converge_read_back(struct converge *converge, struct error *error)
{
	return converge_crew(converge, "verify", converge->map->size - converge->counts.kept,
		read_back_unit, error);
}
