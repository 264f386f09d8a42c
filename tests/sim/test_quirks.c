/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The whole life of a machine under each quirk of its firmware and under all pairs of them, and
 * errors of the firmware at every call: the right slot runs, or the user is told.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "format/bootorder.h"
#include "world.h"

#define LIFE_WRITES 48 /* to NVRAM, at most: the plain life takes about 15 */
#define IDLE_BOOTS  16
#define IDLE_WRITES 24 /* in all of them: what the firmware undoes is not written for ever */

static const struct system_faults small = { .small = true };

/** One life under some quirks. */
struct life {
	struct sim *sim;
	const struct system *systems; /* X, Y, Z, and one that is broken */
	struct buffer foreign;        /* all that is not ours, as the firmware left it */
	unsigned surprises;           /* boots into another slot than the one that was due */
	unsigned refusals;            /* operations that failed twice */
};

/* Names and bytes of all entries that are not ours, and their order. */
static void take_foreign(struct sim *sim, struct buffer *out)
{
	struct buffer *order = sim_variable(sim, "BootOrder");

	out->size = 0;
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++) {
		const struct sim_variable *variable = &sim->variables[i];
		uint16_t number;

		if (!variable->used || !bootorder_entry_number(variable->name, &number)
			|| sim_entry_slot(sim, variable) != SLOT_NONE)
			continue;
		buffer_append(out, variable->name, sizeof("Boot0000"), NULL);
		buffer_append(out, variable->data.data, variable->data.size, NULL);
	}
	for (size_t i = 0; order && i + 1 < order->size; i += 2) {
		const struct sim_variable *variable = sim_entry(sim, le16(order->data + i));

		if (!variable || sim_entry_slot(sim, variable) == SLOT_NONE)
			buffer_append(out, order->data + i, 2, NULL);
	}
}

/* What the running system did changed nothing of others, and lists nothing twice. */
static void check_entries(struct life *life)
{
	struct buffer *bytes = sim_variable(life->sim, "BootOrder");
	AUTO_BUFFER struct buffer now = { 0 };
	struct bootorder order;

	take_foreign(life->sim, &now);
	assert_true(span_equal(span_of(&now), span_of(&life->foreign)));
	if (!bytes)
		return;
	assert_int_equal(bootorder_parse(span_of(bytes), &order, NULL), 0);
	assert_false(bootorder_dedup(&order));
}

static bool about_firmware(const char *text)
{
	return strstr(text, "firmware") || strstr(text, "BootOrder") || strstr(text, "boot entr");
}

/* One sentence anywhere tells what happened. */
static bool status_tells(struct sim *sim)
{
	AUTO_STATUS struct bistable_status *status = world_status(sim);

	for (size_t i = 0; i < status->note_count; i++)
		if (about_firmware(status->notes[i]))
			return true;
	return status->slots[slot_other(sim->running)].tried_unconfirmed;
}

enum operation { INSTALL, INSTALL_BROKEN, MARK_GOOD, MARK_BAD, ROLLBACK, GO_BY_KEXEC };

static int run(struct life *life, enum operation operation, const struct system *system, bool force,
	struct error *error)
{
	const struct bistable_install_options options = {
		.activation = BISTABLE_ACTIVATE_REBOOT,
		.force = force,
	};

	switch (operation) {
	case INSTALL:
	case INSTALL_BROKEN:
		return world_install(life->sim, system, &options, NULL, error);
	case MARK_GOOD:
		return world_mark_good(life->sim, force, error);
	case MARK_BAD:
		return world_mark_bad(life->sim, SLOT_NONE, error);
	case ROLLBACK:
		return world_rollback(life->sim, BISTABLE_ACTIVATE_REBOOT, error);
	case GO_BY_KEXEC:
		return world_activate(life->sim, BISTABLE_ACTIVATE_KEXEC, error);
	}
	return -EINVAL;
}

/*
 * An operation, and what its error asks for: another try, or mark-good --force where BootOrder is
 * unreadable. False: it is refused for good, and the error says why.
 */
static bool perform(struct life *life, enum operation operation, const struct system *system)
{
	struct error error = { 0 }, again = { 0 };
	int r = run(life, operation, system, false, &error);

	if (r == 0) {
		check_entries(life);
		return true;
	}
	if (!about_firmware(error.text))
		fail_msg("told nothing of the firmware: %s", error.text);
	if (strstr(error.text, "BootOrder exists but cannot be used")) {
		assert_int_equal(error.kind, ERROR_REFUSED);
		if (run(life, MARK_GOOD, NULL, true, &again) < 0)
			run(life, MARK_GOOD, NULL, true, &again);
		/* The new one lists what there is, in the order of the numbers. */
		take_foreign(life->sim, &life->foreign);
	}
	check_entries(life);
	r = run(life, operation, system, false, &again);
	check_entries(life);
	life->refusals += r < 0;
	return r == 0;
}

static void power_cycle(struct life *life)
{
	assert_true(sim_power_cycle(life->sim) != SLOT_NONE);
	take_foreign(life->sim, &life->foreign);
}

/* As the machine's own service does after each boot. Then `due` runs, if need be by kexec. */
static bool boot(struct life *life, enum slot due)
{
	struct sim *sim = life->sim;
	bool told;

	power_cycle(life);
	if (sim->running == due)
		return perform(life, MARK_GOOD, NULL);
	life->surprises++;
	told = status_tells(sim);
	if (!told) {
		struct error error = { 0 };

		told = about_firmware(
			world_mark_good(sim, false, &error) < 0 ? error.text : world_notes());
	}
	if (!told)
		fail_msg("slot %c runs instead of %c, and nobody is told",
			slot_letter(sim->running), slot_letter(due));
	/* What the firmware does not start, kexec does. */
	if (!perform(life, GO_BY_KEXEC, NULL) || !sim->kexec_staged)
		return false;
	assert_int_equal(sim_kexec(sim), due);
	return perform(life, MARK_GOOD, NULL);
}

/* Install, activate, boot, mark-good, cold boot; back; roll back. False: refused on the way. */
static bool live(struct life *life)
{
	const struct {
		enum operation operation;
		const struct system *system;
		enum slot due;
	} steps[] = {
		{ INSTALL, &life->systems[1], SLOT_B },
		{ INSTALL, &life->systems[2], SLOT_A },
		{ ROLLBACK, NULL, SLOT_B },
	};

	if (!boot(life, SLOT_A))
		return false;
	/* An install that does not finish leaves an inactive entry behind. */
	assert_true(run(life, INSTALL_BROKEN, &life->systems[3], false, NULL) < 0);
	check_entries(life);
	if (!boot(life, SLOT_A))
		return false;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!perform(life, steps[i].operation, steps[i].system) || !boot(life, steps[i].due)
			|| !boot(life, steps[i].due))
			return false;
	return true;
}

/* Nobody does anything any more but the service: that settles. */
static void idle(struct life *life)
{
	unsigned before = life->sim->variable_writes;

	for (unsigned i = 0; i < IDLE_BOOTS; i++) {
		struct error error = { 0 };

		power_cycle(life);
		world_mark_good(life->sim, false, &error);
		if (!life->sim->order_unreadable)
			check_entries(life);
	}
	assert_in_range(life->sim->variable_writes - before, 0, IDLE_WRITES);
}

/* Foreign entries take the numbers without letters, so that ours have some. */
static void take_low_numbers(struct sim *sim)
{
	for (uint16_t number = 1; number < 10; number++)
		if (!sim_entry(sim, number))
			world_add_entry(sim, number, "Other", "\\EFI\\other.efi", false);
}

/** What lives took, over all of them. */
struct tally {
	unsigned lives, surprises, refusals, writes; /* the most of one life */
};

static void live_under(
	unsigned quirks, bool may_surprise, const struct system *systems, struct tally *tally)
{
	struct life life = { .sim = world_new(&systems[0]), .systems = systems };
	bool whole;

	take_low_numbers(life.sim);
	life.sim->quirks = quirks;
	whole = live(&life);
	if ((!whole || life.surprises > 0 || life.refusals > 0) && !may_surprise)
		fail_msg("quirks %#x: %u surprises, %u refusals", quirks, life.surprises,
			life.refusals);
	assert_in_range(life.sim->variable_writes, 0, LIFE_WRITES);
	tally->lives++;
	tally->surprises += life.surprises > 0;
	tally->refusals += life.refusals > 0;
	if (life.sim->variable_writes > tally->writes)
		tally->writes = life.sim->variable_writes;
	idle(&life);
	sim_free(life.sim);
	buffer_done(&life.foreign);
}

/* `count` calls in a row fail: one, longer than anybody tries again, or all that follow. */
static const struct {
	int number;
	unsigned count;
} errors[] = {
	{ EINTR, 1 },
	{ EINVAL, 1 },
	{ EIO, 1 },
	{ ENOSPC, 1 },
	{ EIO, 4 },
	{ ENOSPC, 1000 },
};

#define ERROR_COUNT (sizeof(errors) / sizeof(errors[0]))

/* Where in its life the machine is when the firmware fails, and what it is doing. */
struct stage {
	enum { FACTORY, TRIAL, UPDATED } life;
	enum operation operation;
};

static const struct stage stages[] = {
	{ FACTORY, INSTALL },
	{ FACTORY, MARK_GOOD },
	{ TRIAL, MARK_GOOD },
	{ TRIAL, ROLLBACK },
	{ UPDATED, INSTALL },
	{ UPDATED, INSTALL_BROKEN },
	{ UPDATED, MARK_GOOD },
	{ UPDATED, MARK_BAD },
	{ UPDATED, ROLLBACK },
	{ UPDATED, GO_BY_KEXEC },
};

static struct life before(const struct stage *stage, const struct system *systems)
{
	struct life life = { .sim = world_new(&systems[0]), .systems = systems };

	/* What was in B before must not show through. */
	sim_put_image(life.sim, SLOT_B, span_of(&systems[1].image));
	if (stage->life != FACTORY) {
		world_must_mark_good(life.sim);
		assert_int_equal(run(&life, INSTALL, &systems[1], false, NULL), 0);
		assert_int_equal(sim_power_cycle(life.sim), SLOT_B);
	}
	if (stage->life == UPDATED)
		world_must_mark_good(life.sim);
	sim_set_fault(life.sim, SIM_NO_FAULT, 0);
	return life;
}

static int do_stage(struct life *life, const struct stage *stage, struct error *error)
{
	const bool broken = stage->operation == INSTALL_BROKEN;

	return run(life, stage->operation, &life->systems[broken ? 3 : 2], false, error);
}

static unsigned count_ours(struct sim *sim)
{
	unsigned count = 0;
	uint16_t number;

	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++)
		if (sim->variables[i].used
			&& bootorder_entry_number(sim->variables[i].name, &number))
			count += sim_entry_slot(sim, &sim->variables[i]) != SLOT_NONE;
	return count;
}

/* Once more, and through to a cold boot of the new slot. */
static void check_goes_on(struct life *life)
{
	enum slot due = slot_other(life->sim->running);
	struct error error = { 0 };

	world_ok(run(life, INSTALL, &life->systems[2], true, &error), &error);
	assert_int_equal(sim_power_cycle(life->sim), due);
	world_ok(run(life, MARK_GOOD, NULL, true, &error), &error);
	assert_int_equal(sim_power_cycle(life->sim), due);
	world_check_foreign(life->sim);
	world_check_order(life->sim);
}

static void fail_once(const struct life *prepared, const struct stage *stage, unsigned at,
	unsigned count, int number)
{
	struct life life = { .sim = sim_copy(prepared->sim), .systems = prepared->systems };
	const struct system *systems = life.systems;
	AUTO_STATUS struct bistable_status *status = NULL;
	struct sim *sim = life.sim;
	const enum slot old = sim->running, cold = stage->life == UPDATED ? SLOT_B : SLOT_A;
	const bool starts_other = stage->operation == INSTALL || stage->operation == ROLLBACK;
	struct error error = { 0 };
	enum slot now;
	int r;

	sim_set_fault(sim, SIM_VARIABLE_FAILS, at);
	sim->fault_count = count;
	sim->fault_errno = number;
	r = do_stage(&life, stage, &error);
	assert_true(r == 0 || error.text[0]);
	/* What passes at once is not taken for a missing entry. */
	if (count == 1)
		assert_in_range(count_ours(sim), 0, 2);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	status = world_status(sim);
	/* Between its record and its entry the target still holds its old system. */
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		if (!status->slots[slot].complete && status->slots[slot].entry_active)
			assert_memory_equal(sim->partitions[slot].medium, systems[slot].image.data,
				systems[slot].image.size);
	now = sim_power_cycle(sim);
	if (r == 0 && starts_other)
		assert_int_equal(now, slot_other(old));
	else if (r == 0 && stage->operation == MARK_GOOD)
		assert_int_equal(now, old);
	else
		assert_true(now == cold || (now == old && stage->operation == MARK_GOOD));
	check_goes_on(&life);
	sim_free(sim);
}

/*
 * Each call of the firmware fails, once, for longer than anybody tries again, and for good: by half
 * of the errors each, by all with SIM_ALL.
 */
static void test_firmware_errors(void **state)
{
	const bool all = getenv("SIM_ALL");
	unsigned count = 0;

	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		struct life prepared = before(&stages[i], *state);
		struct life life = { .sim = sim_copy(prepared.sim), .systems = *state };
		struct error error = { 0 };
		unsigned calls;

		assert_int_equal(do_stage(&life, &stages[i], &error) < 0,
			stages[i].operation == INSTALL_BROKEN);
		calls = life.sim->variable_calls;
		sim_free(life.sim);
		assert_in_range(calls, 5, 200);
		for (unsigned at = 1; at <= calls; at++) {
			for (size_t e = 0; e < ERROR_COUNT; e++) {
				if (!all && (at + i + e) % 2)
					continue;
				fail_once(&prepared, &stages[i], at, errors[e].count,
					errors[e].number);
				count++;
			}
		}
		sim_free(prepared.sim);
	}
	print_message("# %u errors of the firmware\n", count);
}

/* BootOrder made anew, and a write fails on the way: entries of others stay listed. */
static void test_forced_order(void **state)
{
	const struct system *systems = *state;

	for (unsigned at = 1; at <= 12; at++) {
		AUTO_SIM struct sim *sim = world_new(&systems[0]);
		struct error error = { 0 };

		sim->order_unreadable = true;
		assert_int_equal(world_mark_good(sim, false, &error), -EIO);
		assert_int_equal(error.kind, ERROR_REFUSED);
		sim_set_fault(sim, SIM_VARIABLE_FAILS, at);
		sim->fault_count = 1;
		sim->fault_errno = EINVAL;
		if (world_mark_good(sim, true, &error) < 0)
			world_ok(world_mark_good(sim, true, &error), &error);
		assert_false(sim->order_unreadable);
		world_check_foreign(sim);
		world_check_order(sim);
	}
}

/* Nobody forces anything: the firmware makes BootOrder anew, and mark-good lists the pair in it. */
static void test_replaced_order(void **state)
{
	const struct system *systems = *state;
	AUTO_SIM struct sim *sim = world_new(&systems[0]);
	struct error error = { 0 };

	sim->quirks = SIM_QUIRK_ORDER_UNREADABLE;
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	assert_int_equal(world_mark_good(sim, false, &error), -EIO);
	assert_int_equal(error.kind, ERROR_REFUSED);
	assert_true(sim->order_unreadable);
	/* By the removable path: nothing of ours is listed any more. */
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	assert_false(sim->order_unreadable);
	assert_int_equal(world_place(sim, SLOT_A), -1);
	world_ok(world_mark_good(sim, false, &error), &error);
	assert_true(world_place(sim, SLOT_A) >= 0);
	world_check_order(sim);
	world_ok(world_install(
			 sim, &systems[1], &(struct bistable_install_options){ 0 }, NULL, &error),
		&error);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
}

/** X, Y, Z and a broken one, shared by all lives. */
static int set_up(void **state)
{
	static const struct system_faults broken = {
		.small = true,
		.verity = true,
		.wrong_tree = true,
	};
	static struct system systems[4];

	systems[0] = system_new("X", 1, &small);
	systems[1] = system_new("Y", 2, &small);
	systems[2] = system_new("Z", 3, &small);
	systems[3] = system_new("broken", 4, &broken);
	*state = systems;
	return 0;
}

static int tear_down(void **state)
{
	struct system *systems = *state;

	for (size_t i = 0; i < 4; i++)
		system_done(&systems[i]);
	return 0;
}

static void print_tally(const char *what, const struct tally *tally)
{
	print_message("# %u lives under %s: at most %u writes to NVRAM; in %u another slot started "
		      "and the user was told, in %u an operation was refused\n",
		tally->lives, what, tally->writes, tally->surprises, tally->refusals);
}

static void test_each_quirk(void **state)
{
	struct tally plain = { 0 }, tally = { 0 };

	live_under(0, false, *state, &plain);
	print_tally("no quirk", &plain);
	for (size_t i = 0; i < SIM_QUIRK_COUNT; i++) {
		print_message("# %s (%s)\n", sim_quirks[i].name, sim_quirks[i].source);
		live_under(sim_quirks[i].quirk, sim_quirks[i].decides, *state, &tally);
	}
	print_tally("one quirk", &tally);
}

static void test_pairs_of_quirks(void **state)
{
	struct tally tally = { 0 };

	for (size_t i = 0; i < SIM_QUIRK_COUNT; i++) {
		for (size_t k = i + 1; k < SIM_QUIRK_COUNT; k++) {
			print_message("# %s; %s\n", sim_quirks[i].name, sim_quirks[k].name);
			live_under(sim_quirks[i].quirk | sim_quirks[k].quirk,
				sim_quirks[i].decides || sim_quirks[k].decides, *state, &tally);
		}
	}
	print_tally("two quirks", &tally);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_quirk),
		cmocka_unit_test(test_pairs_of_quirks),
		cmocka_unit_test(test_firmware_errors),
		cmocka_unit_test(test_forced_order),
		cmocka_unit_test(test_replaced_order),
	};

	return cmocka_run_group_tests_name("quirks", tests, set_up, tear_down);
}
