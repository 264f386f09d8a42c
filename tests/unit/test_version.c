/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "format/version.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int sign_of(int value)
{
	return (value > 0) - (value < 0);
}

static void expect(const char *a, const char *b, int wanted)
{
	if (sign_of(version_compare(a, b)) != wanted || sign_of(version_compare(b, a)) != -wanted)
		fail_msg("'%s' and '%s': not %d", a, b, wanted);
}

/* Each with what is older, or as old: the specification's examples first. */
static void test_pairs(void **state)
{
	static const struct {
		const char *a, *b;
		int wanted;
	} rows[] = {
		{ "11", "11", 0 },
		{ "systemd-123", "systemd-123", 0 },
		{ "bar-123", "foo-123", -1 },
		{ "123a", "123", 1 },
		{ "123.a", "123", 1 },
		{ "123.a", "123.b", -1 },
		{ "123a", "123.a", 1 },
		{ "11α", "11β", 0 },
		{ "B", "a", -1 },
		{ "", "0", -1 },
		{ "0.", "0", 1 },
		{ "0.0", "0", 1 },
		{ "0", "~", 1 },
		{ "", "~", 1 },
		{ "1_", "1", 0 },
		{ "_1", "1", 0 },
		{ "1_", "1.2", -1 },
		{ "1_2_3", "1.3.3", 1 },
		{ "1+", "1", 0 },
		{ "+1", "1", 0 },
		{ "1+", "1.2", -1 },
		{ "1+2+3", "1.3.3", 1 },
		/* Numbers: leading zeroes, and more digits than any type holds. */
		{ "1.010", "1.10", 0 },
		{ "00", "0", 0 },
		{ "9", "10", -1 },
		{ "18446744073709551616", "18446744073709551617", -1 },
		{ "99999999999999999999", "100000000000000000000", -1 },
		{ "000000000000000000000001", "2", -1 },
		{ "0", "a", -1 }, /* no digits count as 0, and then one string has ended */
		{ "1", "a", 1 },
		{ "a0", "a", 1 },
		/* Words: one by one, and the longer one is newer. */
		{ "a", "aa", -1 },
		{ "Z", "a", -1 },
		{ "az", "b", -1 },
		{ "rc", "rc1", -1 },
		/* Marks. */
		{ "1~rc1", "1", -1 },
		{ "1~~", "1~", 1 }, /* the second one finds an end, not a ~ */
		{ "1~~1", "1~1", -1 },
		{ "1~rc1", "1~rc2", -1 },
		{ "1^post", "1", 1 },
		{ "1^post", "1.1", -1 },
		{ "1-2", "1.2", -1 },
		{ "1-2", "1^2", -1 },
		{ "1_~", "1", -1 },
		{ "1--1", "1-1", -1 },
		{ "-", "~", 1 },
		{ "--", "-", 1 },
		{ "..", ".", 1 },
		/* What is in no ASCII class says nothing. */
		{ "", "", 0 },
		{ "_", "", 0 },
		{ "\xff\x80", "", 0 },
		{ "1\n2", "1 2", 0 },
		{ "2026.11.1", "2026.11.10", -1 },
		{ "2026.11.2", "2026.11.10", -1 },
		{ "2026.2", "2026.11.1", -1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		expect(rows[i].a, rows[i].b, rows[i].wanted);
}

/* Each is older than all behind it: the specification's row, with more in between. */
static void test_order(void **state)
{
	static const char *const rows[] = { "~1", "", "ab", "abb", "abc", "0001", "002", "12",
		"122", "122.1", "122.9", "123~rc1-1", "123", "123-a", "123-a.1", "123-a1",
		"123-a1.1", "123-1", "123-1.1", "123-3", "123-3.1", "123^patch1", "123^post1",
		"123^1", "123.a-1", "123.1-1", "123a-1", "124", "124-1" };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t j = 0; j < COUNT(rows); j++)
			expect(rows[i], rows[j], i < j ? -1 : i > j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
