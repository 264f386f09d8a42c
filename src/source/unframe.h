/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

/*
 * One chunk of a payload, compressed so that it can be decompressed alone: with method 93 one zstd
 * frame (RFC 8878) that states its content's size and has no checksum (the chunk map has a better
 * one); with method 8 a piece of raw deflate that begins without history and ends at a byte, with a
 * full flush or, the payload's last one, with the stream's end; with method 0 the bytes.
 */

/** Decompresses; for one thread at a time. */
struct unframer;

/** -EOPNOTSUPP: an unknown ZIP method. */
int unframer_new(uint16_t method, struct unframer **ret, struct error *error);
/**
 * Decompresses a frame into exactly `size` (at least 1) bytes at `out`. -EBADMSG: damaged, another
 * size, bytes behind its end, or not to be decompressed alone.
 */
int unframer_unpack(struct unframer *unframer, struct span frame, bool last, uint8_t *out,
	size_t size, struct error *error);
/** NULL is fine. */
void unframer_free(struct unframer *unframer);

static inline void unframer_freep(struct unframer **unframer)
{
	unframer_free(*unframer);
}

#define AUTO_UNFRAMER __attribute__((cleanup(unframer_freep)))
