/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A download that goes on while what has come is worked on: once a reader has been seen to read on
 * and on, a thread reads for it.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "base/thread.h"
#include "source/source.h"
#include "source/source_private.h"

#define PIECE_SIZE (256u << 10)
#define PIECES     4u
#define STEADY     (1u << 20) /* bytes in a row that make a reader one that reads on */
#define POLL_MS    200        /* how late a cancellation may be noticed */

struct piece {
	uint8_t data[PIECE_SIZE];
	size_t size;
};

struct ahead {
	struct source source;
	const struct source_options *options; /* the caller's, whose functions are for its thread */
	struct source_options inner_options;
	struct source *inner; /* the thread's, while it runs */
	uint64_t row;         /* bytes read since the last seek */
	size_t used;          /* bytes of the first piece that the reader has */
	pthread_t thread;
	bool running;
	atomic_bool stop;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	struct piece *pieces; /* PIECES of them */
	uint64_t filled, emptied;
	struct text_list notes; /* that the caller was not told yet */
	uint64_t requests;      /* the source's, by the thread */
	bool ended;             /* by the thread: at the end, or with an error */
	int result;
	struct error error;
};

static void note(void *opaque, const char *text)
{
	struct ahead *ahead = opaque;

	if (!ahead->options->note)
		return;
	if (!ahead->running) {
		ahead->options->note(ahead->options->context, text);
		return;
	}
	LOCKED(&ahead->lock);
	text_list_add(&ahead->notes, NULL, "%s", text);
	pthread_cond_broadcast(&ahead->changed);
}

static bool is_cancelled(void *opaque)
{
	struct ahead *ahead = opaque;

	if (ahead->running)
		return atomic_load(&ahead->stop);
	return ahead->options->cancelled && ahead->options->cancelled(ahead->options->context);
}

static int resolve(
	void *opaque, const char *host, unsigned timeout_ms, char **ret, struct error *error)
{
	struct ahead *ahead = opaque;

	return ahead->options->resolve(ahead->options->context, host, timeout_ms, ret, error);
}

/* The thread's next piece to fill, or NULL when nobody wants it. */
static struct piece *take_empty(struct ahead *ahead)
{
	LOCKED(&ahead->lock);
	while (ahead->filled - ahead->emptied == PIECES && !atomic_load(&ahead->stop))
		pthread_cond_wait(&ahead->changed, &ahead->lock);
	return atomic_load(&ahead->stop) ? NULL : &ahead->pieces[ahead->filled % PIECES];
}

static void *run(void *opaque)
{
	struct ahead *ahead = opaque;
	struct error error = { 0 };
	struct piece *piece;
	int r = 0;

	while (r == 0 && (piece = take_empty(ahead))) {
		r = ahead->inner->ops->read(
			ahead->inner, piece->data, PIECE_SIZE, &piece->size, &error);
		if (r < 0 || piece->size == 0)
			break;
		LOCKED(&ahead->lock);
		ahead->filled++;
		ahead->requests = ahead->inner->requests;
		pthread_cond_broadcast(&ahead->changed);
	}
	LOCKED(&ahead->lock);
	ahead->requests = ahead->inner->requests;
	ahead->ended = true;
	ahead->result = r;
	ahead->error = error;
	pthread_cond_broadcast(&ahead->changed);
	return NULL;
}

static int start(struct ahead *ahead, struct error *error)
{
	int r;

	if (!ahead->pieces)
		ahead->pieces = malloc(PIECES * sizeof(*ahead->pieces));
	if (!ahead->pieces)
		return error_memory(error);
	ahead->running = true;
	r = thread_start(&ahead->thread, run, ahead, error);
	if (r < 0)
		ahead->running = false;
	return r;
}

/* What the thread had to say, which is for the caller's thread to pass on. The lock is held. */
static void pass_notes(struct ahead *ahead)
{
	for (size_t i = 0; i < ahead->notes.count; i++)
		ahead->options->note(ahead->options->context, ahead->notes.items[i]);
	text_list_done(&ahead->notes);
}

static void stop(struct ahead *ahead)
{
	if (!ahead->running)
		return;
	pthread_mutex_lock(&ahead->lock);
	atomic_store(&ahead->stop, true);
	pthread_cond_broadcast(&ahead->changed);
	pthread_mutex_unlock(&ahead->lock);
	pthread_join(ahead->thread, NULL);
	pass_notes(ahead);
	ahead->running = ahead->ended = false;
	ahead->filled = ahead->emptied = 0;
	ahead->used = 0;
	atomic_store(&ahead->stop, false);
}

/* Until there is a piece or the thread has ended. The lock is held. */
static int wait_filled(struct ahead *ahead, struct error *error)
{
	const struct source_options *options = ahead->options;

	for (;;) {
		struct timespec until;

		pass_notes(ahead);
		if (ahead->filled != ahead->emptied || ahead->ended)
			return 0;
		if (options->cancelled && options->cancelled(options->context))
			return error_failed(error, ECANCELED, "cancelled while downloading '%s'",
				ahead->source.name);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += POLL_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&ahead->changed, &ahead->lock, &until);
	}
}

/* *ret: the reader's piece, or NULL at the end. */
static int take_filled(struct ahead *ahead, struct piece **ret, struct error *error)
{
	int r;

	LOCKED(&ahead->lock);
	r = wait_filled(ahead, error);
	ahead->source.requests = ahead->requests;
	if (r < 0)
		return r;
	*ret = NULL;
	if (ahead->filled == ahead->emptied)
		return ahead->result < 0 ? error_pass(error, &ahead->error) : 0;
	*ret = &ahead->pieces[ahead->emptied % PIECES];
	return 0;
}

static void give_back(struct ahead *ahead)
{
	LOCKED(&ahead->lock);
	ahead->emptied++;
	pthread_cond_broadcast(&ahead->changed);
}

static int read_filled(
	struct ahead *ahead, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct piece *piece;
	int r;

	r = take_filled(ahead, &piece, error);
	if (r < 0)
		return r;
	*ret_got = 0;
	if (!piece)
		return 0;
	if (size > piece->size - ahead->used)
		size = piece->size - ahead->used;
	memcpy(data, piece->data + ahead->used, size);
	ahead->used += size;
	if (ahead->used == piece->size) {
		ahead->used = 0;
		give_back(ahead);
	}
	*ret_got = size;
	return 0;
}

static int ahead_read(
	struct source *source, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct ahead *ahead = (struct ahead *)source;
	int r = 0;

	if (!ahead->running)
		ahead->inner->wanted_end = source->wanted_end;
	/* Who wants an end does not read on and on. */
	if (!ahead->running && ahead->row >= STEADY && source->wanted_end == 0)
		r = start(ahead, error);
	if (r == 0)
		r = ahead->running
			    ? read_filled(ahead, data, size, ret_got, error)
			    : ahead->inner->ops->read(ahead->inner, data, size, ret_got, error);
	if (!ahead->running)
		source->requests = ahead->inner->requests;
	if (r < 0)
		return r;
	ahead->row += *ret_got;
	source->position += *ret_got;
	return 0;
}

static int ahead_seek(struct source *source, uint64_t offset, struct error *error)
{
	struct ahead *ahead = (struct ahead *)source;
	int r;

	stop(ahead);
	r = ahead->inner->ops->seek(ahead->inner, offset, error);
	if (r < 0)
		return r;
	ahead->row = 0;
	source->position = offset;
	return 0;
}

static void ahead_close(struct source *source)
{
	struct ahead *ahead = (struct ahead *)source;

	stop(ahead);
	source_close(ahead->inner);
	text_list_done(&ahead->notes);
	pthread_mutex_destroy(&ahead->lock);
	pthread_cond_destroy(&ahead->changed);
	free(ahead->pieces);
	free(source->name);
	free(ahead);
}

static int ahead_clone(struct source *source, struct source **ret, struct error *error)
{
	struct ahead *ahead = (struct ahead *)source;

	return http_clone(ahead->inner, ahead->options, ret, error);
}

static const struct source_ops ahead_ops = {
	.read = ahead_read,
	.seek = ahead_seek,
	.clone = ahead_clone,
	.close = ahead_close,
};

/* Waits by a clock that nobody sets: a machine may learn the time while it downloads. */
static void init_changed(pthread_cond_t *changed)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

int ahead_open(const char *url, const struct source_options *options, struct source **ret,
	struct error *error)
{
	AUTO_SOURCE struct source *source = NULL;
	struct ahead *ahead = calloc(1, sizeof(*ahead));
	int r;

	if (!ahead)
		return error_memory(error);
	source = &ahead->source;
	source->ops = &ahead_ops;
	pthread_mutex_init(&ahead->lock, NULL);
	init_changed(&ahead->changed);
	ahead->options = options;
	ahead->inner_options = *options;
	ahead->inner_options.note = note;
	ahead->inner_options.cancelled = is_cancelled;
	ahead->inner_options.resolve = options->resolve ? resolve : NULL;
	ahead->inner_options.context = ahead;
	r = http_open(url, &ahead->inner_options, &ahead->inner, error);
	if (r < 0)
		return r;
	source->name = strdup(ahead->inner->name);
	if (!source->name)
		return error_memory(error);
	source->size = ahead->inner->size;
	source->seekable = ahead->inner->seekable;
	source->requests = ahead->inner->requests;
	source->position = ahead->inner->position;
	*ret = TAKE(source);
	return 0;
}
