/* SPDX-License-Identifier: Apache-2.0 */

/* A store of firmware variables that is full, and clocks that nobody has set. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "world.h"

static const struct system_faults small = { .small = true };
static const struct bistable_install_options by_reboot = { .activation = BISTABLE_ACTIVATE_REBOOT };

enum operation { INSTALL, CONFIRM, ROLL_BACK, MARK_BAD };

/* X in A, Y in B. Slot A runs for an install, B is on trial for its confirmation; else B runs and
 * is confirmed. The entries are there already, if `settled`. */
static struct sim *before(enum operation operation, bool settled, const struct system *systems)
{
	struct sim *sim = world_new(&systems[0]);

	if (operation == INSTALL && !settled)
		return sim;
	world_must_mark_good(sim);
	world_must_install(sim, &systems[1], &by_reboot);
	if (operation == INSTALL) {
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
		assert_int_equal(sim_power_cycle(sim), SLOT_A);
		return sim;
	}
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	if (operation != CONFIRM)
		world_must_mark_good(sim);
	return sim;
}

static int operate(
	struct sim *sim, enum operation operation, const struct system *new, struct error *error)
{
	switch (operation) {
	case INSTALL:
		return world_install(sim, new, &by_reboot, NULL, error);
	case CONFIRM:
		return world_mark_good(sim, false, error);
	case ROLL_BACK:
		return world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, error);
	default:
		return world_mark_bad(sim, SLOT_NONE, error);
	}
}

/* There is room for `room` writes. Returns whether that was enough. */
static bool fill(
	enum operation operation, bool settled, unsigned room, const struct system *systems)
{
	AUTO_SIM struct sim *sim = before(operation, settled, systems);
	AUTO_STATUS struct bistable_status *status = NULL;
	const enum slot old = sim->running;
	struct error error = { 0 };
	enum slot next;
	int r;

	sim->variable_writes = 0;
	sim->nvram_full = true;
	sim->nvram_room = room;
	r = operate(sim, operation, &systems[2], &error);
	if (r == 0)
		return true;
	assert_int_equal(r, -ENOSPC);
	assert_non_null(strstr(error.text, "store is full"));
	status = world_status(sim);
	assert_true(status->slots[SLOT_A].complete || status->slots[SLOT_B].complete);
	/* Between its record and its entry the target still holds its old system. */
	if (!status->slots[SLOT_B].complete && status->slots[SLOT_B].entry_active)
		assert_memory_equal(sim->partitions[SLOT_B].medium, systems[1].image.data,
			systems[1].image.size);
	/* Before there are entries, it starts from the removable path. */
	next = status->default_slot ? slot_from_letter(status->default_slot) : old;
	assert_null(sim_variable(sim, "BootNext"));
	/* Full or not, what is the default starts, and that is the old one unless it was to change.
	 */
	assert_int_equal(sim_power_cycle(sim), next);
	if (operation != CONFIRM)
		assert_int_equal(next, old);
	world_check_foreign(sim);
	sim->nvram_full = false;
	world_must_mark_good(sim);
	world_must_install(sim, &systems[2], &by_reboot);
	assert_int_equal(sim_power_cycle(sim), slot_other(next));
	return false;
}

static void test_full_store(void **state)
{
	static const enum operation operations[] = { INSTALL, CONFIRM, ROLL_BACK, MARK_BAD };
	unsigned count = 0;

	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		for (int settled = operations[i] == INSTALL ? 0 : 1; settled < 2; settled++) {
			unsigned room = 0;

			while (!fill(operations[i], settled, room, *state))
				room++;
			assert_in_range(room, 1, 20);
			count += room;
		}
	}
	print_message("# a full store at %u writes\n", count);
}

/* Nobody has set the clock, or it jumps: records are written and read, and everything goes on. */
static void test_clocks(void **state)
{
	static const int64_t clocks[][3] = {
		{ 0, 0, 0 },                    /* 1970 at each boot */
		{ 0, 1795000000, 0 },           /* right only while there is a network */
		{ -86400, -1, INT64_MAX - 99 }, /* before 1970, and nonsense */
		{ 1795000000, 1795000000, -5 },
	};
	const struct system *systems = *state;

	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		AUTO_SIM struct sim *sim = world_new(&systems[0]);
		AUTO_STATUS struct bistable_status *status = NULL;

		sim->clock = clocks[i][0];
		world_must_mark_good(sim);
		world_must_install(sim, &systems[1], &by_reboot);
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
		sim->clock = clocks[i][1];
		world_must_mark_good(sim);
		world_must_install(sim, &systems[2], &by_reboot);
		assert_int_equal(sim_power_cycle(sim), SLOT_A);
		sim->clock = clocks[i][2];
		world_must_mark_good(sim);
		assert_int_equal(sim_power_cycle(sim), SLOT_A);
		world_ok(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, NULL), NULL);
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
		status = world_status(sim);
		for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
			assert_true(status->slots[slot].state_known);
			assert_true(status->slots[slot].complete);
		}
		assert_string_equal(status->slots[SLOT_A].version, systems[2].version);
	}
}

static int set_up(void **state)
{
	static struct system systems[3];

	systems[0] = system_new("X", 1, &small);
	systems[1] = system_new("Y", 2, &small);
	systems[2] = system_new("Z", 3, &small);
	*state = systems;
	return 0;
}

static int tear_down(void **state)
{
	struct system *systems = *state;

	for (size_t i = 0; i < 3; i++)
		system_done(&systems[i]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_store),
		cmocka_unit_test(test_clocks),
	};

	return cmocka_run_group_tests_name("input", tests, set_up, tear_down);
}
