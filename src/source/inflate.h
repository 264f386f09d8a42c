/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;
struct inflate;

/** Raw deflate (RFC 1951), decompressed piece by piece. */

/** About 90 KiB. *ret belongs to the caller (inflate_free). 0 or -ENOMEM. */
int inflate_new(struct inflate **ret, struct error *error);
/** Starts a new stream. */
void inflate_reset(struct inflate *inflate);

/** One step of decompression. */
struct inflate_step {
	size_t consumed; /* bytes of the input that are done with */
	size_t produced; /* bytes written to the output */
	size_t unread; /* at the end: how many of all consumed bytes lie behind the stream (≤ 8) */
	bool ended;    /* the stream's last byte has been produced */
};

/**
 * Decompresses from `in` into `size` bytes at `out`; goes on where the last step stopped.
 * A step that does nothing at all needs more input. -EBADMSG: not a deflate stream.
 */
int inflate_run(struct inflate *inflate, struct span in, void *out, size_t size,
	struct inflate_step *ret, struct error *error);

/** NULL is fine. */
void inflate_free(struct inflate *inflate);
