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
 * Reads and consumes a local header; ret->name is valid until the next use of the input. -EBADMSG:
 * none; encrypted, or with a data descriptor, which format 1 has none of.
 */
int listing_read_local(struct input *input, struct zip_entry *ret, struct error *error);

/** Reads and consumes a central directory header: it becomes the last of `listing`, which has room.
 */
int listing_read_central(struct input *input, struct listing *listing, struct error *error);
/** Appends an entry, whose name is copied; there is room for it. -EBADMSG: a NUL in the name. */
int listing_add(struct listing *listing, const struct zip_entry *entry, struct error *error);
/** -EBADMSG: two entries have one name. */
int listing_check_names(const struct listing *listing, struct error *error);

/**
 * Reads the central directory of a seekable input: *ret_start is where it begins. Their `data` is
 * not known then. The entries have different names. -EBADMSG, with the byte.
 */
int listing_read_directory(
	struct input *input, struct listing *ret, uint64_t *ret_start, struct error *error);

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
