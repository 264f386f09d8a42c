/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/pe.h"
#include "make_uki.h"

#define TWO_SECTIONS                                   \
	{                                              \
		{ .name = ".text", .size = 100 },      \
		{                                      \
			.name = ".cmdline", .size = 40 \
		}                                      \
	}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Parses a copy that ends where the heap block does, so that reading past it is caught. */
static int parse_copy(struct span bytes, struct pe *pe, struct error *error)
{
	AUTO_FREE uint8_t *copy = malloc(bytes.size);

	if (bytes.size > 0)
		memcpy(copy, bytes.data, bytes.size);
	return pe_parse((struct span){ copy, bytes.size }, pe, error);
}

static void test_good(void **state)
{
	const struct make_section sections[] = {
		{ .name = ".text", .size = 100 },
		{ .name = ".cmdline", .data = "root=x", .size = 6 },
		{ .name = "/123", .size = 3 },
		{ .name = ".linux", .size = 500, .virtual_size = 9000 },
		{ .name = ".bss", .virtual_size = 50 },
		{ 0 },
	};
	AUTO_BUFFER struct buffer file = make_pe(
		&(struct make_pe){ .sections = sections, .symbol_table_size = 77 });
	struct error error = { 0 };
	struct pe_section section;
	struct span text;
	struct pe pe;

	(void)state;
	assert_int_equal(pe_parse(span_of(&file), &pe, &error), 0);
	assert_int_equal(pe.machine, PE_MACHINE_NATIVE);
	assert_int_equal(pe.subsystem, PE_SUBSYSTEM_EFI_APPLICATION);
	assert_int_equal(pe.section_count, 5);
	assert_int_equal(pe.certificate_offset, 0);
	assert_false(pe_find(&pe, ".cmd", NULL));
	assert_true(pe_find(&pe, ".cmdline", &section)); /* 8 bytes, no NUL in the file */
	section = pe_section(&pe, 2);
	assert_string_equal(section.name, "/123");

	section = pe_section(&pe, 1);
	text = pe_section_bytes(span_of(&file), &section);
	assert_int_equal(text.size, 6); /* VirtualSize is the smaller */
	assert_memory_equal(text.data, "root=x", 6);
	section = pe_section(&pe, 3);
	text = pe_section_bytes(span_of(&file), &section);
	assert_int_equal(text.size, 512); /* SizeOfRawData is the smaller */
	section = pe_section(&pe, 4);
	text = pe_section_bytes(span_of(&file), &section);
	assert_int_equal(text.size, 0);
	assert_non_null(text.data);
}

static void test_certificate(void **state)
{
	const struct make_section sections[] = { { .name = ".text", .size = 100 }, { 0 } };
	AUTO_BUFFER struct buffer file = make_pe(
		&(struct make_pe){ .sections = sections, .certificate_size = 1000 });
	struct pe pe;

	(void)state;
	assert_int_equal(pe_parse(span_of(&file), &pe, NULL), 0);
	assert_int_equal(pe.certificate_size, 1000);
	assert_int_equal(pe.certificate_offset + pe.certificate_size, file.size);
}

/* One wrong thing each; `text` is what the message must speak of. */
static const struct {
	const char *text;
	struct make_pe pe;
	struct make_section sections[3];
} bad_images[] = {
	{ "PE32+", { .magic = 0x10b }, TWO_SECTIONS },
	{ "header cannot lie at offset 0x20", { .pe_offset = 0x20 }, TWO_SECTIONS },
	{ "PE32+", { .optional_size = MAKE_ZERO }, TWO_SECTIONS },
	{ "has 96 bytes", { .optional_size = 96 }, TWO_SECTIONS },
	{ "data directories", { .directories = 17 }, TWO_SECTIONS },
	{ "data directories", { .directories = 0x20000000 }, TWO_SECTIONS },
	{ "data directories", { .optional_size = 112 + 15 * 8 }, TWO_SECTIONS },
	{ "97 sections", { .section_count = 97 }, TWO_SECTIONS },
	{ "65535 sections", { .section_count = 0xffff }, TWO_SECTIONS },
	{ "past the end of the file", { 0 },
		{ { .name = ".text", .size = 1, .raw_offset = 0xfffffe00 } } },
	{ "past the end of the file", { 0 },
		{ { .name = ".text", .size = 1, .raw_size = 0xffffffff - 1 } } },
	{ "overlaps the headers", { 0 }, { { .name = ".text", .size = 1, .raw_offset = 0x100 } } },
	{ "overlap in the file", { 0 },
		{ { .name = ".text", .size = 512, .raw_offset = 0x400 },
			{ .name = ".linux", .size = 512, .raw_offset = 0x5ff } } },
	{ "overlap in memory", { 0 },
		{ { .name = ".linux", .size = 0x2001, .virtual_address = 0x20000 },
			{ .name = ".initrd", .size = 16, .virtual_address = 0x22000 } } },
	{ "overlap in memory", { 0 },
		{ { .name = ".initrd", .size = 16, .virtual_address = 0x22000 },
			{ .name = ".linux",
				.size = 512,
				.virtual_size = 0x2001,
				.virtual_address = 0x20000 } } },
	{ "exceed 4 GiB", { 0 },
		{ { .name = ".text", .size = 0x1000, .virtual_address = 0xfffff001 } } },
	{ "certificate table", { .certificate_size = 8, .certificate_offset = 0xfffffff8 },
		TWO_SECTIONS },
	{ "certificate table", { .certificate_size = 8, .certificate_offset = 0x10 },
		TWO_SECTIONS },
	{ "certificate table", { .certificate_size = 8, .certificate_offset = MAKE_ZERO },
		TWO_SECTIONS },
	{ "overlaps section '.text'", { .certificate_size = 8, .certificate_offset = 0x400 },
		{ { .name = ".text", .size = 512, .raw_offset = 0x400 } } },
	{ "section '?[31m'", { 0 },
		{ { .name = "\033[31m", .size = 1, .raw_offset = 0xfffffe00 } } },
};

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad_images); i++) {
		struct make_section sections[4] = { 0 };
		struct make_pe image = bad_images[i].pe;
		AUTO_BUFFER struct buffer file = { 0 };
		struct error error = { 0 };
		struct pe pe;

		memcpy(sections, bad_images[i].sections, sizeof(bad_images[i].sections));
		image.sections = sections;
		file = make_pe(&image);
		if (parse_copy(span_of(&file), &pe, &error) != -EBADMSG)
			fail_msg("row %zu (%s) was accepted", i, bad_images[i].text);
		if (!strstr(error.text, bad_images[i].text))
			fail_msg("row %zu: '%s' does not speak of '%s'", i, error.text,
				bad_images[i].text);
	}
}

/* What looks wrong and is not. */
static void test_tolerated(void **state)
{
	static const struct make_section rows[][3] = {
		/* Nothing in the file: the raw offset has no meaning. */
		{ { .name = ".text", .size = 16 },
			{ .name = ".bss", .virtual_size = 99, .raw_offset = 0xfffffff0 } },
		/* Touching is not overlapping. */
		{ { .name = ".linux", .size = 0x1000, .virtual_address = 0x20000 },
			{ .name = ".initrd", .size = 16, .virtual_address = 0x21000 } },
		/* In the file and in memory, the order may differ. */
		{ { .name = ".a", .size = 512, .raw_offset = 0x800, .virtual_address = 0x1000 },
			{ .name = ".b",
				.size = 512,
				.raw_offset = 0x600,
				.virtual_address = 0x3000 } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct make_section sections[4] = { 0 };
		AUTO_BUFFER struct buffer file = { 0 };
		struct error error = { 0 };
		struct pe pe;

		memcpy(sections, rows[i], sizeof(rows[i]));
		file = make_pe(&(struct make_pe){ .sections = sections });
		if (parse_copy(span_of(&file), &pe, &error) < 0)
			fail_msg("row %zu: %s", i, error.text);
	}
}

/* Every file that is too short, by one byte or all of them, is an error and reads nothing else. */
static void test_truncated(void **state)
{
	const struct make_section sections[] = { { .name = ".text", .size = 100 },
		{ .name = ".linux", .size = 600 }, { 0 } };
	AUTO_BUFFER struct buffer file = make_pe(&(struct make_pe){ .sections = sections });
	struct pe pe;

	(void)state;
	assert_int_equal(parse_copy(span_of(&file), &pe, NULL), 0);
	for (size_t size = 0; size < file.size; size++)
		if (parse_copy((struct span){ file.data, size }, &pe, NULL) != -EBADMSG)
			fail_msg("%zu of %zu bytes were accepted", size, file.size);
	assert_int_equal(pe_parse((struct span){ NULL, 0 }, &pe, NULL), -EBADMSG);
}

/* A header at any offset, up to the largest, never leads out of the file. */
static void test_wild_header_offset(void **state)
{
	static const uint32_t offsets[] = { 0, 1, 63, 0x7fffffff, 0xffffffe8, 0xffffffff };
	const struct make_section sections[] = { { .name = ".text", .size = 100 }, { 0 } };
	AUTO_BUFFER struct buffer file = make_pe(&(struct make_pe){ .sections = sections });
	struct pe pe;

	(void)state;
	for (size_t i = 0; i < COUNT(offsets); i++) {
		put_le32(file.data + 0x3c, offsets[i]);
		assert_int_equal(parse_copy(span_of(&file), &pe, NULL), -EBADMSG);
	}
	put_le32(file.data + 0x3c, (uint32_t)file.size - 24);
	assert_int_equal(parse_copy(span_of(&file), &pe, NULL), -EBADMSG);
}

/* A good image with two bytes changed. */
static void test_changed_headers(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
		uint16_t value;
	} rows[] = {
		{ "'MZ'", 0, 0x5a4e },
		{ "'PE' signature", MAKE_PE_OFFSET, 0x454e },
		{ "'PE' signature", MAKE_PE_OFFSET + 2, 1 },
		{ "optional header of 65535 bytes", MAKE_PE_OFFSET + 20, 0xffff },
		{ "reach past the end", MAKE_PE_OFFSET + 6, 96 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct make_section sections[] = { { .name = ".text", .size = 100 }, { 0 } };
		AUTO_BUFFER struct buffer file = make_pe(&(struct make_pe){ .sections = sections });
		struct error error = { 0 };
		struct pe pe;

		put_le16(file.data + rows[i].offset, rows[i].value);
		if (parse_copy(span_of(&file), &pe, &error) != -EBADMSG)
			fail_msg("row %zu (%s) was accepted", i, rows[i].text);
		if (!strstr(error.text, rows[i].text))
			fail_msg("row %zu: '%s'", i, error.text);
	}
}

static void test_extent(void **state)
{
	const struct make_section sections[] = {
		{ .name = ".text", .size = 512, .raw_offset = 0x800, .virtual_address = 0x1000 },
		{ .name = ".data", .size = 512, .raw_offset = 0x600, .virtual_address = 0x2000 },
		{ .name = ".bss", .virtual_size = 5, .raw_offset = 0xffffff00 },
		{ 0 },
	};
	AUTO_BUFFER struct buffer plain = make_pe(
		&(struct make_pe){ .sections = sections, .symbol_table_size = 9 });
	AUTO_BUFFER struct buffer with_certificate = make_pe(
		&(struct make_pe){ .sections = sections, .certificate_size = 24 });

	(void)state;
	assert_int_equal(pe_extent(span_of(&plain)), 0xa00);
	assert_int_equal(pe_extent(span_of(&with_certificate)), 0xa18);
	assert_int_equal(pe_extent((struct span){ with_certificate.data, 0xa00 }), 0xa18);
	assert_int_equal(pe_extent((struct span){ plain.data, 0x100 }), 0); /* cut in its headers */
	assert_int_equal(pe_extent((struct span){ NULL, 0 }), 0);
	assert_int_equal(pe_extent((struct span){ (const uint8_t *)"MZ", 2 }), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_certificate),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_tolerated),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_wild_header_offset),
		cmocka_unit_test(test_changed_headers),
		cmocka_unit_test(test_extent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
