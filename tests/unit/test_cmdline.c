/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "format/cmdline.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PATTERN      "PARTLABEL=METROPOLIS-SYSTEM-%s"
#define LABEL        "PARTLABEL=METROPOLIS-SYSTEM-"

#define HASH_1 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HASH_2 "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static const struct {
	const char *cmdline;
	const char *pattern;
	int result; /* a slot or -errno */
} slot_rows[] = {
	/* bistable.slot= */
	{ "bistable.slot=A", PATTERN, SLOT_A },
	{ "quiet bistable.slot=B\n", PATTERN, SLOT_B },
	{ "bistable.slot=b", PATTERN, SLOT_B },
	{ "bistable.slot=\"B\" x", PATTERN, SLOT_B },
	{ "\"bistable.slot=B\" x", PATTERN, SLOT_B },
	{ "bistable.slot=A bistable.slot=A", PATTERN, SLOT_A },
	{ "bistable.slot=A bistable.slot=B", PATTERN, -EINVAL },
	{ "bistable.slot=C", PATTERN, -EINVAL },
	{ "bistable.slot=", PATTERN, -EINVAL },
	{ "bistable.slot", PATTERN, -EINVAL },
	{ "bistable.slot=AB", PATTERN, -EINVAL },
	{ "bistable.slot=C root=" LABEL "A", PATTERN, -EINVAL },
	/* not a parameter of its own */
	{ "xbistable.slot=A", PATTERN, SLOT_NONE },
	{ "bistable.slots=A", PATTERN, SLOT_NONE },
	{ "init=\"/x bistable.slot=A\"", PATTERN, SLOT_NONE },
	{ "a=\"b c\" bistable.slot=A", PATTERN, SLOT_A },
	{ "a=\"b bistable.slot=B\" bistable.slot=A", PATTERN, SLOT_A },
	{ "open=\"b bistable.slot=B", PATTERN, SLOT_NONE },
	/* the parameter comes first */
	{ "root=" LABEL "A bistable.slot=B", PATTERN, SLOT_B },
	{ "root=" LABEL "A x=" LABEL "B bistable.slot=B", PATTERN, SLOT_B },
	/* the pattern */
	{ "", PATTERN, SLOT_NONE },
	{ "root=" LABEL "A", PATTERN, SLOT_A },
	{ "root=" LABEL "B ro", PATTERN, SLOT_B },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 " LABEL "B " LABEL "B 4096\"", PATTERN, SLOT_B },
	{ "a=" LABEL "B,b=" LABEL "B", PATTERN, SLOT_B },
	{ "a=" LABEL "A b=" LABEL "B", PATTERN, -EINVAL },
	{ "root=" LABEL "X", PATTERN, SLOT_NONE },
	{ "root=" LABEL "a", PATTERN, SLOT_NONE },
	{ "root=" LABEL "AB", PATTERN, SLOT_NONE },
	{ "root=" LABEL "A1", PATTERN, SLOT_NONE },
	{ "root=" LABEL "A-OLD", PATTERN, SLOT_NONE },
	{ "root=" LABEL "A_OLD", PATTERN, SLOT_NONE },
	{ "x=" LABEL "A-OLD root=" LABEL "A", PATTERN, SLOT_A },
	{ "x=" LABEL "A-OLD root=" LABEL "B", PATTERN, SLOT_B },
	{ "root=/dev/slot-b", "slot-%l", SLOT_B },
	{ "root=" LABEL "A", "", SLOT_NONE },
	{ "root=" LABEL "A", NULL, SLOT_NONE },
	{ "root=" LABEL "A", "PARTLABEL", -EINVAL },
};

static void test_slot(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(slot_rows); i++) {
		enum slot slot = (enum slot)7;
		int r = cmdline_slot(slot_rows[i].cmdline, slot_rows[i].pattern, &slot, NULL);
		int expected = slot_rows[i].result < -1 ? slot_rows[i].result : 0;

		if (r != expected)
			fail_msg("'%s': %d", slot_rows[i].cmdline, r);
		if (r == 0 && (int)slot != slot_rows[i].result)
			fail_msg("'%s': slot %d", slot_rows[i].cmdline, slot);
		if (r < 0 && slot != (enum slot)7)
			fail_msg("'%s': written on failure", slot_rows[i].cmdline);
	}
}

static void test_slot_error_kind(void **state)
{
	struct error error = { 0 };
	enum slot slot;

	(void)state;
	assert_int_equal(
		cmdline_slot("a=" LABEL "A b=" LABEL "B", PATTERN, &slot, &error), -EINVAL);
	assert_int_equal(error.kind, ERROR_FAILED);
	assert_non_null(strstr(error.text, LABEL "A"));
	assert_int_equal(cmdline_slot("", "fixed", &slot, &error), -EINVAL);
	assert_int_equal(error.kind, ERROR_USAGE);
}

static void test_bind(void **state)
{
	static const struct {
		const char *text, *placeholder, *bound, *expected;
		size_t count;
	} rows[] = {
		{ "root=SYS-X", "SYS-X", "SYS-B", "root=SYS-B", 1 },
		{ "SYS-X SYS-X", "SYS-X", "SYS-A", "SYS-A SYS-A", 2 },
		{ "XXXXX", "XX", "YX", "YXYXX", 2 },
		{ "SYS-", "SYS-X", "SYS-A", "SYS-", 0 },
		{ "", "SYS-X", "SYS-A", "", 0 },
		{ "X", "X", "X", "X", 1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t text[32] = { 0 };
		size_t count = 99;

		memcpy(text, rows[i].text, strlen(rows[i].text));
		assert_int_equal(cmdline_bind(text, strlen(rows[i].text), rows[i].placeholder,
					 rows[i].bound, &count, NULL),
			0);
		assert_int_equal(count, rows[i].count);
		assert_string_equal((char *)text, rows[i].expected);
	}
}

/* Bytes behind `size` and NULs inside are no obstacle and no part of it. */
static void test_bind_bounds(void **state)
{
	uint8_t bytes[] = "X\0X"
			  "XX";
	size_t count;

	(void)state;
	assert_int_equal(cmdline_bind(bytes, 3, "X", "Y", &count, NULL), 0);
	assert_int_equal(count, 2);
	assert_memory_equal(bytes, "Y\0YXX", 5);
	assert_int_equal(cmdline_bind(NULL, 0, "X", "Y", NULL, NULL), 0);
}

static void test_bind_bad(void **state)
{
	uint8_t bytes[] = "X X";
	struct error error = { 0 };

	(void)state;
	assert_int_equal(cmdline_bind(bytes, 3, "X", "YY", NULL, &error), -EINVAL);
	assert_int_equal(error.kind, ERROR_USAGE);
	assert_int_equal(cmdline_bind(bytes, 3, "X", "", NULL, NULL), -EINVAL);
	assert_int_equal(cmdline_bind(bytes, 3, "", "", NULL, NULL), -EINVAL);
	assert_string_equal((char *)bytes, "X X");
}

#define TABLE(hash, salt) \
	"0 80 verity 1 PARTLABEL=S PARTLABEL=S 4096 1024 10 11 sha256 " hash " " salt

static const struct {
	const char *cmdline;
	const char *hash; /* NULL: -EINVAL */
	bool table;
} verity_rows[] = {
	{ "", "", false },
	{ "quiet roothas=" HASH_1, "", false },
	{ "roothash=" HASH_1 " quiet", HASH_1, false },
	{ "usrhash=" HASH_2 "\n", HASH_2, false },
	{ "roothash=0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", HASH_1,
		false },
	{ "roothash=\"" HASH_1 "\"", HASH_1, false },
	{ "roothash=" HASH_1 " roothash=" HASH_1, HASH_1, false },
	{ "roothash=" HASH_1 HASH_2, HASH_1 HASH_2, false },
	{ "a=\"roothash=" HASH_1 " b\"", "", false },
	{ "roothash", "", false },
	{ "roothash=", NULL, false },
	{ "roothash=" HASH_1 " usrhash=" HASH_2, NULL, false },
	{ "roothash=g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", NULL,
		false },
	{ "roothash=0123456789abcdef", NULL, false },
	{ "roothash=" HASH_1 "0", NULL, false },
	{ "roothash=" HASH_1 HASH_1 "00", NULL, false },
	/* dm-mod.create= */
	{ "dm-mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") "\" quiet", HASH_1, true },
	{ "dm_mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") "\"", HASH_1, true },
	{ "\"dm-mod.create=root,,,ro," TABLE(HASH_1, "00ff") "\"", HASH_1, true },
	{ "dm-mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") " 1 ignore_zero_blocks\"", HASH_1,
		true },
	{ "dm-mod.create=\"a,,,rw,0 8 linear /dev/sda 0,8 8 zero;  root,uuid-1,3,ro,0 8 linear "
	  "/dev/sdb 0," TABLE(HASH_1, "00ff") ";b,,,ro,0 1 zero\"",
		HASH_1, true },
	{ "dm-mod.create=\"root,,,ro, " TABLE(HASH_1, "00ff") "\" roothash=" HASH_1, HASH_1, true },
	{ "roothash=" HASH_1 " dm-mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") "\"", HASH_1,
		true },
	{ "dm-mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") "\" roothash=" HASH_2, NULL, false },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "00ff") ";b,,,ro," TABLE(HASH_2, "00ff") "\"",
		NULL, false },
	{ "dm-mod.create=\"a,,,ro,0 8 linear /dev/sda 0\"", "", false },
	{ "dm-mod.create=\"" TABLE(HASH_1, "00ff") "\"", "", false }, /* no name: no device */
	{ "dm-mod.create=", "", false },
	{ "dm-mod.create", "", false },
	/* Hash format 0 (Chrome OS): the hash is known, its table is not ours. */
	{ "dm-mod.create=\"a,,,ro,0 8 verity 0 s s 4096 4096 1 1 sha256 " HASH_1 " -\"", HASH_1,
		false },
	/* The tree lies on another device than the data. */
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s t 4096 4096 1 1 sha256 " HASH_1 " -\"", HASH_1,
		false },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4096 4096 1 1 sha256 " HASH_1 "\"", NULL,
		false },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4096 4096 -1 1 sha256 " HASH_1 " -\"", NULL,
		false },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4294967296 4096 1 1 sha256 " HASH_1 " -\"", NULL,
		false },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4096 4096 1 1 sha256 00 -\"", NULL, false },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "abc") "\"", NULL, false },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "xy") "\"", NULL, false },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4096 4096 1 1 "
	  "sha256sha256sha256sha256sha256sha256 " HASH_1 " -\"",
		NULL, false },
};

static void test_verity(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(verity_rows); i++) {
		struct cmdline_verity verity = { 0 };
		struct error error = { 0 };
		int r = cmdline_verity(verity_rows[i].cmdline, &verity, &error);

		if (r != (verity_rows[i].hash ? 0 : -EINVAL))
			fail_msg("row %zu '%s': %d %s", i, verity_rows[i].cmdline, r, error.text);
		if (r < 0)
			continue;
		if (strcmp(verity.root_hash, verity_rows[i].hash) != 0)
			fail_msg("row %zu: hash '%s'", i, verity.root_hash);
		if (verity.table != verity_rows[i].table)
			fail_msg("row %zu: table %d", i, verity.table);
		if (!verity.table)
			continue;
		assert_int_equal(verity.data_block_size, 4096);
		assert_int_equal(verity.hash_block_size, 1024);
		assert_int_equal(verity.data_blocks, 10);
		assert_int_equal(verity.hash_start, 11);
		assert_string_equal(verity.algorithm, "sha256");
		assert_string_equal(verity.salt, "00ff");
	}
}

static void test_verity_without_salt(void **state)
{
	struct cmdline_verity verity;

	(void)state;
	assert_int_equal(cmdline_verity("dm-mod.create=\"r,,,ro,0 8 verity 1 s s 4096 4096 "
					"18446744073709551615 2 sha512 " HASH_1 HASH_2 " -\"",
				 &verity, NULL),
		0);
	assert_string_equal(verity.root_hash, HASH_1 HASH_2);
	assert_string_equal(verity.salt, "-");
	assert_true(verity.data_blocks == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slot),
		cmocka_unit_test(test_slot_error_kind),
		cmocka_unit_test(test_bind),
		cmocka_unit_test(test_bind_bounds),
		cmocka_unit_test(test_bind_bad),
		cmocka_unit_test(test_verity),
		cmocka_unit_test(test_verity_without_salt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
