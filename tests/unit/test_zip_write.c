/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "format/zip_write.h"

#define FOUR_GIB ((uint64_t)1 << 32)
#define TIME     1795428000 /* 2026-11-23 10:00:00 UTC */

static struct zip_entry make_entry(uint16_t method, uint64_t compressed, uint64_t size)
{
	return (struct zip_entry){
		.method = method,
		.crc = 0xdecade,
		.compressed = compressed,
		.size = size,
		.name = { (const uint8_t *)"payload", 7 },
	};
}

static void assert_same(const struct zip_entry *a, const struct zip_entry *b)
{
	assert_int_equal(a->method, b->method);
	assert_int_equal(a->crc, b->crc);
	assert_true(a->compressed == b->compressed);
	assert_true(a->size == b->size);
	assert_true(span_equal(a->name, b->name));
	assert_int_equal(b->flags, 0);
}

/* What is written and what version of ZIP a reader must know for it. */
static const struct {
	uint16_t method;
	uint64_t compressed, size, offset;
	size_t local_extra, central_extra;
	uint16_t local_needs, central_needs;
} entries[] = {
	{ 0, 0, 0, 0, 0, 0, 20, 20 },
	{ 8, 100, 1000, 77, 0, 0, 20, 20 },
	{ 93, 100, 1000, 77, 0, 0, 63, 63 },
	{ 8, 100, UINT32_MAX - 1, UINT32_MAX - 1, 0, 0, 20, 20 },
	{ 8, 100, UINT32_MAX, 77, 20, 12, 45, 45 },
	{ 8, 100, 8 * FOUR_GIB, 77, 20, 12, 45, 45 },
	{ 8, 100, 1000, FOUR_GIB, 0, 12, 20, 45 },
	{ 8, 5 * FOUR_GIB, 8 * FOUR_GIB, UINT32_MAX, 20, 28, 45, 45 },
	{ 93, 5 * FOUR_GIB, 8 * FOUR_GIB, 77, 20, 20, 63, 63 },
};

static void test_headers_say_what_was_given(void **state)
{
	uint32_t time = zip_dos_time(TIME);

	(void)state;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct zip_entry entry = make_entry(
			entries[i].method, entries[i].compressed, entries[i].size);
		AUTO_BUFFER struct buffer local = { 0 }, central = { 0 };
		struct zip_entry read;

		entry.local_offset = entries[i].offset;
		assert_int_equal(zip_write_local(&local, &entry, time, NULL), 0);
		assert_int_equal(local.size, ZIP_LOCAL_SIZE + 7 + entries[i].local_extra);
		assert_int_equal(
			zip_read_local(span_of(&local), entries[i].offset, &read, NULL), 0);
		assert_same(&entry, &read);
		assert_int_equal(le16(local.data + 4), entries[i].local_needs);
		assert_int_equal(le32(local.data + 10), time);

		assert_int_equal(zip_write_central(&central, &entry, time, NULL), 0);
		assert_int_equal(central.size, ZIP_CENTRAL_SIZE + 7 + entries[i].central_extra);
		assert_int_equal(zip_read_central(span_of(&central), 0, &read, NULL), 0);
		assert_same(&entry, &read);
		assert_true(read.local_offset == entries[i].offset);
		assert_int_equal(le16(central.data + 6), entries[i].central_needs);
		assert_int_equal(le32(central.data + 12), time);
		assert_int_equal(le32(central.data + 38), 0100644u << 16);
	}
}

static const struct {
	uint64_t entries, offset, size;
	bool wide;
} ends[] = {
	{ 0, 0, 0, false },
	{ 6, 5000, 400, false },
	{ 6, UINT32_MAX - 1, 400, false },
	{ 6, UINT32_MAX, 400, true },
	{ 6, 9 * FOUR_GIB, 400, true },
	{ UINT16_MAX, 5000, 4000000, true },
};

static void test_end_records_are_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct zip_end end = { ends[i].entries, ends[i].offset, ends[i].size,
			ends[i].offset + ends[i].size };
		AUTO_BUFFER struct buffer bytes = { 0 };
		struct zip_end read;

		assert_int_equal(zip_write_end(&bytes, &end, NULL), 0);
		assert_int_equal(bytes.size, ends[i].wide ? 98 : 22);
		assert_int_equal(zip_read_end(span_of(&bytes), end.start, &read, NULL), 0);
		assert_memory_equal(&read, &end, sizeof(end));
	}
}

static uint32_t dos(unsigned year, unsigned month, unsigned day, unsigned hour, unsigned minute,
	unsigned second)
{
	return (year - 1980) << 25 | month << 21 | day << 16 | hour << 11 | minute << 5
	       | second / 2;
}

static void test_dos_time(void **state)
{
	(void)state;
	assert_int_equal(zip_dos_time(TIME), dos(2026, 11, 23, 10, 0, 0));
	assert_int_equal(zip_dos_time(TIME + 59), dos(2026, 11, 23, 10, 0, 58));
	assert_int_equal(zip_dos_time(315532800), dos(1980, 1, 1, 0, 0, 0));
	/* What the format has no room for is moved to its ends. */
	assert_int_equal(zip_dos_time(315532799), dos(1980, 1, 1, 0, 0, 0));
	assert_int_equal(zip_dos_time(0), dos(1980, 1, 1, 0, 0, 0));
	assert_int_equal(zip_dos_time(4354819199), dos(2107, 12, 31, 23, 59, 58));
	assert_int_equal(zip_dos_time(4354819200), dos(2107, 12, 31, 0, 0, 0));
	assert_int_equal(zip_dos_time(INT64_MAX), dos(1980, 1, 1, 0, 0, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers_say_what_was_given),
		cmocka_unit_test(test_end_records_are_found),
		cmocka_unit_test(test_dos_time),
	};

	return cmocka_run_group_tests_name("zip_write", tests, NULL, NULL);
}
