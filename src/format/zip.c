/* SPDX-License-Identifier: Apache-2.0 */
#include "format/zip.h"

#include <errno.h>
#include <inttypes.h>

#include "base/error.h"

/* General purpose flags, APPNOTE 4.4.4. */
#define FLAG_ENCRYPTED        (1u << 0)
#define FLAG_DESCRIPTOR       (1u << 3)
#define FLAG_STRONGLY         (1u << 6)
#define FLAG_MASKED_DIRECTORY (1u << 13)
#define FLAGS_ENCRYPTION      (FLAG_ENCRYPTED | FLAG_STRONGLY | FLAG_MASKED_DIRECTORY)

#define EXTRA_ZIP64 0x0001 /* APPNOTE 4.5.3 */

bool zip_entry_has_descriptor(const struct zip_entry *entry)
{
	return entry->flags & FLAG_DESCRIPTOR;
}

bool zip_entry_is_encrypted(const struct zip_entry *entry)
{
	return entry->flags & FLAGS_ENCRYPTION;
}

bool zip_entry_is_named(const struct zip_entry *entry, const char *name)
{
	return span_equal(entry->name, (struct span){ (const uint8_t *)name, strlen(name) });
}

/* The only ZIP64 field, empty if there is none. */
static int find_zip64(struct span extra, uint64_t offset, struct span *ret, struct error *error)
{
	struct span found = { 0 };

	/* Alignment tools leave up to three bytes of padding. */
	while (extra.size >= 4) {
		struct span body;

		if (!span_slice(extra, 4, le16(extra.data + 2), &body))
			return error_failed(error, EBADMSG,
				"ZIP header at byte %" PRIu64 ": its extra field is cut off",
				offset);
		if (le16(extra.data) == EXTRA_ZIP64) {
			if (found.data)
				return error_failed(error, EBADMSG,
					"ZIP header at byte %" PRIu64 ": two ZIP64 fields", offset);
			found = body;
		}
		extra = (struct span){ body.data + body.size, extra.size - 4 - body.size };
	}
	*ret = found;
	return 0;
}

/* Takes the next 64-bit value of the ZIP64 field if the 32-bit one says that it is there. */
static bool widen(struct span *zip64, uint64_t *value)
{
	if (*value != UINT32_MAX)
		return true;
	if (zip64->size < 8)
		return false;
	*value = le64(zip64->data);
	*zip64 = (struct span){ zip64->data + 8, zip64->size - 8 };
	return true;
}

static int widen_entry(
	struct zip_entry *entry, struct span extra, uint64_t offset, struct error *error)
{
	struct span zip64 = { 0 };
	int r;

	r = find_zip64(extra, offset, &zip64, error);
	if (r < 0)
		return r;
	/* A size of exactly 4 GiB - 1 without the field is legal. */
	if (!zip64.data)
		return 0;
	if (!widen(&zip64, &entry->size) || !widen(&zip64, &entry->compressed)
		|| !widen(&zip64, &entry->local_offset))
		return error_failed(error, EBADMSG,
			"ZIP header at byte %" PRIu64 ": its ZIP64 field is too short", offset);
	return 0;
}

static int cut_off(uint64_t offset, struct error *error)
{
	return error_failed(error, EBADMSG, "ZIP header at byte %" PRIu64 " is cut off", offset);
}

static int check_head(
	struct span data, uint64_t offset, size_t size, uint32_t magic, struct error *error)
{
	if (data.size < size)
		return cut_off(offset, error);
	if (le32(data.data) != magic)
		return error_failed(error, EBADMSG,
			"no ZIP header at byte %" PRIu64 ", where one must be", offset);
	return 0;
}

static int check_name_size(size_t size, uint64_t offset, struct error *error)
{
	if (size == 0 || size > ZIP_NAME_MAX)
		return error_failed(error, EBADMSG,
			"ZIP header at byte %" PRIu64 ": a name of %zu bytes (1 to %u are allowed)",
			offset, size, ZIP_NAME_MAX);
	return 0;
}

int zip_local_size(struct span data, uint64_t offset, size_t *ret, struct error *error)
{
	int r;

	r = check_head(data, offset, ZIP_LOCAL_SIZE, ZIP_LOCAL_MAGIC, error);
	if (r < 0)
		return r;
	r = check_name_size(le16(data.data + 26), offset, error);
	if (r < 0)
		return r;
	*ret = (size_t)ZIP_LOCAL_SIZE + le16(data.data + 26) + le16(data.data + 28);
	return 0;
}

int zip_read_local(struct span data, uint64_t offset, struct zip_entry *ret, struct error *error)
{
	const uint8_t *p = data.data;
	struct zip_entry entry;
	struct span extra;
	int r;

	r = zip_local_size(data, offset, &entry.header_size, error);
	if (r < 0)
		return r;
	entry.flags = le16(p + 6);
	entry.method = le16(p + 8);
	entry.crc = le32(p + 14);
	entry.compressed = le32(p + 18);
	entry.size = le32(p + 22);
	entry.local_offset = 0;
	if (!span_slice(data, ZIP_LOCAL_SIZE, le16(p + 26), &entry.name)
		|| !span_slice(data, ZIP_LOCAL_SIZE + entry.name.size, le16(p + 28), &extra))
		return cut_off(offset, error);
	r = widen_entry(&entry, extra, offset, error);
	if (r < 0)
		return r;
	entry.local_offset = offset;
	*ret = entry;
	return 0;
}

int zip_central_size(struct span data, uint64_t offset, size_t *ret, struct error *error)
{
	const uint8_t *p = data.data;
	int r;

	r = check_head(data, offset, ZIP_CENTRAL_SIZE, ZIP_CENTRAL_MAGIC, error);
	if (r < 0)
		return r;
	r = check_name_size(le16(p + 28), offset, error);
	if (r < 0)
		return r;
	*ret = (size_t)ZIP_CENTRAL_SIZE + le16(p + 28) + le16(p + 30) + le16(p + 32);
	return 0;
}

int zip_read_central(struct span data, uint64_t offset, struct zip_entry *ret, struct error *error)
{
	const uint8_t *p = data.data;
	struct zip_entry entry;
	struct span extra;
	int r;

	r = zip_central_size(data, offset, &entry.header_size, error);
	if (r < 0)
		return r;
	if (data.size < entry.header_size)
		return cut_off(offset, error);
	entry.flags = le16(p + 8);
	entry.method = le16(p + 10);
	entry.crc = le32(p + 16);
	entry.compressed = le32(p + 20);
	entry.size = le32(p + 24);
	entry.local_offset = le32(p + 42);
	entry.name = (struct span){ p + ZIP_CENTRAL_SIZE, le16(p + 28) };
	extra = (struct span){ entry.name.data + entry.name.size, le16(p + 30) };
	if (le16(p + 34) != 0 && le16(p + 34) != UINT16_MAX)
		return error_failed(error, EBADMSG,
			"ZIP header at byte %" PRIu64 ": a ZIP of several disks", offset);
	r = widen_entry(&entry, extra, offset, error);
	if (r < 0)
		return r;
	*ret = entry;
	return 0;
}

/* A value in a local header whose entry has a descriptor is either missing (0) or right. */
static bool same(uint64_t local, uint64_t central, bool optional)
{
	return local == central || (optional && local == 0);
}

int zip_check_local(
	const struct zip_entry *local, const struct zip_entry *central, struct error *error)
{
	bool optional = zip_entry_has_descriptor(local);
	const char *field = !span_equal(local->name, central->name) ? "name"
			    : local->method != central->method      ? "method"
			    : zip_entry_is_encrypted(local) != zip_entry_is_encrypted(central)
				    ? "encryption flag"
			    : !same(local->crc, central->crc, optional)   ? "CRC-32"
			    : !same(local->size, central->size, optional) ? "size"
			    : !same(local->compressed, central->compressed, optional)
				    ? "compressed size"
				    : NULL;

	if (field)
		return error_failed(error, EBADMSG,
			"the ZIP's local header at byte %" PRIu64
			" and its central directory give a different %s",
			local->local_offset, field);
	return 0;
}

/* The four forms, the usual ones first. */
static const struct descriptor_form {
	uint8_t crc; /* where the CRC-32 lies, behind the signature if there is one */
	uint8_t width;
} descriptor_forms[] = { { 4, 4 }, { 4, 8 }, { 0, 4 }, { 0, 8 } };

static size_t descriptor_size(const struct descriptor_form *form)
{
	return (size_t)form->crc + 4 + 2 * (size_t)form->width;
}

static bool record_follows(struct span data)
{
	uint32_t magic = data.size >= 4 ? le32(data.data) : 0;

	return magic == ZIP_LOCAL_MAGIC || magic == ZIP_CENTRAL_MAGIC || magic == ZIP_END64_MAGIC
	       || magic == ZIP_END_MAGIC;
}

static bool read_descriptor(
	struct span data, const struct descriptor_form *form, struct zip_actual *ret)
{
	const uint8_t *p = data.data + form->crc;
	struct span rest;

	if (!span_slice(data, descriptor_size(form), 4, &rest) || !record_follows(rest)
		|| (form->crc == 4 && le32(data.data) != ZIP_DESCRIPTOR_MAGIC))
		return false;
	ret->crc = le32(p);
	ret->compressed = form->width == 4 ? le32(p + 4) : le64(p + 4);
	ret->size = form->width == 4 ? le32(p + 8) : le64(p + 12);
	return true;
}

static const char *difference(const struct zip_actual *a, const struct zip_actual *b)
{
	return a->size != b->size               ? "size"
	       : a->compressed != b->compressed ? "compressed size"
	       : a->crc != b->crc               ? "CRC-32"
						: NULL;
}

int zip_check_descriptor(struct span data, uint64_t offset, const struct zip_actual *actual,
	size_t *ret, struct error *error)
{
	const char *field = NULL;

	for (size_t i = 0; i < sizeof(descriptor_forms) / sizeof(*descriptor_forms); i++) {
		const struct descriptor_form *form = &descriptor_forms[i];
		struct zip_actual stated;
		const char *differs;

		if (!read_descriptor(data, form, &stated))
			continue;
		differs = difference(&stated, actual);
		if (!differs) {
			*ret = descriptor_size(form);
			return 0;
		}
		field = field ?: differs;
	}
	if (field)
		return error_failed(error, EBADMSG,
			"the ZIP's data descriptor at byte %" PRIu64
			" gives another %s than the data has",
			offset, field);
	return error_failed(error, EBADMSG,
		"no ZIP data descriptor at byte %" PRIu64 ", where one must be", offset);
}

/* The last position where an end record with a comment up to the end of the file can be. */
static bool find_end(struct span tail, size_t *ret)
{
	if (tail.size < ZIP_END_SIZE)
		return false;
	for (size_t i = tail.size - ZIP_END_SIZE;; i--) {
		const uint8_t *p = tail.data + i;

		if (le32(p) == ZIP_END_MAGIC && le16(p + 20) == tail.size - i - ZIP_END_SIZE) {
			*ret = i;
			return true;
		}
		if (i == 0 || tail.size - i >= ZIP_END_SIZE + ZIP_COMMENT_MAX)
			return false;
	}
}

static int several_disks(uint64_t offset, struct error *error)
{
	return error_failed(error, EBADMSG,
		"ZIP end record at byte %" PRIu64 ": a ZIP of several disks", offset);
}

/* The ZIP64 end record that the locator at `position` in the tail names. */
static int read_end64(struct span tail, uint64_t offset, size_t position, struct zip_end *ret,
	struct error *error)
{
	const uint8_t *locator = tail.data + position, *p;
	uint64_t start = le64(locator + 8), size;
	struct span record;

	if (le32(locator + 4) != 0 || le32(locator + 16) > 1)
		return several_disks(offset + position, error);
	if (start < offset || start > offset + position
		|| !span_slice(tail, start - offset, ZIP_END64_SIZE, &record)
		|| le32(record.data) != ZIP_END64_MAGIC)
		return error_failed(error, EBADMSG,
			"ZIP64 locator at byte %" PRIu64
			": there is no ZIP64 end record at byte %" PRIu64,
			offset + position, start);
	p = record.data;
	/* Its size field does not count itself and the signature. */
	if (__builtin_add_overflow(le64(p + 4), 12, &size) || size < ZIP_END64_SIZE
		|| size > ZIP_END64_MAX || size != offset + position - start)
		return error_failed(error, EBADMSG,
			"ZIP64 end record at byte %" PRIu64 " has a wrong size", start);
	if ((le32(p + 16) | le32(p + 20)) != 0 || le64(p + 24) != le64(p + 32))
		return several_disks(start, error);
	*ret = (struct zip_end){ .entries = le64(p + 32),
		.size = le64(p + 40),
		.offset = le64(p + 48),
		.start = start };
	return 0;
}

/* A field of the plain end record is either the value or all ones. */
static bool consistent(uint64_t plain, uint64_t wide, uint64_t saturated)
{
	return plain == wide || plain == saturated;
}

static int check_end(const struct zip_end *end, struct error *error)
{
	uint64_t directory_end;

	if (end->entries > ZIP_ENTRIES_MAX)
		return error_failed(error, EBADMSG,
			"the ZIP has %" PRIu64 " entries; at most %u are allowed", end->entries,
			ZIP_ENTRIES_MAX);
	if (end->size > ZIP_DIRECTORY_MAX)
		return error_failed(error, EBADMSG,
			"the ZIP's central directory has %" PRIu64 " bytes; at most %u are allowed",
			end->size, ZIP_DIRECTORY_MAX);
	if (__builtin_add_overflow(end->offset, end->size, &directory_end)
		|| directory_end != end->start)
		return error_failed(error, EBADMSG,
			"the ZIP's central directory (%" PRIu64 " bytes at byte %" PRIu64
			") does not end at byte %" PRIu64
			", where the end record begins: bytes are missing or were added",
			end->size, end->offset, end->start);
	return 0;
}

int zip_read_end(struct span tail, uint64_t offset, struct zip_end *ret, struct error *error)
{
	struct zip_end end, end64 = { 0 };
	size_t position;
	const uint8_t *p;
	int r;

	if (!find_end(tail, &position))
		return error_failed(error, EBADMSG,
			"no ZIP end record in the last %zu bytes: it is truncated, or bytes "
			"follow its end",
			tail.size);
	p = tail.data + position;
	if ((le16(p + 4) | le16(p + 6)) != 0 || le16(p + 8) != le16(p + 10))
		return several_disks(offset + position, error);
	end = (struct zip_end){ .entries = le16(p + 10),
		.size = le32(p + 12),
		.offset = le32(p + 16),
		.start = offset + position };
	if (position >= ZIP_LOCATOR64_SIZE && le32(p - ZIP_LOCATOR64_SIZE) == ZIP_LOCATOR64_MAGIC) {
		r = read_end64(tail, offset, position - ZIP_LOCATOR64_SIZE, &end64, error);
		if (r < 0)
			return r;
		if (!consistent(end.entries, end64.entries, UINT16_MAX)
			|| !consistent(end.size, end64.size, UINT32_MAX)
			|| !consistent(end.offset, end64.offset, UINT32_MAX))
			return error_failed(error, EBADMSG,
				"the ZIP's two end records at bytes %" PRIu64 " and %" PRIu64
				" contradict each other",
				end64.start, end.start);
		end = end64;
	}
	r = check_end(&end, error);
	if (r < 0)
		return r;
	*ret = end;
	return 0;
}
