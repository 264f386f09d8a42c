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
#include "base/text.h"
#include "format/pe.h"
#include "make_uki.h"
#include "sim_loader.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Offsets in an image of make_pe() */
#define COFF      (MAKE_PE_OFFSET + 4)
#define OPTIONAL  (MAKE_PE_OFFSET + 24)
#define DIRECTORY (OPTIONAL + 112)
#define SECTION   (DIRECTORY + 16 * 8)

/*
 * Headers up to 0x200, then
 *   .text   address 0x1000, 0x100 bytes at 0x200
 *   .data   address 0x2000, 0x300 bytes at 0x400
 *   .reloc  address 0x3000, 12 bytes at 0x800
 * and SizeOfImage 0x4000.
 */
#define IMAGE_SIZE 0x4000u

static struct buffer image(void)
{
	static const uint8_t relocations[] = { 0, 0x20, 0, 0, 12, 0, 0, 0, 0x10, 0xa0, 0, 0 };
	static const struct make_section sections[] = { { .name = ".text", .size = 0x100 },
		{ .name = ".data", .size = 0x300 },
		{ .name = ".reloc", .data = relocations, .size = sizeof(relocations) }, { 0 } };

	return make_pe(&(struct make_pe){ .sections = sections });
}

/* One change of the image; `text` is what the message must speak of, NULL: it is accepted. */
struct change {
	const char *text;
	size_t offset;
	unsigned size; /* bytes: 2 or 4 */
	uint32_t value;
};

static void apply(struct buffer *file, const struct change *change)
{
	if (change->size == 2)
		put_le16(file->data + change->offset, (uint16_t)change->value);
	else
		put_le32(file->data + change->offset, change->value);
}

/* Parses a copy that ends where the heap block does, so that reading past it is caught. */
static void assert_parsed(const struct buffer *file, const char *text, const char *what, size_t row)
{
	AUTO_FREE uint8_t *copy = malloc(file->size);
	struct error error = { 0 };
	struct pe pe;
	int r;

	memcpy(copy, file->data, file->size);
	r = pe_parse((struct span){ copy, file->size }, &pe, &error);
	if (!text && r < 0)
		fail_msg("%s, row %zu: %s", what, row, error.text);
	if (text && r != -EBADMSG)
		fail_msg("%s, row %zu (%s) was accepted", what, row, text);
	if (text && !strstr(error.text, text))
		fail_msg("%s, row %zu: '%s' does not speak of '%s'", what, row, error.text, text);
}

static void test_header_fields(void **state)
{
	static const struct change rows[] = {
		{ "SizeOfImage is 0x0", OPTIONAL + 56, 4, 0 },
		{ "SizeOfImage is 0x200", OPTIONAL + 56, 4, 0x200 },
		{ "'.reloc' (address 0x3000", OPTIONAL + 56, 4, 0x300b },
		{ NULL, OPTIONAL + 56, 4, 0x300c },
		{ "more than 1024 MiB", OPTIONAL + 56, 4, 0x40000000 },
		{ NULL, OPTIONAL + 56, 4, 0x40000000 - 0x1000 },
		{ "SizeOfHeaders is 0x0", OPTIONAL + 60, 4, 0 },
		{ "SizeOfHeaders is 0x1bf", OPTIONAL + 60, 4, SECTION + 3 * 40 - 1 },
		{ NULL, OPTIONAL + 60, 4, SECTION + 3 * 40 },
		{ "overlaps the headers", OPTIONAL + 60, 4, 0x201 },
		{ "more than the file has", OPTIONAL + 60, 4, 0x10000 },
		{ "SectionAlignment is 0", OPTIONAL + 32, 4, 0 },
		{ "SectionAlignment is 3", OPTIONAL + 32, 4, 3 }, { NULL, OPTIONAL + 32, 4, 1 },
		{ NULL, OPTIONAL + 32, 4, 0x10000 },
		{ "more than 1024 MiB", OPTIONAL + 32, 4, 0x80000000 },
		{ "FileAlignment is 5", OPTIONAL + 36, 4, 5 }, { NULL, OPTIONAL + 36, 4, 0 },
		{ "stripped", COFF + 18, 2, 0x207 }, { NULL, COFF + 18, 2, 0 },
		{ "entry point 0x0", OPTIONAL + 16, 4, 0 }, { NULL, OPTIONAL + 16, 4, 0x10fe },
		{ "entry point 0x10ff", OPTIONAL + 16, 4, 0x10ff },
		{ "entry point 0x4000", OPTIONAL + 16, 4, IMAGE_SIZE },
		{ "entry point 0xffffffff", OPTIONAL + 16, 4, 0xffffffff },
		{ "'.data', which is not executable", OPTIONAL + 16, 4, 0x2000 },
		{ "15 data directories", OPTIONAL + 108, 4, 15 },
		{ "17 data directories", OPTIONAL + 108, 4, 17 },
		{ NULL, OPTIONAL + 24, 4, 0xfffff001 }, /* ImageBase */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = image();

		apply(&file, &rows[i]);
		assert_parsed(&file, rows[i].text, __func__, i);
	}
}

/* How many data directories there may be, with the section headers right behind them. */
static void test_directory_count(void **state)
{
	(void)state;
	for (uint32_t count = 0; count <= 17; count++) {
		AUTO_BUFFER struct buffer file = image();
		uint8_t headers[3 * 40];

		memcpy(headers, file.data + SECTION, sizeof(headers));
		put_le32(file.data + OPTIONAL + 108, count);
		put_le16(file.data + COFF + 16, (uint16_t)(112 + 8 * count));
		memcpy(file.data + DIRECTORY + 8 * count, headers, sizeof(headers));
		assert_parsed(&file, count >= 6 && count <= 16 ? NULL : "data directories",
			__func__, count);
	}
}

static void test_section_fields(void **state)
{
	static const struct change rows[] = {
		/* .data: VirtualSize, VirtualAddress, SizeOfRawData, PointerToRawData, flags */
		{ NULL, SECTION + 48, 4, 0 },
		{ NULL, SECTION + 48, 4, 0x1000 },
		{ "overlap in memory", SECTION + 48, 4, 0x1001 },
		{ "exceed 4 GiB", SECTION + 48, 4, 0xffffffff },
		{ "over the headers", SECTION + 52, 4, 0 },
		{ "over the headers", SECTION + 52, 4, 0x1ff },
		{ NULL, SECTION + 52, 4, 0x200 },
		{ "overlap in memory", SECTION + 52, 4, 0x10ff },
		{ NULL, SECTION + 52, 4, 0x3d00 },
		{ "outside of the image", SECTION + 52, 4, 0x3d01 },
		{ "outside of the image", SECTION + 52, 4, 0xb2090000 },
		{ "exceed 4 GiB", SECTION + 52, 4, 0xffffff00 },
		{ "overlap in the file", SECTION + 56, 4, 0x401 },
		{ "past the end of the file", SECTION + 56, 4, 0xffffffff },
		{ "overlaps the headers", SECTION + 60, 4, 0x1ff },
		{ "overlap in the file", SECTION + 60, 4, 0x200 },
		{ "past the end of the file", SECTION + 60, 4, 0xfffffe00 },
		{ "not readable", SECTION + 76, 4, 0x40 },
		{ "uninitialized", SECTION + 76, 4, 0x40000080 },
		/* .text */
		{ "'.text', which is not executable", SECTION + 36, 4, 0x40000020 },
		/* .reloc */
		{ "base relocations", SECTION + 88, 4, 11 },
		{ NULL, SECTION + 88, 4, 13 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = image();

		apply(&file, &rows[i]);
		assert_parsed(&file, rows[i].text, __func__, i);
	}
}

/* Two fields: the directory of base relocations, or a block of them. */
static void test_relocations(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
		uint32_t first, second;
	} rows[] = {
		{ "base relocations", DIRECTORY + 40, 0, 12 },
		{ "base relocations", DIRECTORY + 40, IMAGE_SIZE, 12 },
		{ "base relocations", DIRECTORY + 40, 0x3000, 0x1000 },
		{ "base relocations", DIRECTORY + 40, 0x3000, 0xffffffff },
		{ "'.reloc'", DIRECTORY + 40, 0x2000, 0 },
		{ "'.reloc'", DIRECTORY + 40, 0, 0 },
		{ NULL, 0x800, 0x2000, 12 },
		{ "a block of 0 bytes", 0x800, 0x2000, 0 },
		{ "a block of 7 bytes", 0x800, 0x2000, 7 },
		{ "a block of 4 bytes", 0x800, 0x2000, 4 },
		{ "a block of 0 bytes where 4 are left", 0x800, 0x2000, 8 },
		{ "a block of 14 bytes", 0x800, 0x2000, 14 },
		{ "a block of 4294967294 bytes", 0x800, 0x2000, 0xfffffffe },
		{ "page 0x4000", 0x800, IMAGE_SIZE, 12 },
		{ "address 0x4008 lies outside", 0x800, 0x3ff8, 12 },
		{ NULL, 0x800, 0x3fe8, 12 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = image();

		put_le32(file.data + rows[i].offset, rows[i].first);
		put_le32(file.data + rows[i].offset + 4, rows[i].second);
		assert_parsed(&file, rows[i].text, __func__, i);
	}
}

static void test_relocation_types(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 16; type++) {
		AUTO_BUFFER struct buffer file = image();
		bool known = type <= 3 || type == 10;

		put_le16(file.data + 0x808, (uint16_t)(type << 12));
		assert_parsed(&file, known ? NULL : "which firmware does not know", __func__, type);
	}
}

/* A debug directory in .data, at 0x400 of the file; its one entry is CodeView. */
static void test_debug(void **state)
{
	static const struct {
		const char *text;
		uint32_t directory, directory_size;
		uint32_t size, address, offset;
		const char *signature; /* at address 0x2100 */
	} rows[] = {
		{ NULL, 0x2000, 28, 24, 0x2100, 0, "RSDS" },
		{ "debug data", 0x2000, 28, 23, 0x2100, 0, "RSDS" },
		{ "debug data", 0x2000, 28, 15, 0x2100, 0, "NB10" },
		{ "debug data", 0x2000, 28, 19, 0x2100, 0, "MTOC" },
		{ NULL, 0x2000, 28, 1, 0x2100, 0, "none" },
		{ "debug data", 0x2000, 28, 24, IMAGE_SIZE, 0, "" },
		{ "debug data", 0x2000, 28, 24, IMAGE_SIZE - 23, 0, "" },
		{ "debug data", 0x2000, 28, 0xffffffff, 0x2100, 0, "" },
		{ NULL, 0x2000, 28, 24, 0, 0x500, "RSDS" },
		{ "debug data", 0x2000, 28, 24, 0, 0xa00, "" },
		{ "debug data", 0x2000, 28, 24, 0, 0xffffffff, "" },
		{ NULL, 0x2000, 28, 0, 0, 0, "" },
		{ NULL, 0x2000, 0, 24, IMAGE_SIZE, 0, "" },  /* no directory */
		{ NULL, 0x1f00, 28, 24, IMAGE_SIZE, 0, "" }, /* in no section */
		{ "debug directory", 0x2050, 0xffffffff, 0, 0, 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = image();

		memset(file.data + 0x400, 0, 0x400);
		put_le32(file.data + DIRECTORY + 48, rows[i].directory);
		put_le32(file.data + DIRECTORY + 52, rows[i].directory_size);
		put_le32(file.data + 0x400 + 12, 2);
		put_le32(file.data + 0x400 + 16, rows[i].size);
		put_le32(file.data + 0x400 + 20, rows[i].address);
		put_le32(file.data + 0x400 + 24, rows[i].offset);
		memcpy(file.data + 0x500, rows[i].signature, strlen(rows[i].signature));
		assert_parsed(&file, rows[i].text, __func__, i);
	}
}

/* A resource directory in .data: a header of 16 bytes with the counts at 12, entries of 8. */
static void test_resources(void **state)
{
	static const struct {
		const char *text;
		uint32_t size;
		uint16_t named, others;
		uint32_t name, target;
	} rows[] = {
		{ NULL, 16, 0, 0, 0, 0 },
		{ "resource directory", 15, 0, 0, 0, 0 },
		{ "resource directory", 16, 0, 1, 0, 0 },
		{ NULL, 24, 0, 1, 0, 0 },
		{ "resource directory", 24, 0xffff, 0xffff, 0, 0 },
		{ NULL, 32, 1, 0, 0x80000018, 0 },
		{ "resource directory", 32, 1, 0, 0x80000020, 0 },
		{ NULL, 32, 1, 0, 0x20, 0 },             /* an id */
		{ NULL, 0x100, 1, 0, 0x80000018, 0x20 }, /* HII */
		{ "resource directory", 0x100, 1, 0, 0x80000018, 0x100 },
		{ "resource directory", 0x100, 1, 0, 0x80000018, 0x80000100 },
		{ "resource directory", 0x100, 1, 0, 0x80000018, 0x80000040 }, /* an empty one */
		{ "resources", 0x301, 0, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = image();
		uint8_t *resources = file.data + 0x400;

		memset(resources, 0, 0x400);
		put_le32(file.data + DIRECTORY + 16, 0x2000);
		put_le32(file.data + DIRECTORY + 20, rows[i].size);
		put_le16(resources + 12, rows[i].named);
		put_le16(resources + 14, rows[i].others);
		put_le32(resources + 16, rows[i].name);
		put_le32(resources + 20, rows[i].target);
		memcpy(resources + 24, "\3\0H\0I\0I\0", 8);
		assert_parsed(&file, rows[i].text, __func__, i);
	}
}

static void test_certificates(void **state)
{
	const struct make_section sections[] = { { .name = ".text", .size = 100 }, { 0 } };
	AUTO_BUFFER struct buffer file = make_pe(
		&(struct make_pe){ .sections = sections, .certificate_size = 64 });

	(void)state;
	assert_parsed(&file, NULL, __func__, 0);
	assert_int_equal(buffer_append(&file, NULL, 8, NULL), 0);
	assert_parsed(&file, "does not end the file", __func__, 1);
}

/* Sections that nobody could take for one: the number alone costs no time. */
static void test_many_sections(void **state)
{
	const uint32_t count = 65535, headers = 0x300000;
	AUTO_BUFFER struct buffer file = image();
	uint8_t *header;

	(void)state;
	assert_int_equal(buffer_append(&file, NULL, headers + 0x200000 - file.size, NULL), 0);
	put_le16(file.data + COFF + 2, (uint16_t)count);
	put_le32(file.data + OPTIONAL + 56, headers + 0x200000);
	put_le32(file.data + OPTIONAL + 60, headers);
	put_le32(file.data + OPTIONAL + 16, headers);
	memset(file.data + DIRECTORY, 0, 16 * 8);
	for (uint32_t i = 0; i < count; i++) {
		header = file.data + SECTION + 40 * i;
		memcpy(header, i ? ".data\0\0\0" : ".text\0\0\0", 8);
		put_le32(header + 8, 16);
		put_le32(header + 12, headers + (i ? 16 * (count - i) + 16 : 0));
		put_le32(header + 16, 16);
		put_le32(header + 20, headers + (i ? 16 * (count - i) + 16 : 0));
		put_le32(header + 36, 0x60000020);
	}
	assert_parsed(&file, NULL, __func__, 0);
	/* The last one is where the first one is. */
	put_le32(file.data + SECTION + 40 * (count - 1) + 12, headers + 15);
	assert_parsed(&file, "overlap in memory", __func__, 1);
}

/* ukify makes the .sbat of Debian 12's stub longer than the room before .sdmagic. */
static void test_sbat(void **state)
{
	static const struct {
		const char *text;
		const char *first, *second;
	} rows[] = {
		{ NULL, ".sbat", ".sdmagic" },
		{ "overlap in memory", ".sdmagic", ".sbat" }, /* .sbat would be loaded over it */
		{ "overlap in memory", ".sdmagic", ".cmdline" },
		{ "overlap in memory", ".sbatx", ".sdmagic" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct make_section sections[] = { { .name = ".text", .size = 64 },
			{ .name = rows[i].first, .size = 0x134, .virtual_address = 0x19000 },
			{ .name = rows[i].second, .size = 52, .virtual_address = 0x19100 }, { 0 } };
		AUTO_BUFFER struct buffer file = make_pe(&(struct make_pe){ .sections = sections });

		assert_parsed(&file, rows[i].text, __func__, i);
	}
}

/* However the headers are changed: what is accepted, an independent loader takes, too. */
static void test_every_header_byte(void **state)
{
	static const uint8_t values[] = { 0, 1, 2, 3, 0x10, 0x40, 0x7f, 0x80, 0xfe, 0xff };
	AUTO_BUFFER struct buffer file = image();
	unsigned accepted = 0, refused = 0;

	(void)state;
	for (size_t at = 0; at < SECTION + 3 * 40; at++) {
		for (size_t i = 0; i < COUNT(values); i++) {
			uint8_t before = file.data[at];
			struct pe pe;
			int r;

			file.data[at] = values[i];
			r = pe_parse(span_of(&file), &pe, NULL);
			if (r == 0 && pe.machine == SIM_MACHINE && pe.subsystem == 10
				&& !sim_loads(span_of(&file)))
				fail_msg("byte %zu: 0x%02x is accepted", at, values[i]);
			*(r == 0 ? &accepted : &refused) += 1;
			file.data[at] = before;
		}
	}
	assert_true(accepted > 100 && refused > 100);
}

static void test_warnings(void **state)
{
	static const struct {
		const char *text; /* NULL: none */
		struct change change;
	} rows[] = {
		{ NULL, { NULL, OPTIONAL + 32, 4, 0x1000 } },
		{ "section '.data' lies at address 0x2010", { NULL, SECTION + 52, 4, 0x2010 } },
		{ "section '.text' lies at address 0x1000", { NULL, OPTIONAL + 32, 4, 0x10000 } },
		{ "section '.data' has VirtualSize 0", { NULL, SECTION + 48, 4, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_TEXT_LIST struct text_list warnings = { 0 };
		AUTO_BUFFER struct buffer file = image();
		struct pe pe;

		apply(&file, &rows[i].change);
		assert_int_equal(pe_parse(span_of(&file), &pe, NULL), 0);
		assert_int_equal(pe_warn(&pe, &warnings, NULL), 0);
		assert_int_equal(warnings.count, rows[i].text ? 1 : 0);
		if (rows[i].text && !strstr(warnings.items[0], rows[i].text))
			fail_msg("row %zu: '%s'", i, warnings.items[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_fields),
		cmocka_unit_test(test_directory_count),
		cmocka_unit_test(test_section_fields),
		cmocka_unit_test(test_relocations),
		cmocka_unit_test(test_relocation_types),
		cmocka_unit_test(test_debug),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_many_sections),
		cmocka_unit_test(test_sbat),
		cmocka_unit_test(test_every_header_byte),
		cmocka_unit_test(test_warnings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
