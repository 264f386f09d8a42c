/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;
struct source;

#define INPUT_CAPACITY (256u << 10)

/** How far input_unread() can step back. */
#define INPUT_HISTORY 8u

/** Everything that is looked at in one piece must fit in here. */
#define INPUT_PEEK_MAX (INPUT_CAPACITY - INPUT_HISTORY)

/** Buffered reading of a source with look-ahead. */
struct input {
	struct source *source; /* borrowed */
	uint8_t *data;         /* INPUT_CAPACITY bytes, owned */
	size_t begin, end;     /* what has been read ahead */
	uint64_t position;     /* in the source, of data[begin] */
	uint64_t received;     /* bytes that came from the source so far */
};

/** Begins at the source's start. 0 or -ENOMEM; input_done() releases it. */
int input_init(struct input *input, struct source *source, struct error *error);
void input_done(struct input *input);

/**
 * Makes at least `size` (at most INPUT_PEEK_MAX) bytes visible without consuming
 * them; fewer only at the end of the source. *ret has all that are visible and is valid until the
 * next call.
 */
int input_peek(struct input *input, size_t size, struct span *ret, struct error *error);

/** Like input_peek(), but -EBADMSG "truncated: ends at byte N" when there are fewer. */
int input_need(struct input *input, size_t size, struct span *ret, struct error *error);

/** Consumes `size` visible bytes. */
void input_consume(struct input *input, size_t size);

/** Takes back the last `size` consumed bytes, at most INPUT_HISTORY. */
void input_unread(struct input *input, size_t size);

/** Consumes `size` bytes, visible or not. -EBADMSG when the source ends before. */
int input_skip(struct input *input, uint64_t size, struct error *error);

/** Goes to `offset` of a seekable source; stays inside the buffer if it is there. */
int input_seek(struct input *input, uint64_t offset, struct error *error);

/** Consumes exactly `size` bytes and copies them. -EBADMSG when the source ends before. */
int input_read(struct input *input, void *data, uint64_t size, struct error *error);
