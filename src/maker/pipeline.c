/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/pipeline.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/thread.h"

enum piece_state { PIECE_READY = 1, PIECE_DONE };

/* A place in the ring: piece n lies in place n % piece_count. */
struct place {
	enum piece_state state;
	int result;
	struct error error;
};

struct shared {
	const struct pipeline *pipeline;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct place places[PIPELINE_PIECES_MAX];
	size_t filled, taken, drained; /* how many pieces have been */
	bool stop;
};

struct hand {
	struct shared *shared;
	void *worker;
	pthread_t thread;
};

/* Waits for a piece; false when there will be none. */
static bool take(struct shared *shared, size_t *ret)
{
	LOCKED(&shared->mutex);
	while (!shared->stop && shared->taken == shared->filled)
		pthread_cond_wait(&shared->changed, &shared->mutex);
	if (shared->stop)
		return false;
	*ret = shared->taken++ % shared->pipeline->piece_count;
	return true;
}

static void *run(void *opaque)
{
	struct hand *hand = opaque;
	struct shared *shared = hand->shared;
	const struct pipeline *pipeline = shared->pipeline;
	size_t at;

	while (take(shared, &at)) {
		struct place *place = &shared->places[at];

		place->result = pipeline->ops->work(
			hand->worker, pipeline->pieces[at], &place->error);
		LOCKED(&shared->mutex);
		place->state = PIECE_DONE;
		pthread_cond_broadcast(&shared->changed);
	}
	return NULL;
}

/* Fills one place. 1, 0 or -errno as the operation. */
static int fill(struct shared *shared, struct error *error)
{
	const struct pipeline *pipeline = shared->pipeline;
	size_t at = shared->filled % pipeline->piece_count;
	int r;

	r = pipeline->ops->fill(pipeline->context, pipeline->pieces[at], error);
	if (r <= 0)
		return r;
	LOCKED(&shared->mutex);
	shared->places[at] = (struct place){ .state = PIECE_READY };
	shared->filled++;
	pthread_cond_broadcast(&shared->changed);
	return 1;
}

static int drain(struct shared *shared, struct error *error)
{
	const struct pipeline *pipeline = shared->pipeline;
	size_t at = shared->drained % pipeline->piece_count;
	struct place *place = &shared->places[at];

	pthread_mutex_lock(&shared->mutex);
	while (place->state != PIECE_DONE)
		pthread_cond_wait(&shared->changed, &shared->mutex);
	pthread_mutex_unlock(&shared->mutex);
	shared->drained++;
	if (place->result < 0)
		return error_pass(error, &place->error);
	return pipeline->ops->drain(pipeline->context, pipeline->pieces[at], error);
}

static int feed(struct shared *shared, struct error *error)
{
	bool more = true;
	int r = 0;

	while (r >= 0 && (more || shared->drained < shared->filled)) {
		if (more && shared->filled - shared->drained < shared->pipeline->piece_count) {
			r = fill(shared, error);
			more = r > 0;
		} else {
			r = drain(shared, error);
		}
	}
	return r < 0 ? r : 0;
}

static void stop(struct shared *shared)
{
	LOCKED(&shared->mutex);
	shared->stop = true;
	pthread_cond_broadcast(&shared->changed);
}

int pipeline_run(const struct pipeline *pipeline, struct error *error)
{
	AUTO_FREE struct shared *shared = calloc(1, sizeof(*shared));
	struct hand hands[PIPELINE_WORKERS_MAX] = { 0 };
	size_t started = 0;
	int r = 0;

	assert(pipeline->worker_count > 0 && pipeline->worker_count <= PIPELINE_WORKERS_MAX);
	assert(pipeline->piece_count > 0 && pipeline->piece_count <= PIPELINE_PIECES_MAX);
	if (!shared)
		return error_memory(error);
	shared->pipeline = pipeline;
	pthread_mutex_init(&shared->mutex, NULL);
	pthread_cond_init(&shared->changed, NULL);
	while (r == 0 && started < pipeline->worker_count) {
		struct hand *hand = &hands[started];

		*hand = (struct hand){ .shared = shared, .worker = pipeline->workers[started] };
		r = thread_start(&hand->thread, run, hand, error);
		started += r == 0;
	}
	if (r == 0)
		r = feed(shared, error);
	stop(shared);
	for (size_t i = 0; i < started; i++)
		pthread_join(hands[i].thread, NULL);
	pthread_cond_destroy(&shared->changed);
	pthread_mutex_destroy(&shared->mutex);
	return r;
}
