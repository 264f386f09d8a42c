/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Power cuts and I/O errors at every operation that changes something, one after the other: the
 * machine must rest in the old system or the complete new one, and go on from there.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "stage.h"
#include "world.h"

#define TORN_SEEDS     2
#define TORN_SEEDS_ALL 64 /* with SIM_ALL */

static unsigned count_operations(
	const struct sim *before, const struct stage *stage, const struct system systems[3])
{
	AUTO_SIM struct sim *sim = sim_copy(before);
	struct error error = { 0 };

	sim_set_fault(sim, SIM_NO_FAULT, 0);
	world_ok(stage->operation(sim, stage, &systems[2], &error), &error);
	return sim->operations;
}

static void cut_once(const struct sim *before, const struct stage *stage,
	const struct system systems[3], enum sim_fault fault, unsigned at, uint32_t seed)
{
	AUTO_SIM struct sim *sim = sim_copy(before);
	enum slot old = sim->running, now;
	struct error error = { 0 };

	sim->seed = seed;
	sim_set_fault(sim, fault, at);
	assert_true(stage->operation(sim, stage, &systems[2], &error) < 0);
	assert_true(sim->dead);
	stage_check_first_block(sim, stage, old, systems);
	now = sim_power_cycle(sim);
	if (now != old && !(stage->may_switch && now == slot_other(old)))
		fail_msg("%s, cut %d at operation %u (seed %u): slot %c starts", stage->name, fault,
			at, seed, slot_letter(now));
	stage_check_rest(sim, &systems[0]);
	stage_check_goes_on(sim, &systems[2]);
}

static void make_systems(struct system systems[3], bool chunked)
{
	const struct system_faults kind = { .chunked = chunked };

	for (size_t i = 0; i < 3; i++)
		systems[i] = system_new(
			(const char *[]){ "1", "2", "3" }[i], (uint8_t)(i + 1), &kind);
}

static void free_systems(struct system systems[3])
{
	for (size_t i = 0; i < 3; i++)
		system_done(&systems[i]);
}

/* With plain bundles, then with those of format 1. */
static unsigned cut_everywhere(enum sim_fault fault, uint32_t seeds)
{
	struct system systems[3];
	unsigned count = 0;

	for (int chunked = 0; chunked < 2; chunked++) {
		make_systems(systems, chunked);
		for (size_t i = 0; i < STAGE_COUNT; i++) {
			AUTO_SIM struct sim *before = stage_before(&stages[i], systems);
			unsigned operations = count_operations(before, &stages[i], systems);

			assert_in_range(operations, 1, 100);
			for (unsigned at = 1; at <= operations; at++)
				for (uint32_t seed = 1; seed <= seeds; seed++, count++)
					cut_once(before, &stages[i], systems, fault, at, seed);
		}
		free_systems(systems);
	}
	return count;
}

static void test_cut_before(void **unused)
{
	(void)unused;
	print_message("# %u power cuts\n", cut_everywhere(SIM_CUT_BEFORE, 1));
}

static void test_cut_after(void **unused)
{
	(void)unused;
	print_message("# %u power cuts\n", cut_everywhere(SIM_CUT_AFTER, 1));
}

static void test_cut_torn(void **unused)
{
	(void)unused;
	print_message("# %u power cuts\n",
		cut_everywhere(SIM_CUT_TORN, getenv("SIM_ALL") ? TORN_SEEDS_ALL : TORN_SEEDS));
}

/* What may fail without failing the whole, if it is said. */
static bool is_told(void)
{
	return strstr(world_notes(), "was not refreshed")
	       || strstr(world_notes(), "its chunk map is not kept");
}

/* Every operation fails once: an error comes back, the old slot starts, and the next try works. */
static unsigned fail_everywhere(const struct stage *stage, const struct system systems[3])
{
	AUTO_SIM struct sim *before = stage_before(stage, systems);
	unsigned operations = count_operations(before, stage, systems), warned = 0;

	for (unsigned at = 1; at <= operations; at++) {
		AUTO_SIM struct sim *sim = sim_copy(before);
		enum slot old = sim->running, now;
		struct error error = { 0 };

		sim_set_fault(sim, SIM_FAILS, at);
		if (stage->operation(sim, stage, &systems[2], &error) == 0) {
			assert_true(is_told());
			warned++;
			sim_power_cycle(sim);
		} else {
			assert_non_null(strstr(error.text, "simulated I/O error"));
			now = sim_power_cycle(sim);
			/* A trial is started once: after that the old default is. */
			assert_true(now == old || stage->life == STAGE_TRIAL);
		}
		stage_check_rest(sim, &systems[0]);
		stage_check_goes_on(sim, &systems[2]);
	}
	return warned;
}

static void test_io_errors(void **unused)
{
	struct system systems[3];
	unsigned warned = 0;

	(void)unused;
	for (int chunked = 0; chunked < 2; chunked++) {
		make_systems(systems, chunked);
		for (size_t i = 0; i < STAGE_COUNT; i++)
			warned += fail_everywhere(&stages[i], systems);
		free_systems(systems);
	}
	assert_in_range(warned, 1, 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_before),
		cmocka_unit_test(test_cut_after),
		cmocka_unit_test(test_cut_torn),
		cmocka_unit_test(test_io_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
