/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/child.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/thread.h"
#include "fetch/child_private.h"
#include "fetch/resolver.h"
#include "fetch/sandbox.h"
#include "format/manifest.h"
#include "source/bundle.h"

/* Bytes that are asked for before it is known how many there will be. */
#define FIRST_REQUEST (64u << 10)
#define ENTRY_REQUEST (4u << 10) /* a local header, and some more */

/* --- what the child says --- */

int child_say(struct child *child, struct channel_message *message, size_t size)
{
	message->received = child->bundle ? bundle_received(child->bundle)
					  : child->input.received + child->received;
	message->requests = (child->source ? child->source->requests : 0) + child->requests;
	return channel_send(child->socket, message, size);
}

void child_count(struct child *child, uint64_t received, uint64_t requests)
{
	atomic_fetch_add(&child->received, received);
	atomic_fetch_add(&child->requests, requests);
}

static void say_failed(struct child *child, const struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_FAILED };
	struct channel_failed failed = {
		.kind = (uint32_t)error->kind,
		.number = (uint32_t)error->number,
	};

	memcpy(failed.text, error->text, sizeof(failed.text));
	memcpy(message.data, &failed, sizeof(failed));
	channel_send(child->socket, &message, sizeof(failed));
}

static void on_note(void *context, const char *text)
{
	struct child *child = context;
	struct channel_message message = { .kind = CHANNEL_NOTE };
	size_t size = strlen(text);

	if (size > sizeof(message.data))
		size = sizeof(message.data);
	memcpy(message.data, text, size);
	channel_send(child->socket, &message, size);
}

/* Copies a text behind a message's structure of `size` bytes, cut if need be. The whole size. */
static size_t put_text(struct channel_message *message, size_t size, const char *text)
{
	size_t room = sizeof(message->data) - size - 1, length = strlen(text);

	if (length > room)
		length = room;
	memcpy(message->data + size, text, length);
	message->data[size + length] = '\0';
	return size + length + 1;
}

static int say_opened(struct child *child)
{
	struct channel_message message = { .kind = CHANNEL_OPENED };
	struct channel_opened opened = {
		.size = child->source->size,
		.seekable = child->source->seekable,
		.format = child->bundle ? 0 : 1,
		.payloads = { UINT64_MAX, UINT64_MAX },
	};
	size_t size = offsetof(struct channel_opened, name);

	for (unsigned role = 0; child->bundle && role < BUNDLE_ROLE_COUNT; role++) {
		struct bundle_payload payload;

		opened.known = bundle_payload(child->bundle, (enum bundle_role)role, &payload);
		opened.payloads[role] = opened.known ? payload.size : UINT64_MAX;
	}
	memcpy(message.data, &opened, size);
	return child_say(child, &message, put_text(&message, size, child->source->name));
}

/* --- slots --- */

int child_take_slot(struct child *child, uint32_t count, uint32_t *ret)
{
	LOCKED(&child->lock);
	while (!child->stop) {
		for (*ret = 0; *ret < count; ++*ret) {
			if (!child->taken[*ret]) {
				child->taken[*ret] = true;
				return 0;
			}
		}
		pthread_cond_wait(&child->changed, &child->lock);
	}
	return -EPIPE;
}

static void free_slot(struct child *child, uint32_t slot)
{
	LOCKED(&child->lock);
	if (slot < CHANNEL_SLOTS)
		child->taken[slot] = false;
	pthread_cond_broadcast(&child->changed);
}

uint8_t *child_slot(struct child *child, uint32_t slot, uint32_t size)
{
	return child->slots + (size_t)slot * size;
}

struct input *child_input(struct child *child)
{
	return &child->input;
}

/* --- bytes in pieces --- */

/* Reads up to `size` bytes; 0 only at the end. */
typedef int (*read_function)(
	struct child *child, void *data, size_t size, size_t *ret_got, struct error *error);

static int send_pieces(struct child *child, read_function read, struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_PIECE };
	int r;

	do {
		size_t got = 1;
		uint8_t *slot;

		r = child_take_slot(child, CHANNEL_SLOTS, &message.slot);
		if (r < 0)
			return r;
		slot = child_slot(child, message.slot, CHANNEL_SLOT_SIZE);
		message.size = 0;
		while (r == 0 && got > 0 && message.size < CHANNEL_SLOT_SIZE) {
			r = read(child, slot + message.size, CHANNEL_SLOT_SIZE - message.size, &got,
				error);
			message.size += r == 0 ? (uint32_t)got : 0;
		}
		if (r < 0)
			return r;
		if (message.size == 0)
			free_slot(child, message.slot);
		r = child_say(child, &message, 0);
	} while (r == 0 && message.size > 0);
	return r;
}

/* --- a plain bundle --- */

static int read_payload(
	struct child *child, void *data, size_t size, size_t *ret_got, struct error *error)
{
	return bundle_read(child->bundle, data, size, ret_got, error);
}

static int next_payload(struct child *child, struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_END };
	struct bundle_payload payload;
	struct channel_payload told;
	int r;

	r = bundle_next(child->bundle, &payload, error);
	if (r < 0)
		return r;
	if (r == 0)
		return child_say(child, &message, 0);
	told = (struct channel_payload){ .role = payload.role, .size = payload.size };
	message.kind = CHANNEL_PAYLOAD;
	memcpy(message.data, &told, sizeof(told));
	r = child_say(child, &message, sizeof(told));
	return r < 0 ? r : send_pieces(child, read_payload, error);
}

/* --- a bundle of format 1 --- */

static int next_entry(struct child *child, const struct channel_wanted *wanted, struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_END };
	size_t size = offsetof(struct channel_is, name);
	struct channel_is is;
	int r;

	uint64_t header_end = child->walk.next + ENTRY_REQUEST;

	if (child->source->seekable)
		child->source->wanted_end = wanted->end > header_end ? wanted->end : header_end;
	r = walk_next(&child->walk, &child->entry, error);
	if (r < 0)
		error_name(error, child->source->name);
	if (r <= 0)
		return r < 0 ? r : child_say(child, &message, 0);
	message.kind = CHANNEL_IS;
	is = (struct channel_is){
		.data = child->entry->data,
		.compressed = child->entry->entry.compressed,
		.size = child->entry->entry.size,
		.method = child->entry->entry.method,
		.crc = child->entry->entry.crc,
	};
	memcpy(message.data, &is, size);
	return child_say(child, &message, put_text(&message, size, child->entry->name));
}

static int check_directory(struct child *child, struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_CHECKED };
	int r;

	/* It lies at the end, and is wanted as a whole. */
	child->source->wanted_end = 0;
	r = walk_check(&child->walk, error);
	if (r < 0)
		error_name(error, child->source->name);
	return r < 0 ? r : child_say(child, &message, 0);
}

static int read_entry(
	struct child *child, void *data, size_t size, size_t *ret_got, struct error *error)
{
	uint64_t end = child->entry->data + child->entry->entry.compressed;
	uint64_t left = end - child->input.position;
	int r;

	if (size > left)
		size = (size_t)left;
	r = input_read(&child->input, data, size, error);
	*ret_got = size;
	return r;
}

/* --- jobs --- */

static int do_job(struct lane *lane, const struct channel_message *job, struct error *error)
{
	struct child *child = lane->child;

	switch (job->kind) {
	case CHANNEL_NEXT:
		return next_payload(child, error);
	case CHANNEL_ENTRY:
		return next_entry(child, (const struct channel_wanted *)job->data, error);
	case CHANNEL_READ:
		return send_pieces(child, read_entry, error);
	case CHANNEL_CHECK:
		return check_directory(child, error);
	default:
		return lane_fetch(lane, (const struct channel_run *)job->data, error);
	}
}

/* False: there are no more. */
static bool take_job(struct child *child, struct channel_message *ret)
{
	LOCKED(&child->lock);
	while (!child->stop && child->done == child->given)
		pthread_cond_wait(&child->changed, &child->lock);
	if (child->stop)
		return false;
	*ret = child->jobs[child->done++ % CHANNEL_RUNS];
	return true;
}

/* No lane waits for a slot or a job any more. */
static void stop(struct child *child)
{
	LOCKED(&child->lock);
	child->stop = true;
	pthread_cond_broadcast(&child->changed);
}

static void *work(void *opaque)
{
	struct lane *lane = opaque;
	struct error error = { 0 };
	struct channel_message job;
	int r = 0;

	while (r == 0 && take_job(lane->child, &job))
		r = do_job(lane, &job, &error);
	if (r == 0)
		return NULL;
	/* Whoever hung up needs no words; nobody else waits for ever. */
	if (!error.number && r != -EPIPE)
		error_failed(&error, -r, "the bundle cannot be passed on: %s", strerror(-r));
	if (error.number)
		say_failed(lane->child, &error);
	stop(lane->child);
	return NULL;
}

static int add_lane(struct child *child, struct error *error)
{
	struct lane *lane = &child->lanes[child->lane_count];
	int r;

	lane->child = child;
	r = thread_start(&lane->thread, work, lane, error);
	if (r < 0)
		return r;
	lane->started = true;
	child->lane_count++;
	return 0;
}

/* One is enough until frames can be fetched from several places at once. */
static int add_lanes(struct child *child, uint32_t kind, struct error *error)
{
	size_t wanted = kind == CHANNEL_RUN && child->source->seekable ? CHILD_LANES_MAX : 1;
	int r = 0;

	while (r == 0 && child->lane_count < wanted)
		r = add_lane(child, error);
	return r;
}

static int give_job(struct child *child, const struct channel_message *job, struct error *error)
{
	int r = add_lanes(child, job->kind, error);

	if (r < 0)
		return r;
	LOCKED(&child->lock);
	if (child->given - child->done == CHANNEL_RUNS)
		return -EPROTO;
	child->jobs[child->given++ % CHANNEL_RUNS] = *job;
	pthread_cond_broadcast(&child->changed);
	return 0;
}

/* --- opening --- */

static int resolve(
	void *context, const char *host, unsigned timeout_ms, char **ret, struct error *error)
{
	struct child *child = context;

	LOCKED(&child->question);
	return resolver_ask(child->resolver, host, timeout_ms, ret, error);
}

/* All that needs files comes before the lock, all that comes from a network behind it. */
static int open_url(struct child *child, const char *url, struct error *error)
{
	struct sandbox sandbox = { .file_count = 2, .network = true };
	int r;

	/* First: it inherits what is in memory, and the client's key is none of its business. */
	r = resolver_start(&child->resolver, error);
	if (r == 0)
		r = material_read(&child->options, &child->material, error);
	if (r == 0)
		r = source_warm_up(error);
	if (r < 0)
		return r;
	sandbox.files[0] = child->socket;
	sandbox.files[1] = child->resolver;
	child->options.ca = span_of(&child->material.ca);
	child->options.cert = span_of(&child->material.cert);
	child->options.key = span_of(&child->material.key);
	child->options.resolve = resolve;
	child->options.first = FIRST_REQUEST;
	r = sandbox_enter(&sandbox, error);
	return r < 0 ? r : source_open(url, &child->options, &child->source, error);
}

static int open_file(struct child *child, const char *path, struct error *error)
{
	struct sandbox sandbox = { .files = { child->socket }, .file_count = 1 };
	int r;

	r = source_open(path, &child->options, &child->source, error);
	if (r < 0)
		return r;
	sandbox.files[sandbox.file_count++] = source_descriptor(child->source);
	return sandbox_enter(&sandbox, error);
}

/* Whether it begins with a manifest. */
static int is_format_1(struct child *child, bool *ret, struct error *error)
{
	const size_t size = ZIP_LOCAL_SIZE + strlen(MANIFEST_NAME);
	struct span head;
	int r;

	r = bundle_sniff(&child->input, error);
	if (r == 0)
		r = input_peek(&child->input, size, &head, error);
	*ret = r == 0 && head.size >= size && le16(head.data + 26) == strlen(MANIFEST_NAME)
	       && memcmp(head.data + ZIP_LOCAL_SIZE, MANIFEST_NAME, strlen(MANIFEST_NAME)) == 0;
	return r;
}

static int open_bundle(struct child *child, const char *spec, struct error *error)
{
	bool format_1 = false;
	int r;

	r = source_is_url(spec) ? open_url(child, spec, error) : open_file(child, spec, error);
	if (r == 0)
		r = input_init(&child->input, child->source, error);
	/* A plain bundle, which is read on and on, has no use for an end. */
	if (r == 0 && child->source->seekable)
		child->source->wanted_end = FIRST_REQUEST;
	if (r == 0)
		r = is_format_1(child, &format_1, error);
	if (r < 0)
		return r;
	child->source->wanted_end = 0;
	if (format_1)
		walk_init(&child->walk, &child->input);
	else
		r = bundle_open_input(&child->input, &child->bundle, error);
	return r < 0 ? r : say_opened(child);
}

/* --- the whole --- */

/* Until the parent hangs up. */
static int serve(struct child *child, const char *spec, struct error *error)
{
	struct channel_message message;
	size_t size;
	int r;

	r = open_bundle(child, spec, error);
	while (r == 0) {
		r = channel_receive(child->socket, &message, &size);
		if (r == 0 && message.kind == CHANNEL_FREE)
			free_slot(child, message.slot);
		else if (r == 0)
			r = give_job(child, &message, error);
	}
	return r;
}

static void clean_up(struct child *child)
{
	stop(child);
	for (size_t i = 0; i < child->lane_count; i++) {
		pthread_join(child->lanes[i].thread, NULL);
		lane_done(&child->lanes[i]);
	}
	walk_done(&child->walk);
	input_done(&child->input);
	bundle_close(child->bundle);
	source_close(child->source);
	material_done(&child->material);
	if (child->resolver >= 0)
		close(child->resolver);
	channel_unmap(child->slots);
	pthread_mutex_destroy(&child->lock);
	pthread_mutex_destroy(&child->question);
	pthread_cond_destroy(&child->changed);
	close(child->socket);
}

void child_run(int socket, uint8_t *pool, const char *spec, const struct source_options *options)
{
	struct child child = {
		.socket = socket,
		.slots = channel_pool_open(pool),
		.options = *options,
		.resolver = -1,
		.question = PTHREAD_MUTEX_INITIALIZER,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
	struct error error = { 0 };

	child.options.note = on_note;
	child.options.cancelled = NULL;
	child.options.context = &child;
	if (child.slots)
		serve(&child, spec, &error);
	else
		error_memory(&error);
	if (error.number)
		say_failed(&child, &error);
	clean_up(&child);
}
