/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/child.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/thread.h"
#include "fetch/channel.h"
#include "fetch/material.h"
#include "fetch/resolver.h"
#include "fetch/sandbox.h"
#include "source/bundle.h"
#include "source/source.h"

struct child {
	int socket;
	uint8_t *slots; /* what is in the pool */
	struct source_options options;
	struct material material;
	int resolver;             /* -1: none */
	pthread_mutex_t question; /* one at a time */
	struct source *source;
	struct bundle *bundle;
	bool taken[CHANNEL_SLOTS]; /* by the parent, or on the way to it */
};

/* --- what the child says --- */

static int say(struct child *child, struct channel_message *message, size_t size)
{
	message->received = child->bundle ? bundle_received(child->bundle) : 0;
	message->requests = child->source ? child->source->requests : 0;
	return channel_send(child->socket, message, size);
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
	say(child, &message, sizeof(failed));
}

static void on_note(void *context, const char *text)
{
	struct child *child = context;
	struct channel_message message = { .kind = CHANNEL_NOTE };
	size_t size = strlen(text);

	if (size > sizeof(message.data))
		size = sizeof(message.data);
	memcpy(message.data, text, size);
	say(child, &message, size);
}

static int say_opened(struct child *child)
{
	struct channel_message message = { .kind = CHANNEL_OPENED };
	struct channel_opened *opened = (struct channel_opened *)message.data;
	size_t room = sizeof(message.data) - sizeof(*opened) - 1;
	size_t length = strlen(child->source->name);

	opened->size = child->source->size;
	opened->seekable = child->source->seekable;
	for (unsigned role = 0; role < BUNDLE_ROLE_COUNT; role++) {
		struct bundle_payload payload;

		opened->known = bundle_payload(child->bundle, (enum bundle_role)role, &payload);
		opened->payloads[role] = opened->known ? payload.size : UINT64_MAX;
	}
	if (length > room)
		length = room;
	memcpy(opened->name, child->source->name, length);
	return say(child, &message, sizeof(*opened) + length + 1);
}

/* --- what it hears --- */

static int hear(struct child *child, struct channel_message *ret)
{
	size_t size;
	int r;

	r = channel_receive(child->socket, ret, &size);
	if (r == 0 && ret->kind == CHANNEL_FREE && ret->slot < CHANNEL_SLOTS)
		child->taken[ret->slot] = false;
	return r;
}

static int find_slot(struct child *child, uint32_t *ret)
{
	struct channel_message message;

	for (;;) {
		int r;

		for (*ret = 0; *ret < CHANNEL_SLOTS; ++*ret)
			if (!child->taken[*ret])
				return 0;
		r = hear(child, &message);
		if (r < 0)
			return r;
	}
}

/* --- payloads of a plain bundle --- */

/* Fills a slot, as far as the payload goes. */
static int fill(struct child *child, uint8_t *slot, uint32_t *ret_size, struct error *error)
{
	size_t size = 0, got = 1;

	while (size < CHANNEL_SLOT_SIZE && got > 0) {
		int r = bundle_read(
			child->bundle, slot + size, CHANNEL_SLOT_SIZE - size, &got, error);

		if (r < 0)
			return r;
		size += got;
	}
	*ret_size = (uint32_t)size;
	return 0;
}

/* -EPIPE without an error when nobody listens any more. */
static int send_payload(struct child *child, struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_PIECE };
	int r;

	do {
		r = find_slot(child, &message.slot);
		if (r == 0)
			r = fill(child, child->slots + message.slot * CHANNEL_SLOT_SIZE,
				&message.size, error);
		if (r < 0)
			return r;
		child->taken[message.slot] = message.size > 0;
		r = say(child, &message, 0);
	} while (r == 0 && message.size > 0);
	return r;
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
		return say(child, &message, 0);
	told = (struct channel_payload){ .role = payload.role, .size = payload.size };
	message.kind = CHANNEL_PAYLOAD;
	memcpy(message.data, &told, sizeof(told));
	r = say(child, &message, sizeof(told));
	return r < 0 ? r : send_payload(child, error);
}

/* --- the whole --- */

static int resolve(void *context, const char *host, char **ret, struct error *error)
{
	struct child *child = context;

	LOCKED(&child->question);
	return resolver_ask(child->resolver, host, ret, error);
}

/* All that needs files comes before the lock, all that comes from a network behind it. */
static int open_url(struct child *child, const char *url, struct error *error)
{
	struct sandbox sandbox = { .file_count = 2, .network = true };
	int r;

	r = material_read(&child->options, &child->material, error);
	if (r == 0)
		r = source_warm_up(error);
	if (r == 0)
		r = resolver_start(&child->resolver, error);
	if (r < 0)
		return r;
	sandbox.files[0] = child->socket;
	sandbox.files[1] = child->resolver;
	child->options.ca = span_of(&child->material.ca);
	child->options.cert = span_of(&child->material.cert);
	child->options.key = span_of(&child->material.key);
	child->options.resolve = resolve;
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

static int open_bundle(struct child *child, const char *spec, struct error *error)
{
	int r;

	r = source_is_url(spec) ? open_url(child, spec, error) : open_file(child, spec, error);
	if (r == 0)
		r = bundle_open(child->source, &child->bundle, error);
	return r < 0 ? r : say_opened(child);
}

static int serve(struct child *child, const char *spec, struct error *error)
{
	struct channel_message message;
	int r;

	r = open_bundle(child, spec, error);
	while (r == 0) {
		r = hear(child, &message);
		if (r == 0 && message.kind == CHANNEL_NEXT)
			r = next_payload(child, error);
	}
	return r;
}

void child_run(int socket, uint8_t *pool, const char *spec, const struct source_options *options)
{
	struct child child = {
		.socket = socket,
		.slots = channel_pool_open(pool),
		.options = *options,
		.resolver = -1,
		.question = PTHREAD_MUTEX_INITIALIZER,
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
	bundle_close(child.bundle);
	source_close(child.source);
	material_done(&child.material);
	channel_unmap(child.slots);
	if (child.resolver >= 0)
		close(child.resolver);
	close(socket);
}
