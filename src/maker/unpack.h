/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

struct buffer;
struct chunkmap;
struct error;
struct input;
struct maker_observer;
struct manifest_payload;

/** What a payload must be. All is borrowed. */
struct unpack_settings {
	const struct manifest_payload *payload;
	const struct chunkmap *map;
	uint16_t method;     /* of its ZIP entry */
	uint32_t crc;        /* CRC-32 by its ZIP entry */
	struct buffer *keep; /* where the plain bytes go; NULL: nowhere */
	const struct maker_observer *observer;
};

/**
 * Reads a payload's frames, which begin at the input's position, decompresses them on several
 * threads, and checks every chunk (its frame's exact length, size and SHA-256), every hint, and the
 * whole payload's SHA-256 and CRC-32. -EBADMSG says what is wrong, in which chunk, and at which
 * byte of the bundle.
 */
int unpack_check(struct input *input, const struct unpack_settings *settings, struct error *error);
