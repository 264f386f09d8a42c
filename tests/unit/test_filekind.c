/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "format/filekind.h"
#include "make_uki.h"

#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define STUBS         "/usr/lib/systemd/boot/efi/" /* of Debian's systemd-boot-efi */
#define SDMAGIC(what) "#### LoaderInfo: systemd-" what " 257.13-1~deb13u1 ####"
#define SBAT(line)    "sbat,1,SBAT Version,sbat,1,https://example.org\n" line "\n"
#define TEXT(name_, t)                                              \
	{                                                           \
		.name = (name_), .data = (t), .size = sizeof(t) - 1 \
	}

static enum filekind kind_of(const struct make_section *sections, const struct make_pe *pe)
{
	struct make_pe made = pe ? *pe : (struct make_pe){ 0 };
	AUTO_BUFFER struct buffer file = { 0 };

	made.sections = sections;
	file = make_pe(&made);
	return filekind_of(span_of(&file));
}

/* The marks by which the real ones differ; see also tests/vm, which looks at these. */
static void test_efi_programs(void **state)
{
	static const struct {
		enum filekind kind;
		struct make_section sections[5];
	} rows[] = {
		{ FILEKIND_UKI, { TEXT(".text", "code"), TEXT(".linux", "x"),
					TEXT(".sdmagic", SDMAGIC("stub")) } },
		{ FILEKIND_UKI,
			{ TEXT(".text", "code"), TEXT(".linux", "UEFI SHIM\n$Version: 1") } },
		{ FILEKIND_UKI, { TEXT(".profile", "ID=0"), TEXT(".linux", "x") } },
		{ FILEKIND_STUB, { TEXT(".text", "code"), TEXT(".sdmagic", SDMAGIC("stub")) } },
		{ FILEKIND_ADDON, { TEXT(".text", "code"), TEXT(".sdmagic", SDMAGIC("stub")),
					  TEXT(".cmdline", "quiet") } },
		{ FILEKIND_ADDON, { TEXT(".text", "code"), TEXT(".sdmagic", SDMAGIC("addon")) } },
		{ FILEKIND_SYSTEMD_BOOT, { TEXT(".text", "code"), TEXT(".osrel", "ID=systemd-boot"),
						 TEXT(".sdmagic", SDMAGIC("boot")) } },
		{ FILEKIND_SHIM,
			{ TEXT(".text", "code"), TEXT("/26", "UEFI SHIM\n$Version: 16.1 $"),
				TEXT(".sbat", SBAT("shim,4,UEFI shim")) } },
		{ FILEKIND_SHIM,
			{ TEXT(".text", "code"), TEXT(".data", "UEFI SHIM\n$Version: 0.9") } },
		{ FILEKIND_SHIM_HELPER,
			{ TEXT(".text", "code"), TEXT(".sbat", SBAT("shim,4,UEFI shim")) } },
		{ FILEKIND_GRUB, { TEXT(".text", "code"), TEXT("mods", "x") } },
		{ FILEKIND_GRUB,
			{ TEXT(".text", "code"), TEXT(".sbat", SBAT("grub,5,FSF,grub")) } },
		/* shim names GRUB's generation in a section of its own; others name nobody. */
		{ FILEKIND_EFI_PROGRAM, { TEXT(".text", "code"), TEXT(".sbatlevel", "grub,5\n") } },
		{ FILEKIND_EFI_PROGRAM,
			{ TEXT(".text", "code"), TEXT(".sbat", SBAT("else,1,x")) } },
		{ FILEKIND_EFI_PROGRAM, { TEXT(".text", "code") } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		enum filekind kind = kind_of(rows[i].sections, NULL);

		if (kind != rows[i].kind)
			fail_msg("row %zu is %s", i, filekind_name(kind));
	}
}

static void test_subsystems(void **state)
{
	const struct make_section sections[] = { TEXT(".text", "code"), { 0 } };

	(void)state;
	assert_int_equal(
		kind_of(sections, &(struct make_pe){ .subsystem = 11 }), FILEKIND_EFI_DRIVER);
	assert_int_equal(
		kind_of(sections, &(struct make_pe){ .subsystem = 12 }), FILEKIND_EFI_DRIVER);
	assert_int_equal(kind_of(sections, &(struct make_pe){ .subsystem = 3 }), FILEKIND_PE);
	assert_int_equal(
		kind_of(sections, &(struct make_pe){ .magic = 0x10b }), FILEKIND_EFI_PROGRAM_32);
	/* Too damaged to tell. */
	assert_int_equal(
		kind_of(sections, &(struct make_pe){ .directories = 99 }), FILEKIND_UNKNOWN);
	assert_int_equal(
		kind_of(sections, &(struct make_pe){ .machine = 0xaa64 }), FILEKIND_EFI_PROGRAM);
}

static void test_kernels(void **state)
{
	static const struct {
		enum filekind kind;
		size_t offset;
		const char *magic;
		size_t size;
	} rows[] = {
		{ FILEKIND_KERNEL_ARM64, 56, "ARM\x64", 4 },
		{ FILEKIND_KERNEL_RISCV, 56, "RSC\x05", 4 },
		{ FILEKIND_KERNEL_RISCV, 48, "RISCV\0\0\0", 8 },
		{ FILEKIND_KERNEL_LOONGARCH, 56, "\xcd\x23\x82\x81", 4 },
		{ FILEKIND_KERNEL_ARM, 0x24, "\x18\x28\x6f\x01", 4 },
		{ FILEKIND_KERNEL_ZBOOT, 4, "zimg", 4 },
	};
	AUTO_BUFFER struct buffer x86 = make_kernel(&(struct make_kernel){ .size = 4096 });

	(void)state;
	assert_int_equal(filekind_of(span_of(&x86)), FILEKIND_KERNEL_X86);
	assert_int_equal(filekind_of((struct span){ x86.data, 0x206 }), FILEKIND_KERNEL_X86);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct make_section sections[] = { TEXT(".text", "code"), { 0 } };
		AUTO_BUFFER struct buffer file = make_pe(&(struct make_pe){ .sections = sections });

		memcpy(file.data + rows[i].offset, rows[i].magic, rows[i].size);
		if (filekind_of(span_of(&file)) != rows[i].kind)
			fail_msg("row %zu is %s", i, filekind_name(filekind_of(span_of(&file))));
	}
}

static void test_magic(void **state)
{
	static const struct {
		enum filekind kind;
		size_t offset;
		const char *magic;
		size_t size;
	} rows[] = {
		{ FILEKIND_CPIO, 0, "070701", 6 },
		{ FILEKIND_ZIP, 0, "PK\3\4", 4 },
		{ FILEKIND_GZIP, 0, "\x1f\x8b\x08", 3 },
		{ FILEKIND_XZ, 0,
			"\xfd"
			"7zXZ\0",
			6 },
		{ FILEKIND_ZSTD, 0, "\x28\xb5\x2f\xfd", 4 },
		{ FILEKIND_LZ4, 0, "\x02\x21\x4c\x18", 4 },
		{ FILEKIND_BZIP2, 0, "BZh9", 4 },
		{ FILEKIND_TAR, 257, "ustar", 5 },
		{ FILEKIND_DEVICE_TREE, 0, "\xd0\x0d\xfe\xed", 4 },
		{ FILEKIND_ELF, 0,
			"\x7f"
			"ELF\2\1",
			6 },
		{ FILEKIND_EROFS, 1024, "\xe2\xe1\xf5\xe0", 4 },
		{ FILEKIND_SQUASHFS, 0, "hsqs", 4 },
		{ FILEKIND_EXT4, 1080, "\x53\xef", 2 },
		{ FILEKIND_DISK_IMAGE, 512, "EFI PART", 8 },
		{ FILEKIND_DISK_IMAGE, 4096, "EFI PART", 8 },
		{ FILEKIND_DISK_IMAGE, 510, "\x55\xaa", 2 },
		{ FILEKIND_FAT, 82, "FAT32   ", 8 },
		{ FILEKIND_ISO9660, 32769, "CD001", 5 },
		{ FILEKIND_QCOW2, 0, "QFI\xfb", 4 },
		{ FILEKIND_UNKNOWN, 0, "", 0 },
		{ FILEKIND_UNKNOWN, 0, "MZ", 2 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_FREE uint8_t *file = calloc(1, 40000);

		assert_non_null(file);
		memcpy(file + rows[i].offset, rows[i].magic, rows[i].size);
		if (filekind_of((struct span){ file, 40000 }) != rows[i].kind)
			fail_msg("row %zu is %s", i,
				filekind_name(filekind_of((struct span){ file, 40000 })));
	}
}

static void test_texts(void **state)
{
	static const struct {
		const char *text;
		enum filekind kind;
	} rows[] = {
		{ "", FILEKIND_EMPTY },
		{ "#!/bin/sh\n", FILEKIND_SCRIPT },
		{ "-----BEGIN CERTIFICATE-----\n", FILEKIND_PEM },
		{ "root=/dev/sda1 quiet\n", FILEKIND_TEXT },
		{ "a", FILEKIND_TEXT },
		{ "a\x01", FILEKIND_UNKNOWN },
		{ "MZ", FILEKIND_TEXT },
		{ "\x7f"
		  "ELF Linux version 6.1",
			FILEKIND_KERNEL_ELF },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (filekind_of(
			    (struct span){ (const uint8_t *)rows[i].text, strlen(rows[i].text) })
			!= rows[i].kind)
			fail_msg("row %zu", i);
	assert_int_equal(filekind_of((struct span){ NULL, 0 }), FILEKIND_EMPTY);
}

/* Every kind has a name, and however short a file is, nothing else is read. */
static void test_names_and_cuts(void **state)
{
	AUTO_BUFFER struct buffer file = make_uki("quiet", "1", 0);

	(void)state;
	for (int kind = 0; kind < FILEKIND_COUNT; kind++)
		assert_non_null(filekind_name((enum filekind)kind));
	for (size_t size = 0; size < 2048; size++) {
		AUTO_FREE uint8_t *copy = malloc(size);

		if (size > 0)
			memcpy(copy, file.data, size);
		filekind_of((struct span){ copy, size });
	}
	assert_int_equal(filekind_of(span_of(&file)), FILEKIND_UKI);
	assert_true(filekind_is_boot_loader(FILEKIND_GRUB));
	assert_false(filekind_is_boot_loader(FILEKIND_UKI));
}

static struct buffer read_file(const char *path)
{
	struct buffer file = { 0 };
	uint8_t block[65536];
	FILE *stream = fopen(path, "rbe");
	size_t got;

	if (!stream)
		fail_msg("%s is missing: tools/setup installs it", path);
	while ((got = fread(block, 1, sizeof(block), stream)) > 0)
		assert_int_equal(buffer_append(&file, block, got, NULL), 0);
	fclose(stream);
	return file;
}

static void test_real_files(void **state)
{
	AUTO_BUFFER struct buffer boot = read_file(STUBS "systemd-bootx64.efi");
	AUTO_BUFFER struct buffer stub = read_file(STUBS "linuxx64.efi.stub");

	(void)state;
	assert_int_equal(filekind_of(span_of(&boot)), FILEKIND_SYSTEMD_BOOT);
	assert_int_equal(filekind_of(span_of(&stub)), FILEKIND_STUB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_efi_programs),
		cmocka_unit_test(test_subsystems),
		cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_magic),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_names_and_cuts),
		cmocka_unit_test(test_real_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
