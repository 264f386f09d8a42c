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
#include "format/loadopt.h"

#define END 0x7f, 0xff, 4, 0

#define SPAN(array) ((struct span){ array, sizeof(array) })

/* Vendor attribute bits, a path after the first End, OptionalData of odd size. */
static const uint8_t odd_option[] = { 0x01, 0x1f, 0, 0xc0, 14, 0, 'S', 0, 'l', 0, 'o', 0, 't', 0,
	' ', 0, 0xe4, 0, 0, 0, 1, 1, 6, 0, 1, 1, END, END, 'o', 'p', 't' };

static void assert_round_trip(struct span bytes)
{
	AUTO_BUFFER struct buffer out = { 0 };
	struct loadopt option;

	assert_int_equal(loadopt_parse(bytes, &option, NULL), 0);
	assert_int_equal(loadopt_format(&option, &out, NULL), 0);
	assert_int_equal(out.size, bytes.size);
	assert_memory_equal(out.data, bytes.data, bytes.size);
}

static void test_parse(void **state)
{
	static const uint8_t paths[] = { 1, 1, 6, 0, 1, 1, END, END };
	AUTO_FREE char *description = NULL;
	struct loadopt option;

	(void)state;
	assert_int_equal(loadopt_parse(SPAN(odd_option), &option, NULL), 0);
	assert_int_equal(option.attributes, 0xc0001f01u);
	assert_true(option.attributes & LOADOPT_ACTIVE);
	assert_false(option.attributes & LOADOPT_HIDDEN);
	assert_int_equal(option.description.size, 12);
	assert_true(span_equal(option.device_paths, SPAN(paths)));
	assert_true(span_equal(option.optional_data, (struct span){ (const uint8_t *)"opt", 3 }));
	assert_int_equal(loadopt_description(&option, &description, NULL), 0);
	assert_string_equal(description, "Slot ä");
}

static void test_round_trips(void **state)
{
	static const uint8_t smallest[] = { 0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t broken_paths[] = { 1, 0, 0, 0, 3, 0, 'x', 0, 0, 0, 9, 9, 0 };
	static const uint8_t lone_surrogate[] = { 1, 0, 0, 0, 0, 0, 0, 0xd8, 0, 0 };
	static const uint8_t only_optional[] = { 1, 0, 0, 0, 0, 0, 'x', 0, 0, 0, 0, 0, 0 };

	(void)state;
	assert_round_trip(SPAN(odd_option));
	assert_round_trip(SPAN(smallest));
	assert_round_trip(SPAN(broken_paths));
	assert_round_trip(SPAN(lone_surrogate));
	assert_round_trip(SPAN(only_optional));
}

static void test_malformed(void **state)
{
	static const uint8_t no_nul[] = { 1, 0, 0, 0, 0, 0, 'x', 0, 'y', 0 };
	static const uint8_t half_nul[] = { 1, 0, 0, 0, 0, 0, 'x', 0, 0 };
	static const uint8_t paths_past_end[] = { 1, 0, 0, 0, 5, 0, 'x', 0, 0, 0, END };
	static const uint8_t paths_far_past_end[] = { 1, 0, 0, 0, 255, 255, 'x', 0, 0, 0 };
	/* A zero byte at an odd place is no NUL unit. */
	static const uint8_t odd_zeroes[] = { 1, 0, 0, 0, 0, 0, 'x', 0, 0, 'y' };
	const struct span cases[] = { SPAN(no_nul), SPAN(half_nul), SPAN(paths_past_end),
		SPAN(paths_far_past_end), SPAN(odd_zeroes), { NULL, 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct loadopt option = { .attributes = 0xdead };
		struct error error = { 0 };

		assert_int_equal(loadopt_parse(cases[i], &option, &error), -EBADMSG);
		assert_int_equal(option.attributes, 0xdead);
		assert_string_not_equal(error.text, "");
	}
}

static void test_truncated(void **state)
{
	const size_t complete = sizeof(odd_option) - 3; /* the OptionalData may have any size */

	(void)state;
	for (size_t size = 0; size <= sizeof(odd_option); size++) {
		for (size_t shift = 0; shift < 2; shift++) {
			AUTO_FREE uint8_t *copy = malloc(size + shift ? size + shift : 1);
			struct loadopt option;
			int r;

			assert_non_null(copy);
			memcpy(copy + shift, odd_option, size);
			r = loadopt_parse((struct span){ copy + shift, size }, &option, NULL);
			assert_int_equal(r, size >= complete ? 0 : -EBADMSG);
		}
	}
}

static void test_sizes(void **state)
{
	AUTO_BUFFER struct buffer large = { 0 }, out = { 0 };
	struct loadopt option = { 0 };

	(void)state;
	assert_int_equal(buffer_append(&large, NULL, LOADOPT_SIZE_MAX + 1, NULL), 0);
	assert_int_equal(loadopt_parse(span_of(&large), &option, NULL), -EBADMSG);
	large.size--;
	assert_round_trip(span_of(&large));

	assert_int_equal(buffer_append(&out, "x", 1, NULL), 0);
	option.optional_data = (struct span){ large.data, LOADOPT_SIZE_MAX - 7 };
	assert_int_equal(loadopt_format(&option, &out, NULL), -EINVAL);
	option.optional_data = (struct span){ large.data, SIZE_MAX };
	assert_int_equal(loadopt_format(&option, &out, NULL), -EINVAL);
	option = (struct loadopt){ .device_paths = { large.data, 65536 } };
	assert_int_equal(loadopt_format(&option, &out, NULL), -EINVAL);
	assert_int_equal(out.size, 1);
}

static void test_bad_descriptions(void **state)
{
	static const uint8_t text[] = { 'a', 0, 0, 0, 'b', 0 };
	AUTO_BUFFER struct buffer out = { 0 };
	struct loadopt option = { 0 };

	(void)state;
	option.description = (struct span){ text, 6 };
	assert_int_equal(loadopt_format(&option, &out, NULL), -EINVAL);
	option.description = (struct span){ text, 1 };
	assert_int_equal(loadopt_format(&option, &out, NULL), -EINVAL);
	option.description = (struct span){ text, 2 };
	assert_int_equal(loadopt_format(&option, &out, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_bad_descriptions),
	};

	return cmocka_run_group_tests_name("loadopt", tests, NULL, NULL);
}
