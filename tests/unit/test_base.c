/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/guid.h"
#include "base/limits.h"
#include "base/slot.h"
#include "base/text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_error(void **state)
{
	const struct error passed = { ERROR_REFUSED, ENOSPC, "there" };
	struct error error = { 0 };
	char text[2 * ERROR_TEXT_MAX];

	(void)state;
	error_prefix(&error, "unset");
	assert_string_equal(error.text, "");
	assert_int_equal(error_set(&error, ERROR_REFUSED, ENOENT, "no %s", "file"), -ENOENT);
	assert_int_equal(error.kind, ERROR_REFUSED);
	assert_int_equal(error.number, ENOENT);
	error_prefix(&error, "slot %c", 'B');
	assert_string_equal(error.text, "slot B: no file");
	assert_int_equal(error_failed(NULL, EIO, "nobody listens"), -EIO);
	assert_int_equal(error_failed(&error, 0, "x"), -EIO);
	assert_int_equal(error_memory(&error), -ENOMEM);

	/* Passed on whole; and one that nobody set is no success. */
	assert_int_equal(error_pass(&error, &passed), -ENOSPC);
	assert_memory_equal(&error, &passed, sizeof(error));
	assert_int_equal(error_pass(&error, &(struct error){ 0 }), -EIO);
	assert_int_equal(error.number, EIO);
	assert_int_equal(error_pass(NULL, &passed), -ENOSPC);

	/* Long texts are cut, not overrun. */
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	error_failed(&error, EIO, "%s", text);
	assert_int_equal(strlen(error.text), ERROR_TEXT_MAX - 1);
	error_prefix(&error, "%s", text);
	assert_int_equal(strlen(error.text), ERROR_TEXT_MAX - 1);
}

static void test_little_endian(void **state)
{
	static const uint8_t bytes[] = { 0xf8, 0xf7, 0xf6, 0xf5, 0xf4, 0xf3, 0xf2, 0xf1 };
	uint8_t out[8];

	(void)state;
	assert_int_equal(le16(bytes), 0xf7f8);
	assert_int_equal(le32(bytes), 0xf5f6f7f8);
	assert_true(le64(bytes) == 0xf1f2f3f4f5f6f7f8);
	put_le64(out, 0xf1f2f3f4f5f6f7f8);
	assert_memory_equal(out, bytes, 8);
}

static void test_span(void **state)
{
	static const uint8_t bytes[4] = { 1, 2, 3, 4 };
	const struct span whole = { bytes, 4 };
	struct span part = { 0 };

	(void)state;
	assert_true(span_slice(whole, 1, 2, &part));
	assert_true(span_equal(part, (struct span){ bytes + 1, 2 }));
	assert_true(span_slice(whole, 4, 0, &part));
	assert_false(span_slice(whole, 5, 0, &part));
	assert_false(span_slice(whole, 1, 4, &part));
	assert_false(span_slice(whole, 1, UINT64_MAX, &part));
	assert_false(span_slice(whole, UINT64_MAX, 2, &part));
	assert_false(span_equal(whole, part));
	assert_true(all_zero((const uint8_t *)"\0\0\0", 3));
	assert_false(all_zero((const uint8_t *)"\0\0\1", 3));
	assert_true(all_zero(NULL, 0));
}

static void test_buffer(void **state)
{
	AUTO_BUFFER struct buffer buffer = { 0 };
	AUTO_BUFFER struct buffer taken = { 0 };

	(void)state;
	assert_int_equal(buffer_append(&buffer, "ab", 2, NULL), 0);
	assert_int_equal(buffer_append(&buffer, NULL, 2, NULL), 0);
	assert_int_equal(buffer_append(&buffer, "c", 1, NULL), 0);
	assert_int_equal(buffer_append(&buffer, "never read", 0, NULL), 0);
	assert_true(span_equal(span_of(&buffer), (struct span){ (const uint8_t *)"ab\0\0c", 5 }));
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX, NULL), -ENOMEM);
	taken = buffer_take(&buffer);
	assert_int_equal(taken.size, 5);
	assert_null(buffer.data);
}

static void test_affixes(void **state)
{
	(void)state;
	assert_true(text_starts_with("loader", "load"));
	assert_true(text_starts_with("x", ""));
	assert_false(text_starts_with("lo", "load"));
	assert_true(text_ends_with("a.efi", ".efi"));
	assert_false(text_ends_with("a.EFI", ".efi"));
	assert_false(text_ends_with("efi", ".efi"));
	assert_true(text_ends_with_nocase("a.EFI", ".efi"));
}

static void test_hex(void **state)
{
	uint8_t bytes[2] = { 0 };
	char text[5];

	(void)state;
	assert_true(text_unhex("a0Fe", bytes, 2));
	assert_int_equal(bytes[0], 0xa0);
	assert_int_equal(bytes[1], 0xfe);
	text_hex(bytes, 2, text);
	assert_string_equal(text, "a0fe");
	assert_false(text_unhex("a0f", bytes, 2));
	assert_false(text_unhex("a0fe0", bytes, 2));
	assert_false(text_unhex("a0fg", bytes, 2));
	assert_false(text_unhex("0xfe", bytes, 2));
}

static void test_to_u64(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
		bool good;
		uint64_t value;
	} rows[] = {
		{ "0", 0, true, 0 },
		{ "18446744073709551615", UINT64_MAX, true, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, false, 0 },
		{ "99999999999999999999", UINT64_MAX, false, 0 },
		{ "5", 5, true, 5 },
		{ "6", 5, false, 0 },
		{ "", 5, false, 0 },
		{ "-1", UINT64_MAX, false, 0 },
		{ "+1", UINT64_MAX, false, 0 },
		{ " 1", UINT64_MAX, false, 0 },
		{ "1 ", UINT64_MAX, false, 0 },
		{ "0x1", UINT64_MAX, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t value = 0;

		if (text_to_u64(rows[i].text, rows[i].max, &value) != rows[i].good)
			fail_msg("'%s'", rows[i].text);
		assert_true(value == rows[i].value);
	}
}

/* There and back. */
static void test_utf16(void **state)
{
	static const struct {
		const char *utf8;
		const char *utf16;
		size_t size;
	} rows[] = {
		{ "", "", 0 },
		{ "A", "A\0", 2 },
		{ "\xc3\xa4", "\xe4\0", 2 },
		{ "\xe2\x82\xac", "\xac\x20", 2 },
		{ "\xef\xbf\xbd", "\xfd\xff", 2 },
		{ "x\xf0\x9f\x98\x80", "x\0\x3d\xd8\x00\xde", 6 },
		{ "\xf4\x8f\xbf\xbf", "\xff\xdb\xff\xdf", 4 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_FREE uint8_t *utf16 = NULL;
		AUTO_FREE char *utf8 = NULL;
		size_t size;

		assert_int_equal(text_to_utf16(rows[i].utf8, &utf16, &size, NULL), 0);
		assert_int_equal(size, rows[i].size);
		assert_memory_equal(utf16, rows[i].utf16, size);
		assert_int_equal(text_from_utf16(utf16, size, &utf8, NULL), 0);
		assert_string_equal(utf8, rows[i].utf8);
	}
}

static void test_utf16_odd(void **state)
{
	static const struct {
		const char *utf16;
		size_t size;
		const char *utf8;
	} rows[] = {
		{ "A\0\0\0B\0", 6, "A" },          /* ends at a NUL */
		{ "\x00\xd8", 2, "\xef\xbf\xbd" }, /* a high one at the end */
		{ "\x00\xd8"
		  "A\0",
			4,
			"\xef\xbf\xbd"
			"A" }, /* a high one alone */
		{ "\x00\xdc"
		  "A\0",
			4,
			"\xef\xbf\xbd"
			"A" },                                         /* a low one alone */
		{ "\x00\xd8\x00\xd8", 4, "\xef\xbf\xbd\xef\xbf\xbd" }, /* two high ones */
	};
	AUTO_FREE char *none = NULL;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_FREE char *utf8 = NULL;

		assert_int_equal(
			text_from_utf16((const uint8_t *)rows[i].utf16, rows[i].size, &utf8, NULL),
			0);
		assert_string_equal(utf8, rows[i].utf8);
	}
	assert_int_equal(text_from_utf16((const uint8_t *)"A\0B", 3, &none, NULL), -EINVAL);
	assert_null(none);
}

static void test_bad_utf8(void **state)
{
	static const char *const rows[] = { "\x80", "\xc3", "\xc3\x41", "\xc0\x80", "\xe0\x80\x80",
		"\xf0\x80\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
		"\xf8\x88\x80\x80" };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_FREE uint8_t *utf16 = NULL;
		size_t size;

		if (text_to_utf16(rows[i], &utf16, &size, NULL) != -EILSEQ)
			fail_msg("row %zu was accepted", i);
	}
}

static void test_size(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },
		{ 17 << 20, "17.0 MiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};
	char text[16];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		text_size(rows[i].bytes, text);
		assert_string_equal(text, rows[i].text);
	}
}

static void test_list(void **state)
{
	AUTO_TEXT_LIST struct text_list list = { 0 };

	(void)state;
	assert_false(text_list_contains(&list, "a"));
	text_list_sort(&list);
	assert_int_equal(text_list_add(&list, NULL, "%s%d", "b", 1), 0);
	assert_int_equal(text_list_add(&list, NULL, "a"), 0);
	assert_int_equal(text_list_add(&list, NULL, "B"), 0);
	text_list_sort(&list);
	assert_int_equal(list.count, 3);
	assert_string_equal(list.items[0], "B");
	assert_string_equal(list.items[1], "a");
	assert_string_equal(list.items[2], "b1");
	assert_null(list.items[3]);
	assert_true(text_list_contains(&list, "b1"));
	assert_false(text_list_contains(&list, "b"));
}

static void test_guid(void **state)
{
	static const uint8_t esp[16] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b,
		0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };
	static const char *const bad[] = { "", "c12a7328-f81f-11d2-ba4b-00a0c93ec93",
		"c12a7328-f81f-11d2-ba4b-00a0c93ec93b0", "c12a7328-f81f-11d2-ba4b+00a0c93ec93b",
		"c12a7328-f81f-11d2-ba4b-00a0c93ec93g", "{12a7328-f81f-11d2-ba4b-00a0c93ec93}",
		"c12a7328f81f-11d2-ba4b-00a0c93ec93bb" };
	struct guid guid, other;
	char text[GUID_TEXT_SIZE];

	(void)state;
	assert_true(guid_from_text("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", &guid));
	assert_memory_equal(guid.bytes, esp, 16);
	guid_to_text(&guid, text);
	assert_string_equal(text, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
	assert_true(guid_from_text(text, &other));
	assert_true(guid_equal(&guid, &other));
	other.bytes[15] ^= 1;
	assert_false(guid_equal(&guid, &other));
	for (size_t i = 0; i < COUNT(bad); i++)
		if (guid_from_text(bad[i], &guid))
			fail_msg("'%s' was accepted", bad[i]);
}

static void test_slot(void **state)
{
	static const struct {
		const char *pattern, *a, *b;
	} rows[] = {
		{ "PARTLABEL=SYS-%s", "PARTLABEL=SYS-A", "PARTLABEL=SYS-B" },
		{ "/boot-%l.efi", "/boot-a.efi", "/boot-b.efi" },
		{ "%s%l%%%s", "Aa%A", "Bb%B" },
		{ "100%", "100%", "100%" },
		{ "%d%n", "%d%n", "%d%n" },
		{ "%%s", "%s", "%s" },
		{ "", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_FREE char *a = slot_expand(rows[i].pattern, SLOT_A);
		AUTO_FREE char *b = slot_expand(rows[i].pattern, SLOT_B);

		assert_string_equal(a, rows[i].a);
		assert_string_equal(b, rows[i].b);
	}
	assert_int_equal(slot_from_letter('B'), SLOT_B);
	assert_int_equal(slot_from_letter('a'), SLOT_A);
	assert_int_equal(slot_from_letter('C'), SLOT_NONE);
	assert_int_equal(slot_other(SLOT_A), SLOT_B);
	assert_int_equal(slot_other(SLOT_B), SLOT_A);
}

/* The soft limits of this process, for as long as it takes. */
static void test_limits(void **state)
{
	static const struct {
		int resource;
		rlim_t value;
		int number;
		const char *says;
	} cases[] = {
		{ RLIMIT_NOFILE, 77, EMFILE, "open files, ulimit -n or LimitNOFILE=, is 77" },
		{ RLIMIT_FSIZE, 3 << 20, EFBIG, "ulimit -f or LimitFSIZE=, is 3.0 MiB" },
		{ RLIMIT_NPROC, 5000, EAGAIN, "ulimit -u or LimitNPROC=, is 5000" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rlimit before, limit;
		char text[LIMITS_ERROR_MAX];

		assert_int_equal(getrlimit((unsigned)cases[i].resource, &before), 0);
		limit = (struct rlimit){ cases[i].value, before.rlim_max };
		assert_int_equal(setrlimit((unsigned)cases[i].resource, &limit), 0);
		limits_strerror(cases[i].number, text);
		assert_int_equal(setrlimit((unsigned)cases[i].resource, &before), 0);
		assert_non_null(strstr(text, cases[i].says));
		assert_ptr_equal(strstr(text, strerror(cases[i].number)), text);
	}
}

/* Said once, however often the error is passed on. */
static void test_limit_behind_an_error(void **state)
{
	struct error error = { 0 }, outer = { 0 };
	struct rlimit before, limit;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = (struct rlimit){ 77, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(error_failed(&error, EMFILE, "cannot open x"), -EMFILE);
	error_failed(&outer, EMFILE, "no bundle: %s", error.text);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_string_equal(outer.text,
		"no bundle: cannot open x (the limit of open files, ulimit -n or LimitNOFILE=, is "
		"77)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_little_endian),
		cmocka_unit_test(test_span),
		cmocka_unit_test(test_buffer),
		cmocka_unit_test(test_affixes),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_to_u64),
		cmocka_unit_test(test_utf16),
		cmocka_unit_test(test_utf16_odd),
		cmocka_unit_test(test_bad_utf8),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_guid),
		cmocka_unit_test(test_slot),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_limit_behind_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
