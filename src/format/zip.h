/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

/*
 * The framing of ZIP files: PKWARE APPNOTE 6.3.10, ISO/IEC 21320-1. Spans in, values out. `offset`
 * is always where the span lies in the ZIP file; it serves messages and checks.
 */

#define ZIP_LOCAL_MAGIC      0x04034b50u /* APPNOTE 4.3.7 */
#define ZIP_CENTRAL_MAGIC    0x02014b50u /* 4.3.12 */
#define ZIP_END_MAGIC        0x06054b50u /* 4.3.16 */
#define ZIP_END64_MAGIC      0x06064b50u /* 4.3.14 */
#define ZIP_LOCATOR64_MAGIC  0x07064b50u /* 4.3.15 */
#define ZIP_DESCRIPTOR_MAGIC 0x08074b50u /* 4.3.9 */

/* Sizes of the records without their variable parts, in bytes. */
#define ZIP_LOCAL_SIZE     30
#define ZIP_CENTRAL_SIZE   46
#define ZIP_END_SIZE       22
#define ZIP_END64_SIZE     56
#define ZIP_LOCATOR64_SIZE 20

/* Caps on what a file may say. */
#define ZIP_NAME_MAX      4096u
#define ZIP_EXTRA_MAX     65535u
#define ZIP_COMMENT_MAX   65535u
#define ZIP_LOCAL_MAX     (ZIP_LOCAL_SIZE + ZIP_NAME_MAX + ZIP_EXTRA_MAX)
#define ZIP_CENTRAL_MAX   (ZIP_CENTRAL_SIZE + ZIP_NAME_MAX + ZIP_EXTRA_MAX + ZIP_COMMENT_MAX)
#define ZIP_END64_MAX     4096u
#define ZIP_DIRECTORY_MAX (16u << 20)
#define ZIP_ENTRIES_MAX   65536u
/** Holds the end record wherever it is, with the two ZIP64 records before it. */
#define ZIP_TAIL_MAX (ZIP_END64_MAX + ZIP_LOCATOR64_SIZE + ZIP_END_SIZE + ZIP_COMMENT_MAX)

#define ZIP_METHOD_STORED  0
#define ZIP_METHOD_DEFLATE 8
#define ZIP_METHOD_ZSTD    93

#define ZIP_FLAG_UTF8 (1u << 11) /* the name is UTF-8: APPNOTE 4.4.4 */

/** What a local or central header says of an entry. */
struct zip_entry {
	uint16_t flags;
	uint16_t method;
	uint32_t crc;          /* CRC-32 of the plain bytes */
	uint64_t compressed;   /* bytes in the file */
	uint64_t size;         /* plain bytes */
	uint64_t local_offset; /* where the local header lies */
	size_t header_size;    /* of this header with its variable parts */
	struct span name;      /* inside the parsed span */
};

/** CRC and sizes lie in a data descriptor behind the data; the local header may hold zeroes. */
bool zip_entry_has_descriptor(const struct zip_entry *entry);
bool zip_entry_is_encrypted(const struct zip_entry *entry);
bool zip_entry_is_named(const struct zip_entry *entry, const char *name);

/** The size of a local header, told by its first ZIP_LOCAL_SIZE bytes: at most ZIP_LOCAL_MAX. */
int zip_local_size(struct span data, uint64_t offset, size_t *ret, struct error *error);
/**
 * Reads the local header at the start of `data`. ret->name borrows from `data`.
 * Errors: -EBADMSG (truncated, over a cap, damaged extra field; with the offset).
 */
int zip_read_local(struct span data, uint64_t offset, struct zip_entry *ret, struct error *error);

/** Like zip_local_size() for a central directory header. */
int zip_central_size(struct span data, uint64_t offset, size_t *ret, struct error *error);
/** Like zip_read_local() for a central directory header. */
int zip_read_central(struct span data, uint64_t offset, struct zip_entry *ret, struct error *error);

/**
 * Checks that a local header says what the central directory says: name, method, encryption, and
 * CRC and sizes unless they are in a data descriptor. -EBADMSG names the field.
 */
int zip_check_local(
	const struct zip_entry *local, const struct zip_entry *central, struct error *error);

/** What was found when an entry was read. */
struct zip_actual {
	uint32_t crc;
	uint64_t compressed;
	uint64_t size;
};

/**
 * Checks the data descriptor at the start of `data` (with or without signature, 32 or 64 bits)
 * against what was read. `data` holds ZIP_DESCRIPTOR_PEEK bytes, or fewer at the end of the file:
 * the record that follows tells ambiguous forms apart.
 * *ret is its size. Errors: -EBADMSG (naming the field that differs).
 */
int zip_check_descriptor(struct span data, uint64_t offset, const struct zip_actual *actual,
	size_t *ret, struct error *error);

#define ZIP_DESCRIPTOR_PEEK 28 /* the largest form and the signature that follows */

/** The central directory, as the end records describe it. */
struct zip_end {
	uint64_t entries;
	uint64_t offset; /* of the central directory */
	uint64_t size;   /* of the central directory */
	uint64_t start;  /* offset of the first end record: where the directory must end */
};

/**
 * Finds the end records in the last bytes of a ZIP file (`tail`, which lies at `offset`) and reads
 * them. The comment must reach the end of the file exactly.
 * Errors: -EBADMSG (no end record, damaged, over a cap, several disks, or a directory that does not
 * end where the end records begin).
 */
int zip_read_end(struct span tail, uint64_t offset, struct zip_end *ret, struct error *error);
