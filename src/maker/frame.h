/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

/* One frame holds one chunk of a payload: source/unframe.h says what it is. */

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
