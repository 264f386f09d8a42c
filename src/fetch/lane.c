/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/lane.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fetch/child_private.h"
#include "format/chunkmap.h"
#include "source/source.h"
#include "source/unframe.h"

/** A run on its way. */
struct run {
	struct lane *lane;
	const struct channel_run *asked;
	struct input *input;
	uint32_t slot_size;
	bool has_slot;
	struct channel_message message; /* with the chunks that lie in its slot */
	struct channel_chunks chunks;
};

static int set_up(struct lane *lane, uint16_t method, struct error *error)
{
	struct source *from = lane->child->source;
	int r = 0;

	if (!lane->source && from->seekable) {
		r = source_clone(from, &lane->source, error);
		if (r == 0)
			r = input_init(&lane->own, lane->source, error);
	}
	if (r < 0 || (lane->unframer && lane->method == method))
		return r;
	unframer_free(lane->unframer);
	lane->unframer = NULL;
	lane->method = method;
	return unframer_new(method, &lane->unframer, error);
}

/* Where the frames begin, and how far they go. */
static int go_to(struct run *run, struct error *error)
{
	const struct channel_run *asked = run->asked;
	struct input *input = run->input;
	uint64_t end = asked->data;

	for (uint32_t i = 0; i < asked->count; i++)
		end += asked->lengths[i] & ~CHANNEL_UNWANTED;
	if (!input->source->seekable)
		return asked->data < input->position
			       ? error_failed(error, EPROTO, "a stream cannot go back")
			       : input_skip(input, asked->data - input->position, error);
	input->source->wanted_end = end;
	return input_seek(input, asked->data, error);
}

static uint32_t plain_size(const struct channel_run *asked, uint32_t i)
{
	return i + 1 < asked->count ? asked->chunk_size : asked->last_size;
}

/* Says how far the lane has come; the child's own source is counted by itself. */
static void account(struct lane *lane, const struct input *input)
{
	if (!lane->source)
		return;
	child_count(lane->child, input->received - lane->received,
		input->source->requests - lane->requests);
	lane->received = input->received;
	lane->requests = input->source->requests;
}

static int deliver(struct run *run)
{
	struct channel_message *message = &run->message;

	if (!run->has_slot || run->chunks.count == 0)
		return 0;
	account(run->lane, run->input);
	memcpy(message->data, &run->chunks, sizeof(run->chunks));
	run->has_slot = false;
	return child_say(run->lane->child, message, sizeof(run->chunks));
}

static int make_room(struct run *run, uint64_t chunk)
{
	int r;

	if (run->has_slot)
		return 0;
	r = child_take_slot(
		run->lane->child, CHANNEL_POOL_SIZE / run->slot_size, &run->message.slot);
	if (r < 0)
		return r;
	run->message.kind = CHANNEL_CHUNKS;
	run->message.size = 0;
	run->chunks = (struct channel_chunks){ .first = chunk };
	run->has_slot = true;
	return 0;
}

/* The whole frame in one piece, from the input's own buffer if it fits in there. */
static int read_frame(struct run *run, uint32_t length, struct span *ret, struct error *error)
{
	struct lane *lane = run->lane;
	int r;

	if (length <= INPUT_PEEK_MAX) {
		r = input_need(run->input, length, ret, error);
		ret->size = length;
		return r;
	}
	if (!lane->frame)
		lane->frame = malloc(chunkmap_length_max(CHUNKMAP_CHUNK_MAX));
	if (!lane->frame)
		return error_memory(error);
	r = input_read(run->input, lane->frame, length, error);
	*ret = (struct span){ lane->frame, length };
	return r;
}

static int fetch_chunk(struct run *run, uint32_t i, struct error *error)
{
	const struct channel_run *asked = run->asked;
	struct channel_message *message = &run->message;
	uint32_t length = asked->lengths[i], size = plain_size(asked, i);
	uint64_t place = run->input->position;
	struct span frame;
	uint8_t *out;
	int r;

	r = read_frame(run, length, &frame, error);
	if (r == 0)
		r = make_room(run, asked->first + i);
	if (r < 0)
		return r;
	out = child_slot(run->lane->child, message->slot, run->slot_size) + message->size;
	r = unframer_unpack(
		run->lane->unframer, frame, asked->ends && i + 1 == asked->count, out, size, error);
	if (r < 0) {
		error_prefix(error, "'%s': chunk %" PRIu64 " (%u bytes at byte %" PRIu64 ")",
			run->input->source->name, asked->first + i, length, place);
		return r;
	}
	if (frame.data != run->lane->frame)
		input_consume(run->input, length);
	message->size += size;
	run->chunks.count++;
	/* The next one may not fit, or lie elsewhere. */
	if (message->size + asked->chunk_size > run->slot_size || i + 1 == asked->count
		|| asked->lengths[i + 1] & CHANNEL_UNWANTED)
		return deliver(run);
	return 0;
}

int lane_fetch(struct lane *lane, const struct channel_run *asked, struct error *error)
{
	struct run run = {
		.lane = lane,
		.asked = asked,
		.slot_size = channel_slot_size(asked->chunk_size),
	};
	int r;

	r = set_up(lane, (uint16_t)asked->method, error);
	run.input = lane->source ? &lane->own : child_input(lane->child);
	if (r == 0)
		r = go_to(&run, error);
	for (uint32_t i = 0; r == 0 && i < asked->count; i++)
		r = asked->lengths[i] & CHANNEL_UNWANTED
			    ? input_skip(run.input, asked->lengths[i] & ~CHANNEL_UNWANTED, error)
			    : fetch_chunk(&run, i, error);
	return r;
}

void lane_done(struct lane *lane)
{
	unframer_free(lane->unframer);
	input_done(&lane->own);
	source_close(lane->source);
	free(lane->frame);
}
