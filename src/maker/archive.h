/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/bytes.h"

struct error;
struct output;
struct zip_entry;

/** A ZIP that is being written. Zero-initialised with `output` and `time` it has no entry yet. */
struct archive {
	struct output *output;   /* borrowed; at its start */
	uint32_t time;           /* zip_dos_time()'s, of all entries */
	struct buffer directory; /* owned */
	uint64_t entries;
};

/** Adds a stored entry. */
int archive_add(struct archive *archive, const char *name, struct span bytes, struct error *error);
/** Adds an entry (name, method, CRC-32 and sizes) whose data lies in a file, as it is. */
int archive_copy(struct archive *archive, const struct zip_entry *entry, const char *file_name,
	int fd, uint64_t offset, struct error *error);
/** Writes the central directory. */
int archive_finish(struct archive *archive, struct error *error);
void archive_done(struct archive *archive);

#define AUTO_ARCHIVE __attribute__((cleanup(archive_done)))
