/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct error;
struct image;
struct stream;
struct target;
struct verity_tree;

/**
 * An image that is streamed into the target from its first byte to its last. What the target holds
 * already is not written again. A thread of the stream hashes, compares and writes while the caller
 * gets the next bytes; target_begin() is called on the caller's thread, inside one of the functions
 * below. `target` is borrowed; *ret belongs to the caller (stream_close).
 */
int stream_open(struct target *target, struct stream **ret, struct error *error);

/**
 * What comes is checked against this tree at once. Before the first byte; to no effect when the
 * tree does not lie behind its data.
 */
int stream_expect_tree(struct stream *stream, const struct verity_tree *tree, struct error *error);

/** Room for the next bytes of the image, borrowed until stream_commit(). Waits for it. */
int stream_room(struct stream *stream, uint8_t **ret, size_t *ret_size, struct error *error);
/** `size` bytes were put there. -EFBIG when the image does not fit. */
int stream_commit(struct stream *stream, size_t size, struct error *error);
/** Ends the image: all of it is on the medium. -EBADMSG: it is empty. */
int stream_finish(struct stream *stream, struct error *error);

/** The image, after stream_finish(); borrowed. */
const struct image *stream_image(const struct stream *stream);

/** What is under way is given up. NULL is fine. */
void stream_close(struct stream *stream);

static inline void stream_closep(struct stream **stream)
{
	stream_close(*stream);
}

#define AUTO_STREAM __attribute__((cleanup(stream_closep)))
