/* SPDX-License-Identifier: Apache-2.0 */
#include "source/input.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "source/source.h"

int input_init(struct input *input, struct source *source, struct error *error)
{
	uint8_t *data = malloc(INPUT_CAPACITY);

	if (!data)
		return error_memory(error);
	*input = (struct input){ .source = source, .data = data };
	return 0;
}

void input_done(struct input *input)
{
	free(input->data);
	*input = (struct input){ 0 };
}

/* Moves what is visible, and the history before it, to the front. */
static void make_room(struct input *input)
{
	size_t keep = input->begin < INPUT_HISTORY ? input->begin : INPUT_HISTORY;
	size_t from = input->begin - keep;

	memmove(input->data, input->data + from, input->end - from);
	input->begin = keep;
	input->end -= from;
}

/* How much may be read at once: no more than is wanted, as far as somebody knows that. */
static size_t room(const struct input *input)
{
	uint64_t end = input->position + (input->end - input->begin);
	uint64_t wanted = input->source->wanted_end;
	size_t space = INPUT_CAPACITY - input->end;

	return wanted > end && wanted - end < space ? (size_t)(wanted - end) : space;
}

int input_peek(struct input *input, size_t size, struct span *ret, struct error *error)
{
	assert(size <= INPUT_PEEK_MAX);
	if (input->begin + size > INPUT_CAPACITY || input->begin == input->end)
		make_room(input);
	while (input->end - input->begin < size) {
		struct source *source = input->source;
		size_t got;
		int r;

		r = source->ops->read(source, input->data + input->end, room(input), &got, error);
		if (r < 0)
			return r;
		if (got == 0)
			break;
		input->end += got;
		input->received += got;
	}
	*ret = (struct span){ input->data + input->begin, input->end - input->begin };
	return 0;
}

static int truncated(const struct input *input, uint64_t end, struct error *error)
{
	return error_failed(error, EBADMSG,
		"'%s' is truncated: it ends at byte %" PRIu64 ", in the middle of the bundle",
		input->source->name, end);
}

int input_need(struct input *input, size_t size, struct span *ret, struct error *error)
{
	struct span data;
	int r;

	r = input_peek(input, size, &data, error);
	if (r < 0)
		return r;
	if (data.size < size)
		return truncated(input, input->position + data.size, error);
	*ret = data;
	return 0;
}

void input_consume(struct input *input, size_t size)
{
	assert(size <= input->end - input->begin);
	input->begin += size;
	input->position += size;
}

void input_unread(struct input *input, size_t size)
{
	assert(size <= INPUT_HISTORY && size <= input->begin);
	input->begin -= size;
	input->position -= size;
}

int input_skip(struct input *input, uint64_t size, struct error *error)
{
	while (size > 0) {
		struct span data = { 0 };
		size_t part;
		int r;

		r = input_need(input, 1, &data, error);
		if (r < 0)
			return r;
		part = data.size < size ? data.size : (size_t)size;
		input_consume(input, part);
		size -= part;
	}
	return 0;
}

int input_seek(struct input *input, uint64_t offset, struct error *error)
{
	uint64_t first = input->position - input->begin; /* of data[0] */
	int r;

	if (offset >= first && offset - first <= input->end) {
		input->begin = (size_t)(offset - first);
		input->position = offset;
		return 0;
	}
	r = input->source->ops->seek(input->source, offset, error);
	if (r < 0)
		return r;
	input->begin = input->end = 0;
	input->position = offset;
	return 0;
}

int input_read(struct input *input, void *data, uint64_t size, struct error *error)
{
	uint8_t *to = data;

	while (size > 0) {
		struct span visible = { 0 };
		size_t part;
		int r;

		r = input_need(input, 1, &visible, error);
		if (r < 0)
			return r;
		part = visible.size < size ? visible.size : (size_t)size;
		memcpy(to, visible.data, part);
		input_consume(input, part);
		to += part;
		size -= part;
	}
	return 0;
}
