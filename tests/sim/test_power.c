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
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "world.h"

#define TORN_SEEDS  8
#define FIRST_BLOCK 4096

/* Where in its life the machine is when the fault happens. */
struct stage {
	const char *name;
	enum { FACTORY, TRIAL, UPDATED } life; /* as it left the factory; B on trial; B confirmed */
	enum bistable_activation how;
	int (*operation)(struct sim *sim, const struct stage *stage, const struct system *y,
		struct error *error);
	bool may_switch; /* the other slot may be what starts afterwards */
};

static int do_install(
	struct sim *sim, const struct stage *stage, const struct system *y, struct error *error)
{
	const struct bistable_install_options options = { .activation = stage->how };

	return world_install(sim, y, &options, NULL, error);
}

static int do_mark_good(
	struct sim *sim, const struct stage *stage, const struct system *y, struct error *error)
{
	(void)stage, (void)y;
	return world_mark_good(sim, false, error);
}

static int do_rollback(
	struct sim *sim, const struct stage *stage, const struct system *y, struct error *error)
{
	(void)y;
	return world_rollback(sim, stage->how, error);
}

static int do_mark_bad(
	struct sim *sim, const struct stage *stage, const struct system *y, struct error *error)
{
	(void)stage, (void)y;
	return world_mark_bad(sim, SLOT_NONE, error);
}

static const struct stage stages[] = {
	{ "first install", FACTORY, BISTABLE_ACTIVATE_REBOOT, do_install, true },
	{ "first install, kexec", FACTORY, BISTABLE_ACTIVATE_KEXEC, do_install, false },
	{ "second install", UPDATED, BISTABLE_ACTIVATE_REBOOT, do_install, true },
	{ "first mark-good", FACTORY, BISTABLE_ACTIVATE_NONE, do_mark_good, false },
	{ "mark-good of a trial", TRIAL, BISTABLE_ACTIVATE_NONE, do_mark_good, true },
	{ "rollback of a trial", TRIAL, BISTABLE_ACTIVATE_REBOOT, do_rollback, true },
	{ "rollback", UPDATED, BISTABLE_ACTIVATE_REBOOT, do_rollback, true },
	{ "mark-bad", UPDATED, BISTABLE_ACTIVATE_NONE, do_mark_bad, false },
};

/* The machine just before the stage: a factory one, or one that has been updated once. */
static struct sim *before(
	const struct stage *stage, const struct system *x, const struct system *first)
{
	const struct bistable_install_options options = { .activation = BISTABLE_ACTIVATE_REBOOT };
	struct sim *sim = world_new(x);
	struct error error = { 0 };

	/* What was in B before must not show through. */
	sim_put_image(sim, SLOT_B, span_of(&first->image));
	if (stage->life == FACTORY)
		return sim;
	world_ok(world_install(sim, first, &options, NULL, &error), &error);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	if (stage->life == UPDATED)
		world_ok(world_mark_good(sim, false, &error), &error);
	return sim;
}

/* Afterwards the machine must go on: install, start, confirm, start cold. */
static void check_goes_on(struct sim *sim, const struct system *next)
{
	const struct bistable_install_options options = {
		.activation = BISTABLE_ACTIVATE_REBOOT,
		.force = true,
	};
	enum slot running = sim->running;
	struct error error = { 0 };

	world_ok(world_install(sim, next, &options, NULL, &error), &error);
	assert_int_equal(sim_power_cycle(sim), slot_other(running));
	world_ok(world_mark_good(sim, true, &error), &error);
	assert_int_equal(sim_power_cycle(sim), slot_other(running));
	world_check_foreign(sim);
	world_check_order(sim);
}

/*
 * The running slot is complete. One that is not complete has no active entry, unless the cut came
 * between its record and its entry: then it still holds its old system, untouched.
 */
static void check_rest(struct sim *sim, const struct system *x)
{
	AUTO_STATUS struct bistable_status *status = world_status(sim);
	enum slot running = sim->running;

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		if (!status->slots[slot].complete && status->slots[slot].entry_active)
			assert_memory_equal(
				sim->partitions[slot].medium, x->image.data, x->image.size);
	assert_true(status->slots[running].complete);
}

/*
 * Whatever would mount begins with the first block: it holds something only while all behind it is
 * of one system, the old or the new one.
 */
static void check_first_block(
	struct sim *sim, enum slot slot, const struct system *old, const struct system *new)
{
	const uint8_t *medium = sim->partitions[slot].medium;
	const size_t body = new->image.size - FIRST_BLOCK;

	if (!all_zero(medium, FIRST_BLOCK)
		&& memcmp(medium + FIRST_BLOCK, old->image.data + FIRST_BLOCK, body) != 0
		&& memcmp(medium + FIRST_BLOCK, new->image.data + FIRST_BLOCK, body) != 0)
		fail_msg("the first block lies over a mixture of two images");
}

static unsigned count_operations(const struct stage *stage, const struct system systems[3])
{
	AUTO_SIM struct sim *sim = before(stage, &systems[0], &systems[1]);
	struct error error = { 0 };

	sim_set_fault(sim, SIM_NO_FAULT, 0);
	world_ok(stage->operation(sim, stage, &systems[2], &error), &error);
	return sim->operations;
}

static void cut_once(const struct stage *stage, const struct system systems[3],
	enum sim_fault fault, unsigned at, uint32_t seed)
{
	AUTO_SIM struct sim *sim = before(stage, &systems[0], &systems[1]);
	enum slot old = sim->running, now;
	struct error error = { 0 };

	sim->seed = seed;
	sim_set_fault(sim, fault, at);
	assert_true(stage->operation(sim, stage, &systems[2], &error) < 0);
	assert_true(sim->dead);
	if (stage->operation == do_install)
		check_first_block(sim, slot_other(old),
			stage->life == UPDATED ? &systems[0] : &systems[1], &systems[2]);
	now = sim_power_cycle(sim);
	if (now != old && !(stage->may_switch && now == slot_other(old)))
		fail_msg("%s, cut %d at operation %u (seed %u): slot %c starts", stage->name, fault,
			at, seed, slot_letter(now));
	check_rest(sim, &systems[0]);
	check_goes_on(sim, &systems[2]);
}

static unsigned cut_everywhere(enum sim_fault fault, uint32_t seeds)
{
	struct system systems[3] = { system_new("X", 1, NULL), system_new("Y", 2, NULL),
		system_new("Z", 3, NULL) };
	unsigned count = 0;

	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		unsigned operations = count_operations(&stages[i], systems);

		assert_in_range(operations, 2, 100);
		for (unsigned at = 1; at <= operations; at++)
			for (uint32_t seed = 1; seed <= seeds; seed++, count++)
				cut_once(&stages[i], systems, fault, at, seed);
	}
	for (size_t i = 0; i < 3; i++)
		system_done(&systems[i]);
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
	print_message("# %u power cuts\n", cut_everywhere(SIM_CUT_TORN, TORN_SEEDS));
}

/* Every operation fails once: an error comes back, the old slot starts, and the next try works. */
static void test_io_errors(void **unused)
{
	struct system systems[3] = { system_new("X", 1, NULL), system_new("Y", 2, NULL),
		system_new("Z", 3, NULL) };
	unsigned warned = 0;

	(void)unused;
	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		unsigned operations = count_operations(&stages[i], systems);

		for (unsigned at = 1; at <= operations; at++) {
			AUTO_SIM struct sim *sim = before(&stages[i], &systems[0], &systems[1]);
			enum slot old = sim->running, now;
			struct error error = { 0 };

			sim_set_fault(sim, SIM_FAILS, at);
			if (stages[i].operation(sim, &stages[i], &systems[2], &error) == 0) {
				/* Only the removable path may fail without failing the whole. */
				assert_non_null(strstr(world_notes(), "was not refreshed"));
				warned++;
				sim_power_cycle(sim);
			} else {
				assert_non_null(strstr(error.text, "simulated I/O error"));
				now = sim_power_cycle(sim);
				/* A trial is started once: after that the old default is. */
				assert_true(now == old || stages[i].life == TRIAL);
			}
			check_rest(sim, &systems[0]);
			check_goes_on(sim, &systems[2]);
		}
	}
	assert_in_range(warned, 1, 4);
	for (size_t i = 0; i < 3; i++)
		system_done(&systems[i]);
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
