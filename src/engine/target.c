/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/target.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/thread.h"
#include "engine/context.h"
#include "engine/treestream.h"
#include "engine/writer.h"
#include "machine/machine.h"

#define CHUNKS 4u /* of the image that are in memory at once */

struct chunk {
	uint8_t *data; /* CHUNK_SIZE bytes */
	size_t size;
};

struct target {
	struct machine *machine;
	const char *device; /* borrowed from the configuration */
	struct partition *partition;
	uint64_t capacity;
	int (*begin)(void *opaque, struct error *error);
	void *opaque;
	uint64_t size; /* bytes that the caller gave */

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
	uint64_t written;   /* bytes */
};

/* On the thread: what is not its business is done by the caller. */
static int ask_to_begin(void *opaque, struct error *error)
{
	struct target *target = opaque;

	LOCKED(&target->lock);
	target->asks = true;
	pthread_cond_broadcast(&target->changed);
	while (target->asks && !target->stop)
		pthread_cond_wait(&target->changed, &target->lock);
	if (target->stop)
		return error_failed(error, ECANCELED, "interrupted");
	return target->result < 0 ? error_pass(error, &target->error) : 0;
}

int target_open(struct context *context, enum slot slot,
	int (*begin)(void *opaque, struct error *error), void *opaque, struct target **ret,
	struct error *error)
{
	AUTO_TARGET struct target *target = calloc(1, sizeof(*target));
	struct machine *machine = context->machine;
	int r;

	if (!target)
		return error_memory(error);
	pthread_mutex_init(&target->lock, NULL);
	pthread_cond_init(&target->changed, NULL);
	target->machine = machine;
	target->device = context->config.system_device[slot];
	target->begin = begin;
	target->opaque = opaque;
	for (size_t i = 0; i < CHUNKS; i++) {
		target->chunk[i].data = aligned_new(CHUNK_SIZE);
		if (!target->chunk[i].data)
			return error_memory(error);
	}
	r = machine->ops->partition_open(
		machine, target->device, PARTITION_WRITE, &target->partition, error);
	if (r < 0)
		return r;
	target->capacity = machine->ops->partition_size(machine, target->partition);
	target->writer.machine = machine;
	target->writer.partition = target->partition;
	target->writer.begin = ask_to_begin;
	target->writer.opaque = target;
	r = writer_init(&target->writer, target->capacity, error);
	if (r < 0)
		return r;
	*ret = TAKE(target);
	return 0;
}

uint64_t target_capacity(const struct target *target)
{
	return target->capacity;
}

const char *target_device(const struct target *target)
{
	return target->device;
}

int target_check_size(const struct target *target, uint64_t size, struct error *error)
{
	if (size <= target->capacity)
		return 0;
	return error_failed(error, EFBIG, "the image is larger than the partition %s (%llu bytes)",
		target->device, (unsigned long long)target->capacity);
}

int target_expect_tree(struct target *target, const struct verify_tree *tree, struct error *error)
{
	int r = treestream_new(tree, &target->writer.tree, error);

	return r == -EOPNOTSUPP ? 0 : r;
}

/* The thread's next chunk, or NULL when the image is complete or given up. */
static struct chunk *take(struct target *target)
{
	LOCKED(&target->lock);
	while (target->done == target->given && !target->complete && !target->stop)
		pthread_cond_wait(&target->changed, &target->lock);
	if (target->stop || target->done == target->given)
		return NULL;
	return &target->chunk[target->done % CHUNKS];
}

static void give_back(struct target *target)
{
	LOCKED(&target->lock);
	target->chunk[target->done++ % CHUNKS].size = 0;
	target->written = target->writer.written;
	pthread_cond_broadcast(&target->changed);
}

static void *run(void *opaque)
{
	struct target *target = opaque;
	struct error error = { 0 };
	struct chunk *chunk;
	int r = 0;

	while (r == 0 && (chunk = take(target))) {
		r = writer_write(&target->writer, chunk->data, chunk->size, &error);
		give_back(target);
	}
	if (r == 0 && target->complete)
		r = writer_finish(&target->writer, &error);
	LOCKED(&target->lock);
	target->written = target->writer.written;
	target->result = r;
	target->error = error;
	target->ended = true;
	pthread_cond_broadcast(&target->changed);
	return NULL;
}

/*
 * From here on the partition is no image any more: without its first block nothing mounts it, not
 * even an old superblock over new blocks.
 */
static int begin(struct target *target, struct error *error)
{
	static const uint8_t zeroes[WRITER_BLOCK] __attribute__((aligned(WRITER_BLOCK)));
	struct machine *machine = target->machine;
	size_t size = target->capacity < WRITER_BLOCK ? (size_t)target->capacity : WRITER_BLOCK;
	int r;

	r = target->begin(target->opaque, error);
	if (r == 0)
		r = machine->ops->partition_write(
			machine, target->partition, 0, zeroes, size, error);
	if (r == 0)
		r = machine->ops->partition_flush(machine, target->partition, error);
	return r;
}

/* Until at most `chunks` are with the thread, or it has ended. The lock is held. */
static int wait_for(struct target *target, uint64_t chunks, struct error *error)
{
	for (;;) {
		if (target->asks) {
			/* The thread waits for the answer: nobody wants the lock. */
			target->result = begin(target, &target->error);
			target->asks = false;
			pthread_cond_broadcast(&target->changed);
		}
		if (target->ended)
			return target->result < 0 ? error_pass(error, &target->error) : 0;
		if (target->given - target->done <= chunks && !target->complete)
			return 0;
		pthread_cond_wait(&target->changed, &target->lock);
	}
}

int target_room(struct target *target, uint8_t **ret, size_t *ret_size, struct error *error)
{
	struct chunk *chunk;
	int r;

	LOCKED(&target->lock);
	r = wait_for(target, CHUNKS - 1, error);
	if (r < 0)
		return r;
	chunk = &target->chunk[target->given % CHUNKS];
	*ret = chunk->data + chunk->size;
	*ret_size = CHUNK_SIZE - chunk->size;
	return 0;
}

/* Hands the caller's chunk over. */
static int give(struct target *target, bool complete, struct error *error)
{
	int r;

	if (!target->started) {
		r = thread_start(&target->thread, run, target, error);
		if (r < 0)
			return r;
		target->started = true;
	}
	LOCKED(&target->lock);
	/* Not the size at its place tells: the thread may still have another chunk there. */
	if (target->size > target->given * CHUNK_SIZE)
		target->given++;
	target->complete = complete;
	pthread_cond_broadcast(&target->changed);
	return 0;
}

int target_commit(struct target *target, size_t size, struct error *error)
{
	struct chunk *chunk = &target->chunk[target->given % CHUNKS];
	int r;

	r = target_check_size(target, target->size + size, error);
	if (r < 0)
		return r;
	target->size += size;
	chunk->size += size;
	if (chunk->size < CHUNK_SIZE)
		return 0;
	r = give(target, false, error);
	if (r < 0 || target->size > CHUNK_SIZE)
		return r;
	/* It nearly always tells that something differs: then the slot is disabled at once. */
	LOCKED(&target->lock);
	return wait_for(target, 0, error);
}

int target_finish(struct target *target, struct error *error)
{
	int r;

	if (target->size == 0)
		return error_failed(error, EBADMSG, "the image is empty");
	r = give(target, true, error);
	if (r < 0)
		return r;
	LOCKED(&target->lock);
	return wait_for(target, 0, error);
}

uint64_t target_size(const struct target *target)
{
	return target->size;
}

uint64_t target_written(struct target *target)
{
	LOCKED(&target->lock);
	return target->written;
}

const struct image *target_image(const struct target *target)
{
	return &target->writer.image;
}

struct partition *target_partition(struct target *target)
{
	return target->partition;
}

static void stop(struct target *target)
{
	LOCKED(&target->lock);
	target->stop = true;
	pthread_cond_broadcast(&target->changed);
}

void target_close(struct target *target)
{
	if (!target)
		return;
	if (target->started) {
		stop(target);
		pthread_join(target->thread, NULL);
	}
	target->machine->ops->partition_close(target->machine, target->partition);
	writer_done(&target->writer);
	for (size_t i = 0; i < CHUNKS; i++)
		free(target->chunk[i].data);
	pthread_mutex_destroy(&target->lock);
	pthread_cond_destroy(&target->changed);
	free(target);
}
