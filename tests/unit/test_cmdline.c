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
#define SHA1 "0123456789abcdef0123456789abcdef01234567"

static const struct {
	const char *cmdline;
	const char *hashes; /* with blanks between; NULL: -EINVAL */
	size_t tables;
} verity_rows[] = {
	{ "", "", 0 },
	{ "quiet roothas=" HASH_1, "", 0 },
	{ "roothash=" HASH_1 " quiet", HASH_1, 0 },
	{ "usrhash=" HASH_2 "\n", HASH_2, 0 },
	{ "roothash=0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", HASH_1, 0 },
	{ "roothash=" HASH_1 HASH_2, HASH_1 HASH_2, 0 },
	{ "roothash=" SHA1, SHA1, 0 },
	{ "roothash=0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef", 0 },
	/* Quotes as systemd takes them. */
	{ "roothash=\"" HASH_1 "\"", HASH_1, 0 },
	{ "roothash='" HASH_1 "'", HASH_1, 0 },
	{ "'roothash=" HASH_1 "'", HASH_1, 0 },
	{ "\"roothash=" HASH_1 "\" quiet", HASH_1, 0 },
	{ "root\"hash\"=" HASH_1, HASH_1, 0 },
	{ "roothash=\"" HASH_1, HASH_1, 0 },
	{ "a=\"roothash=" HASH_1 " b\"", "", 0 },
	{ "a=\"b roothash=" HASH_1 " c\"", "", 0 },
	{ "a='b \" roothash=" HASH_1 " c'", "", 0 },
	/* Root and usr are two trees; of one key the last counts, nothing is none. */
	{ "roothash=" HASH_1 " usrhash=" HASH_2, HASH_1 " " HASH_2, 0 },
	{ "usrhash=" HASH_2 " roothash=" HASH_1, HASH_1 " " HASH_2, 0 },
	{ "roothash=" HASH_1 " usrhash=" HASH_1, HASH_1, 0 },
	{ "roothash=" HASH_1 " roothash=" HASH_1, HASH_1, 0 },
	{ "roothash=" HASH_1 " roothash=" HASH_2, HASH_2, 0 },
	{ "roothash=abc roothash=" HASH_2, HASH_2, 0 },
	{ "roothash=" HASH_1 " roothash=", "", 0 },
	{ "roothash=" HASH_1 " roothash", HASH_1, 0 },
	{ "roothash=" HASH_1 " roothash=\"\"", "", 0 },
	{ "roothash= usrhash=", "", 0 },
	{ "roothash= usrhash=" HASH_2, HASH_2, 0 },
	{ "roothash usrhash", "", 0 },
	/* Of the initrd alone, which is where they are read. */
	{ "rd.roothash=" HASH_1, HASH_1, 0 },
	{ "roothash=" HASH_1 " rd.roothash=" HASH_2, HASH_2, 0 },
	{ "rd.rd.roothash=" HASH_1, "", 0 },
	/* systemd.verity=0 leaves it to another unit; the hash is the same. */
	{ "systemd.verity=0 rd.systemd.verity=no roothash=" HASH_1, HASH_1, 0 },
	{ "systemd.verity_root_hash=PARTLABEL=S roothash=" HASH_1, HASH_1, 0 },
	{ "verity.usrhash=" HASH_1, "", 0 },
	{ "verity.usrhash=" HASH_1 " usrhash=" HASH_2, HASH_2, 0 },
	{ "roothash=g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", NULL, 0 },
	{ "roothash=0123456789abcdef", NULL, 0 },
	{ "roothash=" HASH_1 "0", NULL, 0 },
	{ "roothash=" HASH_1 HASH_1 "00", NULL, 0 },
	{ "roothash=" HASH_1 " usrhash=none", NULL, 0 },
	/* dm-mod.create= */
	{ "dm-mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") "\" quiet", HASH_1, 1 },
	{ "dm_mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") "\"", HASH_1, 1 },
	{ "\"dm-mod.create=root,,,ro," TABLE(HASH_1, "00ff") "\"", HASH_1, 1 },
	{ "dm-mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") " 1 ignore_zero_blocks\"", HASH_1, 1 },
	{ "dm-mod.create=\"a,,,rw,0 8 linear /dev/sda 0,8 8 zero;  root,uuid-1,3,ro,0 8 linear "
	  "/dev/sdb 0," TABLE(HASH_1, "00ff") ";b,,,ro,0 1 zero\"",
		HASH_1, 1 },
	{ "dm-mod.create=\"root,,,ro, " TABLE(HASH_1, "00ff") "\" roothash=" HASH_1, HASH_1, 1 },
	{ "roothash=" HASH_1 " dm-mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") "\"", HASH_1, 1 },
	{ "dm-mod.create=\"root,,,ro," TABLE(HASH_1, "00ff") "\" roothash=" HASH_2,
		HASH_2 " " HASH_1, 1 },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "00ff") ";b,,,ro," TABLE(HASH_2, "00ff") "\"",
		HASH_1 " " HASH_2, 2 },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "00ff") "," TABLE(HASH_2, "00ff") "\"",
		HASH_1 " " HASH_2, 2 },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "00ff") ";b,,,ro," TABLE(HASH_1, "00ff") "\"",
		HASH_1, 1 },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "00ff") "\" dm-mod.create=\"a,,,ro," TABLE(
		  HASH_2, "00ff") "\"",
		HASH_2, 1 },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "00ff") "\" dm-mod.create=", "", 0 },
	{ "-- dm-mod.create=\"a,,,ro," TABLE(HASH_1, "00ff") "\"", "", 0 },
	{ "dm-mod.create=\"a,,,ro,0 8 linear /dev/sda 0\"", "", 0 },
	{ "dm-mod.create=\"" TABLE(HASH_1, "00ff") "\"", "", 0 }, /* no name: no device */
	{ "dm-mod.create=", "", 0 },
	{ "dm-mod.create", "", 0 },
	/* Hash format 0 (Chrome OS): the hash is known, its table is not ours. */
	{ "dm-mod.create=\"a,,,ro,0 8 verity 0 s s 4096 4096 1 1 sha256 " HASH_1 " -\"", HASH_1,
		0 },
	/* The tree lies on another device than the data. */
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s t 4096 4096 1 1 sha256 " HASH_1 " -\"", HASH_1,
		0 },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4096 4096 1 1 sha256 " HASH_1 "\"", NULL, 0 },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4096 4096 -1 1 sha256 " HASH_1 " -\"", NULL, 0 },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4294967296 4096 1 1 sha256 " HASH_1 " -\"", NULL,
		0 },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4096 4096 1 1 sha256 00 -\"", NULL, 0 },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "abc") "\"", NULL, 0 },
	{ "dm-mod.create=\"a,,,ro," TABLE(HASH_1, "xy") "\"", NULL, 0 },
	{ "dm-mod.create=\"a,,,ro,0 8 verity 1 s s 4096 4096 1 1 "
	  "sha256sha256sha256sha256sha256sha256 " HASH_1 " -\"",
		NULL, 0 },
};

static void check_table(const struct cmdline_tree *tree)
{
	assert_int_equal(tree->data_block_size, 4096);
	assert_int_equal(tree->hash_block_size, 1024);
	assert_int_equal(tree->data_blocks, 10);
	assert_int_equal(tree->hash_start, 11);
	assert_string_equal(tree->algorithm, "sha256");
	assert_string_equal(tree->salt, "00ff");
}

static void test_verity(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(verity_rows); i++) {
		struct cmdline_verity verity = { 0 };
		char hashes[CMDLINE_TREES_MAX * 129] = "";
		struct error error = { 0 };
		size_t tables = 0;
		int r = cmdline_verity(verity_rows[i].cmdline, &verity, &error);

		if (r != (verity_rows[i].hashes ? 0 : -EINVAL))
			fail_msg("row %zu '%s': %d %s", i, verity_rows[i].cmdline, r, error.text);
		for (size_t j = 0; r == 0 && j < verity.count; j++) {
			strcat(strcat(hashes, j > 0 ? " " : ""), verity.trees[j].root_hash);
			tables += verity.trees[j].table;
			if (verity.trees[j].table)
				check_table(&verity.trees[j]);
		}
		if (r == 0 && strcmp(hashes, verity_rows[i].hashes) != 0)
			fail_msg("row %zu '%s': '%s'", i, verity_rows[i].cmdline, hashes);
		if (r == 0 && tables != verity_rows[i].tables)
			fail_msg("row %zu '%s': %zu tables", i, verity_rows[i].cmdline, tables);
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
	assert_string_equal(verity.trees[0].root_hash, HASH_1 HASH_2);
	assert_string_equal(verity.trees[0].salt, "-");
	assert_true(verity.trees[0].data_blocks == UINT64_MAX);
}

/* As many as there is room for, and one more. */
static void test_verity_trees_are_counted(void **state)
{
	char cmdline[4096] = "dm-mod.create=\"";
	struct cmdline_verity verity;
	size_t length = strlen(cmdline);

	(void)state;
	for (unsigned i = 0; i <= CMDLINE_TREES_MAX; i++) {
		length += (size_t)sprintf(cmdline + length,
			"%u,,,ro,0 8 verity 1 s s 4096 4096 1 1 sha256 %064x -;", i, i);
		assert_int_equal(cmdline_verity(cmdline, &verity, NULL),
			i < CMDLINE_TREES_MAX ? 0 : -EINVAL);
	}
	assert_int_equal(verity.count, CMDLINE_TREES_MAX);
}

static void test_verity_superblock(void **state)
{
	static const struct {
		const char *options;
		uint64_t offset;
	} rows[] = {
		{ "hash-offset=4096", 4096 },
		{ "panic-on-corruption,hash-offset=1048576", 1048576 },
		{ "hash-offset=64K", 64 << 10 },
		{ "hash-offset=3M", 3 << 20 },
		{ "hash-offset=2T", UINT64_C(2) << 40 },
		{ "hash-offset=4096,hash-offset=8192", 8192 },
		{ "hash-offset=", 0 },
		{ "hash-offset=-1", 0 },
		{ "hash-offset=9999999999T", 0 },
		{ "xhash-offset=4096", 0 },
		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char cmdline[400];
		struct cmdline_verity verity;

		snprintf(cmdline, sizeof(cmdline),
			"roothash=%s usrhash=%s systemd.verity-usr-options=%s", HASH_1, HASH_2,
			rows[i].options);
		assert_int_equal(cmdline_verity(cmdline, &verity, NULL), 0);
		assert_int_equal(verity.trees[0].superblock, 0);
		if (verity.trees[1].superblock != rows[i].offset)
			fail_msg("'%s': %llu", rows[i].options,
				(unsigned long long)verity.trees[1].superblock);
	}
}

static void test_verity_of_flatcar(void **state)
{
	struct cmdline_verity verity;

	(void)state;
	assert_int_equal(cmdline_verity("verity.usrhash=" HASH_1, &verity, NULL), 0);
	assert_true(verity.flatcar && verity.count == 0);
	assert_int_equal(cmdline_verity("verity.usrhash= usrhash=" HASH_1, &verity, NULL), 0);
	assert_false(verity.flatcar);
}

static void test_verity_in_words(void **state)
{
	struct cmdline_verity verity;
	AUTO_FREE char *one = NULL, *three = NULL;

	(void)state;
	assert_int_equal(cmdline_verity("roothash=" HASH_1, &verity, NULL), 0);
	assert_true(cmdline_verity_names(&verity, HASH_1));
	assert_false(cmdline_verity_names(&verity, HASH_2));
	one = cmdline_verity_text(&verity);
	assert_string_equal(one, "the root hash " HASH_1);
	assert_int_equal(cmdline_verity("roothash=" HASH_1 " usrhash=" HASH_2
					" dm-mod.create=\"r,,,ro," TABLE(SHA1, "-") "\"",
				 &verity, NULL),
		0);
	three = cmdline_verity_text(&verity);
	assert_string_equal(three, "the root hashes " HASH_1 ", " HASH_2 " and " SHA1);
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
		cmocka_unit_test(test_verity_trees_are_counted),
		cmocka_unit_test(test_verity_superblock),
		cmocka_unit_test(test_verity_of_flatcar),
		cmocka_unit_test(test_verity_in_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
