/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "format/zip.h"

struct error;
struct input;

/** An entry of a bundle: its name is a string of its own, too. */
struct listing_entry {
	struct zip_entry entry;
	char *name;    /* owned */
	uint64_t data; /* where its data begins */
};

/** All entries of a bundle, in the order of the file. listing_done() frees it. */
struct listing {
	struct listing_entry *entries;
	size_t count;
};

/**
 * Reads the central directory of a seekable input and compares it with every local header. The
 * entries must follow each other from the first byte on without a gap, and have different names.
 * -EBADMSG, with the entry and byte.
 */
int listing_read(struct input *input, struct listing *ret, struct error *error);
void listing_done(struct listing *listing);

#define AUTO_LISTING __attribute__((cleanup(listing_done)))

/** NULL: no entry has this name. */
const struct listing_entry *listing_find(const struct listing *listing, const char *name);
