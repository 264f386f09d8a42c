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

/** Compresses; for one thread at a time. */
struct framer;

#define FRAME_LEVEL_DEFAULT INT32_MIN

/** `method` is a ZIP method. -EINVAL (ERROR_USAGE): no such method, or it has no such level. */
int framer_new(uint16_t method, int level, struct framer **ret, struct error *error);
/** The most bytes that a frame of `size` plain bytes has. */
size_t framer_bound(const struct framer *framer, size_t size);
/**
 * Compresses `chunk`, the payload's last one or not, into `capacity` bytes at `out` (at least
 * framer_bound()). Equal chunks give equal frames.
 */
int framer_pack(struct framer *framer, struct span chunk, bool last, uint8_t *out, size_t capacity,
	size_t *ret_size, struct error *error);
/** NULL is fine. */
void framer_free(struct framer *framer);

/** Decompresses; for one thread at a time. */
struct unframer;

/** -EOPNOTSUPP: an unknown ZIP method. */
int unframer_new(uint16_t method, struct unframer **ret, struct error *error);
/**
 * Decompresses a frame into exactly `size` (at least 1) bytes at `out`, which has room for
 * `size` + 1. -EBADMSG: damaged, another size, bytes behind its end, or not to be decompressed
 * alone.
 */
int unframer_unpack(struct unframer *unframer, struct span frame, bool last, uint8_t *out,
	size_t size, struct error *error);
/** NULL is fine. */
void unframer_free(struct unframer *unframer);
