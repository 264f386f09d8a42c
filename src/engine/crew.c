/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/crew.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/error.h"
#include "base/thread.h"
#include "engine/context.h"

#define HANDS_PER_PROCESSOR 2 /* one computes while the other waits for the medium */

/** What the threads share. */
struct shared {
	const struct crew *crew;
	atomic_uint_fast64_t next; /* unit that nobody has taken yet */
	atomic_uint_fast64_t done; /* bytes */
	atomic_bool stop;
};

struct hand {
	struct shared *shared;
	size_t number;
	pthread_t thread;
	bool started;
	int result;
	struct error error;
};

size_t crew_size(const struct context *context, uint64_t count)
{
	long most = sysconf(_SC_NPROCESSORS_ONLN) * HANDS_PER_PROCESSOR;
	size_t size = CREW_MAX;

	if (context->threads > 0)
		size = context->threads < CREW_MAX ? context->threads : CREW_MAX;
	else if (most >= 1 && (size_t)most < size)
		size = (size_t)most;
	if (count < size)
		size = count < 1 ? 1 : (size_t)count;
	return size;
}

/* The caller's thread, which the observer belongs to, looks after the others meanwhile. */
static int attend(struct shared *shared, struct error *error)
{
	struct context *context = shared->crew->context;

	if (context_cancelled(context))
		return error_failed(error, ECANCELED, "interrupted");
	context_progress(context, atomic_load(&shared->done));
	return 0;
}

static void *run(void *opaque)
{
	struct hand *hand = opaque;
	struct shared *shared = hand->shared;
	const struct crew *crew = shared->crew;
	uint64_t unit, bytes;
	int r = 0;

	while (r == 0 && !atomic_load(&shared->stop)
		&& (unit = atomic_fetch_add(&shared->next, 1)) < crew->count) {
		bytes = 0;
		if (hand->number == 0)
			r = attend(shared, &hand->error);
		if (r == 0)
			r = crew->work(crew->opaque, hand->number, unit, &bytes, &hand->error);
		atomic_fetch_add(&shared->done, bytes);
	}
	hand->result = r;
	if (r < 0)
		atomic_store(&shared->stop, true);
	return NULL;
}

int crew_run(const struct crew *crew, struct error *error)
{
	struct shared shared = { .crew = crew };
	struct hand hands[CREW_MAX] = { 0 };
	size_t count = crew->hands;
	int r = 0;

	context_begin_phase(crew->context, crew->phase, crew->bytes);
	for (size_t i = 0; i < count; i++)
		hands[i] = (struct hand){ .shared = &shared, .number = i };
	for (size_t i = 1; r == 0 && i < count; i++) {
		r = thread_start(&hands[i].thread, run, &hands[i], error);
		hands[i].started = r == 0;
	}
	if (r == 0)
		run(&hands[0]);
	else
		atomic_store(&shared.stop, true);
	for (size_t i = 0; i < count; i++) {
		if (hands[i].started)
			pthread_join(hands[i].thread, NULL);
		if (r == 0 && hands[i].result < 0)
			r = error_pass(error, &hands[i].error);
	}
	if (r == 0)
		context_progress(crew->context, crew->bytes);
	return r;
}
