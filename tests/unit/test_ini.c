/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/ini.h"

#define FAILS_WITH (-EDOM)

/* Collects "section/key=value|" and fails at a key named "bad". */
static int collect(
	void *context, const char *section, const char *key, const char *value, struct error *error)
{
	char *out = context;

	if (strcmp(key, "bad") == 0)
		return error_failed(error, -FAILS_WITH, "bad key");
	sprintf(out + strlen(out), "%s/%s=%s|", section, key, value);
	return 0;
}

static const struct {
	const char *text, *gives;
	int r;
	size_t line;
} cases[] = {
	{ "", "", 0, 0 },
	{ "\n\n# a\n; b\n", "", 0, 0 },
	{ "[s]\nk=v", "s/k=v|", 0, 0 },
	{ "[s]\nk = v \nl=\n", "s/k=v|s/l=|", 0, 0 },
	{ "[ s ]\r\nk=v\r\n", "s/k=v|", 0, 0 },
	{ "k=v\n[t.u]\nk=w\n", "/k=v|t.u/k=w|", 0, 0 },
	/* Nothing is cut out of a value. */
	{ "[s]\nh = Cookie: a=1 ; b=2 # c\n", "s/h=Cookie: a=1 ; b=2 # c|", 0, 0 },
	{ "[s]\nk = \"q\"\n", "s/k=\"q\"|", 0, 0 },
	{ "[s]\nk\n", "", -EINVAL, 2 },
	{ "[s\nk=v\n", "", -EINVAL, 1 },
	{ "[s]\na=1\n  b=2\n", "s/a=1|", -EINVAL, 3 },
	{ "[s]\na=1\n   \nb=2\n", "s/a=1|s/b=2|", 0, 0 },
	{ "[s]\n\na=1\nbad=1\nk\n", "s/a=1|", FAILS_WITH, 4 },
};

static void test_texts(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_FREE char *text = strdup(cases[i].text);
		struct error error = { 0 };
		char given[256] = "";
		size_t line = 0;

		assert_int_equal(ini_parse(text, collect, given, &line, &error), cases[i].r);
		assert_string_equal(given, cases[i].gives);
		assert_int_equal(line, cases[i].line);
		assert_int_equal(error.kind != ERROR_NONE, cases[i].r < 0);
	}
}

static void test_long_value(void **unused)
{
	AUTO_FREE char *text = calloc(1, 70000), *given = calloc(1, 70000);

	(void)unused;
	assert_true(text && given);
	strcpy(text, "[s]\nheader=");
	memset(text + strlen(text), 'x', 65536);
	assert_int_equal(ini_parse(text, collect, given, NULL, NULL), 0);
	assert_int_equal(strlen(given), strlen("s/header=|") + 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_long_value),
	};

	return cmocka_run_group_tests_name("ini", tests, NULL, NULL);
}
