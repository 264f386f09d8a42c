/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "format/zip.h"
#include "source/bundle.h"
#include "source/inflate.h"
#include "source/input.h"

/** Reading one entry's data: what it must be, and what it is so far. */
struct entry_reader {
	struct zip_entry declared; /* its name is not kept */
	bool sized;                /* both sizes are known before the data */
	bool crc_known;            /* so is the CRC-32 */
	bool has_descriptor;       /* a data descriptor follows and is to be checked */
	bool drained;              /* the last plain byte has been produced */
	bool ended;                /* and everything has been checked */
	struct zip_actual actual;
};

/** What is known of one payload. */
struct bundle_part {
	bool found;               /* in the central directory, or as a local header went by */
	bool listed;              /* sequential: found again in the central directory */
	struct zip_entry entry;   /* as found; its name is not kept */
	struct zip_actual actual; /* sequential: what reading it showed */
};

struct bundle {
	struct input input;
	struct inflate *inflate;
	struct bundle_part parts[BUNDLE_ROLE_COUNT];
	struct entry_reader reader;
	int current;        /* role of the payload that is being read, or -1 */
	int next;           /* seekable: role that comes next */
	uint64_t directory; /* seekable: where the central directory begins */
	uint64_t entries;   /* sequential: local headers that went by */
	bool seekable;
	bool finished; /* everything has been read and checked */
};

/** The role of a payload's entry, or -1 for an entry that is none of ours. */
int bundle_role_of(const struct zip_entry *entry);

/** Puts the source's name before the message of a failed `r`. Returns `r`. */
int bundle_failed(const struct bundle *bundle, int r, struct error *error);

/** -EOPNOTSUPP when a payload's entry is encrypted or has a method other than 0 and 8. */
int bundle_check_supported(
	const struct bundle *bundle, const struct zip_entry *entry, int role, struct error *error);

/** Reads and consumes the local header at the input's position. ret->name is not valid after. */
int bundle_read_local(
	struct bundle *bundle, struct zip_entry *ret, int *ret_role, struct error *error);

/** Peeks at a central directory header. ret->name borrows until the next use of the input. */
int bundle_peek_central(struct bundle *bundle, struct zip_entry *ret, struct error *error);

/** Prepares reading the data of `entry`, which begins at the input's position. */
void entry_begin(struct bundle *bundle, const struct zip_entry *entry, bool trusted);
/** Like bundle_read() for the entry begun last, whatever its name. */
int entry_read(
	struct bundle *bundle, void *data, size_t size, size_t *ret_got, struct error *error);
/** Reads and checks the rest of the entry without keeping it. */
int entry_drain(struct bundle *bundle, struct error *error);

/** Reads and checks the central directory of a seekable bundle: bundle_open()'s work. */
int directory_read(struct bundle *bundle, struct error *error);
/** bundle_next() for a seekable bundle; *ret is the role. */
int directory_next(struct bundle *bundle, int *ret, struct error *error);

/** bundle_next() for a sequential bundle; *ret is the role. */
int sequence_next(struct bundle *bundle, int *ret, struct error *error);
