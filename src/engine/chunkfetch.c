/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/chunkfetch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>

#include "base/error.h"
#include "engine/chunks.h"
#include "fetch/channel.h"
#include "fetch/fetcher.h"

/*
 * One request brings at most so much, so that several connections have work. Frames that nobody
 * wants are taken along if that is less than another request costs (docs/performance.md).
 */
#define RUN_BYTES (2u << 20)
#define GAP_BYTES (12u << 10)

/** Chunks that were asked for. */
struct asked {
	uint64_t first, end;
	uint64_t left; /* that did not come yet; 0: no run */
};

struct asking {
	const struct chunkfetch *fetch;
	struct asked asked[CHANNEL_RUNS];
	uint64_t next;  /* the chunk to look at for the next run */
	uint64_t place; /* where its frame is in the bundle */
	uint64_t left;  /* chunks that did not come yet */
};

int chunkfetch_wrong(const struct chunkfetch *fetch, uint64_t chunk, struct error *error)
{
	return error_failed(error, EBADMSG,
		"'%s': chunk %" PRIu64 " of %s (%u bytes at byte %" PRIu64
		" of it) does not have the SHA-256 that its chunk map gives: the bundle is damaged "
		"or was changed; get it again",
		fetcher_name(fetch->fetcher), chunk, fetch->name,
		chunkmap_chunk_bytes(fetch->map, chunk), chunk_offset(fetch->map, chunk));
}

/*
 * Fills the next run. False: there is nothing more to fetch. Between wanted frames lie few others,
 * before the first and behind the last none.
 */
static bool next_run(struct asking *asking, struct channel_run *run)
{
	const struct chunkmap *map = asking->fetch->map;
	const uint8_t *state = asking->fetch->state;
	uint32_t bytes = 0, gap = 0, count = 0;

	while (asking->next < map->chunk_count && state[asking->next] != CHUNK_FETCH)
		asking->place += chunkmap_length(map, asking->next++);
	run->first = asking->next;
	run->data = asking->place;
	run->count = 0;
	for (uint64_t chunk = run->first; chunk < map->chunk_count; chunk++) {
		bool wanted = state[chunk] == CHUNK_FETCH;
		uint32_t length = chunkmap_length(map, chunk);

		gap = wanted ? 0 : gap + length;
		bytes += length;
		if (gap > GAP_BYTES || count == CHANNEL_RUN_CHUNKS
			|| (count > 0 && bytes > RUN_BYTES))
			break;
		run->lengths[count++] = length | (wanted ? 0 : CHANNEL_UNWANTED);
		if (wanted)
			run->count = count;
	}
	return run->count > 0;
}

static void describe(const struct asking *asking, struct channel_run *run)
{
	const struct chunkmap *map = asking->fetch->map;
	uint64_t last = run->first + run->count - 1;

	run->chunk_size = map->chunk_size;
	run->last_size = chunkmap_chunk_bytes(map, last);
	run->method = asking->fetch->entry->method;
	run->ends = last + 1 == map->chunk_count;
}

static struct asked *find_free(struct asking *asking)
{
	for (size_t i = 0; i < CHANNEL_RUNS; i++)
		if (asking->asked[i].left == 0)
			return &asking->asked[i];
	return NULL;
}

/* Asks for as many runs as may be under way. */
static int ask(struct asking *asking, struct error *error)
{
	const struct chunkfetch *fetch = asking->fetch;
	struct channel_run run = { 0 };
	struct asked *asked;
	int r = 0;

	while (r == 0 && (asked = find_free(asking)) && next_run(asking, &run)) {
		*asked = (struct asked){ .first = run.first, .end = run.first + run.count };
		for (uint32_t i = 0; i < run.count; i++) {
			asking->place += chunkmap_length(fetch->map, asking->next++);
			if (run.lengths[i] & CHANNEL_UNWANTED)
				continue;
			fetch->state[run.first + i] = CHUNK_ASKED;
			asked->left++;
		}
		describe(asking, &run);
		r = fetcher_ask(fetch->fetcher, &run, error);
	}
	return r;
}

/* Whether what came was asked for, and has the right size. */
static bool was_asked(struct asking *asking, const struct fetcher_chunks *chunks)
{
	const struct chunkmap *map = asking->fetch->map;
	uint8_t *state = asking->fetch->state;
	uint64_t end, size = 0;

	if (chunks->count == 0 || __builtin_add_overflow(chunks->first, chunks->count, &end))
		return false;
	for (size_t i = 0; i < CHANNEL_RUNS; i++) {
		struct asked *asked = &asking->asked[i];

		if (asked->left < chunks->count || chunks->first < asked->first || end > asked->end)
			continue;
		for (uint64_t chunk = chunks->first; chunk < end; chunk++) {
			if (state[chunk] != CHUNK_ASKED)
				return false;
			/* It may come but once. */
			state[chunk] = CHUNK_DONE;
			size += chunkmap_chunk_bytes(map, chunk);
		}
		asked->left -= chunks->count;
		return size == chunks->size;
	}
	return false;
}

static int hear(struct asking *asking, struct error *error)
{
	const struct chunkfetch *fetch = asking->fetch;
	struct fetcher_chunks chunks;
	int r;

	r = fetcher_wait(fetch->fetcher, &chunks, error);
	if (r <= 0)
		return r;
	if (!was_asked(asking, &chunks))
		return fetcher_nonsense(fetch->fetcher, error);
	asking->left -= chunks.count;
	return fetch->take(fetch->opaque, &chunks, error);
}

int chunkfetch_all(const struct chunkfetch *fetch, struct error *error)
{
	struct asking asking = { .fetch = fetch, .place = fetch->entry->data };
	int r = 0;

	for (uint64_t chunk = 0; chunk < fetch->map->chunk_count; chunk++)
		asking.left += fetch->state[chunk] == CHUNK_FETCH;
	while (r == 0 && asking.left > 0) {
		r = ask(&asking, error);
		if (r == 0)
			r = hear(&asking, error);
		if (r == 0)
			r = fetch->look_around(fetch->opaque, error);
	}
	return r;
}
