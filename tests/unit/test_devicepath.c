/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/devicepath.h"

#define PARTUUID "01234567-89ab-cdef-0123-456789abcdef"

#define END          0x7f, 0xff, 4, 0
#define END_INSTANCE 0x7f, 0x01, 4, 0
/* ACPI(PNP0A03,0)/PCI(1,1)/NVMe-like vendor node: what real firmware puts before HD(). */
#define ACPI   2, 1, 12, 0, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0
#define PCI    1, 1, 6, 0, 1, 1
#define VENDOR 4, 3, 7, 0, 0xaa, 0xbb, 0xcc

#define SPAN(array) ((struct span){ array, sizeof(array) })

static const struct devicepath_hd esp = { .partition_number = 3,
	.start = 0x123456789aull,
	.size = 0x80000,
	.partuuid = { { 0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x01, 0x23, 0x45, 0x67,
		0x89, 0xab, 0xcd, 0xef } } };

static void add(struct buffer *out, const uint8_t *data, size_t size)
{
	assert_int_equal(buffer_append(out, data, size, NULL), 0);
}

#define ADD(out, ...)                                     \
	do {                                              \
		const uint8_t bytes_[] = { __VA_ARGS__ }; \
		add(out, bytes_, sizeof(bytes_));         \
	} while (0)

/* An HD() node with the given signature type and length. */
static void add_hd(struct buffer *out, uint32_t number, uint8_t signature_type, uint8_t size)
{
	uint8_t node[64] = { 4, 1, size, 0 };

	put_le32(node + 4, number);
	memcpy(node + 24, esp.partuuid.bytes, 16);
	node[40] = 2;
	node[41] = signature_type;
	add(out, node, size);
}

/* A File() node of ASCII text, with or without the NUL. */
static void add_file(struct buffer *out, const char *text, bool terminated)
{
	size_t units = strlen(text) + (terminated ? 1 : 0);

	ADD(out, 4, 4, (uint8_t)(4 + 2 * units), 0);
	for (size_t i = 0; i < units; i++)
		ADD(out, (uint8_t)text[i], 0);
}

static void parse(const struct buffer *bytes, struct devicepath_target *ret)
{
	struct error error = { 0 };
	int r = devicepath_parse(span_of(bytes), ret, &error);

	assert_string_equal(error.text, "");
	assert_int_equal(r, 0);
}

/* The exact bytes firmware sees, written out by hand from UEFI 2.10 §10.3.5. */
static void test_append_bytes(void **state)
{
	static const uint8_t expected[] = { 4, 1, 42, 0, 3, 0, 0, 0, 0x9a, 0x78, 0x56, 0x34, 0x12,
		0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd,
		0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 2, 2, 4, 4, 14, 0, '\\', 0, 'E', 0,
		'\\', 0, 'x', 0, 0, 0, END };
	static const char *const paths[] = { "/E/x", "\\E\\x", "E/x", "//E\\/x/" };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		AUTO_BUFFER struct buffer out = { 0 };

		assert_int_equal(devicepath_append_file(&out, &esp, paths[i], NULL), 0);
		assert_int_equal(out.size, sizeof(expected));
		assert_memory_equal(out.data, expected, sizeof(expected));
	}
}

static void test_append_then_parse(void **state)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	AUTO_BUFFER struct buffer out = { 0 };
	struct guid partuuid;

	(void)state;
	assert_int_equal(devicepath_append_file(&out, &esp, "/EFI/metropolis/bööt-ä.efi", NULL), 0);
	parse(&out, &target);
	assert_true(guid_from_text(PARTUUID, &partuuid));
	assert_true(target.has_hd);
	assert_int_equal(target.hd.partition_number, 3);
	assert_int_equal(target.hd.start, esp.start);
	assert_int_equal(target.hd.size, esp.size);
	assert_true(guid_equal(&target.hd.partuuid, &partuuid));
	assert_string_equal(target.path, "\\EFI\\metropolis\\bööt-ä.efi");
}

static void test_append_refuses(void **state)
{
	static const char *const bad[] = { "", "/", "\\//" };
	AUTO_BUFFER struct buffer out = { 0 };
	char path[2048];

	(void)state;
	ADD(&out, 1, 2, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(devicepath_append_file(&out, &esp, bad[i], NULL), -EINVAL);
	assert_int_equal(devicepath_append_file(&out, &esp, "/\xff", NULL), -EILSEQ);
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[1024] = '\0';
	assert_int_equal(devicepath_append_file(&out, &esp, path, NULL), -EINVAL);
	assert_int_equal(out.size, 3);
	path[1023] = '\0';
	assert_int_equal(devicepath_append_file(&out, &esp, path, NULL), 0);
}

static void test_nodes_around(void **state)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	AUTO_BUFFER struct buffer path = { 0 };

	(void)state;
	ADD(&path, ACPI, PCI, VENDOR);
	add_hd(&path, 7, 2, 42);
	ADD(&path, 4, 4, 4, 0); /* an empty File() */
	ADD(&path, VENDOR);
	add_file(&path, "\\EFI\\", true);
	add_file(&path, "BOOT", false);
	ADD(&path, 4, 4, 7, 0, 'X', 0, 0x99); /* odd size, no NUL */
	ADD(&path, END);
	/* A second device path is not looked at, not even for its form. */
	add_hd(&path, 8, 2, 42);
	ADD(&path, 9, 9, 0, 0, 1);
	parse(&path, &target);
	assert_true(target.has_hd);
	assert_int_equal(target.hd.partition_number, 7);
	assert_string_equal(target.path, "\\EFI\\BOOT\\X");
}

static void test_which_hd(void **state)
{
	static const struct {
		uint32_t number;
		uint8_t type, size;
		bool understood;
	} cases[] = {
		{ 1, 2, 42, true }, { 2, 2, 48, true }, /* longer than the node is */
		{ 3, 1, 42, false },                    /* MBR */
		{ 4, 0, 42, false },                    /* no signature */
		{ 5, 2, 41, false },                    /* too short */
	};

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 }, both = { 0 };
		AUTO_BUFFER struct buffer one = { 0 }, two = { 0 };

		add_hd(&one, cases[i].number, cases[i].type, cases[i].size);
		ADD(&one, END);
		parse(&one, &target);
		assert_int_equal(target.has_hd, cases[i].understood);
		assert_null(target.path);

		add_hd(&two, 99, 2, 42);
		add(&two, one.data, one.size);
		parse(&two, &both);
		assert_true(both.has_hd);
		assert_int_equal(
			both.hd.partition_number, cases[i].understood ? cases[i].number : 99);
	}
}

static void test_instance_end(void **state)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	AUTO_BUFFER struct buffer path = { 0 };

	(void)state;
	add_file(&path, "\\one", true);
	ADD(&path, END_INSTANCE);
	add_file(&path, "\\two", true);
	ADD(&path, END);
	parse(&path, &target);
	assert_string_equal(target.path, "\\one");
	assert_false(target.has_hd);
}

static void test_malformed(void **state)
{
	static const uint8_t none[] = { 0 };
	static const uint8_t no_end[] = { PCI };
	static const uint8_t zero_length[] = { 1, 1, 0, 0, END };
	static const uint8_t short_length[] = { 1, 1, 3, 0, END };
	static const uint8_t past_end[] = { 1, 1, 11, 0, 0, 0, END };
	static const uint8_t past_end_of_end[] = { 0x7f, 0xff, 5, 0 };
	const struct span cases[] = { { none, 0 }, SPAN(none), SPAN(no_end), SPAN(zero_length),
		SPAN(short_length), SPAN(past_end), SPAN(past_end_of_end), { NULL, 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct devicepath_target target = { .path = (char *)none };
		struct error error = { 0 };

		assert_int_equal(devicepath_parse(cases[i], &target, &error), -EBADMSG);
		assert_ptr_equal(target.path, none); /* written only on success */
		assert_string_not_equal(error.text, "");
	}
}

/* Every prefix, at every alignment, in an allocation of its own so that an overrun is seen. */
static void test_truncated(void **state)
{
	AUTO_BUFFER struct buffer whole = { 0 };

	(void)state;
	ADD(&whole, ACPI, PCI);
	assert_int_equal(
		devicepath_append_file(&whole, &esp, "/EFI/metropolis/boot-a.efi", NULL), 0);
	for (size_t size = 0; size <= whole.size; size++) {
		for (size_t shift = 0; shift < 4; shift++) {
			AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
			AUTO_FREE uint8_t *copy = malloc(size + shift + 1);
			int r;

			assert_non_null(copy);
			copy = realloc(copy, size + shift ? size + shift : 1);
			memcpy(copy + shift, whole.data, size);
			r = devicepath_parse((struct span){ copy + shift, size }, &target, NULL);
			assert_int_equal(r, size == whole.size ? 0 : -EBADMSG);
		}
	}
}

static void test_same_file(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} cases[] = {
		{ "/EFI/metropolis/boot-a.efi", "\\EFI\\metropolis\\boot-a.efi", true },
		{ "\\efi\\METROPOLIS\\Boot-A.EFI", "/EFI/metropolis/boot-a.efi", true },
		{ "EFI/boot", "\\EFI\\BOOT", true },
		{ "//EFI\\/boot", "EFI/boot", true },
		{ "", "/", true },
		{ "EFI/boot-a.efi", "EFI/boot-b.efi", false },
		{ "EFI/boot", "EFI/boot.efi", false },
		{ "EFI/boot", "EFIboot", false },
		{ "EFI/boot/", "EFI/boot", false },
		{ "a[", "a{", false }, /* differ in the case bit but are no letters */
		{ "ä", "Ä", false },   /* only ASCII is folded */
		{ NULL, "x", false },
		{ NULL, NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(devicepath_same_file(cases[i].a, cases[i].b), cases[i].same);
		assert_int_equal(devicepath_same_file(cases[i].b, cases[i].a), cases[i].same);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_bytes),
		cmocka_unit_test(test_append_then_parse),
		cmocka_unit_test(test_append_refuses),
		cmocka_unit_test(test_nodes_around),
		cmocka_unit_test(test_which_hd),
		cmocka_unit_test(test_instance_end),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_same_file),
	};

	return cmocka_run_group_tests_name("devicepath", tests, NULL, NULL);
}
