/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "fetch/resolver.h"

#define TIMEOUT_MS 10000

/* What libcurl takes for an address; one with a scope would spoil all others. */
static void test_addresses(void **state)
{
	static const struct {
		const char *host, *addresses; /* NULL: none */
	} cases[] = {
		{ "127.0.0.1", "127.0.0.1" },
		{ "::1", "[::1]" },
		{ "fe80::1%1", NULL },
		{ "fe80::1%lo", NULL },
	};
	int socket = -1;

	(void)state;
	assert_int_equal(resolver_start(&socket, NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		AUTO_FREE char *found = NULL;
		struct error error = { 0 };
		int r = resolver_ask(socket, cases[i].host, TIMEOUT_MS, &found, &error);

		assert_int_equal(r, cases[i].addresses ? 0 : -EAGAIN);
		if (cases[i].addresses)
			assert_string_equal(found, cases[i].addresses);
		else
			assert_non_null(strstr(error.text, "cannot be looked up"));
	}
	close(socket);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests_name("resolver", tests, NULL, NULL);
}
