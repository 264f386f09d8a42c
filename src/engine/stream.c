/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/stream.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/thread.h"
#include "engine/target.h"
#include "engine/treestream.h"
#include "engine/writer.h"

#define CHUNKS 4u /* of the image that are in memory at once */

struct chunk {
	uint8_t *data; /* CHUNK_SIZE bytes */
	size_t size;
};

struct stream {
	struct target *target; /* borrowed */
	uint64_t size;         /* bytes that the caller gave */

	struct writer writer; /* the thread's, while it runs */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* of all below, but for the caller's chunk[given % CHUNKS] */
	pthread_cond_t changed;
	struct chunk chunk[CHUNKS];
	uint64_t given, done; /* chunks: handed over by the caller, done with by the thread */
	bool complete;        /* by the caller: the image has no more chunks */
	bool stop;            /* by the caller: give up */
	bool asks;            /* by the thread: `begin` is wanted */
	bool ended;           /* by the thread, with its result */
	int result;
	struct error error; /* of `begin`, then of the thread */
};

/* On the thread: what is not its business is done by the caller. */
static int ask_to_begin(void *opaque, struct error *error)
{
	struct stream *stream = opaque;

	LOCKED(&stream->lock);
	stream->asks = true;
	pthread_cond_broadcast(&stream->changed);
	while (stream->asks && !stream->stop)
		pthread_cond_wait(&stream->changed, &stream->lock);
	if (stream->stop)
		return error_failed(error, ECANCELED, "interrupted");
	return stream->result < 0 ? error_pass(error, &stream->error) : 0;
}

int stream_open(struct target *target, struct stream **ret, struct error *error)
{
	AUTO_STREAM struct stream *stream = calloc(1, sizeof(*stream));
	int r;

	if (!stream)
		return error_memory(error);
	pthread_mutex_init(&stream->lock, NULL);
	pthread_cond_init(&stream->changed, NULL);
	stream->target = target;
	for (size_t i = 0; i < CHUNKS; i++) {
		stream->chunk[i].data = aligned_new(CHUNK_SIZE);
		if (!stream->chunk[i].data)
			return error_memory(error);
	}
	stream->writer.target = target;
	stream->writer.begin = ask_to_begin;
	stream->writer.opaque = stream;
	r = writer_init(&stream->writer, error);
	if (r < 0)
		return r;
	*ret = TAKE(stream);
	return 0;
}

int stream_expect_tree(struct stream *stream, const struct verity_tree *tree, struct error *error)
{
	int r = treestream_new(tree, &stream->writer.tree, error);

	return r == -EOPNOTSUPP ? 0 : r;
}

/* The thread's next chunk, or NULL when the image is complete or given up. */
static struct chunk *take(struct stream *stream)
{
	LOCKED(&stream->lock);
	while (stream->done == stream->given && !stream->complete && !stream->stop)
		pthread_cond_wait(&stream->changed, &stream->lock);
	if (stream->stop || stream->done == stream->given)
		return NULL;
	return &stream->chunk[stream->done % CHUNKS];
}

static void give_back(struct stream *stream)
{
	LOCKED(&stream->lock);
	stream->chunk[stream->done++ % CHUNKS].size = 0;
	pthread_cond_broadcast(&stream->changed);
}

static void *run(void *opaque)
{
	struct stream *stream = opaque;
	struct error error = { 0 };
	struct chunk *chunk;
	int r = 0;

	while (r == 0 && (chunk = take(stream))) {
		r = writer_write(&stream->writer, chunk->data, chunk->size, &error);
		give_back(stream);
	}
	if (r == 0 && stream->complete)
		r = writer_finish(&stream->writer, &error);
	LOCKED(&stream->lock);
	stream->result = r;
	stream->error = error;
	stream->ended = true;
	pthread_cond_broadcast(&stream->changed);
	return NULL;
}

/* Until at most `chunks` are with the thread, or it has ended. The lock is held. */
static int wait_for(struct stream *stream, uint64_t chunks, struct error *error)
{
	for (;;) {
		if (stream->asks) {
			/* The thread waits for the answer: nobody wants the lock. */
			stream->result = target_begin(stream->target, &stream->error);
			stream->asks = false;
			pthread_cond_broadcast(&stream->changed);
		}
		if (stream->ended)
			return stream->result < 0 ? error_pass(error, &stream->error) : 0;
		if (stream->given - stream->done <= chunks && !stream->complete)
			return 0;
		pthread_cond_wait(&stream->changed, &stream->lock);
	}
}

int stream_room(struct stream *stream, uint8_t **ret, size_t *ret_size, struct error *error)
{
	struct chunk *chunk;
	int r;

	LOCKED(&stream->lock);
	r = wait_for(stream, CHUNKS - 1, error);
	if (r < 0)
		return r;
	chunk = &stream->chunk[stream->given % CHUNKS];
	*ret = chunk->data + chunk->size;
	*ret_size = CHUNK_SIZE - chunk->size;
	return 0;
}

/* Hands the caller's chunk over. */
static int give(struct stream *stream, bool complete, struct error *error)
{
	int r;

	if (!stream->started) {
		r = thread_start(&stream->thread, run, stream, error);
		if (r < 0)
			return r;
		stream->started = true;
	}
	LOCKED(&stream->lock);
	/* Not the size at its place tells: the thread may still have another chunk there. */
	if (stream->size > stream->given * CHUNK_SIZE)
		stream->given++;
	stream->complete = complete;
	pthread_cond_broadcast(&stream->changed);
	return 0;
}

int stream_commit(struct stream *stream, size_t size, struct error *error)
{
	struct chunk *chunk = &stream->chunk[stream->given % CHUNKS];
	int r;

	r = target_check_size(stream->target, stream->size + size, error);
	if (r < 0)
		return r;
	stream->size += size;
	chunk->size += size;
	if (chunk->size < CHUNK_SIZE)
		return 0;
	r = give(stream, false, error);
	if (r < 0 || stream->size > CHUNK_SIZE)
		return r;
	/* It nearly always tells that something differs: then the slot is disabled at once. */
	LOCKED(&stream->lock);
	return wait_for(stream, 0, error);
}

static void free_chunks(struct stream *stream)
{
	for (size_t i = 0; i < CHUNKS; i++) {
		free(stream->chunk[i].data);
		stream->chunk[i].data = NULL;
	}
}

int stream_finish(struct stream *stream, struct error *error)
{
	int r;

	if (stream->size == 0)
		return error_failed(error, EBADMSG, "the image is empty");
	r = give(stream, true, error);
	if (r < 0)
		return r;
	LOCKED(&stream->lock);
	r = wait_for(stream, 0, error);
	if (r == 0)
		free_chunks(stream); /* what reads back needs as much */
	return r;
}

const struct image *stream_image(const struct stream *stream)
{
	return &stream->writer.image;
}

static void stop(struct stream *stream)
{
	LOCKED(&stream->lock);
	stream->stop = true;
	pthread_cond_broadcast(&stream->changed);
}

void stream_close(struct stream *stream)
{
	if (!stream)
		return;
	if (stream->started) {
		stop(stream);
		pthread_join(stream->thread, NULL);
	}
	writer_done(&stream->writer);
	free_chunks(stream);
	pthread_mutex_destroy(&stream->lock);
	pthread_cond_destroy(&stream->changed);
	free(stream);
}
