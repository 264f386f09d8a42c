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
#include "format/uki.h"
#include "make_uki.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT(name_, text)                                                 \
	{                                                                 \
		.name = (name_), .data = (text), .size = sizeof(text) - 1 \
	}
#define KERNEL TEXT(".linux", "kernel")

static void assert_text(struct span span, const char *text)
{
	assert_non_null(span.data);
	assert_int_equal(span.size, strlen(text));
	assert_memory_equal(span.data, text, span.size);
}

static struct buffer build(const struct make_section *sections)
{
	return make_pe(&(struct make_pe){ .sections = sections });
}

static void test_good(void **state)
{
	AUTO_BUFFER struct buffer file = make_uki("root=PARTLABEL=X quiet", "1.2.3", 7);
	AUTO_BUFFER struct buffer kernel = make_kernel(
		&(struct make_kernel){ .size = 16384, .seed = 7 });
	AUTO_FREE char *cmdline = NULL;
	AUTO_FREE char *version = NULL;
	struct error error = { 0 };
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, &error), 0);
	assert_true(span_equal(uki.kernel, span_of(&kernel)));
	assert_int_equal(uki.initrd.size, 5000);
	assert_text(uki.cmdline, "root=PARTLABEL=X quiet");
	assert_text(uki.osrel, "ID=test\nIMAGE_VERSION=1.2.3\n");
	assert_null(uki.ucode.data);
	assert_null(uki.profile.data);
	assert_false(uki.device_tree);
	assert_false(uki.has_signature);
	assert_int_equal(uki_cmdline(&uki, &cmdline, NULL), 0);
	assert_string_equal(cmdline, "root=PARTLABEL=X quiet");
	assert_int_equal(uki_version(&uki, &version, NULL), 0);
	assert_string_equal(version, "1.2.3");
}

static void test_all_sections(void **state)
{
	const struct make_section sections[] = { KERNEL, TEXT(".osrel", "a"), TEXT(".uname", "b"),
		TEXT(".ucode", "c"), TEXT(".pcrsig", "d"), TEXT(".pcrpkey", "e"),
		TEXT(".sdmagic", "f"), TEXT(".splash", "g"), TEXT(".sbat", "h"),
		TEXT(".cmdline", "i\0j"), TEXT(".profile", "k"), { 0 } };
	AUTO_BUFFER struct buffer file = make_pe(
		&(struct make_pe){ .sections = sections, .certificate_size = 16 });
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	assert_text(uki.kernel, "kernel");
	assert_text(uki.osrel, "a");
	assert_text(uki.uname, "b");
	assert_text(uki.ucode, "c");
	assert_text(uki.pcrsig, "d");
	assert_text(uki.pcrpkey, "e");
	assert_text(uki.sdmagic, "f");
	assert_text(uki.cmdline, "i"); /* up to its NUL */
	assert_text(uki.profile, "k");
	assert_int_equal(uki.initrd.size, 0);
	assert_null(uki.initrd.data);
	assert_true(uki.has_signature);
}

static void test_device_tree(void **state)
{
	static const char *const names[] = { ".dtb", ".dtbauto", ".efifw" };

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		/* In a later profile, too. */
		const struct make_section sections[] = { KERNEL, TEXT(".profile", "0"),
			TEXT(".profile", "1"), { .name = names[i], .size = 4 }, { 0 } };
		AUTO_BUFFER struct buffer file = build(sections);
		struct uki uki;

		assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
		assert_true(uki.device_tree);
	}
}

/* Profile 0 overrides the base; other profiles are not the default. */
static void test_profiles(void **state)
{
	const struct make_section sections[] = { KERNEL, TEXT(".cmdline", "base"),
		TEXT(".osrel", "base"), TEXT(".profile", "ID=main"), TEXT(".cmdline", "main"),
		TEXT(".profile", "ID=other"), TEXT(".cmdline", "other"), TEXT(".osrel", "other"),
		TEXT(".initrd", "other"), { 0 } };
	AUTO_BUFFER struct buffer file = build(sections);
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	assert_text(uki.kernel, "kernel");
	assert_text(uki.cmdline, "main");
	assert_text(uki.osrel, "base");
	assert_text(uki.profile, "ID=main");
	assert_null(uki.initrd.data);
}

/* What is in a later profile only is not there at all. */
static void test_kernel_in_other_profile(void **state)
{
	const struct make_section sections[] = { TEXT(".profile", "0"), TEXT(".profile", "1"),
		KERNEL, { 0 } };
	AUTO_BUFFER struct buffer file = build(sections);
	struct error error = { 0 };
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, &error), -EBADMSG);
	assert_non_null(strstr(error.text, ".linux section is missing"));
}

static void test_duplicates(void **state)
{
	static const struct {
		const char *name;
		int result;
	} rows[] = {
		{ ".linux", -EBADMSG },
		{ ".cmdline", -EBADMSG },
		{ ".initrd", -EBADMSG },
		{ ".osrel", -EBADMSG },
		{ ".ucode", -EBADMSG },
		{ ".pcrsig", -EBADMSG },
		{ ".pcrpkey", -EBADMSG },
		{ ".uname", -EBADMSG },
		{ ".dtb", -EBADMSG },
		{ ".dtbauto", 0 },
		{ ".efifw", 0 },
		{ ".hwids", 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct make_section base[] = { KERNEL, { .name = rows[i].name, .size = 1 },
			TEXT(".text", "x"), { .name = rows[i].name, .size = 1 }, { 0 } };
		const struct make_section profile[] = { KERNEL, TEXT(".profile", "0"),
			{ .name = rows[i].name, .size = 1 }, TEXT(".profile", "1"),
			{ .name = rows[i].name, .size = 1 }, { .name = rows[i].name, .size = 1 },
			{ 0 } };
		AUTO_BUFFER struct buffer base_file = build(base);
		AUTO_BUFFER struct buffer profile_file = build(profile);
		struct uki uki;

		assert_int_equal(uki_parse(span_of(&base_file), &uki, NULL), rows[i].result);
		assert_int_equal(uki_parse(span_of(&profile_file), &uki, NULL), rows[i].result);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		struct make_pe pe;
		struct make_section section;
	} rows[] = {
		{ "machine type", { .machine = 0x14c }, KERNEL },
		{ "machine type", { .machine = MAKE_ZERO }, KERNEL },
		{ "machine type",
			{ .machine = PE_MACHINE_NATIVE == PE_MACHINE_X86_64 ? PE_MACHINE_ARM64
									    : PE_MACHINE_X86_64 },
			KERNEL },
		{ "subsystem 11", { .subsystem = 11 }, KERNEL },
		{ "subsystem 0", { .subsystem = MAKE_ZERO }, KERNEL },
		{ "missing", { 0 }, TEXT(".cmdline", "x") },
		{ "missing", { 0 }, TEXT(".linuxx", "x") },
		{ "missing", { 0 }, TEXT(".Linux", "x") },
		{ "missing", { 0 }, TEXT("/123", "x") },
		{ "empty", { 0 }, { .name = ".linux", .size = 0, .virtual_size = 10 } },
		{ "empty", { 0 }, { .name = ".linux", .size = 10, .virtual_size = MAKE_ZERO } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct make_section sections[3] = { TEXT(".text", "code"), rows[i].section };
		struct make_pe pe = rows[i].pe;
		AUTO_BUFFER struct buffer file = { 0 };
		struct error error = { 0 };
		struct uki uki;

		pe.sections = sections;
		file = make_pe(&pe);
		if (uki_parse(span_of(&file), &uki, &error) != -EBADMSG)
			fail_msg("row %zu (%s) was accepted", i, rows[i].text);
		if (!strstr(error.text, rows[i].text))
			fail_msg("row %zu: '%s'", i, error.text);
	}
}

/* How a kernel lies in .linux, and how many bytes of it are the kernel's. */
static void test_exact_kernel(void **state)
{
	static const struct {
		uint32_t certificate; /* of the kernel */
		uint32_t padding;     /* behind it, inside the section */
		uint32_t virtual_size;
		uint32_t expected;
	} rows[] = {
		{ 0, 0, 0, 16384 },
		{ 0, 100, 0, 16384 },            /* padding counted as section */
		{ 0, 0, 0x100000, 16384 },       /* ukify 257 */
		{ 24, 0, 0, 16384 + 24 },        /* exact VirtualSize */
		{ 24, 0, 0x100000, 16384 + 24 }, /* ukify 257: raw size is aligned */
		{ 24, 1000, 0, 16384 + 24 },
		{ 24, 0, 16384, 16384 }, /* cut by VirtualSize */
		{ 0, 0, 12000, 12000 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer kernel = make_kernel(&(struct make_kernel){
			.size = 16384, .certificate_size = rows[i].certificate });
		AUTO_BUFFER struct buffer file = { 0 };
		struct uki uki;

		assert_int_equal(buffer_append(&kernel, NULL, rows[i].padding, NULL), 0);
		file = build((const struct make_section[]){
			{ .name = ".linux",
				.data = kernel.data,
				.size = (uint32_t)kernel.size,
				.virtual_size = rows[i].virtual_size },
			{ .name = ".text", .size = 10 }, { 0 } });
		assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
		if (uki.kernel.size != rows[i].expected)
			fail_msg("row %zu: %zu bytes, expected %u", i, uki.kernel.size,
				rows[i].expected);
	}
}

/* A PE that claims to end before the bzImage does is not believed. */
static void test_kernel_never_below_least_size(void **state)
{
	AUTO_BUFFER struct buffer kernel = make_kernel(&(struct make_kernel){ .size = 16384 });
	AUTO_BUFFER struct buffer file = { 0 };
	struct uki uki;

	(void)state;
	/* SizeOfRawData of its one section */
	put_le32(kernel.data + MAKE_PE_OFFSET + 24 + 240 + 16, 512);
	file = build((const struct make_section[]){
		{ .name = ".linux", .data = kernel.data, .size = (uint32_t)kernel.size }, { 0 } });
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	assert_int_equal(uki.kernel.size, 16384);
}

static void test_truncated(void **state)
{
	AUTO_BUFFER struct buffer file = make_uki("a", NULL, 0);
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	/* Bytewise through the headers, coarser through the rest. */
	for (size_t size = 0; size < file.size; size += size < 1024 ? 1 : 97) {
		AUTO_FREE uint8_t *copy = malloc(size);

		if (size > 0)
			memcpy(copy, file.data, size);
		assert_int_equal(uki_parse((struct span){ copy, size }, &uki, NULL), -EBADMSG);
	}
}

static void test_cmdline(void **state)
{
	static const struct {
		const char *data;
		uint32_t size;
		const char *expected;
	} rows[] = {
		{ "", 0, "" },
		{ "   ", 3, "" },
		{ "\0quiet", 6, "" },
		{ "quiet", 5, "quiet" },
		{ "\n quiet\tro\x7f\x01x \r\n\0junk", 21, "quiet ro  x" },
		{ "a\xc3\xa4", 3, "a\xc3\xa4" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = build((const struct make_section[]){ KERNEL,
			{ .name = ".cmdline", .data = rows[i].data, .size = rows[i].size },
			{ 0 } });
		AUTO_FREE char *cmdline = NULL;
		struct uki uki;

		assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
		assert_int_equal(uki_cmdline(&uki, &cmdline, NULL), 0);
		assert_string_equal(cmdline, rows[i].expected);
	}
}

static void test_version(void **state)
{
	static const struct {
		const char *osrel;
		const char *expected;
	} rows[] = {
		{ "", NULL },
		{ "ID=x\n", NULL },
		{ "VERSION_ID=12", "12" },
		{ "VERSION_ID=12\nIMAGE_VERSION=2026.1\n", "2026.1" },
		{ "IMAGE_VERSION=\"2026.1\"\n", "2026.1" },
		{ "IMAGE_VERSION='2026 \"1\"'\n", "2026 \"1\"" },
		{ "IMAGE_VERSION=\"a\\\"b\\\\c\"\n", "a\"b\\c" },
		{ "IMAGE_VERSION=1.0 # comment\n", "1.0" },
		{ "IMAGE_VERSION=1\nIMAGE_VERSION=2\n", "2" },
		{ "IMAGE_VERSION=\nVERSION_ID=3\n", "3" },
		{ "IMAGE_VERSION=\"\"\nVERSION_ID='4'\n", "4" },
		{ "  IMAGE_VERSION=5\r\n", "5" },
		{ "#IMAGE_VERSION=5\nMY_IMAGE_VERSION=6\nIMAGE_VERSION_X=7\n", NULL },
		{ "IMAGE_VERSION=\"1\033[31m\"\n", NULL },
		{ "IMAGE_VERSION=\"open", "open" },
		{ "IMAGE_VERSION=a\\", "a\\" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = build((const struct make_section[]){ KERNEL,
			{ .name = ".osrel",
				.data = rows[i].osrel,
				.size = (uint32_t)strlen(rows[i].osrel) },
			{ 0 } });
		AUTO_FREE char *version = NULL;
		struct uki uki;

		assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
		assert_int_equal(uki_version(&uki, &version, NULL), 0);
		if (rows[i].expected ? !version || strcmp(version, rows[i].expected) != 0
				     : version != NULL)
			fail_msg("row %zu: '%s'", i, version ? version : "(none)");
	}
}

static void test_bind(void **state)
{
	const struct make_section sections[] = { TEXT(".text", "SLOT-X"), KERNEL,
		TEXT(".cmdline", "a=SLOT-X b=SLOT-X"), TEXT(".profile", "0"),
		TEXT(".cmdline", "c=SLOT-X"), TEXT(".profile", "SLOT-X"), TEXT(".cmdline", "none"),
		{ 0 } };
	AUTO_BUFFER struct buffer file = build(sections);
	AUTO_BUFFER struct buffer copy = { 0 };
	struct uki uki, bound;
	size_t count = 99, differing = 0;

	(void)state;
	assert_int_equal(buffer_append(&copy, file.data, file.size, NULL), 0);
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	assert_int_equal(uki_bind(&uki, copy.data, "SLOT-X", "SLOT-B", &count, NULL), 0);
	assert_int_equal(count, 3);
	assert_int_equal(uki_parse(span_of(&copy), &bound, NULL), 0);
	assert_text(bound.cmdline, "c=SLOT-B");
	for (size_t i = 0; i < file.size; i++)
		differing += file.data[i] != copy.data[i];
	assert_int_equal(differing, 3); /* nothing else was touched */
	assert_int_equal(uki_bind(&uki, copy.data, "SLOT-X", "SLOT-B", NULL, NULL), 0);
}

static void test_bind_bad(void **state)
{
	const struct make_section sections[] = { KERNEL, { 0 } };
	AUTO_BUFFER struct buffer file = build(sections);
	struct error error = { 0 };
	size_t count = 99;
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	assert_int_equal(uki_bind(&uki, file.data, "X", "Y", &count, NULL), 0);
	assert_int_equal(count, 0);
	/* Bad arguments show even without a .cmdline. */
	assert_int_equal(uki_bind(&uki, file.data, "X", "YZ", &count, &error), -EINVAL);
	assert_int_equal(error.kind, ERROR_USAGE);
	assert_int_equal(uki_bind(&uki, file.data, "", "", &count, &error), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_all_sections),
		cmocka_unit_test(test_device_tree),
		cmocka_unit_test(test_profiles),
		cmocka_unit_test(test_kernel_in_other_profile),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_exact_kernel),
		cmocka_unit_test(test_kernel_never_below_least_size),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_cmdline),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_bind),
		cmocka_unit_test(test_bind_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
