/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "engine/hints.h"
#include "format/chunkmap.h"

#define BLOCK   CHUNKMAP_BLOCK_SIZE
#define THREADS 4

/** A chunk map whose blocks have the hints that a test gives. */
struct payload {
	struct chunkmap_writer writer;
	struct chunkmap map;
};

typedef uint64_t (*hint_function)(uint64_t block);

static struct payload make_payload(uint64_t size, hint_function hint_of)
{
	static const uint8_t digest[32];
	struct payload payload;

	assert_int_equal(chunkmap_writer_init(&payload.writer, size, BLOCK, NULL), 0);
	for (uint64_t i = 0; i < payload.writer.chunk_count; i++) {
		chunkmap_put_chunk(&payload.writer, i, 1, digest);
		chunkmap_put_hint(&payload.writer, i, hint_of(i));
	}
	assert_int_equal(
		chunkmap_parse(span_of(&payload.writer.bytes), size, BLOCK, &payload.map, NULL), 0);
	return payload;
}

static void payload_done(struct payload *payload)
{
	chunkmap_writer_done(&payload->writer);
}

#define AUTO_PAYLOAD CLEANUP(payload_done)

static struct hints *make_hints(const struct payload *payload, uint64_t wanted)
{
	struct hints *hints = NULL;

	assert_int_equal(hints_new(&payload->map, wanted, &hints, NULL), 0);
	return hints;
}

/* --- hints that hash badly, and well --- */

static uint64_t equal(uint64_t block)
{
	(void)block;
	return 7;
}

static uint64_t counted(uint64_t block)
{
	return block;
}

static uint64_t from_the_end(uint64_t block)
{
	return UINT64_MAX - block;
}

/* Alike in their lower half, in their upper half, and once both are folded. */
static uint64_t high(uint64_t block)
{
	return block << 32;
}

static uint64_t low(uint64_t block)
{
	return UINT64_C(0xabcdef01) << 32 | block;
}

static uint64_t folded(uint64_t block)
{
	return block << 32 | block;
}

static uint64_t in_pairs(uint64_t block)
{
	return block / 2 * UINT64_C(0x9e3779b97f4a7c15);
}

static const hint_function functions[] = { equal, counted, from_the_end, high, low, folded,
	in_pairs };

#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

static uint64_t zero_hint(size_t size)
{
	static const uint8_t zeroes[BLOCK];

	return chunkmap_hint_of(zeroes, size);
}

/* --- tests --- */

static void test_what_is_wanted_is_found(void **unused)
{
	enum { COUNT = 1000 };

	(void)unused;
	for (size_t f = 0; f < FUNCTIONS; f++) {
		AUTO_PAYLOAD struct payload payload = make_payload(COUNT * BLOCK, functions[f]);
		AUTO_HINTS struct hints *hints = make_hints(&payload, COUNT);

		for (uint64_t i = 0; i < COUNT; i++)
			hints_want(hints, i);
		for (uint64_t i = 0; i < COUNT; i++)
			assert_int_equal(hints_find(hints, i), HINTS_NOWHERE);
		for (uint64_t i = 0; i < COUNT; i += 2)
			hints_offer(hints, functions[f](i), (uint32_t)(i + 5000));
		for (uint64_t i = 0; i < COUNT; i++) {
			uint64_t first = functions[f] == equal ? 0 : i / 2 * 2;
			bool offered = i == first || functions[f](i) == functions[f](first);

			assert_int_equal(
				hints_find(hints, i), offered ? first + 5000 : HINTS_NOWHERE);
		}
	}
}

/* What nobody wants takes no place: many more are offered than there is room for. */
static void test_what_is_not_wanted_is_ignored(void **unused)
{
	AUTO_PAYLOAD struct payload payload = make_payload(100 * BLOCK, counted);
	AUTO_HINTS struct hints *hints = make_hints(&payload, 10);

	(void)unused;
	for (uint64_t i = 0; i < 100; i += 10)
		hints_want(hints, i);
	for (uint64_t hint = 0; hint < 100000; hint++)
		hints_offer(hints, hint, (uint32_t)hint);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(hints_find(hints, i), i % 10 == 0 ? i : HINTS_NOWHERE);
}

static void test_the_first_place_stays(void **unused)
{
	AUTO_PAYLOAD struct payload payload = make_payload(2 * BLOCK, counted);
	AUTO_HINTS struct hints *hints = make_hints(&payload, 2);

	(void)unused;
	hints_want(hints, 1);
	hints_offer(hints, 1, 0);
	hints_offer(hints, 1, 9);
	/* Wanting it again forgets nothing. */
	hints_want(hints, 1);
	assert_int_equal(hints_find(hints, 1), 0);
}

static uint64_t zero_or_not(uint64_t block)
{
	return block == 2 ? zero_hint(100) : block == 1 ? zero_hint(BLOCK) : 5;
}

/* Zeroes need no place, and take none; the short last block of zeroes is another one. */
static void test_zeroes(void **unused)
{
	AUTO_PAYLOAD struct payload payload = make_payload(2 * BLOCK + 100, zero_or_not);
	AUTO_HINTS struct hints *hints = make_hints(&payload, 3);

	(void)unused;
	for (uint64_t i = 0; i < 3; i++)
		hints_want(hints, i);
	assert_int_equal(hints_find(hints, 0), HINTS_NOWHERE);
	assert_int_equal(hints_find(hints, 1), HINTS_ZERO);
	assert_int_equal(hints_find(hints, 2), HINTS_NOWHERE);
	hints_offer(hints, zero_hint(BLOCK), 3);
	hints_offer(hints, zero_hint(100), 4);
	assert_int_equal(hints_find(hints, 1), HINTS_ZERO);
	assert_int_equal(hints_find(hints, 2), 4);
}

/* However many are wanted, there is a free place behind which to stop looking. */
static void test_every_size(void **unused)
{
	AUTO_PAYLOAD struct payload payload = make_payload(400 * BLOCK, counted);

	(void)unused;
	alarm(30);
	for (uint64_t wanted = 0; wanted < 400; wanted++) {
		AUTO_HINTS struct hints *hints = make_hints(&payload, wanted);

		for (uint64_t i = 0; i < wanted; i++)
			hints_want(hints, i);
		hints_offer(hints, UINT64_MAX, 1);
		for (uint64_t i = 0; i < 400; i++)
			assert_int_equal(hints_find(hints, i), HINTS_NOWHERE);
	}
	alarm(0);
}

/** What one of several threads offers: every hint, at places of its own. */
struct offers {
	struct hints *hints;
	uint32_t thread;
	uint64_t count;
	pthread_t id;
};

static void *offer_all(void *opaque)
{
	struct offers *offers = opaque;

	for (uint64_t i = 0; i < offers->count; i++)
		hints_offer(offers->hints, i, (uint32_t)i * THREADS + offers->thread);
	return NULL;
}

static void test_offers_from_several_threads(void **unused)
{
	enum { COUNT = 20000 };
	AUTO_PAYLOAD struct payload payload = make_payload((uint64_t)COUNT * BLOCK, counted);
	AUTO_HINTS struct hints *hints = make_hints(&payload, COUNT);
	struct offers offers[THREADS];

	(void)unused;
	for (uint64_t i = 0; i < COUNT; i++)
		hints_want(hints, i);
	for (uint32_t i = 0; i < THREADS; i++) {
		offers[i] = (struct offers){ .hints = hints, .thread = i, .count = COUNT };
		assert_int_equal(pthread_create(&offers[i].id, NULL, offer_all, &offers[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(offers[i].id, NULL);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_int_equal(hints_find(hints, i) / THREADS, i);
}

static void test_nothing(void **unused)
{
	(void)unused;
	hints_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_wanted_is_found),
		cmocka_unit_test(test_what_is_not_wanted_is_ignored),
		cmocka_unit_test(test_the_first_place_stays),
		cmocka_unit_test(test_zeroes),
		cmocka_unit_test(test_every_size),
		cmocka_unit_test(test_offers_from_several_threads),
		cmocka_unit_test(test_nothing),
	};

	return cmocka_run_group_tests_name("hints", tests, NULL, NULL);
}
