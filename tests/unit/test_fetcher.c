/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The parent's side of fetching, whose child was taken over: whatever that says, the parent reads
 * nothing outside of the pool, shows nothing raw, and ends with one clear sentence. How the child
 * ends is in test_fetcher_end.c, what it says in words in test_fetcher_text.c, what an install
 * makes of its chunks in tests/sim/test_hostile.c.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "hostile.h"
#include "linux_tree.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define HEAD_SIZE   offsetof(struct channel_message, data)
#define NONSENSE    "does not behave as it should"

static void check_nonsense(const char *name, struct hostile_play *play)
{
	struct error error;
	int r = hostile_play(play, &error);

	if (r != -EPROTO)
		fail_msg("%s, %s: %d '%s'", hostile_phases[play->phase], name, r, error.text);
	hostile_check_error(name, &error, ERROR_FAILED, EPROTO, NONSENSE);
	if (play->phase != HOSTILE_OPENING)
		hostile_check_error(name, &error, ERROR_FAILED, EPROTO, HOSTILE_NAME);
}

/* --- what is no message --- */

static const struct bytes {
	const char *name;
	size_t size;
} lengths[] = {
	{ "a byte", 1 },
	{ "half a head", HEAD_SIZE / 2 },
	{ "a head but for a byte", HEAD_SIZE - 1 },
	{ "a head of garbage", HEAD_SIZE },
	{ "garbage", 4000 },
	{ "the longest garbage", sizeof(struct channel_message) },
	{ "a byte too much", sizeof(struct channel_message) + 1 },
	{ "much too much", 100000 },
};

static void say_garbage(const struct hostile *hostile, const void *what)
{
	static uint8_t garbage[100000];

	memset(garbage, 0xf5, sizeof(garbage));
	hostile_say_bytes(hostile, garbage, ((const struct bytes *)what)->size);
}

static void test_no_message(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < HOSTILE_PHASES * COUNT(lengths); i++) {
		const struct bytes *row = &lengths[i / HOSTILE_PHASES];
		struct hostile_play play = {
			.phase = (enum hostile_phase)(i % HOSTILE_PHASES),
			.act = say_garbage,
			.what = row,
		};

		check_nonsense(row->name, &play);
	}
}

/* Right answers, but for a byte that their head is short of, or that no message has room for. */
static void say_of_length(const struct hostile *hostile, const void *what)
{
	static union {
		struct channel_message message;
		uint8_t bytes[sizeof(struct channel_message) + 1];
	} longer = { .message.kind = CHANNEL_CHECKED };

	hostile_say_bytes(hostile, &longer, *(const size_t *)what);
}

static void test_lengths(void **unused)
{
	static const size_t good[] = { HEAD_SIZE, sizeof(struct channel_message) };
	static const size_t bad[] = { 4, HEAD_SIZE - 1, sizeof(struct channel_message) + 1 };
	struct hostile_play play = { .phase = HOSTILE_CHECK, .act = say_of_length };
	struct error error;

	(void)unused;
	for (size_t i = 0; i < COUNT(good); i++) {
		play.what = &good[i];
		assert_int_equal(hostile_play(&play, &error), 0);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		play.what = &bad[i];
		check_nonsense("a wrong length", &play);
	}
}

/* --- what is no answer --- */

/* Each kind with no data; also those that only the parent says, and some that there are not. */
static void test_no_answer(void **unused)
{
	static const uint32_t answers[HOSTILE_PHASES] = {
		[HOSTILE_NEXT] = CHANNEL_END,
		[HOSTILE_READ] = CHANNEL_PIECE,
		[HOSTILE_ENTRY] = CHANNEL_END,
		[HOSTILE_CHECK] = CHANNEL_CHECKED,
	};
	static const uint32_t more[] = { 0, CHANNEL_FAILED + 1, 1u << 16 | CHANNEL_PIECE,
		UINT32_MAX };

	(void)unused;
	for (size_t i = 0; i < HOSTILE_PHASES * (CHANNEL_FAILED + COUNT(more)); i++) {
		size_t phase = i % HOSTILE_PHASES, kind = i / HOSTILE_PHASES + 1;
		struct hostile_said said = { .head.kind = (uint32_t)kind };
		struct hostile_play play = {
			.phase = (enum hostile_phase)phase,
			.act = hostile_say_it,
			.what = &said,
		};
		char name[32];

		if (kind > CHANNEL_FAILED)
			said.head.kind = more[kind - CHANNEL_FAILED - 1];
		snprintf(name, sizeof(name), "kind %u", said.head.kind);
		if (said.head.kind != CHANNEL_NOTE && said.head.kind != answers[phase])
			check_nonsense(name, &play);
	}
}

/* --- answers with fields that cannot be --- */

static const uint8_t zeroes[CHANNEL_DATA_MAX];
static const struct channel_payload no_role = { .role = BUNDLE_ROLE_COUNT };
static const struct channel_payload far_role = { .role = UINT32_MAX };

#define OPENED_SIZE offsetof(struct channel_opened, name)
#define IS_SIZE     offsetof(struct channel_is, name)

static const struct {
	const char *name;
	enum hostile_phase phase;
	struct hostile_said said;
	uint32_t chunk_size;
} wrong[] = {
	{ "no name", HOSTILE_OPENING, { { .kind = CHANNEL_OPENED }, zeroes, OPENED_SIZE }, 0 },
	{ "cut", HOSTILE_OPENING, { { .kind = CHANNEL_OPENED }, zeroes, OPENED_SIZE - 8 }, 0 },
	{ "no such role", HOSTILE_NEXT, { { .kind = CHANNEL_PAYLOAD }, &no_role, sizeof(no_role) },
		0 },
	{ "the last role", HOSTILE_NEXT,
		{ { .kind = CHANNEL_PAYLOAD }, &far_role, sizeof(far_role) }, 0 },
	{ "cut", HOSTILE_NEXT, { { .kind = CHANNEL_PAYLOAD }, zeroes, sizeof(no_role) - 1 }, 0 },
	{ "longer", HOSTILE_NEXT, { { .kind = CHANNEL_PAYLOAD }, zeroes, sizeof(no_role) + 1 }, 0 },
	{ "slot behind the pool", HOSTILE_READ,
		{ { .kind = CHANNEL_PIECE, .slot = CHANNEL_SLOTS, .size = 1 }, NULL, 0 }, 0 },
	{ "last slot", HOSTILE_READ,
		{ { .kind = CHANNEL_PIECE, .slot = UINT32_MAX, .size = 1 }, NULL, 0 }, 0 },
	{ "slot of nothing", HOSTILE_READ,
		{ { .kind = CHANNEL_PIECE, .slot = CHANNEL_SLOTS }, NULL, 0 }, 0 },
	{ "larger than a slot", HOSTILE_READ,
		{ { .kind = CHANNEL_PIECE, .size = CHANNEL_SLOT_SIZE + 1 }, NULL, 0 }, 0 },
	{ "largest", HOSTILE_READ, { { .kind = CHANNEL_PIECE, .size = UINT32_MAX }, NULL, 0 }, 0 },
	{ "no name", HOSTILE_ENTRY, { { .kind = CHANNEL_IS }, zeroes, IS_SIZE }, 0 },
	{ "cut", HOSTILE_ENTRY, { { .kind = CHANNEL_IS }, zeroes, 3 }, 0 },
	{ "slot behind the pool", HOSTILE_ENTRY_BYTES,
		{ { .kind = CHANNEL_PIECE, .slot = CHANNEL_SLOTS, .size = 1 }, NULL, 0 }, 0 },
	{ "more than the entry has", HOSTILE_ENTRY_BYTES,
		{ { .kind = CHANNEL_PIECE, .size = HOSTILE_ENTRY_SIZE + 1 }, NULL, 0 }, 0 },
	{ "largest", HOSTILE_ENTRY_BYTES,
		{ { .kind = CHANNEL_PIECE, .size = UINT32_MAX }, NULL, 0 }, 0 },
	{ "none of its bytes", HOSTILE_ENTRY_BYTES,
		{ { .kind = CHANNEL_PIECE, .size = 0 }, NULL, 0 }, 0 },
	{ "cut", HOSTILE_CHUNKS,
		{ { .kind = CHANNEL_CHUNKS }, zeroes, sizeof(struct channel_chunks) - 1 }, 0 },
	{ "longer", HOSTILE_CHUNKS,
		{ { .kind = CHANNEL_CHUNKS }, zeroes, sizeof(struct channel_chunks) + 1 }, 0 },
	{ "slot behind the pool", HOSTILE_CHUNKS,
		{ { .kind = CHANNEL_CHUNKS, .slot = CHANNEL_SLOTS, .size = 1 }, zeroes, 16 }, 0 },
	{ "slot behind the pool of large ones", HOSTILE_CHUNKS,
		{ { .kind = CHANNEL_CHUNKS, .slot = 4, .size = 1 }, zeroes, 16 }, 1u << 20 },
	{ "last slot", HOSTILE_CHUNKS,
		{ { .kind = CHANNEL_CHUNKS, .slot = UINT32_MAX, .size = 1 }, zeroes, 16 }, 0 },
	{ "larger than a slot", HOSTILE_CHUNKS,
		{ { .kind = CHANNEL_CHUNKS, .size = CHANNEL_SLOT_SIZE + 1 }, zeroes, 16 }, 0 },
	{ "larger than a large slot", HOSTILE_CHUNKS,
		{ { .kind = CHANNEL_CHUNKS, .size = (1u << 20) + 1 }, zeroes, 16 }, 1u << 20 },
	{ "largest", HOSTILE_CHUNKS, { { .kind = CHANNEL_CHUNKS, .size = UINT32_MAX }, zeroes, 16 },
		0 },
};

static void test_wrong_fields(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < COUNT(wrong); i++) {
		struct hostile_play play = {
			.phase = wrong[i].phase,
			.act = hostile_say_it,
			.what = &wrong[i].said,
			.chunk_size = wrong[i].chunk_size,
		};

		check_nonsense(wrong[i].name, &play);
	}
}

/* Two messages, of which only both together are wrong. */
static void say_two(const struct hostile *hostile, const void *what)
{
	const struct hostile_said *said = what;

	hostile_say_it(hostile, &said[0]);
	hostile_say_it(hostile, &said[1]);
}

static int keep_chunks(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_chunks first, second;

	assert_int_equal(fetcher_wait(fetcher, &first, error), 1);
	return fetcher_wait(fetcher, &second, error);
}

static int give_chunks_back(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_chunks first, second;

	assert_int_equal(fetcher_wait(fetcher, &first, error), 1);
	fetcher_free(fetcher, first.slot);
	return fetcher_wait(fetcher, &second, error);
}

static void test_a_slot_twice(void **unused)
{
	static const struct hostile_said same = {
		{ .kind = CHANNEL_CHUNKS, .slot = 7, .size = 1 },
		zeroes,
		sizeof(struct channel_chunks),
	};
	const struct hostile_said twice[] = { same, same };
	struct hostile_play play = { .phase = HOSTILE_CHUNKS, .act = say_two, .what = twice };
	struct error error;

	(void)unused;
	play.use = keep_chunks;
	check_nonsense("a slot that was not freed", &play);
	play.use = give_chunks_back;
	assert_int_equal(hostile_play(&play, &error), 1);
}

static int next_two(struct fetcher *fetcher, struct error *error)
{
	struct bundle_payload payload;

	assert_int_equal(fetcher_next(fetcher, &payload, error), 1);
	return fetcher_next(fetcher, &payload, error);
}

static void test_a_payload_twice(void **unused)
{
	static const struct channel_payload system = { .role = BUNDLE_ROLE_SYSTEM, .size = 1000 };
	static const struct channel_payload boot = { .role = BUNDLE_ROLE_BOOT, .size = 1000 };
	struct hostile_said said[] = {
		{ { .kind = CHANNEL_PIECE }, NULL, 0 },
		{ { .kind = CHANNEL_PAYLOAD }, &system, sizeof(system) },
	};
	struct hostile_play play = {
		.phase = HOSTILE_READ, .act = say_two, .what = said, .use = next_two
	};
	struct error error;

	(void)unused;
	check_nonsense("the same payload again", &play);
	said[1].data = &boot;
	assert_int_equal(hostile_play(&play, &error), 1);
}

static void test_an_entry_that_is_too_short(void **unused)
{
	static const struct hostile_said few[] = {
		{ { .kind = CHANNEL_PIECE, .size = HOSTILE_ENTRY_SIZE - 1 }, NULL, 0 },
		{ { .kind = CHANNEL_PIECE }, NULL, 0 },
	};
	static const struct hostile_said many[] = {
		{ { .kind = CHANNEL_PIECE, .size = HOSTILE_ENTRY_SIZE }, NULL, 0 },
		{ { .kind = CHANNEL_PIECE, .size = 1 }, NULL, 0 },
	};
	struct hostile_play play = { .phase = HOSTILE_ENTRY_BYTES, .act = say_two };

	(void)unused;
	play.what = few;
	check_nonsense("a byte is missing", &play);
	play.what = many;
	check_nonsense("a byte too much", &play);
}

/* --- what may be, and what becomes of it --- */

/* Which chunks they are is for who asked to check: fetcher.h. They lie in the pool at any rate. */
static int take_the_impossible(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_chunks chunks;
	int r = fetcher_wait(fetcher, &chunks, error);

	assert_int_equal(r, 1);
	assert_int_equal(chunks.first, UINT64_MAX);
	assert_int_equal(chunks.count, UINT64_MAX - 1);
	assert_int_equal(chunks.slot, CHANNEL_SLOTS - 1);
	assert_int_equal(chunks.size, CHANNEL_SLOT_SIZE);
	assert_int_equal(chunks.data[0], 'a');
	assert_int_equal(chunks.data[chunks.size - 1], 'z');
	return 0;
}

static void fill_the_last_slot(const struct hostile *hostile, const void *what)
{
	hostile->pool[CHANNEL_POOL_SIZE - CHANNEL_SLOT_SIZE] = 'a';
	hostile->pool[CHANNEL_POOL_SIZE - 1] = 'z';
	hostile_say_it(hostile, what);
}

static void test_chunks_that_cannot_be(void **unused)
{
	static const struct channel_chunks chunks = { UINT64_MAX, UINT64_MAX - 1 };
	static const struct hostile_said said = {
		{ .kind = CHANNEL_CHUNKS, .slot = CHANNEL_SLOTS - 1, .size = CHANNEL_SLOT_SIZE },
		&chunks,
		sizeof(chunks),
	};
	struct hostile_play play = {
		.phase = HOSTILE_CHUNKS,
		.act = fill_the_last_slot,
		.what = &said,
		.use = take_the_impossible,
	};
	struct error error;

	(void)unused;
	assert_int_equal(hostile_play(&play, &error), 0);
}

static int read_names(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_entry entry;

	assert_int_equal(fetcher_entry(fetcher, 0, &entry, error), 1);
	assert_int_equal(strlen(entry.name), FETCHER_NAME_SIZE - 1);
	for (const char *p = entry.name; *p; p++)
		assert_int_equal(*p, 'n');
	return 0;
}

static int read_name(struct fetcher *fetcher, struct error *error)
{
	(void)error;
	assert_int_equal(strlen(fetcher_name(fetcher)), CHANNEL_DATA_MAX - OPENED_SIZE - 1);
	return 0;
}

static void test_names_without_an_end(void **unused)
{
	static uint8_t data[CHANNEL_DATA_MAX];
	struct hostile_said said = { .data = data, .size = sizeof(data) };
	struct hostile_play play = { .act = hostile_say_it, .what = &said };
	struct error error;

	(void)unused;
	memset(data, 'n', sizeof(data));
	said.head.kind = CHANNEL_OPENED;
	play.phase = HOSTILE_OPENING;
	play.use = read_name;
	assert_int_equal(hostile_play(&play, &error), 0);
	said.head.kind = CHANNEL_IS;
	play.phase = HOSTILE_ENTRY;
	play.use = read_names;
	assert_int_equal(hostile_play(&play, &error), 0);
}

/* --- what else comes along --- */

/* Descriptors that come with a message do not stay: hostile_play() counts them. */
static void send_a_descriptor(const struct hostile *hostile, const void *what)
{
	struct channel_message message = { .kind = CHANNEL_END };
	struct iovec bytes = { &message, HEAD_SIZE };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct msghdr header = {
		.msg_iov = &bytes,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	(void)what;
	memcpy(CMSG_DATA(&control.header), &hostile->socket, sizeof(int));
	sendmsg(hostile->socket, &header, MSG_NOSIGNAL);
}

static int count_while_open(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_entry entry;
	int before = count_fds();

	assert_int_equal(fetcher_entry(fetcher, 0, &entry, error), 0);
	assert_int_equal(count_fds(), before);
	return 0;
}

static void test_descriptors_are_not_taken(void **unused)
{
	struct hostile_play play = {
		.phase = HOSTILE_ENTRY,
		.act = send_a_descriptor,
		.use = count_while_open,
	};
	struct error error;

	(void)unused;
	assert_int_equal(hostile_play(&play, &error), 0);
}

/* Counters only grow, whatever it says. */
static int watch_counters(struct fetcher *fetcher, struct error *error)
{
	struct bundle_payload payload;

	assert_int_equal(fetcher_next(fetcher, &payload, error), 0);
	assert_int_equal(fetcher_received(fetcher), 500);
	assert_int_equal(fetcher_requests(fetcher), 3);
	return 0;
}

static void test_counters_do_not_shrink(void **unused)
{
	static const struct hostile_said said[] = {
		{ { .kind = CHANNEL_NOTE, .received = 500, .requests = 3 }, "x", 1 },
		{ { .kind = CHANNEL_END, .received = 499, .requests = 2 }, NULL, 0 },
	};
	struct hostile_play play = {
		.phase = HOSTILE_NEXT,
		.act = say_two,
		.what = said,
		.use = watch_counters,
	};
	struct error error;

	(void)unused;
	assert_int_equal(hostile_play(&play, &error), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_message),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_wrong_fields),
		cmocka_unit_test(test_a_slot_twice),
		cmocka_unit_test(test_a_payload_twice),
		cmocka_unit_test(test_an_entry_that_is_too_short),
		cmocka_unit_test(test_chunks_that_cannot_be),
		cmocka_unit_test(test_names_without_an_end),
		cmocka_unit_test(test_descriptors_are_not_taken),
		cmocka_unit_test(test_counters_do_not_shrink),
	};

	return cmocka_run_group_tests_name("fetcher", tests, NULL, NULL);
}
