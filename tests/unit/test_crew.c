/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/context.h"
#include "engine/crew.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define UNITS_MAX   1000
#define UNIT_BYTES  10u
#define NEVER       UINT64_MAX

/** A work of units that are counted. */
struct work {
	struct context context;
	struct crew crew;
	pthread_t caller;
	atomic_uint done[UNITS_MAX], running, total;
	atomic_bool strange; /* something that must not be */
	uint64_t fails_at;   /* unit; NEVER: none */
	bool all_fail;       /* each with the number of its unit and 1 */
	bool slow;
	bool rendezvous;    /* the first units wait for each other: one for each hand */
	unsigned cancel_at; /* the question that is answered by yes; 0: none */
	unsigned questions, reports;
	uint64_t reported; /* the most that the observer was told is done */
};

static void pause_a_little(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
}

static int do_unit(
	void *opaque, size_t hand, uint64_t unit, uint64_t *ret_bytes, struct error *error)
{
	struct work *work = opaque;
	bool is_caller = pthread_equal(pthread_self(), work->caller);
	int r = 0;

	if (hand >= work->crew.hands || unit >= work->crew.count || is_caller != (hand == 0))
		work->strange = true;
	atomic_fetch_add(&work->running, 1);
	atomic_fetch_add(&work->done[unit], 1);
	atomic_fetch_add(&work->total, 1);
	while (work->rendezvous && work->total < work->crew.hands)
		pause_a_little();
	if (work->slow && work->fails_at != unit)
		pause_a_little();
	if (work->fails_at == unit || work->all_fail)
		r = error_set(error, ERROR_REFUSED, (int)unit + 1, "unit %d is bad", (int)unit);
	*ret_bytes = r == 0 ? UNIT_BYTES : 0;
	atomic_fetch_sub(&work->running, 1);
	return r;
}

static void on_progress(void *context, const struct progress *progress)
{
	struct work *work = context;

	if (!pthread_equal(pthread_self(), work->caller) || strcmp(progress->phase, "units") != 0
		|| progress->total != work->crew.bytes || progress->done < work->reported)
		work->strange = true;
	work->reported = progress->done;
	work->reports++;
}

static bool on_cancelled(void *context)
{
	struct work *work = context;

	return ++work->questions == work->cancel_at;
}

static void work_new(struct work *work, uint64_t count, size_t hands)
{
	memset(work, 0, sizeof(*work));
	work->context.observer = (struct observer){
		.progress = on_progress,
		.cancelled = on_cancelled,
		.context = work,
	};
	work->caller = pthread_self();
	work->fails_at = NEVER;
	work->crew = (struct crew){
		.context = &work->context,
		.phase = "units",
		.bytes = count * UNIT_BYTES,
		.count = count,
		.hands = hands,
		.work = do_unit,
		.opaque = work,
	};
}

static size_t count_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	size_t count = 0;

	assert_non_null(tasks);
	while (readdir(tasks))
		count++;
	closedir(tasks);
	return count;
}

/* One that was joined is seen a moment longer. */
static void wait_for_threads(size_t count)
{
	for (int i = 0; i < 10000 && count_threads() > count; i++)
		pause_a_little();
	assert_int_equal(count_threads(), count);
}

/* No thread is left, and none works behind our back. */
static int run(struct work *work, struct error *error)
{
	size_t threads = count_threads();
	int r;

	*error = (struct error){ 0 };
	alarm(60);
	r = crew_run(&work->crew, error);
	alarm(0);
	assert_int_equal(work->running, 0);
	wait_for_threads(threads);
	assert_false(work->strange);
	return r;
}

static void test_each_unit_once(void **unused)
{
	static const uint64_t counts[] = { 0, 1, 2, 3, 4, 5, 17, UNITS_MAX };
	static struct work work;
	struct error error;

	(void)unused;
	for (size_t i = 0; i < COUNT(counts) * CREW_MAX; i++) {
		uint64_t count = counts[i / CREW_MAX];

		work_new(&work, count, i % CREW_MAX + 1);
		assert_int_equal(run(&work, &error), 0);
		assert_int_equal(work.total, count);
		for (uint64_t unit = 0; unit < count; unit++)
			assert_int_equal(work.done[unit], 1);
		assert_int_equal(work.reported, count * UNIT_BYTES);
		assert_true(work.reports >= 2);
	}
}

/* All hands work at the same time, or this does not end. */
static void test_all_hands(void **unused)
{
	static struct work work;
	struct error error;

	(void)unused;
	for (size_t hands = 1; hands <= CREW_MAX; hands++) {
		work_new(&work, 100, hands);
		work.rendezvous = true;
		assert_int_equal(run(&work, &error), 0);
		assert_int_equal(work.total, 100);
	}
}

static void check_error(const struct error *error, int r, uint64_t unit)
{
	char text[40];

	snprintf(text, sizeof(text), "unit %d is bad", (int)unit);
	assert_int_equal(r, -(int)unit - 1);
	assert_int_equal(error->kind, ERROR_REFUSED);
	assert_int_equal(error->number, unit + 1);
	assert_string_equal(error->text, text);
}

static void test_an_error_ends_it(void **unused)
{
	static const uint64_t bad[] = { 0, 1, 7, 500, 999 };
	static struct work work;
	struct error error;

	(void)unused;
	for (size_t i = 0; i < COUNT(bad) * CREW_MAX; i++) {
		size_t hands = i % CREW_MAX + 1;
		uint64_t unit = bad[i / CREW_MAX];

		work_new(&work, UNITS_MAX, hands);
		work.fails_at = unit;
		check_error(&error, run(&work, &error), unit);
		assert_true(work.total > unit);
		if (hands == 1)
			assert_int_equal(work.total, unit + 1);
		for (uint64_t j = 0; j < UNITS_MAX; j++)
			assert_true(work.done[j] <= 1);
	}
}

/* What others do meanwhile comes to an end, too: far from all units are begun. */
static void test_an_error_stops_the_others(void **unused)
{
	static struct work work;
	struct error error;
	size_t begun = 0;

	(void)unused;
	for (int i = 0; i < 20; i++) {
		work_new(&work, UNITS_MAX, CREW_MAX);
		work.rendezvous = work.slow = true; /* so that all of them are there */
		work.fails_at = 0;
		check_error(&error, run(&work, &error), 0);
		begun += work.total;
	}
	assert_true(begun < 20 * UNITS_MAX / 2);
}

/* Of several errors one comes back whole. */
static void test_several_errors(void **unused)
{
	static struct work work;
	struct error error;

	(void)unused;
	for (int i = 0; i < 50; i++) {
		int r;

		work_new(&work, UNITS_MAX, CREW_MAX);
		work.all_fail = true;
		r = run(&work, &error);
		assert_in_range(-r, 1, CREW_MAX);
		check_error(&error, r, (uint64_t)-r - 1);
		assert_in_range(work.total, 1, CREW_MAX);
	}
}

static void test_cancelling(void **unused)
{
	static struct work work;
	struct error error;

	(void)unused;
	for (size_t hands = 1; hands <= CREW_MAX; hands++)
		for (unsigned at = 1; at < 10; at += 4) {
			work_new(&work, UNITS_MAX, hands);
			work.cancel_at = at;
			/* So that the others do not do it all before. */
			work.slow = true;
			assert_int_equal(run(&work, &error), -ECANCELED);
			assert_int_equal(error.number, ECANCELED);
			assert_int_equal(error.kind, ERROR_FAILED);
			assert_string_equal(error.text, "interrupted");
			assert_int_equal(work.questions, at);
			if (hands == 1)
				assert_int_equal(work.total, at - 1);
		}
}

static void test_size(void **unused)
{
	long two_each = sysconf(_SC_NPROCESSORS_ONLN) * 2;
	size_t usual = two_each < (long)CREW_MAX ? (size_t)two_each : CREW_MAX;
	const struct {
		unsigned threads;
		uint64_t count;
		size_t size;
	} rows[] = {
		{ 1, 100, 1 },
		{ 3, 100, 3 },
		{ 3, 2, 2 },
		{ 3, 0, 1 },
		{ CREW_MAX, UINT64_MAX, CREW_MAX },
		{ CREW_MAX + 1, 100, CREW_MAX },
		{ UINT32_MAX, 100, CREW_MAX },
		{ 0, 100, usual },
		{ 0, 1, 1 },
		{ 0, 0, 1 },
	};

	(void)unused;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct context context = { .threads = rows[i].threads };

		assert_int_equal(crew_size(&context, rows[i].count), rows[i].size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_unit_once),
		cmocka_unit_test(test_all_hands),
		cmocka_unit_test(test_an_error_ends_it),
		cmocka_unit_test(test_an_error_stops_the_others),
		cmocka_unit_test(test_several_errors),
		cmocka_unit_test(test_cancelling),
		cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests_name("crew", tests, NULL, NULL);
}
