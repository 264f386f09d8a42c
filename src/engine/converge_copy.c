/* SPDX-License-Identifier: Apache-2.0 */

/* Where blocks may be found on this machine, and chunks that are put together from them. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/context.h"
#include "engine/converge_private.h"
#include "engine/target.h"
#include "machine/machine.h"

/* --- finding --- */

static bool is_wanted(const struct converge *converge, uint64_t chunk)
{
	return converge->state[chunk] == CHUNK_FETCH;
}

static int want(struct converge *converge, struct error *error)
{
	const struct chunkmap *map = converge->map;
	uint64_t wanted = 0;
	int r;

	for (uint64_t chunk = 0; chunk < map->chunk_count; chunk++)
		wanted += is_wanted(converge, chunk) ? chunk_blocks(map, chunk) : 0;
	r = hints_new(map, wanted, &converge->hints, error);
	for (uint64_t chunk = 0; r == 0 && chunk < map->chunk_count; chunk++)
		for (uint32_t i = 0; is_wanted(converge, chunk) && i < chunk_blocks(map, chunk);
			i++)
			if (!block_is_right(converge, chunk_block(map, chunk) + i))
				hints_want(converge->hints, chunk_block(map, chunk) + i);
	return r;
}

static void offer_known(struct converge *converge)
{
	const struct chunkmap *known = converge->known;
	uint64_t count = known->block_count;

	/* The last one may be short. */
	if (known->size % CHUNKMAP_BLOCK_SIZE != 0)
		count--;
	for (uint64_t block = 0; block < count; block++)
		hints_offer(converge->hints, chunkmap_hint(known, block), (uint32_t)block);
}

/*
 * Reads of the running slot. What cannot be read may be had from the bundle as well: it counts as
 * zeroes, which match nothing that is looked for there.
 */
static int read_running(struct converge *converge, uint64_t offset, uint8_t *data, uint32_t size,
	struct error *error)
{
	struct machine *machine = converge->context->machine;
	struct error why = { 0 };
	int r;

	r = machine->ops->partition_read(machine, converge->running, offset, data, size, &why);
	if (r == 0)
		return 0;
	if (r != -EIO)
		return error_pass(error, &why);
	atomic_store(&converge->running_unreadable, true);
	memset(data, 0, size);
	return 0;
}

static int scan_unit(
	void *opaque, size_t number, uint64_t unit, uint64_t *ret_bytes, struct error *error)
{
	struct converge *converge = opaque;
	uint64_t offset = unit * converge->unit_size, left = converge->running_size - offset;
	uint32_t size = left < converge->unit_size ? (uint32_t)left : converge->unit_size;
	uint8_t *data = converge->hands[number].data;
	int r;

	r = read_running(converge, offset, data, size, error);
	for (uint32_t at = 0; r == 0 && at + CHUNKMAP_BLOCK_SIZE <= size; at += CHUNKMAP_BLOCK_SIZE)
		hints_offer(converge->hints, chunkmap_hint_of(data + at, CHUNKMAP_BLOCK_SIZE),
			(uint32_t)((offset + at) / CHUNKMAP_BLOCK_SIZE));
	*ret_bytes = size;
	return r;
}

static int scan(struct converge *converge, struct error *error)
{
	const struct crew crew = {
		.context = converge->context,
		.phase = "scan",
		.bytes = converge->running_size,
		.count = (converge->running_size + converge->unit_size - 1) / converge->unit_size,
		.hands = converge->hand_count,
		.work = scan_unit,
		.opaque = converge,
	};

	return crew_run(&crew, error);
}

/* Whether every block of the chunk is right, or may be found. */
static bool can_copy(const struct converge *converge, uint64_t chunk)
{
	uint64_t block = chunk_block(converge->map, chunk);
	uint32_t count = chunk_blocks(converge->map, chunk);

	for (uint32_t i = 0; i < count; i++, block++)
		if (!block_is_right(converge, block)
			&& hints_find(converge->hints, block) == HINTS_NOWHERE)
			return false;
	return true;
}

/* What is to be copied is not to be fetched, and the other way round. */
static void move(struct converge *converge, uint64_t chunk, enum chunk_state state)
{
	uint32_t size = chunkmap_chunk_bytes(converge->map, chunk);
	uint32_t length = chunkmap_length(converge->map, chunk);
	bool copy = state == CHUNK_COPY;

	converge->state[chunk] = (uint8_t)state;
	converge->counts.copied += copy ? size : -(uint64_t)size;
	converge->counts.fetched += copy ? -(uint64_t)size : size;
	converge->counts.frames += copy ? -(uint64_t)length : length;
}

int converge_find(struct converge *converge, struct partition *running, uint64_t size,
	const struct chunkmap *known, struct error *error)
{
	const struct chunkmap *map = converge->map;
	int r;

	if (converge_is_done(converge))
		return 0;
	converge->running = running;
	converge->running_size = running ? size : 0;
	converge->known = known;
	r = want(converge, error);
	if (r == 0 && running && known)
		offer_known(converge);
	else if (r == 0 && running && size > 0)
		r = scan(converge, error);
	for (uint64_t chunk = 0; r == 0 && chunk < map->chunk_count; chunk++)
		if (is_wanted(converge, chunk) && can_copy(converge, chunk))
			move(converge, chunk, CHUNK_COPY);
	return r;
}

/* --- copying --- */

/* The blocks from `i` on that lie behind each other on the running slot's partition. */
static uint32_t count_row(
	const struct converge *converge, uint64_t block, uint32_t i, uint32_t count, uint32_t place)
{
	uint32_t row = 1;

	while (i + row < count && !block_is_right(converge, block + i + row)
		&& hints_find(converge->hints, block + i + row) == place + row)
		row++;
	return row;
}

/* Reads a row of blocks. A hint that leads nowhere is no error: its chunk is fetched. */
static int read_row(
	struct converge *converge, uint32_t place, uint32_t row, uint8_t *data, struct error *error)
{
	uint64_t offset = (uint64_t)place * CHUNKMAP_BLOCK_SIZE;
	uint32_t size = row * CHUNKMAP_BLOCK_SIZE;

	if (place == HINTS_ZERO || offset + size > converge->running_size) {
		memset(data, 0, size);
		return 0;
	}
	return read_running(converge, offset, data, size, error);
}

/* Puts a chunk together. `data` has room for whole blocks. */
static int assemble(struct converge *converge, uint64_t chunk, uint8_t *data, struct error *error)
{
	const struct chunkmap *map = converge->map;
	uint64_t block = chunk_block(map, chunk);
	uint32_t count = chunk_blocks(map, chunk), row;
	bool some_right = false;
	int r = 0;

	for (uint32_t i = 0; i < count; i++)
		some_right = some_right || block_is_right(converge, block + i);
	if (some_right)
		r = target_read(converge->target, chunk_offset(map, chunk), data,
			chunkmap_chunk_bytes(map, chunk), error);
	if (r == 0 && block_is_right(converge, 0) && chunk == 0)
		memcpy(data, converge->first, block_bytes(chunkmap_chunk_bytes(map, 0), 0));
	for (uint32_t i = 0; r == 0 && i < count; i += row) {
		uint32_t place;

		row = 1;
		if (block_is_right(converge, block + i))
			continue;
		place = hints_find(converge->hints, block + i);
		if (place != HINTS_ZERO)
			row = count_row(converge, block, i, count, place);
		r = read_row(converge, place, row, data + i * CHUNKMAP_BLOCK_SIZE, error);
	}
	return r;
}

static int copy_chunk(struct converge *converge, struct converge_hand *hand, uint64_t chunk,
	uint8_t *data, bool *ret_matches, struct error *error)
{
	int r = assemble(converge, chunk, data, error);

	return r < 0 ? r : converge_matches(converge, hand, chunk, data, ret_matches, error);
}

/* Chunks that follow each other are written together. */
static int copy_unit(
	void *opaque, size_t number, uint64_t unit, uint64_t *ret_bytes, struct error *error)
{
	struct converge *converge = opaque;
	struct converge_hand *hand = &converge->hands[number];
	const struct chunkmap *map = converge->map;
	uint64_t first = unit * converge->unit_chunks, end = first + converge->unit_chunks;
	uint64_t start = first;
	int r = 0;

	if (end > map->chunk_count)
		end = map->chunk_count;
	for (uint64_t chunk = first; r == 0 && chunk <= end; chunk++) {
		uint8_t *data = hand->data + (chunk - first) * map->chunk_size;
		bool matches = false;

		if (chunk < end && converge->state[chunk] == CHUNK_COPY) {
			r = copy_chunk(converge, hand, chunk, data, &matches, error);
			*ret_bytes += chunkmap_chunk_bytes(map, chunk);
		}
		if (matches)
			continue;
		if (r == 0 && chunk > start)
			r = converge_write(converge, hand, start, chunk,
				hand->data + (start - first) * map->chunk_size, error);
		start = chunk + 1;
	}
	return r;
}

int converge_copy(struct converge *converge, struct error *error)
{
	const struct chunkmap *map = converge->map;
	int r = 0;

	if (converge->counts.copied > 0)
		r = converge_crew(converge, "copy", converge->counts.copied, copy_unit, error);
	for (uint64_t chunk = 0; r == 0 && chunk < map->chunk_count; chunk++)
		if (converge->state[chunk] == CHUNK_COPY)
			move(converge, chunk, CHUNK_FETCH);
	if (r == 0 && converge->running_unreadable)
		report_warning(&converge->context->observer.report,
			"Some of the running system's partition cannot be read: its medium may be "
			"failing");
	hints_free(converge->hints);
	converge->hints = NULL;
	return r;
}
