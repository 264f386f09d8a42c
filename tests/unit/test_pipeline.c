/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <unistd.h>

#include "base/error.h"
#include "maker/pipeline.h"

#define ROUNDS 500

/* Counts up; what breaks when. */
struct count {
	int filled, drained;
	int bad_fill, bad_work, bad_drain; /* the number of the piece; -1: none */
	int in_use, in_use_most;           /* pieces between fill and drain */
};

struct piece {
	struct count *count;
	int number;
	int square;
};

static int fill(void *context, void *opaque, struct error *error)
{
	struct count *count = context;
	struct piece *piece = opaque;

	if (count->filled == ROUNDS)
		return 0;
	if (count->filled == count->bad_fill)
		return error_failed(error, EIO, "fill %d", count->filled);
	piece->number = count->filled++;
	piece->square = -1;
	if (++count->in_use > count->in_use_most)
		count->in_use_most = count->in_use;
	return 1;
}

static int work(void *worker, void *opaque, struct error *error)
{
	struct piece *piece = opaque;
	atomic_int *busy = worker;

	/* A worker is one thread's alone. */
	if (atomic_fetch_add(busy, 1) != 0)
		return error_failed(error, EBUSY, "shared");
	if (piece->number % 7 == 0)
		usleep(200); /* those behind it are done first */
	piece->square = piece->number * piece->number;
	atomic_fetch_sub(busy, 1);
	if (piece->number >= piece->count->bad_work && piece->count->bad_work >= 0)
		return error_failed(error, EBADMSG, "work %d", piece->number);
	return 0;
}

static int drain(void *context, void *opaque, struct error *error)
{
	struct count *count = context;
	const struct piece *piece = opaque;

	if (count->drained == count->bad_drain)
		return error_failed(error, ENOSPC, "drain %d", count->drained);
	if (piece->number != count->drained || piece->square != piece->number * piece->number)
		return error_failed(error, EPROTO, "%d came as %d", piece->number, count->drained);
	count->drained++;
	count->in_use--;
	return 0;
}

static const struct pipeline_ops ops = { fill, work, drain };

static int run(struct count *count, size_t workers, size_t pieces, struct error *error)
{
	struct piece all[16] = { 0 };
	atomic_int busy[8] = { 0 };
	struct pipeline pipeline = {
		.ops = &ops, .context = count, .worker_count = workers, .piece_count = pieces
	};

	for (size_t i = 0; i < workers; i++)
		pipeline.workers[i] = &busy[i];
	for (size_t i = 0; i < pieces; i++) {
		all[i].count = count;
		pipeline.pieces[i] = &all[i];
	}
	return pipeline_run(&pipeline, error);
}

static const struct {
	size_t workers, pieces;
} shapes[] = { { 1, 1 }, { 1, 2 }, { 2, 1 }, { 2, 4 }, { 8, 16 }, { 8, 3 } };

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void test_order_is_kept(void **state)
{
	(void)state;
	for (size_t i = 0; i < SHAPES; i++) {
		struct count count = { .bad_fill = -1, .bad_work = -1, .bad_drain = -1 };
		struct error error = { 0 };

		if (run(&count, shapes[i].workers, shapes[i].pieces, &error) != 0)
			fail_msg("%zu workers: %s", shapes[i].workers, error.text);
		assert_int_equal(count.drained, ROUNDS);
		assert_int_equal(count.in_use_most, shapes[i].pieces);
	}
}

static void test_nothing_to_do(void **state)
{
	struct count count = { .filled = ROUNDS, .bad_fill = -1, .bad_work = -1, .bad_drain = -1 };

	(void)state;
	assert_int_equal(run(&count, 4, 8, NULL), 0);
	assert_int_equal(count.drained, 0);
}

static void test_the_first_error_ends_it(void **state)
{
	static const struct {
		int fill, work, drain, r;
		const char *says;
	} cases[] = {
		{ 100, -1, -1, -EIO, "fill 100" },
		{ 0, -1, -1, -EIO, "fill 0" },
		{ -1, 100, -1, -EBADMSG, "work 100" }, /* all behind it fail too */
		{ -1, 0, -1, -EBADMSG, "work 0" },
		{ -1, -1, 100, -ENOSPC, "drain 100" },
		{ -1, ROUNDS - 1, -1, -EBADMSG, "work 499" },
	};

	(void)state;
	for (size_t i = 0; i < SHAPES * 6; i++) {
		size_t c = i % 6, s = i / 6;
		struct count count = { .bad_fill = cases[c].fill,
			.bad_work = cases[c].work,
			.bad_drain = cases[c].drain };
		struct error error = { 0 };

		assert_int_equal(
			run(&count, shapes[s].workers, shapes[s].pieces, &error), cases[c].r);
		assert_string_equal(error.text, cases[c].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_is_kept),
		cmocka_unit_test(test_nothing_to_do),
		cmocka_unit_test(test_the_first_error_ends_it),
	};

	return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
