/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The parent's side of fetching: a child that dies, hangs, talks without end or never listens, and
 * one that changes its bytes afterwards. Nothing of it keeps the parent.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "hostile.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define MANY        3000u /* messages that fit into no socket */

/* --- dying --- */

static void end(const struct hostile *hostile, const void *what)
{
	(void)hostile;
	_exit(*(const int *)what);
}

static void be_killed(const struct hostile *hostile, const void *what)
{
	(void)hostile;
	signal(*(const int *)what, SIG_DFL);
	raise(*(const int *)what);
}

static void hang_up(const struct hostile *hostile, const void *what)
{
	(void)what;
	close(hostile->socket);
	/* The parent's end was inherited, too. */
	for (int fd = 3; fd < 64; fd++)
		close(fd);
}

static void say_nothing(const struct hostile *hostile, const void *what)
{
	(void)what;
	hostile_say_bytes(hostile, "", 0);
}

static const struct {
	const char *name;
	void (*act)(const struct hostile *hostile, const void *what);
	int number;
	const char *says;
} deaths[] = {
	{ "exits well", end, 0, "has ended unexpectedly" },
	{ "exits badly", end, 1, "has ended unexpectedly" },
	{ "killed", be_killed, SIGKILL, "was killed by signal 9 (Killed)" },
	{ "damaged", be_killed, SIGSEGV, "was killed by signal 11 (Segmentation fault)" },
	{ "aborted", be_killed, SIGABRT, "was killed by signal 6 (Aborted)" },
	{ "forbidden", be_killed, SIGSYS, "was killed by signal 31 (Bad system call)" },
};

static void check_death(const char *name, struct hostile_play *play, const char *says)
{
	struct error error;
	int r = hostile_play(play, &error);

	if (r != -EIO)
		fail_msg("%s, %s: %d '%s'", hostile_phases[play->phase], name, r, error.text);
	hostile_check_error(name, &error, ERROR_FAILED, EIO, says);
}

static void test_deaths(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < HOSTILE_PHASES * COUNT(deaths); i++) {
		size_t row = i / HOSTILE_PHASES;
		struct hostile_play play = {
			.phase = (enum hostile_phase)(i % HOSTILE_PHASES),
			.act = deaths[row].act,
			.what = &deaths[row].number,
		};

		check_death(deaths[row].name, &play, deaths[row].says);
	}
}

/* It lives on, and says nothing ever again. */
static void test_hanging_up(void **unused)
{
	static const enum hostile_phase phases[] = { HOSTILE_OPENING, HOSTILE_CHUNKS };

	(void)unused;
	for (size_t i = 0; i < COUNT(phases); i++) {
		struct hostile_play play = { .phase = phases[i], .act = hang_up };

		check_death("hangs up", &play, "has ended unexpectedly");
	}
}

/* No other message is empty: it looks like hanging up. */
static void test_an_empty_message(void **unused)
{
	struct hostile_play play = { .phase = HOSTILE_NEXT, .act = say_nothing };

	(void)unused;
	check_death("empty", &play, "has ended unexpectedly");
}

static void die_in_the_middle(const struct hostile *hostile, const void *what)
{
	const struct channel_message piece = { .kind = CHANNEL_PIECE, .slot = 1, .size = 10 };

	hostile_say(hostile, &piece, NULL, 0);
	be_killed(hostile, what);
}

static void test_dying_in_the_middle(void **unused)
{
	static const int number = SIGKILL;
	struct hostile_play play = { .act = die_in_the_middle, .what = &number };

	(void)unused;
	play.phase = HOSTILE_READ;
	check_death("in a payload", &play, "was killed by signal 9");
	play.phase = HOSTILE_ENTRY_BYTES;
	check_death("in an entry", &play, "was killed by signal 9");
}

/* What it said last is the better error, also when it dies before it hears the request. */
static void fail_and_die(const struct hostile *hostile, const void *what)
{
	static const uint8_t name[offsetof(struct channel_opened, name) + 2] = { 0 };

	hostile_say(
		hostile, &(struct channel_message){ .kind = CHANNEL_OPENED }, name, sizeof(name));
	hostile_say_failed(hostile, "the last words");
	end(hostile, what);
}

static int ask_late(struct fetcher *fetcher, struct error *error)
{
	struct bundle_payload payload;

	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	return fetcher_next(fetcher, &payload, error);
}

static void test_last_words(void **unused)
{
	static const int code = 3;
	struct hostile_play play = {
		.phase = HOSTILE_OPENING,
		.act = fail_and_die,
		.what = &code,
		.use = ask_late,
	};
	struct error error;

	(void)unused;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(hostile_play(&play, &error), -ENOENT);
		assert_string_equal(error.text, "the last words");
	}
}

/* --- hanging --- */

static void hang(const struct hostile *hostile, const void *what)
{
	(void)hostile, (void)what;
}

/* One that is silent for longer than a download may take. */
static void test_silence(void **unused)
{
	static const enum hostile_phase phases[] = { HOSTILE_OPENING, HOSTILE_CHUNKS };

	(void)unused;
	for (size_t i = 0; i < COUNT(phases); i++) {
		struct hostile_play play = {
			.phase = phases[i],
			.act = hang,
			.spec = HOSTILE_NAME,
			.total_timeout = 1,
		};
		struct error error;

		assert_int_equal(hostile_play(&play, &error), -EPROTO);
		hostile_check_error(
			"silent", &error, ERROR_FAILED, EPROTO, "does not behave as it should");
	}
}

static void check_cancelled(struct hostile_play *play)
{
	struct error error;

	assert_int_equal(hostile_play(play, &error), -ECANCELED);
	hostile_check_error("cancelled", &error, ERROR_FAILED, ECANCELED,
		play->phase == HOSTILE_OPENING ? "cancelled while fetching 'the bundle'"
					       : "cancelled while fetching '" HOSTILE_NAME "'");
	assert_int_equal(play->questions, play->cancel_at);
}

static void test_cancelling_what_hangs(void **unused)
{
	(void)unused;
	for (size_t phase = 0; phase < HOSTILE_PHASES; phase++) {
		struct hostile_play play = {
			.phase = (enum hostile_phase)phase,
			.act = hang,
			.cancel_at = 3,
		};

		check_cancelled(&play);
	}
}

/* Closed in the middle of all, it is gone: hostile_play() sees to that. */
static int leave(struct fetcher *fetcher, struct error *error)
{
	(void)fetcher, (void)error;
	return 0;
}

static void test_closing_what_hangs(void **unused)
{
	(void)unused;
	for (size_t phase = HOSTILE_NEXT; phase < HOSTILE_PHASES; phase++) {
		struct hostile_play play = {
			.phase = (enum hostile_phase)phase,
			.act = hang,
			.use = leave,
		};
		struct error error;

		assert_int_equal(hostile_play(&play, &error), 0);
	}
}

/* --- talking without end --- */

static void talk(const struct hostile *hostile, const void *what)
{
	static const struct channel_chunks chunks = { 0, 1 };

	for (uint32_t i = 0;; i++) {
		struct channel_message message = *(const struct channel_message *)what;

		message.slot = i % CHANNEL_SLOTS;
		hostile_say(hostile, &message, &chunks, sizeof(chunks));
	}
}

static void test_cancelling_what_talks(void **unused)
{
	static const struct channel_message note = { .kind = CHANNEL_NOTE };

	(void)unused;
	for (size_t phase = HOSTILE_NEXT; phase < HOSTILE_PHASES; phase++) {
		struct hostile_play play = {
			.phase = (enum hostile_phase)phase,
			.act = talk,
			.what = &note,
			.cancel_at = 500,
		};

		check_cancelled(&play);
		assert_true(play.notes > 400);
	}
}

/*
 * It is told of each slot that is free again and never listens: what it does not take must not
 * keep its parent, who could not even be cancelled then.
 */
static void test_one_who_does_not_listen(void **unused)
{
	static const struct channel_message piece = { .kind = CHANNEL_PIECE, .size = 1 };
	struct hostile_play play = { .phase = HOSTILE_READ, .act = talk, .what = &piece };
	struct error error;

	(void)unused;
	assert_int_equal(hostile_play(&play, &error), -EPROTO);
	hostile_check_error("deaf", &error, ERROR_FAILED, EPROTO, "does not behave as it should");
}

static int take_many(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_chunks chunks;
	int r = 1;

	for (unsigned i = 0; r > 0 && i < MANY; i++) {
		r = fetcher_wait(fetcher, &chunks, error);
		if (r > 0)
			fetcher_free(fetcher, chunks.slot);
	}
	return r;
}

static void test_chunks_of_one_who_does_not_listen(void **unused)
{
	static const struct channel_message chunks = { .kind = CHANNEL_CHUNKS, .size = 1 };
	struct hostile_play play = {
		.phase = HOSTILE_CHUNKS,
		.act = talk,
		.what = &chunks,
		.use = take_many,
	};
	struct error error;

	(void)unused;
	assert_int_equal(hostile_play(&play, &error), -EPROTO);
	hostile_check_error("deaf", &error, ERROR_FAILED, EPROTO, "does not behave as it should");
}

/* --- being woken --- */

static int wake_first(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_chunks chunks;

	fetcher_wake(fetcher);
	fetcher_wake(fetcher);
	assert_int_equal(fetcher_wait(fetcher, &chunks, error), 0);
	/* Once is enough. */
	return fetcher_wait(fetcher, &chunks, error);
}

static void test_waking(void **unused)
{
	struct hostile_play play = {
		.phase = HOSTILE_CHUNKS,
		.act = hang,
		.use = wake_first,
		.cancel_at = 4,
	};

	(void)unused;
	check_cancelled(&play);
}

/* --- changing bytes afterwards --- */

static void flicker(const struct hostile *hostile, const void *what)
{
	const struct channel_message piece = { .kind = CHANNEL_PIECE, .size = HOSTILE_ENTRY_SIZE };
	const struct channel_message last = { .kind = CHANNEL_PIECE, .slot = 1 };
	volatile uint8_t *pool = hostile->pool;

	(void)what;
	hostile_say(hostile, &piece, NULL, 0);
	hostile_say(hostile, &last, NULL, 0);
	for (;;)
		for (size_t i = 0; i < HOSTILE_ENTRY_SIZE; i++)
			pool[i]++;
}

/* Whether the bytes stay as they are while the other process runs. */
static void check_still(const uint8_t *bytes, size_t size)
{
	uint8_t before[HOSTILE_ENTRY_SIZE];

	assert_int_equal(size, HOSTILE_ENTRY_SIZE);
	memcpy(before, bytes, size);
	for (int i = 0; i < 10; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 3000000 }, NULL);
		assert_memory_equal(bytes, before, size);
	}
}

static int read_and_look(struct fetcher *fetcher, struct error *error)
{
	uint8_t data[2 * HOSTILE_ENTRY_SIZE];
	struct bundle_payload payload;
	size_t got = 0;

	assert_int_equal(fetcher_next(fetcher, &payload, error), 1);
	assert_int_equal(fetcher_read(fetcher, data, sizeof(data), &got, error), 0);
	check_still(data, got);
	return fetcher_read(fetcher, data, sizeof(data), &got, error);
}

static int read_entry_and_look(struct fetcher *fetcher, struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	int r = fetcher_read_entry(fetcher, HOSTILE_ENTRY_SIZE, &bytes, error);

	check_still(bytes.data, bytes.size);
	return r;
}

static void test_bytes_that_change_are_copies(void **unused)
{
	struct hostile_play play = { .act = flicker };
	struct error error;

	(void)unused;
	play.phase = HOSTILE_READ;
	play.use = read_and_look;
	assert_int_equal(hostile_play(&play, &error), 0);
	play.phase = HOSTILE_ENTRY_BYTES;
	play.use = read_entry_and_look;
	assert_int_equal(hostile_play(&play, &error), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deaths),
		cmocka_unit_test(test_hanging_up),
		cmocka_unit_test(test_an_empty_message),
		cmocka_unit_test(test_dying_in_the_middle),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_cancelling_what_hangs),
		cmocka_unit_test(test_closing_what_hangs),
		cmocka_unit_test(test_cancelling_what_talks),
		cmocka_unit_test(test_one_who_does_not_listen),
		cmocka_unit_test(test_chunks_of_one_who_does_not_listen),
		cmocka_unit_test(test_waking),
		cmocka_unit_test(test_bytes_that_change_are_copies),
	};

	return cmocka_run_group_tests_name("fetcher_end", tests, NULL, NULL);
}
