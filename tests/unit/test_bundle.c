/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "format/zip.h"
#include "make_zip.h"
#include "memory_source.h"
#include "source/bundle.h"
#include "source/source.h"

enum mode { MODE_SEEKABLE, MODE_SEQUENTIAL, MODE_TRICKLE, MODE_COUNT };

static struct memory_source make_memory(struct span data, enum mode mode)
{
	return memory_source(data, mode == MODE_SEEKABLE, mode == MODE_TRICKLE ? 1 : 100000);
}

/* What a bundle gave. */
struct outcome {
	int result; /* 0, or the error's */
	struct error error;
	unsigned count;
	enum bundle_role order[4];
	struct buffer plain[BUNDLE_ROLE_COUNT];
};

static int take_payload(
	struct bundle *bundle, const struct bundle_payload *payload, struct outcome *outcome)
{
	uint8_t data[700];
	size_t got;

	outcome->order[outcome->count++ % 4] = payload->role;
	do {
		int r = bundle_read(bundle, data, sizeof(data), &got, &outcome->error);

		if (r < 0)
			return r;
		assert_int_equal(buffer_append(&outcome->plain[payload->role], data, got, NULL), 0);
		/* Expansion stops at the declared size. */
		assert_true(payload->size == BUNDLE_SIZE_UNKNOWN
			    || outcome->plain[payload->role].size <= payload->size);
	} while (got > 0);
	assert_int_equal(bundle_read(bundle, data, sizeof(data), &got, NULL), 0);
	assert_int_equal(got, 0);
	return 0;
}

static int read_bundle(struct source *source, struct outcome *outcome)
{
	AUTO_BUNDLE struct bundle *bundle = NULL;
	struct bundle_payload payload;
	int r;

	r = bundle_open(source, &bundle, &outcome->error);
	while (r == 0) {
		r = bundle_next(bundle, &payload, &outcome->error);
		if (r <= 0)
			return r;
		r = take_payload(bundle, &payload, outcome);
	}
	return r;
}

static struct outcome run(struct span zip, enum mode mode)
{
	struct memory_source memory = make_memory(zip, mode);
	struct outcome outcome = { 0 };

	outcome.result = read_bundle(&memory.source, &outcome);
	return outcome;
}

static void outcome_done(struct outcome *outcome)
{
	buffer_done(&outcome->plain[0]);
	buffer_done(&outcome->plain[1]);
}

/* Contents: text-like, so that it compresses, but not to nothing. */
static struct buffer make_content(size_t size, unsigned seed)
{
	struct buffer content = { 0 };

	assert_int_equal(buffer_append(&content, NULL, size, NULL), 0);
	for (size_t i = 0; i < size; i++) {
		seed = seed * 1103515245u + 12345u;
		content.data[i] = (uint8_t)("abcdefgh \n"[(seed >> 16) % 10]);
	}
	return content;
}

struct fixture {
	struct buffer boot, system, other;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->boot = make_content(1500, 1);
	fixture->system = make_content(3000, 2);
	fixture->other = make_content(100, 3);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	buffer_done(&fixture->boot);
	buffer_done(&fixture->system);
	buffer_done(&fixture->other);
	free(fixture);
	return 0;
}

static struct zip_recipe boot_recipe(const struct fixture *fixture)
{
	return (struct zip_recipe){ .name = BUNDLE_BOOT_NAME,
		.data = span_of(&fixture->boot),
		.method = ZIP_METHOD_DEFLATE };
}

static struct zip_recipe system_recipe(const struct fixture *fixture)
{
	return (struct zip_recipe){ .name = BUNDLE_SYSTEM_NAME,
		.data = span_of(&fixture->system),
		.method = ZIP_METHOD_DEFLATE };
}

static void expect_good(const struct fixture *fixture, struct span zip, enum mode mode)
{
	struct outcome outcome = run(zip, mode);

	if (outcome.result < 0)
		print_error("mode %d: %s\n", mode, outcome.error.text);
	assert_int_equal(outcome.result, 0);
	assert_int_equal(outcome.count, 2);
	if (mode == MODE_SEEKABLE)
		assert_int_equal(outcome.order[0], BUNDLE_ROLE_BOOT);
	assert_true(span_equal(span_of(&outcome.plain[0]), span_of(&fixture->boot)));
	assert_true(span_equal(span_of(&outcome.plain[1]), span_of(&fixture->system)));
	outcome_done(&outcome);
}

static void expect_bad(struct span zip, enum mode mode, int result, const char *text)
{
	struct outcome outcome = run(zip, mode);

	if (outcome.result != result || (text && !strstr(outcome.error.text, text)))
		print_error("mode %d: %d '%s', expected '%s'\n", mode, outcome.result,
			outcome.error.text, text ? text : "");
	assert_int_equal(outcome.result, result);
	assert_int_equal(outcome.error.kind, ERROR_FAILED);
	assert_non_null(strstr(outcome.error.text, "memory"));
	if (text)
		assert_non_null(strstr(outcome.error.text, text));
	outcome_done(&outcome);
}

/* Every style of either payload, either order, either method. */
static void test_styles(void **state)
{
	const struct fixture *fixture = *state;

	for (unsigned i = 0; i < ZIP_STYLE_COUNT * ZIP_STYLE_COUNT * 16; i++) {
		struct buffer zip = { 0 };
		struct zip_recipe boot = boot_recipe(fixture), system = system_recipe(fixture);
		bool boot_first = i & 1, zip64 = i & 8, unsized;
		struct zip_recipe recipes[2];

		boot.method = i & 2 ? ZIP_METHOD_DEFLATE : ZIP_METHOD_STORED;
		system.method = i & 4 ? ZIP_METHOD_DEFLATE : ZIP_METHOD_STORED;
		boot.style = (enum zip_style)(i / 16 % ZIP_STYLE_COUNT);
		system.style = (enum zip_style)(i / 16 / ZIP_STYLE_COUNT);
		recipes[!boot_first] = boot;
		recipes[boot_first] = system;
		make_zip(recipes, 2, zip64, &zip);
		unsized = (boot.method == ZIP_METHOD_STORED && boot.style >= ZIP_STYLE_DESCRIPTOR)
			  || (system.method == ZIP_METHOD_STORED
				  && system.style >= ZIP_STYLE_DESCRIPTOR);
		expect_good(fixture, span_of(&zip), MODE_SEEKABLE);
		if (unsized)
			expect_bad(
				span_of(&zip), MODE_SEQUENTIAL, -EOPNOTSUPP, "cannot be streamed");
		else
			expect_good(fixture, span_of(&zip), MODE_SEQUENTIAL);
		buffer_done(&zip);
	}
}

/* Entries of others before, between and behind the payloads. */
static void test_other_entries(void **state)
{
	const struct fixture *fixture = *state;
	struct span other = span_of(&fixture->other), nothing = { 0 };
	const struct zip_recipe others[] = {
		{ .name = "README", .data = other, .method = ZIP_METHOD_STORED },
		{ .name = "README", .data = other, .method = ZIP_METHOD_DEFLATE },
		{ .name = "README", .data = other, .method = 93 },
		{ .name = "README", .data = other, .method = 0, .flags = 1 },
		{ .name = "dir/", .data = nothing },
		{ .name = "dir/", .data = nothing, .style = ZIP_STYLE_DESCRIPTOR },
		{ .name = "dir/", .data = nothing, .style = ZIP_STYLE_WIDE_UNSIGNED },
		{ .name = "x", .data = nothing, .method = 8, .style = ZIP_STYLE_WIDE },
		{ .name = "x", .data = nothing, .method = 8, .style = ZIP_STYLE_UNSIGNED },
		{ .name = "x", .data = other, .method = 8, .style = ZIP_STYLE_DESCRIPTOR },
		{ .name = "x", .data = other, .method = 8, .style = ZIP_STYLE_WIDE_UNSIGNED },
		{ .name = "x/kernel_efi.efi", .data = other, .style = ZIP_STYLE_ZIP64 },
		{ .name = "KERNEL_EFI.EFI", .data = other },
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		for (unsigned place = 0; place < 3; place++) {
			struct zip_recipe recipes[3];
			struct buffer zip = { 0 };

			recipes[place == 0 ? 1 : 0] = system_recipe(fixture);
			recipes[place == 2 ? 1 : 2] = boot_recipe(fixture);
			recipes[place] = others[i];
			make_zip(recipes, 3, i % 2, &zip);
			for (enum mode mode = 0; mode < MODE_COUNT; mode++)
				expect_good(fixture, span_of(&zip), mode);
			buffer_done(&zip);
		}
}

static void test_others_that_cannot_be_streamed(void **state)
{
	const struct fixture *fixture = *state;
	const struct zip_recipe others[] = {
		{ .name = "x", .data = span_of(&fixture->other), .style = ZIP_STYLE_DESCRIPTOR },
		{ .name = "x",
			.data = span_of(&fixture->other),
			.method = 93,
			.style = ZIP_STYLE_DESCRIPTOR },
		{ .name = "x",
			.data = span_of(&fixture->other),
			.method = 8,
			.flags = 1,
			.style = ZIP_STYLE_DESCRIPTOR },
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		struct zip_recipe recipes[] = { others[i], system_recipe(fixture),
			boot_recipe(fixture) };
		struct buffer zip = { 0 };

		make_zip(recipes, 3, false, &zip);
		expect_good(fixture, span_of(&zip), MODE_SEEKABLE);
		expect_bad(span_of(&zip), MODE_SEQUENTIAL, -EOPNOTSUPP, "cannot be streamed");
		buffer_done(&zip);
	}
}

/* One thing is wrong with the boot payload; which, and how it is told in either mode. */
static void test_defects(void **state)
{
	const struct fixture *fixture = *state;
	static const struct {
		struct zip_recipe defect; /* added to the boot payload */
		int result;
		const char *seekable, *sequential;
	} cases[] = {
		{ { .crc_error = 1 }, -EBADMSG, "CRC-32 is", "CRC-32 is" },
		{ { .crc_error = 1, .style = ZIP_STYLE_DESCRIPTOR }, -EBADMSG, "CRC-32",
			"another CRC-32" },
		{ { .crc_error = 1, .style = ZIP_STYLE_WIDE_UNSIGNED }, -EBADMSG, "CRC-32",
			"another CRC-32" },
		{ { .size_error = -1 }, -EBADMSG, "more than the declared 1499 bytes",
			"more than the declared 1499 bytes" },
		{ { .size_error = -1000 }, -EBADMSG, "more than the declared 500 bytes",
			"more than the declared 500 bytes" },
		{ { .size_error = 1 }, -EBADMSG, "1500 bytes instead of 1501",
			"1500 bytes instead of 1501" },
		{ { .size_error = -1, .style = ZIP_STYLE_DESCRIPTOR }, -EBADMSG, "more than",
			"another size" },
		{ { .trailing = 1 }, -EBADMSG, "1 bytes lie behind", "1 bytes lie behind" },
		{ { .trailing = 500, .style = ZIP_STYLE_ZIP64 }, -EBADMSG, "500 bytes lie behind",
			"500 bytes lie behind" },
		{ { .trailing = 5, .style = ZIP_STYLE_DESCRIPTOR }, -EBADMSG, "5 bytes lie behind",
			"no ZIP data descriptor" },
		{ { .local_crc_error = 1 }, -EBADMSG, "a different CRC-32", "CRC-32 is" },
		{ { .local_crc_error = 1, .style = ZIP_STYLE_DESCRIPTOR }, 1, NULL,
			"another CRC-32" },
		{ { .central_crc_error = 1 }, -EBADMSG, "a different CRC-32",
			"disagree about kernel_efi.efi" },
		{ { .flags = 1 }, -EOPNOTSUPP, "encrypted", "encrypted" },
		{ { .flags = 1, .style = ZIP_STYLE_DESCRIPTOR }, -EOPNOTSUPP, "encrypted",
			"encrypted" },
		{ { .flags = 1u << 6 }, -EOPNOTSUPP, "encrypted", "encrypted" },
		{ { .method = 12 }, -EOPNOTSUPP, "ZIP method 12", "ZIP method 12" },
		{ { .method = 93, .style = ZIP_STYLE_WIDE }, -EOPNOTSUPP, "ZIP method 93",
			"ZIP method 93" },
		{ { .central_name = "kernel_efi.exe" }, -EBADMSG, "without 'kernel_efi.efi'",
			"not in the ZIP's central directory" },
		{ { .central_name = BUNDLE_SYSTEM_NAME }, -EBADMSG, "two entries are named",
			"disagree about verity_rootfs.img" },
		{ { .name = "kernel_efi.exe" }, -EBADMSG, "without 'kernel_efi.efi'",
			"without 'kernel_efi.efi'" },
		{ { .name = "kernel_efi.exe", .central_name = BUNDLE_BOOT_NAME }, -EBADMSG,
			"another entry", "disagree about kernel_efi.efi" },
		{ { .name = BUNDLE_SYSTEM_NAME, .central_name = BUNDLE_BOOT_NAME }, -EBADMSG,
			"another entry", "a second verity_rootfs.img" },
		{ { .unlisted = true }, -EBADMSG, "without 'kernel_efi.efi'",
			"does not fit what lies before" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct zip_recipe recipes[] = { system_recipe(fixture), cases[i].defect };
		struct buffer zip = { 0 };

		if (!recipes[1].name)
			recipes[1].name = BUNDLE_BOOT_NAME;
		recipes[1].data = span_of(&fixture->boot);
		recipes[1].method = recipes[1].method ?: ZIP_METHOD_DEFLATE;
		make_zip(recipes, 2, false, &zip);
		if (cases[i].seekable)
			expect_bad(
				span_of(&zip), MODE_SEEKABLE, cases[i].result, cases[i].seekable);
		expect_bad(span_of(&zip), MODE_SEQUENTIAL,
			cases[i].result > 0 ? -EBADMSG : cases[i].result, cases[i].sequential);
		buffer_done(&zip);
	}
}

static void test_duplicates(void **state)
{
	const struct fixture *fixture = *state;
	struct zip_recipe recipes[] = { system_recipe(fixture), boot_recipe(fixture),
		system_recipe(fixture) };
	struct buffer zip = { 0 };

	make_zip(recipes, 3, false, &zip);
	expect_bad(span_of(&zip), MODE_SEEKABLE, -EBADMSG, "two entries");
	expect_bad(span_of(&zip), MODE_SEQUENTIAL, -EBADMSG, "a second verity_rootfs.img");
	buffer_done(&zip);
}

static struct buffer make_good(const struct fixture *fixture, enum zip_style style, bool zip64)
{
	struct zip_recipe recipes[] = { system_recipe(fixture),
		{ .name = "README", .data = span_of(&fixture->other), .method = 8, .style = style },
		boot_recipe(fixture) };
	struct buffer zip = { 0 };

	recipes[0].style = recipes[2].style = style;
	make_zip(recipes, 3, zip64, &zip);
	return zip;
}

static void test_truncated_anywhere(void **state)
{
	const struct fixture *fixture = *state;

	for (unsigned i = 0; i < 2; i++) {
		struct buffer zip = make_good(
			fixture, i & 1 ? ZIP_STYLE_WIDE : ZIP_STYLE_PLAIN, i & 1);

		for (size_t size = 0; size < zip.size; size++) {
			expect_bad((struct span){ zip.data, size }, MODE_SEEKABLE, -EBADMSG, NULL);
			expect_bad(
				(struct span){ zip.data, size }, MODE_SEQUENTIAL, -EBADMSG, NULL);
		}
		buffer_done(&zip);
	}
}

/* One damaged byte is noticed, unless it says nothing about the payloads (a time, a version). */
static void test_damaged_anywhere(void **state)
{
	const struct fixture *fixture = *state;
	static const uint8_t damage[] = { 0x01, 0xff };

	for (unsigned i = 0; i < 2 * sizeof(damage); i++) {
		struct buffer zip = make_good(
			fixture, i & 1 ? ZIP_STYLE_WIDE : ZIP_STYLE_PLAIN, i & 1);
		unsigned harmless = 0;

		for (size_t at = 0; at < 2 * zip.size; at++) {
			struct outcome outcome;

			zip.data[at / 2] ^= damage[i / 2];
			outcome = run(span_of(&zip), at % 2 ? MODE_SEEKABLE : MODE_SEQUENTIAL);
			zip.data[at / 2] ^= damage[i / 2];
			harmless += outcome.result == 0;
			if (outcome.result == 0) {
				assert_true(span_equal(
					span_of(&outcome.plain[0]), span_of(&fixture->boot)));
				assert_true(span_equal(
					span_of(&outcome.plain[1]), span_of(&fixture->system)));
			}
			outcome_done(&outcome);
		}
		/* Three entries' times, versions, attributes and the unused entry itself. */
		assert_in_range(harmless, 1, 800);
		buffer_done(&zip);
	}
}

static void test_bytes_around(void **state)
{
	const struct fixture *fixture = *state;
	struct buffer zip = make_good(fixture, ZIP_STYLE_PLAIN, false), around = { 0 };

	assert_int_equal(buffer_append(&around, "x", 1, NULL), 0);
	assert_int_equal(buffer_append(&around, zip.data, zip.size, NULL), 0);
	for (enum mode mode = 0; mode < MODE_COUNT; mode++)
		expect_bad(span_of(&around), mode, -EBADMSG, "does not begin like a ZIP");
	/* An entry that the directory does not count lies before it. */
	assert_int_equal(buffer_append(&zip, "x", 1, NULL), 0);
	for (enum mode mode = 0; mode < MODE_COUNT; mode++)
		expect_bad(span_of(&zip), mode, -EBADMSG, "bytes follow its end");
	assert_int_equal(buffer_append(&zip, NULL, 100000, NULL), 0);
	for (enum mode mode = 0; mode < MODE_COUNT; mode++)
		expect_bad(span_of(&zip), mode, -EBADMSG, "bytes follow its end");
	buffer_done(&zip);
	buffer_done(&around);
}

static void test_not_a_bundle(void **state)
{
	static const struct {
		const char *data;
		const char *text;
	} cases[] = {
		{ "", "is empty" },
		{ "<!DOCTYPE html><html>", "web page (HTML)" },
		{ "\xef\xbb\xbf\r\n  <HTML lang=en>", "web page (HTML)" },
		{ "<?xml version=\"1.0\"?><Error/>", "web page (HTML)" },
		{ "{\"error\": 404}", "does not begin like a ZIP" },
		{ "PK", "does not begin like a ZIP" },
		{ "PK\5\6", "ZIP without entries" },
		{ "PK\3\4", "truncated" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (enum mode mode = 0; mode < MODE_COUNT; mode++)
			expect_bad((struct span){ (const uint8_t *)cases[i].data,
					   strlen(cases[i].data) },
				mode, -EBADMSG, cases[i].text);
}

/* Contents larger than the buffers, and entries that end anywhere in them. */
static void test_large(void **state)
{
	struct fixture fixture = { .boot = make_content(300000, 4), .other = make_content(1, 5) };

	(void)state;
	for (size_t i = 0; i < 40; i++) {
		struct zip_recipe recipes[2];
		struct buffer zip = { 0 };

		fixture.system = make_content(262144 - 20 + i, (unsigned)i);
		recipes[0] = system_recipe(&fixture);
		recipes[1] = boot_recipe(&fixture);
		recipes[0].style = recipes[1].style = i & 1 ? ZIP_STYLE_DESCRIPTOR
							    : ZIP_STYLE_PLAIN;
		recipes[0].method = i & 1 ? ZIP_METHOD_DEFLATE : ZIP_METHOD_STORED;
		make_zip(recipes, 2, false, &zip);
		expect_good(&fixture, span_of(&zip), MODE_SEEKABLE);
		expect_good(&fixture, span_of(&zip), MODE_SEQUENTIAL);
		buffer_done(&zip);
		buffer_done(&fixture.system);
	}
	buffer_done(&fixture.boot);
	buffer_done(&fixture.other);
}

/* What cannot be deflated takes more than it is, and its end lies at every offset in a word. */
static void test_incompressible(void **state)
{
	struct fixture fixture = { 0 };

	(void)state;
	for (size_t i = 0; i < 64; i++) {
		struct zip_recipe recipes[2];
		struct buffer zip = { 0 };

		fixture.boot = make_content(i, 7);
		fixture.system = make_content(1000 + i, (unsigned)i);
		for (size_t at = 0; at < fixture.system.size; at++)
			fixture.system.data[at] = (uint8_t)(rand() >> 7);
		recipes[0] = system_recipe(&fixture);
		recipes[1] = boot_recipe(&fixture);
		recipes[0].style = recipes[1].style = (enum zip_style)(i % ZIP_STYLE_COUNT);
		make_zip(recipes, 2, false, &zip);
		for (enum mode mode = 0; mode < MODE_COUNT; mode++)
			expect_good(&fixture, span_of(&zip), mode);
		buffer_done(&zip);
		buffer_done(&fixture.boot);
		buffer_done(&fixture.system);
	}
}

static void test_source_fails(void **state)
{
	const struct fixture *fixture = *state;
	struct buffer zip = make_good(fixture, ZIP_STYLE_DESCRIPTOR, false);

	for (uint64_t at = 1; at < zip.size; at += 7) {
		struct memory_source memory = make_memory(span_of(&zip), MODE_TRICKLE);
		struct outcome outcome = { 0 };

		memory.fail_at = at;
		assert_int_equal(read_bundle(&memory.source, &outcome), -EIO);
		assert_string_equal(outcome.error.text, "the line is dead");
		outcome_done(&outcome);
	}
	buffer_done(&zip);
}

/* A payload that is not read to its end is passed over; sequentially, it is still checked. */
static void test_payload_not_read(void **state)
{
	const struct fixture *fixture = *state;
	struct zip_recipe recipes[] = { system_recipe(fixture), boot_recipe(fixture) };

	for (unsigned i = 0; i < 4; i++) {
		bool seekable = i & 1, damaged = i & 2;
		struct buffer zip = { 0 };
		struct memory_source memory;
		struct bundle *bundle;
		struct bundle_payload payload;
		uint8_t data[10];
		size_t got;

		recipes[0].crc_error = damaged;
		make_zip(recipes, 2, false, &zip);
		memory = make_memory(span_of(&zip), seekable ? MODE_SEEKABLE : MODE_SEQUENTIAL);
		assert_int_equal(bundle_open(&memory.source, &bundle, NULL), 0);
		assert_int_equal(bundle_payload(bundle, BUNDLE_ROLE_SYSTEM, &payload), seekable);
		if (seekable)
			assert_int_equal(payload.size, 3000);
		assert_int_equal(bundle_read(bundle, data, sizeof(data), &got, NULL), -EINVAL);
		assert_int_equal(bundle_next(bundle, &payload, NULL), 1);
		assert_int_equal(bundle_read(bundle, data, sizeof(data), &got, NULL), 0);
		assert_int_equal(got, sizeof(data));
		assert_int_equal(
			bundle_next(bundle, &payload, NULL), damaged && !seekable ? -EBADMSG : 1);
		if (!damaged) {
			assert_int_equal(bundle_next(bundle, &payload, NULL), 0);
			assert_int_equal(bundle_next(bundle, &payload, NULL), 0);
			assert_int_equal(bundle_received(bundle), zip.size);
		}
		bundle_close(bundle);
		buffer_done(&zip);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_styles),
		cmocka_unit_test(test_other_entries),
		cmocka_unit_test(test_others_that_cannot_be_streamed),
		cmocka_unit_test(test_defects),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_truncated_anywhere),
		cmocka_unit_test(test_damaged_anywhere),
		cmocka_unit_test(test_bytes_around),
		cmocka_unit_test(test_not_a_bundle),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_incompressible),
		cmocka_unit_test(test_source_fails),
		cmocka_unit_test(test_payload_not_read),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
