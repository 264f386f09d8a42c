/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "format/zip.h"

#define OFFSET 1000u /* where the parsed bytes lie in the file */

/* Headers with fields that are easy to recognise, and their variable parts behind them. */

struct header {
	uint8_t bytes[512];
	size_t size;
};

static void append(struct header *header, const void *data, size_t size)
{
	memcpy(header->bytes + header->size, data, size);
	header->size += size;
}

static struct header make_local(
	uint32_t compressed, uint32_t size, const void *extra, size_t extra_size)
{
	struct header header = { .size = ZIP_LOCAL_SIZE };

	put_le32(header.bytes, ZIP_LOCAL_MAGIC);
	put_le16(header.bytes + 6, 1u << 3);
	put_le16(header.bytes + 8, ZIP_METHOD_DEFLATE);
	put_le32(header.bytes + 14, 0xc0ffee);
	put_le32(header.bytes + 18, compressed);
	put_le32(header.bytes + 22, size);
	put_le16(header.bytes + 26, 4);
	put_le16(header.bytes + 28, (uint16_t)extra_size);
	append(&header, "name", 4);
	append(&header, extra, extra_size);
	return header;
}

static struct header make_central(
	uint32_t compressed, uint32_t size, uint32_t offset, const void *extra, size_t extra_size)
{
	struct header header = { .size = ZIP_CENTRAL_SIZE };

	put_le32(header.bytes, ZIP_CENTRAL_MAGIC);
	put_le16(header.bytes + 8, 1);
	put_le16(header.bytes + 10, ZIP_METHOD_STORED);
	put_le32(header.bytes + 16, 0xc0ffee);
	put_le32(header.bytes + 20, compressed);
	put_le32(header.bytes + 24, size);
	put_le16(header.bytes + 28, 4);
	put_le16(header.bytes + 30, (uint16_t)extra_size);
	put_le16(header.bytes + 32, 7);
	put_le32(header.bytes + 42, offset);
	append(&header, "name", 4);
	append(&header, extra, extra_size);
	append(&header, "comment", 7);
	return header;
}

static struct span span_header(const struct header *header)
{
	return (struct span){ header->bytes, header->size };
}

#define SIZE64   "\x11\x22\x33\x44\x55\x00\x00\x00" /* 0x5544332211 */
#define PACKED64 "\x01\x02\x03\x04\x05\x00\x00\x00" /* 0x0504030201 */
#define OFFSET64 "\x0a\x0b\x0c\x0d\x0e\x00\x00\x00" /* 0x0e0d0c0b0a */
#define OTHER    "UT\x05\x00\x03tttt"
#define ALL      0xffffffffu

static void test_local(void **state)
{
	static const struct {
		uint32_t compressed, size;
		const char *extra;
		size_t extra_size;
		int result;
		uint64_t want_compressed, want_size;
	} cases[] = {
		{ 10, 20, "", 0, 0, 10, 20 },
		{ 10, 20, OTHER, 9, 0, 10, 20 },
		{ 10, 20, OTHER "\0\0\0", 12, 0, 10, 20 }, /* padding */
		{ ALL, ALL, "\x01\0\x10\0" SIZE64 PACKED64, 20, 0, 0x0504030201, 0x5544332211 },
		{ ALL, ALL, OTHER "\x01\0\x10\0" SIZE64 PACKED64, 29, 0, 0x0504030201,
			0x5544332211 },
		{ 10, ALL, "\x01\0\x08\0" SIZE64, 12, 0, 10, 0x5544332211 },
		/* 4 GiB - 1 without the field is what it says */
		{ ALL, ALL, "", 0, 0, ALL, ALL },
		/* a field that is not needed */
		{ 10, 20, "\x01\0\x10\0" SIZE64 PACKED64, 20, 0, 10, 20 },
		/* too short, cut off, twice */
		{ ALL, ALL, "\x01\0\x08\0" SIZE64, 12, -EBADMSG, 0, 0 },
		{ ALL, ALL, "\x01\0\x11\0" SIZE64 PACKED64, 20, -EBADMSG, 0, 0 },
		{ 10, 20, "UT\x06\x00\x03tttt", 9, -EBADMSG, 0, 0 },
		{ ALL, 20, "\x01\0\x08\0" SIZE64 "\x01\0\x08\0" SIZE64, 24, -EBADMSG, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct header header = make_local(
			cases[i].compressed, cases[i].size, cases[i].extra, cases[i].extra_size);
		struct error error = { 0 };
		struct zip_entry entry = { 0 };

		assert_int_equal(zip_read_local(span_header(&header), OFFSET, &entry, &error),
			cases[i].result);
		if (cases[i].result < 0) {
			assert_non_null(strstr(error.text, "byte 1000"));
			continue;
		}
		assert_int_equal(entry.compressed, cases[i].want_compressed);
		assert_int_equal(entry.size, cases[i].want_size);
		assert_int_equal(entry.crc, 0xc0ffee);
		assert_int_equal(entry.method, ZIP_METHOD_DEFLATE);
		assert_int_equal(entry.local_offset, OFFSET);
		assert_int_equal(entry.header_size, header.size);
		assert_true(zip_entry_is_named(&entry, "name"));
		assert_false(zip_entry_is_named(&entry, "nam"));
		assert_false(zip_entry_is_named(&entry, "names"));
		assert_true(zip_entry_has_descriptor(&entry));
		assert_false(zip_entry_is_encrypted(&entry));
	}
}

static void test_central(void **state)
{
	static const struct {
		uint32_t compressed, size, offset;
		const char *extra;
		size_t extra_size;
		int result;
		uint64_t want_compressed, want_size, want_offset;
	} cases[] = {
		{ 10, 20, 30, "", 0, 0, 10, 20, 30 },
		{ 10, 20, ALL, "\x01\0\x08\0" OFFSET64, 12, 0, 10, 20, 0x0e0d0c0b0a },
		{ 10, ALL, ALL, "\x01\0\x10\0" SIZE64 OFFSET64, 20, 0, 10, 0x5544332211,
			0x0e0d0c0b0a },
		{ ALL, ALL, ALL, "\x01\0\x18\0" SIZE64 PACKED64 OFFSET64, 28, 0, 0x0504030201,
			0x5544332211, 0x0e0d0c0b0a },
		{ ALL, ALL, ALL, "\x01\0\x10\0" SIZE64 PACKED64, 20, -EBADMSG, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct header header = make_central(cases[i].compressed, cases[i].size,
			cases[i].offset, cases[i].extra, cases[i].extra_size);
		struct zip_entry entry = { 0 };

		assert_int_equal(zip_read_central(span_header(&header), OFFSET, &entry, NULL),
			cases[i].result);
		if (cases[i].result < 0)
			continue;
		assert_int_equal(entry.compressed, cases[i].want_compressed);
		assert_int_equal(entry.size, cases[i].want_size);
		assert_int_equal(entry.local_offset, cases[i].want_offset);
		assert_int_equal(entry.method, ZIP_METHOD_STORED);
		assert_int_equal(entry.header_size, header.size);
		assert_true(zip_entry_is_named(&entry, "name"));
		assert_true(zip_entry_is_encrypted(&entry));
	}
}

/* Whatever is missing at the end, and in buffers of exactly that size. */
static void test_cut_off(void **state)
{
	struct header local = make_local(ALL, ALL, "\x01\0\x10\0" SIZE64 PACKED64, 20);
	struct header central = make_central(1, 2, ALL, "\x01\0\x08\0" OFFSET64, 12);

	(void)state;
	for (size_t size = 0; size < local.size; size++) {
		uint8_t *copy = malloc(size ?: 1);
		struct zip_entry entry;

		memcpy(copy, local.bytes, size);
		assert_int_equal(
			zip_read_local((struct span){ copy, size }, 0, &entry, NULL), -EBADMSG);
		free(copy);
	}
	for (size_t size = 0; size < central.size; size++) {
		uint8_t *copy = malloc(size ?: 1);
		struct zip_entry entry;

		memcpy(copy, central.bytes, size);
		assert_int_equal(
			zip_read_central((struct span){ copy, size }, 0, &entry, NULL), -EBADMSG);
		free(copy);
	}
}

static void test_header_caps(void **state)
{
	struct header header = make_local(1, 2, "", 0);
	struct zip_entry entry;
	size_t size;

	(void)state;
	assert_int_equal(zip_local_size(span_header(&header), 0, &size, NULL), 0);
	assert_int_equal(size, ZIP_LOCAL_SIZE + 4);
	put_le16(header.bytes + 26, ZIP_NAME_MAX);
	assert_int_equal(zip_local_size(span_header(&header), 0, &size, NULL), 0);
	put_le16(header.bytes + 26, ZIP_NAME_MAX + 1);
	assert_int_equal(zip_local_size(span_header(&header), 0, &size, NULL), -EBADMSG);
	put_le16(header.bytes + 26, 0);
	assert_int_equal(zip_local_size(span_header(&header), 0, &size, NULL), -EBADMSG);
	put_le32(header.bytes, ZIP_CENTRAL_MAGIC);
	assert_int_equal(zip_local_size(span_header(&header), 0, &size, NULL), -EBADMSG);

	header = make_central(1, 2, 3, "", 0);
	put_le16(header.bytes + 34, 1); /* another disk */
	assert_int_equal(zip_read_central(span_header(&header), 0, &entry, NULL), -EBADMSG);
}

static struct zip_entry make_entry(void)
{
	return (struct zip_entry){ .method = ZIP_METHOD_DEFLATE,
		.crc = 1,
		.compressed = 2,
		.size = 3,
		.name = { (const uint8_t *)"name", 4 } };
}

static void test_check_local(void **state)
{
	const struct zip_entry central = make_entry();
	struct zip_entry local = central;
	struct error error = { 0 };

	(void)state;
	assert_int_equal(zip_check_local(&local, &central, &error), 0);
	local.name.size = 3;
	assert_int_equal(zip_check_local(&local, &central, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "different name"));
	local = central;
	local.method = 0;
	assert_int_equal(zip_check_local(&local, &central, NULL), -EBADMSG);
	local = central;
	local.flags = 1;
	assert_int_equal(zip_check_local(&local, &central, NULL), -EBADMSG);
	local = central;
	local.crc = local.compressed = local.size = 0;
	assert_int_equal(zip_check_local(&local, &central, NULL), -EBADMSG);
	local.flags = 1u << 3;
	assert_int_equal(zip_check_local(&local, &central, NULL), 0);
	local.size = 4;
	assert_int_equal(zip_check_local(&local, &central, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "different size"));
}

static const struct zip_actual actual = { .crc = 0x12345678, .compressed = 100, .size = 200 };

/* A descriptor in one of the four forms, and the magic of what follows. */
static struct header make_descriptor(
	const struct zip_actual *stated, bool signature, bool wide, uint32_t next)
{
	struct header header = { 0 };
	uint8_t field[8];

	if (signature) {
		put_le32(field, ZIP_DESCRIPTOR_MAGIC);
		append(&header, field, 4);
	}
	put_le32(field, stated->crc);
	append(&header, field, 4);
	put_le64(field, stated->compressed);
	append(&header, field, wide ? 8 : 4);
	put_le64(field, stated->size);
	append(&header, field, wide ? 8 : 4);
	put_le32(field, next);
	append(&header, field, 4);
	return header;
}

static void test_descriptor(void **state)
{
	static const uint32_t next[] = { ZIP_LOCAL_MAGIC, ZIP_CENTRAL_MAGIC, ZIP_END_MAGIC,
		ZIP_END64_MAGIC };
	static const struct zip_actual values[] = {
		{ .crc = 0x12345678, .compressed = 100, .size = 200 },
		{ 0 },
		{ .compressed = 2 },
		{ .crc = ZIP_DESCRIPTOR_MAGIC, .compressed = ZIP_DESCRIPTOR_MAGIC, .size = 0 },
		{ .crc = 1, .compressed = ZIP_LOCAL_MAGIC, .size = ZIP_LOCAL_MAGIC },
	};

	(void)state;
	for (unsigned i = 0; i < 5 * 4 * 4; i++) {
		const struct zip_actual *value = &values[i / 16];
		bool signature = i & 1, wide = i & 2;
		struct header header = make_descriptor(value, signature, wide, next[i / 4 % 4]);
		size_t size = 0;

		assert_int_equal(
			zip_check_descriptor(span_header(&header), 0, value, &size, NULL), 0);
		assert_int_equal(size, header.size - 4);
		for (size_t cut = 0; cut < header.size; cut++)
			assert_int_equal(zip_check_descriptor((struct span){ header.bytes, cut }, 0,
						 value, &size, NULL),
				-EBADMSG);
	}
}

static void test_descriptor_differs(void **state)
{
	static const struct {
		struct zip_actual stated;
		const char *text;
	} cases[] = {
		{ { .crc = 0x12345679, .compressed = 100, .size = 200 }, "another CRC-32" },
		{ { .crc = 0x12345678, .compressed = 101, .size = 200 },
			"another compressed size" },
		{ { .crc = 0x12345678, .compressed = 100, .size = 201 }, "another size" },
	};

	(void)state;
	for (unsigned i = 0; i < 3 * 4; i++) {
		struct header header = make_descriptor(
			&cases[i / 4].stated, i & 1, i & 2, ZIP_LOCAL_MAGIC);
		struct error error = { 0 };
		size_t size;

		assert_int_equal(
			zip_check_descriptor(span_header(&header), OFFSET, &actual, &size, &error),
			-EBADMSG);
		assert_non_null(strstr(error.text, cases[i / 4].text));
		header = make_descriptor(&actual, i & 1, i & 2, 0x11111111);
		assert_int_equal(
			zip_check_descriptor(span_header(&header), OFFSET, &actual, &size, &error),
			-EBADMSG);
		assert_non_null(strstr(error.text, "no ZIP data descriptor at byte 1000"));
	}
}

/* The end of a file: `before` bytes, the ZIP64 records if wanted, the end record and a comment. */

struct ending {
	uint64_t entries, size, offset;
	bool zip64;
	uint64_t entries64, size64, offset64;
	const char *comment;
};

static struct header make_end(const struct ending *ending)
{
	struct header end = { .size = 10 };
	uint8_t *p = end.bytes + end.size;

	memset(end.bytes, '.', end.size);
	if (ending->zip64) {
		put_le32(p, ZIP_END64_MAGIC);
		put_le64(p + 4, ZIP_END64_SIZE - 12);
		put_le64(p + 24, ending->entries64);
		put_le64(p + 32, ending->entries64);
		put_le64(p + 40, ending->size64);
		put_le64(p + 48, ending->offset64);
		p += ZIP_END64_SIZE;
		put_le32(p, ZIP_LOCATOR64_MAGIC);
		put_le64(p + 8, OFFSET + 10);
		put_le32(p + 16, 1);
		p += ZIP_LOCATOR64_SIZE;
	}
	put_le32(p, ZIP_END_MAGIC);
	put_le16(p + 8, (uint16_t)ending->entries);
	put_le16(p + 10, (uint16_t)ending->entries);
	put_le32(p + 12, (uint32_t)ending->size);
	put_le32(p + 16, (uint32_t)ending->offset);
	put_le16(p + 20, (uint16_t)strlen(ending->comment));
	end.size = (size_t)(p - end.bytes) + ZIP_END_SIZE;
	append(&end, ending->comment, strlen(ending->comment));
	return end;
}

/* A directory of 100 bytes that ends at OFFSET + 10. */
#define AT (OFFSET + 10 - 100)

static void test_end(void **state)
{
	static const struct {
		struct ending ending;
		int result;
		uint64_t entries;
	} cases[] = {
		{ { 2, 100, AT, .comment = "" }, 0, 2 },
		{ { 2, 100, AT, .comment = "some PK\5\6 words" }, 0, 2 },
		{ { 65535, 100, AT, .comment = "" }, 0, 65535 },
		{ { 2, 100, AT, true, 2, 100, AT, "" }, 0, 2 },
		{ { 65535, ALL, ALL, true, 65536, 100, AT, "comment" }, 0, 65536 },
		{ { 65535, 100, AT, true, 2, 100, AT, "" }, 0, 2 },
		/* contradictions, caps, gaps */
		{ { 3, 100, AT, true, 2, 100, AT, "" }, -EBADMSG, 0 },
		{ { 2, 101, AT, true, 2, 100, AT, "" }, -EBADMSG, 0 },
		{ { 2, 100, AT + 1, true, 2, 100, AT, "" }, -EBADMSG, 0 },
		{ { 2, 100, AT - 1, .comment = "" }, -EBADMSG, 0 },
		{ { 2, 100, AT + 1, .comment = "" }, -EBADMSG, 0 },
		{ { 2, 99, AT, .comment = "" }, -EBADMSG, 0 },
		{ { 2, ALL, ALL, .comment = "" }, -EBADMSG, 0 },
		{ { 65535, ALL, ALL, true, 65537, 100, AT, "" }, -EBADMSG, 0 },
		{ { 65535, ALL, ALL, true, 2, UINT64_MAX, AT + 101, "" }, -EBADMSG, 0 },
		{ { 65535, ALL, ALL, true, 2, (16 << 20) + 1, AT, "" }, -EBADMSG, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct header tail = make_end(&cases[i].ending);
		struct zip_end end = { 0 };

		assert_int_equal(
			zip_read_end(span_header(&tail), OFFSET, &end, NULL), cases[i].result);
		if (cases[i].result < 0)
			continue;
		assert_int_equal(end.entries, cases[i].entries);
		assert_int_equal(end.offset, AT);
		assert_int_equal(end.size, 100);
		assert_int_equal(end.start, OFFSET + 10);
	}
}

static void test_end_damaged(void **state)
{
	static const struct ending ending = { 65535, ALL, ALL, true, 2, 100, AT, "comment" };
	const struct header whole = make_end(&ending);
	/* Every byte of the ZIP64 records that matters: magic, sizes, disks, counts, offsets. */
	static const struct {
		size_t first, last;
	} fields[] = { { 0, 11 }, { 16, 55 }, { 56, 71 }, { 73, 75 }, { 76, 85 }, { 96, 97 } };
	struct zip_end end;

	(void)state;
	for (size_t size = 0; size < whole.size; size++)
		assert_int_equal(
			zip_read_end((struct span){ whole.bytes, size }, OFFSET, &end, NULL),
			-EBADMSG);
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		for (size_t at = fields[i].first; at <= fields[i].last; at++) {
			struct header damaged = whole;

			damaged.bytes[10 + at] ^= 0x42;
			assert_int_equal(
				zip_read_end(span_header(&damaged), OFFSET, &end, NULL), -EBADMSG);
		}
}

/* The longest comment is found, one byte more is not. */
static void test_end_long_comment(void **state)
{
	struct ending ending = { 2, 100, AT, .comment = "" };
	struct header head = make_end(&ending);
	size_t size = head.size + ZIP_COMMENT_MAX;
	uint8_t *tail = calloc(1, size + 1);
	struct zip_end end;

	(void)state;
	memcpy(tail, head.bytes, head.size);
	put_le16(tail + head.size - 2, ZIP_COMMENT_MAX);
	assert_int_equal(zip_read_end((struct span){ tail, size }, OFFSET, &end, NULL), 0);
	assert_int_equal(
		zip_read_end((struct span){ tail, size + 1 }, OFFSET, &end, NULL), -EBADMSG);
	free(tail);
}

/* Readers look ZIP_TAIL_MAX bytes back and no further: a longer ZIP64 record is refused. */
static void test_end64_cap(void **state)
{
	static const struct ending ending = { 2, 100, AT, true, 2, 100, AT, "" };
	const size_t rest = ZIP_LOCATOR64_SIZE + ZIP_END_SIZE;
	struct header usual = make_end(&ending);
	struct zip_end end;

	(void)state;
	for (size_t over = 0; over <= 1; over++) {
		size_t extra = ZIP_END64_MAX - ZIP_END64_SIZE + over;
		uint8_t *tail = calloc(1, usual.size + extra);

		memcpy(tail, usual.bytes, usual.size - rest);
		put_le64(tail + 10 + 4, ZIP_END64_SIZE + extra - 12);
		memcpy(tail + usual.size - rest + extra, usual.bytes + usual.size - rest, rest);
		assert_int_equal(
			zip_read_end((struct span){ tail, usual.size + extra }, OFFSET, &end, NULL),
			over ? -EBADMSG : 0);
		free(tail);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_central),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_header_caps),
		cmocka_unit_test(test_check_local),
		cmocka_unit_test(test_descriptor),
		cmocka_unit_test(test_descriptor_differs),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_end_damaged),
		cmocka_unit_test(test_end_long_comment),
		cmocka_unit_test(test_end64_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
