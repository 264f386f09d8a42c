/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "format/bootorder.h"

#define LIST_MAX 8

/* A short order, written as hex digits: "31" is Boot0003, Boot0001. */
static struct bootorder order_of(const char *digits)
{
	struct bootorder order = { .count = strlen(digits) };

	for (size_t i = 0; i < order.count; i++)
		order.numbers[i] = (uint16_t)(digits[i] - '0');
	return order;
}

static void assert_order(const struct bootorder *order, const char *digits)
{
	char text[LIST_MAX + 1] = "";

	assert_true(order->count <= LIST_MAX);
	for (size_t i = 0; i < order->count; i++)
		text[i] = (char)('0' + order->numbers[i]);
	assert_string_equal(text, digits);
}

static void test_bytes(void **state)
{
	static const uint8_t bytes[] = { 1, 0, 0xef, 0xbe, 0, 0 };
	AUTO_BUFFER struct buffer out = { 0 };
	struct bootorder order;

	(void)state;
	assert_int_equal(bootorder_parse((struct span){ bytes, 6 }, &order, NULL), 0);
	assert_int_equal(order.count, 3);
	assert_int_equal(order.numbers[1], 0xbeef);
	assert_int_equal(bootorder_format(&order, &out, NULL), 0);
	assert_int_equal(out.size, 6);
	assert_memory_equal(out.data, bytes, 6);

	for (size_t size = 1; size < 6; size += 2) {
		struct error error = { 0 };

		order.count = 42;
		assert_int_equal(
			bootorder_parse((struct span){ bytes, size }, &order, &error), -EBADMSG);
		assert_int_equal(order.count, 42);
		assert_string_not_equal(error.text, "");
	}
	assert_int_equal(bootorder_parse((struct span){ NULL, 0 }, &order, NULL), 0);
	assert_int_equal(order.count, 0);
	assert_int_equal(bootorder_format(&order, &out, NULL), 0);
	assert_int_equal(out.size, 6);
}

static void test_too_many(void **state)
{
	static const uint8_t bytes[2 * BOOTORDER_MAX + 2];
	struct bootorder order;

	(void)state;
	assert_int_equal(
		bootorder_parse((struct span){ bytes, sizeof(bytes) }, &order, NULL), -EBADMSG);
	assert_int_equal(
		bootorder_parse((struct span){ bytes, sizeof(bytes) - 2 }, &order, NULL), 0);
	assert_int_equal(order.count, BOOTORDER_MAX);
	/* Full: nothing is inserted, nothing is lost; moving still works. */
	order.numbers[BOOTORDER_MAX - 1] = 5;
	assert_false(bootorder_put_before(&order, 7, 5));
	assert_false(bootorder_put_after(&order, 7, 5));
	assert_int_equal(order.count, BOOTORDER_MAX);
	assert_true(bootorder_put_before(&order, 5, 0));
	assert_int_equal(order.numbers[0], 5);
	assert_int_equal(order.count, BOOTORDER_MAX);
	assert_true(bootorder_dedup(&order));
	assert_int_equal(order.count, 2);
}

static void test_put_before(void **state)
{
	static const struct {
		const char *before;
		uint16_t number, mark;
		const char *after;
		bool changed;
	} cases[] = {
		{ "12", 2, 1, "21", true },
		{ "21", 2, 1, "21", false },
		{ "21", 1, 2, "12", true },
		/* Foreign entries keep their order, also those between. */
		{ "9182", 2, 1, "9218", true },
		{ "9281", 2, 1, "9281", false },
		{ "918276", 2, 1, "921876", true },
		/* Not listed: inserted; the mark is missing: appended. */
		{ "918", 2, 1, "9218", true },
		{ "98", 2, 1, "982", true },
		{ "", 2, 1, "2", true },
		{ "928", 2, 1, "928", false },
		/* The same number, and duplicates: the first mention counts. */
		{ "12", 1, 1, "12", false },
		{ "9", 1, 1, "91", true },
		{ "1212", 2, 1, "2112", true },
		{ "2112", 2, 1, "2112", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bootorder order = order_of(cases[i].before);

		assert_int_equal(bootorder_put_before(&order, cases[i].number, cases[i].mark),
			cases[i].changed);
		assert_order(&order, cases[i].after);
		/* A second time changes nothing. */
		assert_false(bootorder_put_before(&order, cases[i].number, cases[i].mark));
	}
}

static void test_put_after(void **state)
{
	static const struct {
		const char *before;
		uint16_t number, mark;
		const char *after;
		bool changed;
	} cases[] = {
		{ "918", 2, 1, "9128", true },
		{ "1", 2, 1, "12", true },
		{ "98", 2, 1, "982", true },
		{ "", 2, 1, "2", true },
		{ "21", 2, 1, "21", false },
		{ "1982", 2, 1, "1982", false },
		{ "191", 2, 1, "1291", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bootorder order = order_of(cases[i].before);

		assert_int_equal(bootorder_put_after(&order, cases[i].number, cases[i].mark),
			cases[i].changed);
		assert_order(&order, cases[i].after);
	}
}

static void test_remove_and_dedup(void **state)
{
	static const struct {
		const char *before, *removed, *deduped;
	} cases[] = {
		{ "", "", "" },
		{ "1", "", "1" },
		{ "123", "23", "123" },
		{ "1213121", "232", "123" },
		{ "3322", "3322", "32" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bootorder order = order_of(cases[i].before);

		assert_int_equal(bootorder_remove(&order, 1),
			strcmp(cases[i].before, cases[i].removed) != 0);
		assert_order(&order, cases[i].removed);
		order = order_of(cases[i].before);
		assert_int_equal(
			bootorder_dedup(&order), strcmp(cases[i].before, cases[i].deduped) != 0);
		assert_order(&order, cases[i].deduped);
	}
}

static void test_find(void **state)
{
	struct bootorder order = order_of("9191");

	(void)state;
	assert_int_equal(bootorder_find(&order, 9), 0);
	assert_int_equal(bootorder_find(&order, 1), 1);
	assert_int_equal(bootorder_find(&order, 2), -1);
}

static void test_entry_number(void **state)
{
	static const struct {
		const char *variable;
		long number; /* -1: none */
	} cases[] = {
		{ "Boot0000", 0 },
		{ "Boot00aF", 0xaf },
		{ "BootFFFF", 0xffff },
		{ "BootBEEF", 0xbeef },
		{ "BootOrder", -1 },
		{ "BootNext", -1 },
		{ "BootCurrent", -1 },
		{ "Boot000", -1 },
		{ "Boot00000", -1 },
		{ "Boot00g0", -1 },
		{ "Boot+001", -1 },
		{ "boot0001", -1 },
		{ "Boot", -1 },
		{ "", -1 },
		{ "Driver0001", -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint16_t number = 0x1234;

		assert_int_equal(
			bootorder_entry_number(cases[i].variable, &number), cases[i].number >= 0);
		assert_int_equal(number, cases[i].number >= 0 ? cases[i].number : 0x1234);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_put_before),
		cmocka_unit_test(test_put_after),
		cmocka_unit_test(test_remove_and_dedup),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_entry_number),
	};

	return cmocka_run_group_tests_name("bootorder", tests, NULL, NULL);
}
