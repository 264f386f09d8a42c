/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "format/kexecplan.h"
#include "format/uki.h"
#include "make_uki.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A UKI of a kernel, a command line and one more section, if `name` is not NULL. */
static struct buffer build(struct span kernel, const char *cmdline, const char *name)
{
	const struct make_section sections[] = {
		{ .name = ".linux", .data = kernel.data, .size = (uint32_t)kernel.size },
		{ .name = ".cmdline", .data = cmdline, .size = (uint32_t)strlen(cmdline) },
		{ .name = name, .size = 16 },
		{ 0 },
	};

	return make_pe(&(struct make_pe){ .sections = sections });
}

static struct buffer good_kernel(void)
{
	return make_kernel(&(struct make_kernel){ .size = 4096 });
}

static void test_possible(void **state)
{
	AUTO_BUFFER struct buffer file = make_uki(" root=SYS-X a=SYS-X \n", "1", 3);
	AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	assert_int_equal(kexec_plan_make(&uki, "SYS-X", "SYS-B", NULL, &plan, NULL), 0);
	assert_true(kexec_plan_possible(&plan));
	assert_string_equal(plan.cmdline, "root=SYS-B a=SYS-B");
	assert_true(span_equal(plan.kernel, uki.kernel));
	assert_true(span_equal(plan.initrd, uki.initrd));
	assert_int_equal(plan.initrd.size, 5000);
}

static void test_without_extras(void **state)
{
	AUTO_BUFFER struct buffer kernel = good_kernel();
	const struct make_section sections[] = {
		{ .name = ".linux", .data = kernel.data, .size = (uint32_t)kernel.size },
		{ 0 },
	};
	AUTO_BUFFER struct buffer file = make_pe(&(struct make_pe){ .sections = sections });
	AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	assert_int_equal(kexec_plan_make(&uki, NULL, NULL, NULL, &plan, NULL), 0);
	assert_true(kexec_plan_possible(&plan));
	assert_string_equal(plan.cmdline, "");
	assert_int_equal(plan.initrd.size, 0);
}

static void test_section_reasons(void **state)
{
	static const struct {
		const char *name;
		bool reason;
	} rows[] = {
		{ ".ucode", true },
		{ ".profile", true },
		{ ".pcrsig", true },
		{ ".pcrpkey", true },
		{ ".dtb", true },
		{ ".dtbauto", true },
		{ ".efifw", true },
		{ ".splash", false },
		{ ".sbat", false },
		{ ".hwids", false },
		{ ".osrel", false },
		{ ".uname", false },
		{ ".initrd", false },
	};
	AUTO_BUFFER struct buffer kernel = good_kernel();

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = build(span_of(&kernel), "quiet", rows[i].name);
		AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
		struct uki uki;

		assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
		assert_int_equal(kexec_plan_make(&uki, NULL, NULL, NULL, &plan, NULL), 0);
		if (kexec_plan_possible(&plan) == rows[i].reason)
			fail_msg("%s: %zu reasons", rows[i].name, plan.reasons.count);
		if (rows[i].reason && !strstr(plan.reasons.items[0], rows[i].name))
			fail_msg("%s: '%s'", rows[i].name, plan.reasons.items[0]);
	}
}

static void test_placeholder(void **state)
{
	static const struct {
		const char *placeholder, *bound;
		const char *cmdline;
		size_t reasons;
	} rows[] = {
		{ "SYS-X", "SYS-A", "root=SYS-A", 0 },
		{ "SYS-X", NULL, "root=SYS-X", 1 },
		{ "SYS-X", "SYS-X", "root=SYS-X", 1 },
		{ "OTHER", NULL, "root=SYS-X", 0 },
		{ "", NULL, "root=SYS-X", 0 },
		{ NULL, NULL, "root=SYS-X", 0 },
		{ NULL, "SYS-A", "root=SYS-X", 0 },
	};
	AUTO_BUFFER struct buffer kernel = good_kernel();
	AUTO_BUFFER struct buffer file = build(span_of(&kernel), "root=SYS-X", NULL);
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };

		assert_int_equal(kexec_plan_make(&uki, rows[i].placeholder, rows[i].bound, NULL,
					 &plan, NULL),
			0);
		assert_string_equal(plan.cmdline, rows[i].cmdline);
		assert_int_equal(plan.reasons.count, rows[i].reasons);
		if (rows[i].reasons)
			assert_non_null(strstr(plan.reasons.items[0], "placeholder SYS-X"));
	}
}

static void test_bad_placeholder(void **state)
{
	AUTO_BUFFER struct buffer file = make_uki("a", NULL, 0);
	AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
	struct uki uki;

	(void)state;
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	assert_int_equal(kexec_plan_make(&uki, "X", "YZ", NULL, &plan, NULL), -EINVAL);
	assert_int_equal(kexec_plan_make(&uki, "", "", NULL, &plan, NULL), -EINVAL);
	assert_null(plan.cmdline);
}

/* The kernel adds its NUL and keeps 30 bytes: strlen 2016 loads, 2017 does not (measured). */
static void test_cmdline_limit(void **state)
{
	static const struct {
		uint32_t cmdline_size;
		size_t length;
		bool possible;
	} rows[] = {
		{ 2047, 2016, true },
		{ 2047, 2017, false },
		{ 255, 224, true },
		{ 255, 225, false },
		{ 31, 0, true },
		{ 31, 1, false },
		{ MAKE_ZERO, 1, false },
		{ 0xfffffffe, 4000, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer kernel = make_kernel(&(struct make_kernel){
			.size = 4096, .cmdline_size = rows[i].cmdline_size });
		AUTO_BUFFER struct buffer file = { 0 };
		AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
		char cmdline[4096] = "";
		struct uki uki;

		memset(cmdline, 'a', rows[i].length);
		file = build(span_of(&kernel), cmdline, NULL);
		assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
		assert_int_equal(kexec_plan_make(&uki, NULL, NULL, NULL, &plan, NULL), 0);
		if (kexec_plan_possible(&plan) != rows[i].possible)
			fail_msg("row %zu: %zu reasons", i, plan.reasons.count);
		if (!rows[i].possible)
			assert_non_null(strstr(plan.reasons.items[0], "command line has"));
	}
}

static void test_bad_kernels(void **state)
{
	AUTO_BUFFER struct buffer old = make_kernel(
		&(struct make_kernel){ .size = 4096, .protocol = 0x20b });
	AUTO_BUFFER struct buffer good = make_kernel(
		&(struct make_kernel){ .size = 4096, .certificate_size = 64 });
	const struct {
		struct span kernel;
		const char *reason;
	} rows[] = {
		{ { (const uint8_t *)"junk", 4 }, "HdrS" }, { { old.data, old.size }, "2.11" },
		{ { good.data, 2048 }, "not complete" },
		{ { good.data, 4096 }, "speak of 4160 bytes" }, /* without its signature */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer file = build(rows[i].kernel, "quiet", NULL);
		AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
		struct uki uki;

		/* No padding that would make up for what was cut. */
		assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
		assert_int_equal(kexec_plan_make(&uki, NULL, NULL, NULL, &plan, NULL), 0);
		if (kexec_plan_possible(&plan))
			fail_msg("row %zu (%s) is possible", i, rows[i].reason);
		if (!strstr(plan.reasons.items[0], rows[i].reason))
			fail_msg("row %zu: '%s'", i, plan.reasons.items[0]);
	}
}

static void test_companions(void **state)
{
	AUTO_BUFFER struct buffer file = make_uki("a", NULL, 0);
	AUTO_TEXT_LIST struct text_list companions = { 0 };
	AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
	struct uki uki;

	(void)state;
	assert_int_equal(text_list_add(&companions, NULL, "/loader/credentials/a%%.cred"), 0);
	assert_int_equal(text_list_add(&companions, NULL, "/loader/addons/b.addon.efi"), 0);
	assert_int_equal(uki_parse(span_of(&file), &uki, NULL), 0);
	assert_int_equal(kexec_plan_make(&uki, NULL, NULL, &companions, &plan, NULL), 0);
	assert_int_equal(plan.reasons.count, 2);
	assert_non_null(strstr(plan.reasons.items[0], "/loader/credentials/a%.cred"));
	assert_non_null(strstr(plan.reasons.items[1], "/loader/addons/b.addon.efi"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_possible),
		cmocka_unit_test(test_without_extras),
		cmocka_unit_test(test_section_reasons),
		cmocka_unit_test(test_placeholder),
		cmocka_unit_test(test_bad_placeholder),
		cmocka_unit_test(test_cmdline_limit),
		cmocka_unit_test(test_bad_kernels),
		cmocka_unit_test(test_companions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
