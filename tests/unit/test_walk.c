/* SPDX-License-Identifier: Apache-2.0 */

/* Walking a bundle of format 1, with random access and as a stream: both say the same. */

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
#include "make_zip.h"
#include "memory_source.h"
#include "source/input.h"
#include "source/walk.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define TEXT(text)                                        \
	{                                                 \
		(const uint8_t *)(text), sizeof(text) - 1 \
	}
#define ENTRIES_MAX 8

/** How a bundle is gone through. */
static const struct way {
	const char *name;
	bool seekable, early; /* the directory is asked for after the first entry */
	size_t piece;
} ways[] = {
	{ "seeking", true, false, SIZE_MAX },
	{ "seeking, early", true, true, SIZE_MAX },
	{ "seeking, byte by byte", true, false, 1 },
	{ "stream", false, false, SIZE_MAX },
	{ "stream, early", false, true, 61 },
	{ "stream, byte by byte", false, false, 1 },
};

/** What was seen on the way. */
struct seen {
	int result;
	struct error error;
	size_t count;
	char names[ENTRIES_MAX][16];
	uint64_t data[ENTRIES_MAX], sizes[ENTRIES_MAX];
};

static int walk_all(struct walk *walk, const struct way *way, struct seen *seen)
{
	const struct listing_entry *entry;
	int r;

	while ((r = walk_next(walk, &entry, &seen->error)) > 0) {
		assert_true(seen->count < ENTRIES_MAX);
		strncpy(seen->names[seen->count], entry->name, 15);
		seen->data[seen->count] = entry->data;
		seen->sizes[seen->count++] = entry->entry.compressed;
		if (way->early && seen->count == 1)
			r = walk_check(walk, &seen->error);
		/* A part of the data: where the input is does not matter. */
		if (r >= 0 && entry->entry.compressed > 1)
			r = input_skip(walk->input, 1, &seen->error);
		if (r < 0)
			break;
	}
	return r;
}

static struct seen walk_through(struct span zip, const struct way *way)
{
	struct memory_source memory = memory_source(zip, way->seekable, way->piece);
	struct seen seen = { 0 };
	struct input input;
	struct walk walk;

	assert_int_equal(input_init(&input, &memory.source, NULL), 0);
	walk_init(&walk, &input);
	seen.result = walk_all(&walk, way, &seen);
	walk_done(&walk);
	input_done(&input);
	return seen;
}

static void refused(const char *name, struct span zip, const struct way *way, const char *says)
{
	struct seen seen = walk_through(zip, way);

	if (seen.result != -EBADMSG || seen.error.number != EBADMSG
		|| !strstr(seen.error.text, says))
		fail_msg("%s, %s: %d '%s', not '%s'", name, way->name, seen.result, seen.error.text,
			says);
}

static const struct zip_recipe usual[] = {
	{ .name = "manifest.json", .data = TEXT("{}") },
	{ .name = "empty" },
	{ .name = "boot", .data = TEXT("boot boot boot boot"), .method = 8 },
	{ .name = "system", .data = TEXT("PK\1\2PK\3\4PK\5\6"), .method = 93 },
};

static void make(const struct zip_recipe *recipes, size_t count, struct buffer *zip)
{
	make_zip(recipes, count, false, zip);
}

static void test_in_order(void **unused)
{
	AUTO_BUFFER struct buffer zip = { 0 };

	(void)unused;
	make(usual, COUNT(usual), &zip);
	for (size_t i = 0; i < COUNT(ways); i++) {
		struct seen seen = walk_through(span_of(&zip), &ways[i]);

		if (seen.result < 0)
			fail_msg("%s: %s", ways[i].name, seen.error.text);
		assert_int_equal(seen.count, COUNT(usual));
		assert_int_equal(seen.data[0], 30 + strlen("manifest.json"));
		for (size_t j = 0; j < COUNT(usual); j++)
			assert_string_equal(seen.names[j], usual[j].name);
		assert_memory_equal(zip.data + seen.data[3], "PK\1\2PK\3\4PK\5\6", 12);
		assert_int_equal(seen.sizes[3], 12);
	}
}

static void test_forms(void **unused)
{
	struct zip_recipe wide[] = { usual[0], usual[3] };

	(void)unused;
	wide[0].style = wide[1].style = ZIP_STYLE_ZIP64;
	for (size_t i = 0; i < COUNT(ways) * 2; i++) {
		AUTO_BUFFER struct buffer zip = { 0 }, none = { 0 };

		make_zip(wide, COUNT(wide), i % 2, &zip);
		assert_int_equal(walk_through(span_of(&zip), &ways[i / 2]).result, 0);
		assert_int_equal(walk_through(span_of(&zip), &ways[i / 2]).count, 2);
		/* Without entries there is no header where the first one should be. */
		make_zip(NULL, 0, i % 2, &none);
		refused("none", span_of(&none), &ways[i / 2], "");
	}
}

/* What is refused as soon as its header is there. */
static void test_bad_entries(void **unused)
{
	static const struct {
		const char *name, *says;
		struct zip_recipe recipe;
	} rows[] = {
		{ "encrypted", "byte 45 is encrypted", { .name = "x", .flags = 1 } },
		{ "descriptor", "byte 45 is followed by a data descriptor",
			{ .name = "x", .style = ZIP_STYLE_DESCRIPTOR } },
		{ "wide descriptor", "byte 45 is followed by a data descriptor",
			{ .name = "x", .style = ZIP_STYLE_WIDE, .method = 8 } },
		{ "other CRC", "disagree about 'x'", { .name = "x", .central_crc_error = 1 } },
		{ "other name", "disagree about 'x'", { .name = "x", .central_name = "y" } },
		{ "not listed", "", { .name = "x", .unlisted = true } },
	};

	(void)unused;
	for (size_t i = 0; i < COUNT(rows) * COUNT(ways); i++) {
		size_t row = i / COUNT(ways);
		struct zip_recipe recipes[] = { usual[0], rows[row].recipe, usual[2] };
		AUTO_BUFFER struct buffer zip = { 0 };

		make(recipes, COUNT(recipes), &zip);
		refused(rows[row].name, span_of(&zip), &ways[i % COUNT(ways)], rows[row].says);
	}
}

/* Flags that only the directory has: what listing.c refuses, too. */
static void test_encrypted_by_the_directory(void **unused)
{
	AUTO_BUFFER struct buffer zip = { 0 };
	uint8_t *central;

	(void)unused;
	make(usual, COUNT(usual), &zip);
	central = zip.data + le32(zip.data + zip.size - 6);
	central[9] ^= 0x20; /* bit 13: masked headers */
	for (size_t i = 0; i < COUNT(ways); i++)
		refused("flags", span_of(&zip), &ways[i], "disagree about 'manifest.json'");
}

static void test_a_name_twice(void **unused)
{
	const struct zip_recipe recipes[] = { usual[0], usual[2], usual[2] };
	AUTO_BUFFER struct buffer zip = { 0 };

	(void)unused;
	make(recipes, COUNT(recipes), &zip);
	for (size_t i = 0; i < COUNT(ways); i++)
		refused("twice", span_of(&zip), &ways[i], "two entries are named 'boot'");
}

static void test_a_name_with_a_nul(void **unused)
{
	const struct zip_recipe recipes[] = { usual[0], { .name = "a-b" } };
	AUTO_BUFFER struct buffer zip = { 0 };

	(void)unused;
	make(recipes, COUNT(recipes), &zip);
	for (uint8_t *p; (p = memmem(zip.data, zip.size, "a-b", 3));)
		p[1] = '\0';
	for (size_t i = 0; i < COUNT(ways); i++)
		refused("NUL", span_of(&zip), &ways[i], "has a name with a NUL in it");
}

/* With the directory known, what it contradicts does not get as far as to be read. */
static void test_contradictions_are_seen_at_once(void **unused)
{
	struct zip_recipe recipes[] = { usual[0], usual[1], usual[2] };
	AUTO_BUFFER struct buffer zip = { 0 };

	(void)unused;
	recipes[1].central_name = "other";
	make(recipes, COUNT(recipes), &zip);
	for (size_t i = 0; i < COUNT(ways); i++) {
		struct seen seen = walk_through(span_of(&zip), &ways[i]);

		assert_int_equal(seen.result, -EBADMSG);
		assert_int_equal(seen.count, ways[i].seekable && ways[i].early ? 1 : 3);
	}
}

/* Takes a ZIP apart at `at` and puts `bytes` there; the directory moves along. */
static void insert(struct buffer *zip, size_t at, const char *bytes, size_t size)
{
	AUTO_BUFFER struct buffer old = buffer_take(zip);
	uint8_t *end;

	assert_int_equal(buffer_append(zip, old.data, at, NULL), 0);
	assert_int_equal(buffer_append(zip, bytes, size, NULL), 0);
	assert_int_equal(buffer_append(zip, old.data + at, old.size - at, NULL), 0);
	end = zip->data + zip->size - 22;
	put_le32(end + 16, le32(end + 16) + (uint32_t)size);
}

/* Bytes that no entry has, before the first one, between two, and before the directory. */
static void test_gaps(void **unused)
{
	static const struct {
		const char *bytes;
		size_t size;
	} gaps[] = { { "x", 1 }, { "PK\1\2", 4 }, { "PK\5\6", 4 },
		{ "PK\1\2 and more of it", 18 } };

	(void)unused;
	for (size_t i = 0; i < COUNT(gaps) * COUNT(ways) * 3; i++) {
		AUTO_BUFFER struct buffer zip = { 0 };
		size_t where = i / COUNT(gaps) / COUNT(ways), row = i % COUNT(gaps);
		uint8_t *second;

		make(usual, COUNT(usual), &zip);
		second = memmem(zip.data + 4, zip.size, "PK\3\4", 4);
		insert(&zip,
			where == 0   ? 0
			: where == 1 ? (size_t)(second - zip.data)
				     : le32(zip.data + zip.size - 6),
			gaps[row].bytes, gaps[row].size);
		refused("gap", span_of(&zip), &ways[i / COUNT(gaps) % COUNT(ways)], "");
	}
}

static void test_end_records(void **unused)
{
	static const struct {
		const char *name;
		size_t from_end;
		uint8_t value;
	} rows[] = {
		{ "one entry less", 12, 3 },
		{ "one entry more", 12, 5 },
		{ "another start", 6, 0 },
		{ "another size", 10, 1 },
		{ "a comment that is not there", 2, 1 },
	};

	(void)unused;
	for (size_t i = 0; i < COUNT(rows) * COUNT(ways); i++) {
		size_t row = i / COUNT(ways);
		AUTO_BUFFER struct buffer zip = { 0 };

		make(usual, COUNT(usual), &zip);
		zip.data[zip.size - rows[row].from_end] = rows[row].value;
		if (rows[row].from_end == 12)
			zip.data[zip.size - 14] = rows[row].value;
		refused(rows[row].name, span_of(&zip), &ways[i % COUNT(ways)], "");
	}
}

/* Changes where the end record says that the directory begins, and its size. */
static void move_directory(struct buffer *zip, int32_t offset, int32_t size)
{
	uint8_t *end = zip->data + zip->size - 22;

	put_le32(end + 16, le32(end + 16) + (uint32_t)offset);
	put_le32(end + 12, le32(end + 12) + (uint32_t)size);
}

/* What the end record calls the directory is more than the entries' headers. */
static void test_a_larger_directory(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < COUNT(ways); i++) {
		AUTO_BUFFER struct buffer before = { 0 }, behind = { 0 };

		make(usual, COUNT(usual), &before);
		move_directory(&before, -1, 1);
		refused("a byte before", span_of(&before), &ways[i], "");
		make(usual, COUNT(usual), &behind);
		insert(&behind, behind.size - 22, "x", 1);
		move_directory(&behind, -1, 1);
		refused("a byte behind", span_of(&behind), &ways[i], "");
	}
}

/* The directory lists one more than there are, which lies nowhere. */
static void test_listed_but_not_there(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < COUNT(ways); i++) {
		AUTO_BUFFER struct buffer zip = { 0 };
		char header[46 + 6];
		uint8_t *end;

		make(usual, COUNT(usual), &zip);
		memcpy(header, zip.data + zip.size - 22 - sizeof(header), sizeof(header));
		header[46] = 'S';
		insert(&zip, zip.size - 22, header, sizeof(header));
		move_directory(&zip, -(int32_t)sizeof(header), sizeof(header));
		end = zip.data + zip.size - 22;
		put_le16(end + 8, COUNT(usual) + 1);
		put_le16(end + 10, COUNT(usual) + 1);
		refused("one more", span_of(&zip), &ways[i],
			ways[i].seekable ? "behind 4 entries, but lists 5" : "");
	}
}

static void test_bytes_behind_the_end(void **unused)
{
	AUTO_BUFFER struct buffer zip = { 0 };

	(void)unused;
	make(usual, COUNT(usual), &zip);
	for (size_t size = 1; size <= 100000; size *= 10) {
		AUTO_BUFFER struct buffer longer = { 0 };

		assert_int_equal(buffer_append(&longer, zip.data, zip.size, NULL), 0);
		assert_int_equal(buffer_append(&longer, NULL, size, NULL), 0);
		refused("longer", span_of(&longer), &ways[0], "no ZIP end record");
		refused("longer", span_of(&longer), &ways[3], "no ZIP end record");
	}
}

/* Cut off anywhere, it is refused; and never is a place asked for that is not there. */
static void test_truncated(void **unused)
{
	AUTO_BUFFER struct buffer zip = { 0 };

	(void)unused;
	make(usual, COUNT(usual), &zip);
	for (size_t size = 0; size < zip.size; size++)
		for (size_t i = 0; i < COUNT(ways); i++)
			refused("cut", (struct span){ zip.data, size }, &ways[i], "");
}

static void test_entries_larger_than_the_file(void **unused)
{
	static const uint64_t sizes[] = { 1000, UINT32_MAX - 1, INT64_MAX, UINT64_MAX - 200,
		UINT64_MAX - 1, UINT64_MAX };
	struct zip_recipe recipes[] = { usual[0] };

	(void)unused;
	recipes[0].style = ZIP_STYLE_ZIP64;
	for (size_t i = 0; i < COUNT(sizes) * COUNT(ways); i++) {
		AUTO_BUFFER struct buffer zip = { 0 };

		make(recipes, COUNT(recipes), &zip);
		/* Behind header, name, the field's head and the plain size. */
		put_le64(zip.data + 30 + strlen("manifest.json") + 12, sizes[i / COUNT(ways)]);
		refused("large", span_of(&zip), &ways[i % COUNT(ways)], "");
	}
}

/* A wrong byte is noticed by all ways, or by none. */
static void test_each_byte_wrong(void **unused)
{
	AUTO_BUFFER struct buffer zip = { 0 };
	size_t taken = 0;

	(void)unused;
	make(usual, COUNT(usual), &zip);
	for (size_t at = 0; at < zip.size; at++) {
		struct seen first;

		zip.data[at] ^= 0x41;
		first = walk_through(span_of(&zip), &ways[0]);
		taken += first.result == 0;
		for (size_t i = 1; i < COUNT(ways); i++) {
			struct seen seen = walk_through(span_of(&zip), &ways[i]);

			if (seen.result != first.result)
				fail_msg("byte %zu, %s: '%s', but '%s'", at, ways[i].name,
					seen.error.text, first.error.text);
			if (seen.result == 0)
				assert_memory_equal(seen.names, first.names, sizeof(first.names));
		}
		zip.data[at] ^= 0x41;
	}
	/* Of data, dates, versions and attributes, but for some flags. */
	assert_true(taken > 33 && taken < 140);
}

static void test_a_dead_line(void **unused)
{
	AUTO_BUFFER struct buffer zip = { 0 };

	(void)unused;
	make(usual, COUNT(usual), &zip);
	for (uint64_t at = 1; at < zip.size; at += 7) {
		struct memory_source memory = memory_source(span_of(&zip), false, 5);
		struct seen seen = { 0 };
		struct input input;
		struct walk walk;

		memory.fail_at = at;
		assert_int_equal(input_init(&input, &memory.source, NULL), 0);
		walk_init(&walk, &input);
		assert_int_equal(walk_all(&walk, &ways[3], &seen), -EIO);
		assert_string_equal(seen.error.text, "the line is dead");
		walk_done(&walk);
		input_done(&input);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_bad_entries),
		cmocka_unit_test(test_encrypted_by_the_directory),
		cmocka_unit_test(test_a_name_twice),
		cmocka_unit_test(test_a_name_with_a_nul),
		cmocka_unit_test(test_contradictions_are_seen_at_once),
		cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_end_records),
		cmocka_unit_test(test_a_larger_directory),
		cmocka_unit_test(test_listed_but_not_there),
		cmocka_unit_test(test_bytes_behind_the_end),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_entries_larger_than_the_file),
		cmocka_unit_test(test_each_byte_wrong),
		cmocka_unit_test(test_a_dead_line),
	};

	return cmocka_run_group_tests_name("walk", tests, NULL, NULL);
}
