/* SPDX-License-Identifier: Apache-2.0 */

/* The parent's side of fetching: the texts of a child that was taken over, its errors above all. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hostile.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define NONSENSE    "does not behave as it should"
#define OPENED_SIZE offsetof(struct channel_opened, name)
#define IS_SIZE     offsetof(struct channel_is, name)

static const char raw[] = "all is well\r\n\x1b[2J\x1b]0;owned\x07 \x9b\t\x7f\xc2\x9b\x31m\xff done";

static void check_harmless(const char *text)
{
	assert_non_null(strstr(text, "all is well"));
	assert_non_null(strstr(text, "done"));
	for (const uint8_t *p = (const uint8_t *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
			fail_msg("0x%02x, 0x%02x", *p, p[1]);
}

static void say_raw(const struct hostile *hostile, const void *what)
{
	(void)what;
	hostile_say(hostile, &(struct channel_message){ .kind = CHANNEL_NOTE }, raw, sizeof(raw));
	hostile_say_failed(hostile, raw);
}

static void test_texts_do_not_drive_a_terminal(void **unused)
{
	(void)unused;
	for (size_t phase = 0; phase < HOSTILE_PHASES; phase++) {
		struct hostile_play play = { .phase = (enum hostile_phase)phase, .act = say_raw };
		struct error error;

		assert_int_equal(hostile_play(&play, &error), -ENOENT);
		assert_int_equal(play.notes, 1);
		check_harmless(play.note);
		check_harmless(error.text);
		hostile_check_error("raw", &error, ERROR_FAILED, ENOENT, "all is well");
	}
}

static int check_raw_entry(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_entry entry;

	assert_int_equal(fetcher_entry(fetcher, 0, &entry, error), 1);
	check_harmless(entry.name);
	return 0;
}

static int check_raw_name(struct fetcher *fetcher, struct error *error)
{
	(void)error;
	check_harmless(fetcher_name(fetcher));
	return 0;
}

static void test_names_do_not_drive_a_terminal(void **unused)
{
	uint8_t data[OPENED_SIZE + IS_SIZE + sizeof(raw)] = { 0 };
	struct hostile_said said = { .data = data };
	struct hostile_play play = { .act = hostile_say_it, .what = &said };
	struct error error;

	(void)unused;
	said.head.kind = CHANNEL_OPENED;
	said.size = OPENED_SIZE + sizeof(raw);
	memcpy(data + OPENED_SIZE, raw, sizeof(raw));
	play.phase = HOSTILE_OPENING;
	play.use = check_raw_name;
	assert_int_equal(hostile_play(&play, &error), 0);
	said.head.kind = CHANNEL_IS;
	said.size = IS_SIZE + sizeof(raw);
	memcpy(data + IS_SIZE, raw, sizeof(raw));
	play.phase = HOSTILE_ENTRY;
	play.use = check_raw_entry;
	assert_int_equal(hostile_play(&play, &error), 0);
}

/* Notes of every length, with and without a NUL, are cut to what a text may be. */
static void say_notes(const struct hostile *hostile, const void *what)
{
	static const size_t sizes[] = { 0, 1, ERROR_TEXT_MAX - 1, ERROR_TEXT_MAX,
		ERROR_TEXT_MAX + 1, CHANNEL_DATA_MAX };
	char text[CHANNEL_DATA_MAX];

	(void)what;
	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < COUNT(sizes); i++)
		hostile_say(
			hostile, &(struct channel_message){ .kind = CHANNEL_NOTE }, text, sizes[i]);
	hostile_say_failed(hostile, "that was all");
}

static void test_long_notes(void **unused)
{
	struct hostile_play play = { .phase = HOSTILE_ENTRY, .act = say_notes };
	struct error error;

	(void)unused;
	assert_int_equal(hostile_play(&play, &error), -ENOENT);
	assert_in_range(play.notes, 5, 6);
	assert_int_equal(strlen(play.note), ERROR_TEXT_MAX - 1);
}

/* --- errors that are none --- */

static const struct {
	const char *name;
	struct channel_failed failed;
	size_t size; /* 0: the right one */
	enum error_kind kind;
	int number;
	const char *says;
} failures[] = {
	{ "good", { ERROR_FAILED, ENOENT, "it is gone" }, 0, ERROR_FAILED, ENOENT, "it is gone" },
	{ "usage", { ERROR_USAGE, EINVAL, "bad URL" }, 0, ERROR_USAGE, EINVAL, "bad URL" },
	{ "largest number", { ERROR_FAILED, 4095, "odd one" }, 0, ERROR_FAILED, 4095, "odd one" },
	{ "no error", { ERROR_NONE, EIO, "fine" }, 0, ERROR_FAILED, EPROTO, NONSENSE },
	{ "busy", { ERROR_BUSY, EIO, "fine" }, 0, ERROR_FAILED, EPROTO, NONSENSE },
	{ "nothing to do", { ERROR_NOTHING, EIO, "fine" }, 0, ERROR_FAILED, EPROTO, NONSENSE },
	{ "unknown kind", { 1000, EIO, "fine" }, 0, ERROR_FAILED, EPROTO, NONSENSE },
	{ "negative kind", { UINT32_MAX, EIO, "fine" }, 0, ERROR_FAILED, EPROTO, NONSENSE },
	{ "no number", { ERROR_FAILED, 0, "fine" }, 0, ERROR_FAILED, EPROTO, NONSENSE },
	{ "large number", { ERROR_FAILED, 4096, "fine" }, 0, ERROR_FAILED, EPROTO, NONSENSE },
	{ "negative number", { ERROR_FAILED, (uint32_t)-EIO, "fine" }, 0, ERROR_FAILED, EPROTO,
		NONSENSE },
	{ "no text", { ERROR_FAILED, EIO, "" }, 0, ERROR_FAILED, EPROTO, NONSENSE },
	{ "cut", { ERROR_FAILED, EIO, "fine" }, sizeof(struct channel_failed) - 1, ERROR_FAILED,
		EPROTO, NONSENSE },
	{ "longer", { ERROR_FAILED, EIO, "fine" }, sizeof(struct channel_failed) + 1, ERROR_FAILED,
		EPROTO, NONSENSE },
};

static void test_failures(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < COUNT(failures) * 2; i++) {
		size_t row = i / 2;
		uint8_t data[sizeof(struct channel_failed) + 1] = { 0 };
		struct hostile_said said = { .head.kind = CHANNEL_FAILED, .data = data };
		struct hostile_play play = {
			.phase = i % 2 ? HOSTILE_OPENING : HOSTILE_CHUNKS,
			.act = hostile_say_it,
			.what = &said,
		};
		struct error error;

		memcpy(data, &failures[row].failed, sizeof(struct channel_failed));
		said.size = failures[row].size ?: sizeof(struct channel_failed);
		assert_int_equal(hostile_play(&play, &error), -failures[row].number);
		hostile_check_error(failures[row].name, &error, failures[row].kind,
			failures[row].number, failures[row].says);
	}
}

static void say_without_an_end(const struct hostile *hostile, const void *what)
{
	struct channel_failed failed = { .kind = ERROR_REFUSED, .number = EPERM };

	(void)what;
	memset(failed.text, 'x', sizeof(failed.text));
	failed.text[5] = ' ';
	hostile_say(hostile, &(struct channel_message){ .kind = CHANNEL_FAILED }, &failed,
		sizeof(failed));
}

static void test_a_failure_without_an_end(void **unused)
{
	struct hostile_play play = { .phase = HOSTILE_NEXT, .act = say_without_an_end };
	struct error error;

	(void)unused;
	assert_int_equal(hostile_play(&play, &error), -EPERM);
	hostile_check_error("no NUL", &error, ERROR_REFUSED, EPERM, "xxxxx xxxxx");
	assert_int_equal(strlen(error.text), ERROR_TEXT_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts_do_not_drive_a_terminal),
		cmocka_unit_test(test_names_do_not_drive_a_terminal),
		cmocka_unit_test(test_long_notes),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_a_failure_without_an_end),
	};

	return cmocka_run_group_tests_name("fetcher_text", tests, NULL, NULL);
}
