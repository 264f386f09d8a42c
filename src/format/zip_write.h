/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "format/zip.h"

struct buffer;
struct error;

/*
 * The records of a ZIP file that is written: APPNOTE 6.3.10. Sizes stand in the local headers, so
 * there are no data descriptors and a reader can stream it; ZIP64 fields appear only where a value
 * needs them. The same entries and time give the same bytes.
 */

/** Seconds since the epoch as MS-DOS date (upper half) and time, UTC, inside 1980 to 2107. */
uint32_t zip_dos_time(int64_t seconds);

/**
 * Appends the local header of `entry` (name, method, CRC-32, sizes and, of the flags, ZIP_FLAG_UTF8
 * are used; the name has at most ZIP_NAME_MAX bytes). `time` is zip_dos_time()'s. 0 or -ENOMEM.
 */
int zip_write_local(
	struct buffer *out, const struct zip_entry *entry, uint32_t time, struct error *error);

/** Appends its header in the central directory; local_offset is used, too. 0 or -ENOMEM. */
int zip_write_central(
	struct buffer *out, const struct zip_entry *entry, uint32_t time, struct error *error);

/**
 * Appends what ends the file: `end` says how many entries there are and where the central directory
 * lies; its start is where this will lie. 0 or -ENOMEM.
 */
int zip_write_end(struct buffer *out, const struct zip_end *end, struct error *error);
