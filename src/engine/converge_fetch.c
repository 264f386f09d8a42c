/* SPDX-License-Identifier: Apache-2.0 */

/* Fetching: the caller's thread hears what came (engine/chunkfetch.h), others check and write. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/thread.h"
#include "engine/chunkfetch.h"
#include "engine/context.h"
#include "engine/converge_private.h"
#include "engine/target.h"
#include "fetch/channel.h"
#include "fetch/fetcher.h"

struct fetch {
	struct converge *converge;
	struct chunkfetch chunks;

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

/* What counts is the copy that nobody else can reach. */
static int take_in(struct hand *hand, const struct fetcher_chunks *chunks, struct error *error)
{
	struct fetch *fetch = hand->fetch;
	struct converge *converge = fetch->converge;
	uint64_t end = chunks->first + chunks->count;
	uint8_t *data = hand->own->data;
	int r = 0;

	memcpy(data, chunks->data, chunks->size);
	fetcher_free(fetch->chunks.fetcher, chunks->slot);
	for (uint64_t chunk = chunks->first; r == 0 && chunk < end; chunk++) {
		bool matches = false;

		r = converge_matches(converge, hand->own, chunk,
			data + (chunk - chunks->first) * converge->map->chunk_size, &matches,
			error);
		if (r == 0 && !matches)
			r = chunkfetch_wrong(&fetch->chunks, chunk, error);
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
	fetcher_wake(fetch->chunks.fetcher);
	return NULL;
}

/* --- hearing --- */

static int hand_over(void *opaque, const struct fetcher_chunks *chunks, struct error *error)
{
	struct fetch *fetch = opaque;

	(void)error;
	LOCKED(&fetch->lock);
	fetch->queue[fetch->given++ % CHANNEL_SLOTS] = *chunks;
	pthread_cond_broadcast(&fetch->changed);
	return 0;
}

/* Tells the observer, and whether a thread has failed. */
static int look_around(void *opaque, struct error *error)
{
	struct fetch *fetch = opaque;
	struct context *context = fetch->converge->context;
	uint64_t done;

	{
		LOCKED(&fetch->lock);
		if (fetch->result < 0)
			return error_pass(error, &fetch->error);
		done = fetch->done;
	}
	context_count_fetched(context, fetch->chunks.fetcher);
	context->progress.written = target_written(fetch->converge->target);
	context_progress(context, done);
	return 0;
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
		r = chunkfetch_all(&fetch->chunks, error);
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
		.chunks = {
			.fetcher = fetcher,
			.entry = entry,
			.map = converge->map,
			.name = name,
			.state = converge->state,
			.take = hand_over,
			.look_around = look_around,
			.opaque = &fetch,
		},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
	int r;

	context_begin_phase(converge->context, "system", converge->counts.fetched);
	r = run(&fetch, error);
	pthread_mutex_destroy(&fetch.lock);
	pthread_cond_destroy(&fetch.changed);
	return r;
}
