/* SPDX-License-Identifier: Apache-2.0 */
#include "format/zip_write.h"

#include <assert.h>
#include <time.h>

#define EXTRA_ZIP64 0x0001 /* APPNOTE 4.5.3 */

/* Versions that a reader must know, APPNOTE 4.4.3. */
#define NEEDS_PLAIN 20
#define NEEDS_ZIP64 45
#define NEEDS_ZSTD  63

#define MADE_BY_UNIX  (3u << 8 | NEEDS_ZSTD)
#define REGULAR_0644  (0100644u << 16)
#define ZIP64_MAX     (4 + 3 * 8)
#define DOS_YEAR_LAST 2107

uint32_t zip_dos_time(int64_t seconds)
{
	time_t time = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&time, &tm) || tm.tm_year + 1900 < 1980)
		return 1u << 21 | 1u << 16; /* 1980-01-01 00:00:00 */
	if (tm.tm_year + 1900 > DOS_YEAR_LAST)
		tm = (struct tm){ .tm_year = DOS_YEAR_LAST - 1900, .tm_mon = 11, .tm_mday = 31 };
	return (uint32_t)(tm.tm_year - 80) << 25 | (uint32_t)(tm.tm_mon + 1) << 21
	       | (uint32_t)tm.tm_mday << 16 | (uint32_t)tm.tm_hour << 11 | (uint32_t)tm.tm_min << 5
	       | (uint32_t)tm.tm_sec / 2;
}

/* What the 32-bit fields say, and the ZIP64 field for what does not fit. */
struct fields {
	uint32_t compressed, size, offset;
	uint8_t extra[ZIP64_MAX];
	uint16_t extra_size; /* 0: none */
};

static void add_wide(struct fields *fields, uint64_t value)
{
	if (fields->extra_size == 0) {
		put_le16(fields->extra, EXTRA_ZIP64);
		fields->extra_size = 4;
	}
	put_le64(fields->extra + fields->extra_size, value);
	fields->extra_size = (uint16_t)(fields->extra_size + 8);
	put_le16(fields->extra + 2, (uint16_t)(fields->extra_size - 4));
}

static uint32_t narrow(struct fields *fields, uint64_t value)
{
	if (value < UINT32_MAX)
		return (uint32_t)value;
	add_wide(fields, value);
	return UINT32_MAX;
}

static uint16_t needs(const struct zip_entry *entry, const struct fields *fields)
{
	if (entry->method != ZIP_METHOD_STORED && entry->method != ZIP_METHOD_DEFLATE)
		return NEEDS_ZSTD;
	return fields->extra_size > 0 ? NEEDS_ZIP64 : NEEDS_PLAIN;
}

/* The 26 bytes that both headers have from "version needed" on. */
static void put_common(
	uint8_t *p, const struct zip_entry *entry, const struct fields *fields, uint32_t time)
{
	put_le16(p, needs(entry, fields));
	put_le16(p + 2, entry->flags & ZIP_FLAG_UTF8);
	put_le16(p + 4, entry->method);
	put_le32(p + 6, time);
	put_le32(p + 10, entry->crc);
	put_le32(p + 14, fields->compressed);
	put_le32(p + 18, fields->size);
	put_le16(p + 22, (uint16_t)entry->name.size);
	put_le16(p + 24, fields->extra_size);
}

static int append(struct buffer *out, const uint8_t *header, size_t size, struct span name,
	const struct fields *fields, struct error *error)
{
	int r;

	assert(name.size > 0 && name.size <= ZIP_NAME_MAX);
	r = buffer_reserve(out, size + name.size + fields->extra_size, error);
	if (r == 0)
		r = buffer_append(out, header, size, error);
	if (r == 0)
		r = buffer_append(out, name.data, name.size, error);
	if (r == 0 && fields->extra_size > 0)
		r = buffer_append(out, fields->extra, fields->extra_size, error);
	return r;
}

int zip_write_local(
	struct buffer *out, const struct zip_entry *entry, uint32_t time, struct error *error)
{
	uint8_t header[ZIP_LOCAL_SIZE];
	struct fields fields = { 0 };

	/* In a local header both sizes are there or neither is (APPNOTE 4.5.3). */
	if (entry->size >= UINT32_MAX || entry->compressed >= UINT32_MAX) {
		add_wide(&fields, entry->size);
		add_wide(&fields, entry->compressed);
		fields.size = fields.compressed = UINT32_MAX;
	} else {
		fields.size = (uint32_t)entry->size;
		fields.compressed = (uint32_t)entry->compressed;
	}
	put_le32(header, ZIP_LOCAL_MAGIC);
	put_common(header + 4, entry, &fields, time);
	return append(out, header, sizeof(header), entry->name, &fields, error);
}

int zip_write_central(
	struct buffer *out, const struct zip_entry *entry, uint32_t time, struct error *error)
{
	uint8_t header[ZIP_CENTRAL_SIZE] = { 0 };
	struct fields fields = { 0 };

	/* The order of the values in the field. */
	fields.size = narrow(&fields, entry->size);
	fields.compressed = narrow(&fields, entry->compressed);
	fields.offset = narrow(&fields, entry->local_offset);
	put_le32(header, ZIP_CENTRAL_MAGIC);
	put_le16(header + 4, MADE_BY_UNIX);
	put_common(header + 6, entry, &fields, time);
	put_le32(header + 38, REGULAR_0644);
	put_le32(header + 42, fields.offset);
	return append(out, header, sizeof(header), entry->name, &fields, error);
}

static void put_end64(uint8_t *p, const struct zip_end *end)
{
	uint8_t *locator = p + ZIP_END64_SIZE;

	put_le32(p, ZIP_END64_MAGIC);
	put_le64(p + 4, ZIP_END64_SIZE - 12);
	put_le16(p + 12, MADE_BY_UNIX);
	put_le16(p + 14, NEEDS_ZIP64);
	put_le64(p + 24, end->entries);
	put_le64(p + 32, end->entries);
	put_le64(p + 40, end->size);
	put_le64(p + 48, end->offset);
	put_le32(locator, ZIP_LOCATOR64_MAGIC);
	put_le64(locator + 8, end->start);
	put_le32(locator + 16, 1);
}

int zip_write_end(struct buffer *out, const struct zip_end *end, struct error *error)
{
	bool wide = end->entries >= UINT16_MAX || end->size >= UINT32_MAX
		    || end->offset >= UINT32_MAX;
	uint8_t records[ZIP_END64_SIZE + ZIP_LOCATOR64_SIZE + ZIP_END_SIZE] = { 0 };
	uint8_t *p = records + (wide ? ZIP_END64_SIZE + ZIP_LOCATOR64_SIZE : 0);
	uint16_t entries = end->entries < UINT16_MAX ? (uint16_t)end->entries : UINT16_MAX;

	if (wide)
		put_end64(records, end);
	put_le32(p, ZIP_END_MAGIC);
	put_le16(p + 8, entries);
	put_le16(p + 10, entries);
	put_le32(p + 12, end->size < UINT32_MAX ? (uint32_t)end->size : UINT32_MAX);
	put_le32(p + 16, end->offset < UINT32_MAX ? (uint32_t)end->offset : UINT32_MAX);
	return buffer_append(out, records, (size_t)(p - records) + ZIP_END_SIZE, error);
}
