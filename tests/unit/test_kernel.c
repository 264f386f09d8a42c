/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "format/kernel.h"
#include "format/pe.h"
#include "make_uki.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_good(void **state)
{
	AUTO_BUFFER struct buffer file = make_kernel(&(struct make_kernel){ .size = 8192 });
	struct kernel kernel;

	(void)state;
	assert_int_equal(kernel_parse(span_of(&file), &kernel, NULL), 0);
	assert_int_equal(kernel.protocol, 0x20f);
	assert_int_equal(kernel.cmdline_size, 2047);
	assert_int_equal(kernel.least_size, 8192);
}

/* setup_sects 0 stands for 4 (boot.rst). */
static void test_old_setup_sects(void **state)
{
	AUTO_BUFFER struct buffer file = make_kernel(&(struct make_kernel){ .size = 8192 });
	struct kernel kernel;

	(void)state;
	file.data[0x1f1] = 0;
	put_le32(file.data + 0x1f4, (8192 - 5 * 512) / 16);
	assert_int_equal(kernel_parse(span_of(&file), &kernel, NULL), 0);
	assert_int_equal(kernel.least_size, 8192);
	put_le32(file.data + 0x1f4, (8192 - 5 * 512) / 16 + 1);
	assert_int_equal(kernel_parse(span_of(&file), &kernel, NULL), -EBADMSG);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
		uint32_t value;
	} rows[] = {
		{ "HdrS", 0x202, 0x53726448 ^ 1 }, { "2.11", 0x206, 0x20b },
		{ "1.255", 0x206, 0x1ff }, { "XLF_KERNEL_64", 0x234, 0x003e0001 },
		{ "not complete", 0x1f4, (8192 - 1024) / 16 + 1 },
		{ "68719477744", 0x1f4, 0xffffffff }, /* needs 64 bit: 1024 + 0xffffffff * 16 */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = make_kernel(&(struct make_kernel){ .size = 8192 });
		struct error error = { 0 };
		struct kernel kernel;

		put_le32(file.data + rows[i].offset, rows[i].value);
		if (kernel_parse(span_of(&file), &kernel, &error) != -EBADMSG)
			fail_msg("row %zu (%s) was accepted", i, rows[i].text);
		if (!strstr(error.text, rows[i].text))
			fail_msg("row %zu: '%s'", i, error.text);
	}
}

static void test_truncated(void **state)
{
	AUTO_BUFFER struct buffer file = make_kernel(&(struct make_kernel){ .size = 2048 });
	struct kernel kernel;

	(void)state;
	for (size_t size = 0; size < file.size; size++) {
		AUTO_BUFFER struct buffer cut = { 0 };

		assert_int_equal(buffer_append(&cut, file.data, size, NULL), 0);
		assert_int_equal(kernel_parse(span_of(&cut), &kernel, NULL), -EBADMSG);
	}
	assert_int_equal(kernel_parse(span_of(&file), &kernel, NULL), 0);
}

/* What systemd-stub has the firmware load, or enters by the handover protocol. */
static void test_stub(void **state)
{
	static const struct {
		const char *text; /* NULL: it is started */
		size_t offset;
		uint32_t value;
	} rows[] = {
		{ NULL, 0x238, 100 },
		{ "no EFI program (CONFIG_EFI_STUB)", 0, 0 },
		{ "no EFI program (CONFIG_EFI_STUB)", MAKE_PE_OFFSET, 0 },
		{ "for machine type 0x014c", MAKE_PE_OFFSET + 4, 0x0001014c },
		{ "PE subsystem 3", MAKE_PE_OFFSET + 24 + 68, 3 },
		{ "could not load the kernel in .linux: PE SizeOfImage is 0x0",
			MAKE_PE_OFFSET + 24 + 56, 0 },
		{ "entry point 0x0", MAKE_PE_OFFSET + 24 + 16, 0 },
		/* Older than Linux 5.8: its PE headers are not looked at. */
		{ NULL, MAKE_PE_OFFSET + 24 + 44, 0 },
		{ "no EFI handover protocol", 0x234, 0x00370001 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = make_kernel(&(struct make_kernel){ .size = 8192 });
		struct error error = { 0 };
		int r;

		if (rows[i].offset == 0x234)
			put_le16(file.data + MAKE_PE_OFFSET + 24 + 44, 0);
		put_le32(file.data + rows[i].offset, rows[i].value);
		r = kernel_check_stub(span_of(&file), PE_MACHINE_NATIVE, &error);
		if (rows[i].text ? r != -EBADMSG || !strstr(error.text, rows[i].text) : r < 0)
			fail_msg("row %zu: %d '%s'", i, r, error.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_old_setup_sects),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_stub),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
