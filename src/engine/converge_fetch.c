/* SPDX-License-Identifier: Apache-2.0 */

/* Fetching: the caller's thread asks for runs of chunks and hears what came, others check and
 * write. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/thread.h"
#include "engine/context.h"
#include "engine/converge_private.h"
#include "engine/target.h"
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

struct fetch {
	struct converge *converge;
	struct fetcher *fetcher;
	const struct fetcher_entry *entry;
	const char *name; /* of the payload */
	struct asked asked[CHANNEL_RUNS];
	uint64_t next;  /* the chunk to look at for the next run */
	uint64_t place; /* where its frame is in the bundle */
	uint64_t left;  /* bytes of the payload that did not come yet */

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	struct fetcher_chunks queue[CHANNEL_SLOTS]; /* what came and no thread has taken */
	size_t given, taken;
	uint64_t done; /* bytes of the payload that were written */
	bool stop;
	int result;
	struct error error;
};

struct hand {
	struct fetch *fetch;
	struct converge_hand *own;
	pthread_t thread;
};

/* --- checking and writing --- */

static int wrong_chunk(const struct fetch *fetch, uint64_t chunk, struct error *error)
{
	const struct chunkmap *map = fetch->converge->map;

	return error_failed(error, EBADMSG,
		"'%s': chunk %" PRIu64 " of %s (%u bytes at byte %" PRIu64
		" of it) does not have the SHA-256 that its chunk map gives: the bundle is damaged "
		"or was changed; get it again",
		fetcher_name(fetch->fetcher), chunk, fetch->name, chunkmap_chunk_bytes(map, chunk),
		chunk_offset(map, chunk));
}

/* What counts is the copy that nobody else can reach. */
static int take_in(struct hand *hand, const struct fetcher_chunks *chunks, struct error *error)
{
	struct fetch *fetch = hand->fetch;
	struct converge *converge = fetch->converge;
	uint64_t end = chunks->first + chunks->count;
	uint8_t *data = hand->own->data;
	int r = 0;

	memcpy(data, chunks->data, chunks->size);
	fetcher_free(fetch->fetcher, chunks->slot);
	for (uint64_t chunk = chunks->first; r == 0 && chunk < end; chunk++) {
		bool matches = false;

		r = converge_matches(converge, hand->own, chunk,
			data + (chunk - chunks->first) * converge->map->chunk_size, &matches,
			error);
		if (r == 0 && !matches)
			r = wrong_chunk(fetch, chunk, error);
	}
	return r < 0 ? r : converge_write(converge, hand->own, chunks->first, end, data, error);
}

/* False: there is no more. */
static bool take(struct fetch *fetch, struct fetcher_chunks *ret)
{
	LOCKED(&fetch->lock);
	while (!fetch->stop && fetch->taken == fetch->given)
		pthread_cond_wait(&fetch->changed, &fetch->lock);
	if (fetch->taken == fetch->given)
		return false;
	*ret = fetch->queue[fetch->taken++ % CHANNEL_SLOTS];
	return true;
}

static void *work(void *opaque)
{
	struct hand *hand = opaque;
	struct fetch *fetch = hand->fetch;
	struct fetcher_chunks chunks;
	struct error error = { 0 };
	int r = 0;

	while (r == 0 && take(fetch, &chunks)) {
		r = take_in(hand, &chunks, &error);
		LOCKED(&fetch->lock);
		fetch->done += chunks.size;
	}
	if (r == 0)
		return NULL;
	LOCKED(&fetch->lock);
	if (fetch->result == 0) {
		fetch->result = r;
		fetch->error = error;
	}
	fetcher_wake(fetch->fetcher);
	return NULL;
}

/* --- asking --- */

/*
 * Fills the next run. False: there is nothing more to fetch. Between wanted frames lie few others,
 * before the first and behind the last none.
 */
static bool next_run(struct fetch *fetch, struct channel_run *run)
{
	const struct chunkmap *map = fetch->converge->map;
	const uint8_t *state = fetch->converge->state;
	uint32_t bytes = 0, gap = 0, count = 0;

	while (fetch->next < map->chunk_count && state[fetch->next] != CHUNK_FETCH)
		fetch->place += chunkmap_length(map, fetch->next++);
	run->first = fetch->next;
	run->data = fetch->place;
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

static void describe(const struct fetch *fetch, struct channel_run *run)
{
	const struct chunkmap *map = fetch->converge->map;
	uint64_t last = run->first + run->count - 1;

	run->chunk_size = map->chunk_size;
	run->last_size = chunkmap_chunk_bytes(map, last);
	run->method = fetch->entry->method;
	run->ends = last + 1 == map->chunk_count;
}

static struct asked *find_free(struct fetch *fetch)
{
	for (size_t i = 0; i < CHANNEL_RUNS; i++)
		if (fetch->asked[i].left == 0)
			return &fetch->asked[i];
	return NULL;
}

/* Asks for as many runs as may be under way. */
static int ask(struct fetch *fetch, struct error *error)
{
	struct converge *converge = fetch->converge;
	struct channel_run run = { 0 };
	struct asked *asked;
	int r = 0;

	while (r == 0 && (asked = find_free(fetch)) && next_run(fetch, &run)) {
		*asked = (struct asked){ .first = run.first, .end = run.first + run.count };
		for (uint32_t i = 0; i < run.count; i++) {
			fetch->place += chunkmap_length(converge->map, fetch->next++);
			if (run.lengths[i] & CHANNEL_UNWANTED)
				continue;
			converge->state[run.first + i] = CHUNK_ASKED;
			asked->left++;
		}
		describe(fetch, &run);
		r = fetcher_ask(fetch->fetcher, &run, error);
	}
	return r;
}

/* Whether what came was asked for, and has the right size. */
static bool was_asked(struct fetch *fetch, const struct fetcher_chunks *chunks)
{
	const struct chunkmap *map = fetch->converge->map;
	uint64_t end, size = 0;

	if (chunks->count == 0 || __builtin_add_overflow(chunks->first, chunks->count, &end))
		return false;
	for (size_t i = 0; i < CHANNEL_RUNS; i++) {
		struct asked *asked = &fetch->asked[i];

		if (asked->left < chunks->count || chunks->first < asked->first || end > asked->end)
			continue;
		for (uint64_t chunk = chunks->first; chunk < end; chunk++) {
			if (fetch->converge->state[chunk] != CHUNK_ASKED)
				return false;
			/* It may come but once. */
			fetch->converge->state[chunk] = CHUNK_WRITTEN;
			size += chunkmap_chunk_bytes(map, chunk);
		}
		asked->left -= chunks->count;
		return size == chunks->size;
	}
	return false;
}

static int hear(struct fetch *fetch, struct error *error)
{
	struct fetcher_chunks chunks;
	int r;

	r = fetcher_wait(fetch->fetcher, &chunks, error);
	if (r <= 0)
		return r;
	if (!was_asked(fetch, &chunks))
		return fetcher_nonsense(fetch->fetcher, error);
	fetch->left -= chunks.size;
	LOCKED(&fetch->lock);
	fetch->queue[fetch->given++ % CHANNEL_SLOTS] = chunks;
	pthread_cond_broadcast(&fetch->changed);
	return 0;
}

/* Tells the observer, and whether a thread has failed. */
static int look_around(struct fetch *fetch, struct error *error)
{
	struct context *context = fetch->converge->context;
	uint64_t done;

	{
		LOCKED(&fetch->lock);
		if (fetch->result < 0)
			return error_pass(error, &fetch->error);
		done = fetch->done;
	}
	context_count_fetched(context, fetch->fetcher);
	context->progress.written = target_written(fetch->converge->target);
	context_progress(context, done);
	return 0;
}

static int attend(struct fetch *fetch, struct error *error)
{
	int r = 0;

	while (r == 0 && fetch->left > 0) {
		r = ask(fetch, error);
		if (r == 0)
			r = hear(fetch, error);
		if (r == 0)
			r = look_around(fetch, error);
	}
	return r;
}

static void stop(struct fetch *fetch, bool give_up)
{
	LOCKED(&fetch->lock);
	fetch->stop = true;
	if (give_up)
		fetch->taken = fetch->given;
	pthread_cond_broadcast(&fetch->changed);
}

static int run(struct fetch *fetch, struct error *error)
{
	struct converge *converge = fetch->converge;
	struct hand hands[CREW_MAX];
	size_t started = 0;
	int r = 0;

	for (; r == 0 && started < converge->hand_count; started += r == 0) {
		struct hand *hand = &hands[started];

		*hand = (struct hand){ .fetch = fetch, .own = &converge->hands[started] };
		r = thread_start(&hand->thread, work, hand, error);
	}
	if (r == 0)
		r = attend(fetch, error);
	stop(fetch, r < 0);
	for (size_t i = 0; i < started; i++)
		pthread_join(hands[i].thread, NULL);
	/* The last chunks may be the wrong ones. */
	return r == 0 ? look_around(fetch, error) : r;
}

int converge_fetch(struct converge *converge, struct fetcher *fetcher,
	const struct fetcher_entry *entry, const char *name, struct error *error)
{
	struct fetch fetch = {
		.converge = converge,
		.fetcher = fetcher,
		.entry = entry,
		.name = name,
		.place = entry->data,
		.left = converge->counts.fetched,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
	int r;

	context_begin_phase(converge->context, "system", fetch.left);
	r = run(&fetch, error);
	pthread_mutex_destroy(&fetch.lock);
	pthread_cond_destroy(&fetch.changed);
	return r;
}
