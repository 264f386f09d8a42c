/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "source/listing.h"

struct error;
struct input;

/**
 * Goes from entry to entry of a bundle of format 1, in the order of the file, by local headers, and
 * compares them with the central directory: of a seekable source when asked to, and from then on;
 * of a stream at its end.
 */
struct walk {
	struct input *input;    /* borrowed */
	struct listing entries; /* that went by */
	uint64_t next;          /* where the next local header is */
	bool listed;            /* the two below are known */
	struct listing directory;
	uint64_t directory_start;
};

/** `input` is at its start. Ends with walk_done(), also after an error. */
void walk_init(struct walk *walk, struct input *input);
void walk_done(struct walk *walk);

/**
 * Goes to the next entry's data, wherever the input was. 1 and *ret, borrowed until the next call;
 * 0: that was the last one, and the directory agrees with them. -EBADMSG: a gap, an encrypted
 * entry, a data descriptor, a header that the directory contradicts, a name twice, with the byte.
 */
int walk_next(struct walk *walk, const struct listing_entry **ret, struct error *error);

/** Of a seekable source: the directory agrees with what went by. -EBADMSG. */
int walk_check(struct walk *walk, struct error *error);
