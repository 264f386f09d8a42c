/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/text.h"
#include "format/fatname.h"

static void test_trim(void **state)
{
	static const char *const cases[][2] = {
		{ "boot-a.efi", "boot-a.efi" },
		{ "boot-a.efi.", "boot-a.efi" },
		{ "boot-a.efi . .", "boot-a.efi" },
		{ " a", " a" },
		{ "a.b", "a.b" },
		{ ".a", ".a" },
		{ ".", "" },
		{ "..", "" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char name[32];

		strcpy(name, cases[i][0]);
		fatname_trim(name);
		assert_string_equal(name, cases[i][1]);
	}
}

static void assert_same(const char *found, const char *expected)
{
	if (expected)
		assert_string_equal(found, expected);
	else
		assert_null(found);
}

static void test_find(void **state)
{
	static const struct {
		const char *names[4], *name, *found, *other;
	} cases[] = {
		{ { NULL }, "EFI", NULL, NULL },
		{ { "BOOT", "efi" }, "EFI", "efi", NULL },
		{ { "EFI", "efi" }, "EFI", "EFI", "efi" },
		{ { "EFI", "efi" }, "efi", "efi", "EFI" },
		{ { "EFI", "efi" }, "Efi", "EFI", "efi" },
		{ { "EFI", "Efi", "efi" }, "Efi", "Efi", "efi" },
		{ { "EFI2", "EF" }, "EFI", NULL, NULL },
		/* What ends in a dot no firmware finds under the name without. */
		{ { "efi.", "efi " }, "EFI", NULL, NULL },
		/* Beyond ASCII it is the firmware's affair: the bytes have to be the same. */
		{ { "\xc3\xa4" }, "\xc3\x84", NULL, NULL },
		{ { "\xc3\xa4" }, "\xc3\xa4", "\xc3\xa4", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_TEXT_LIST struct text_list names = { 0 };
		const char *found, *other;

		for (size_t k = 0; k < 4 && cases[i].names[k]; k++)
			assert_int_equal(text_list_add(&names, NULL, "%s", cases[i].names[k]), 0);
		fatname_find(&names, cases[i].name, &found, &other);
		assert_same(found, cases[i].found);
		assert_same(other, cases[i].other);
	}
}

static void test_clash(void **state)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	const char *one, *two;

	(void)state;
	assert_false(fatname_clash(&names, &one, &two));
	assert_int_equal(text_list_add(&names, NULL, "boot-a.efi"), 0);
	assert_int_equal(text_list_add(&names, NULL, "boot-b.efi"), 0);
	assert_false(fatname_clash(&names, &one, &two));
	assert_int_equal(text_list_add(&names, NULL, "BOOT-B.efi"), 0);
	assert_true(fatname_clash(&names, &one, &two));
	assert_string_equal(one, "boot-b.efi");
	assert_string_equal(two, "BOOT-B.efi");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trim),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_clash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
