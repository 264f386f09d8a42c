/* SPDX-License-Identifier: Apache-2.0 */

/* What becomes of attempts to start a slot, and what is held against the slot. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "patient.h"
#include "world.h"

static const struct system_faults small = { .small = true };
static const struct bistable_install_options by_kexec = { .activation = BISTABLE_ACTIVATE_KEXEC };
static const struct bistable_install_options by_reboot = { .activation = BISTABLE_ACTIVATE_REBOOT };

static void expect(
	struct sim *sim, enum slot which, const char *how, const char *outcome, bool tried)
{
	AUTO_STATUS struct bistable_status *status = world_status(sim);
	const struct bistable_slot *slot = &status->slots[which];
	const struct bistable_attempt *last = &slot->attempts[slot->attempt_count - 1];

	assert_true(slot->attempt_count > 0);
	assert_string_equal(last->outcome, outcome);
	assert_string_equal(last->how, how);
	assert_int_equal(slot->tried_unconfirmed, tried);
}

/* A staged kernel is left out by a plain reboot, and by a power cut: the slot has not failed. */
static void test_kexec_that_never_came(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("1", 1, &small), y = system_new("2", 2, &small);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_kexec);
	expect(sim, SLOT_B, "kexec", "pending", false);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	expect(sim, SLOT_B, "kexec", "not-started", false);
	world_must_mark_good(sim);
	assert_non_null(strstr(world_notes(), "was started in another way before that"));
	assert_null(strstr(world_notes(), "failed"));
	expect(sim, SLOT_B, "kexec", "not-started", false);
	/* It may be gone to, and then it does. */
	world_ok(world_rollback(sim, BISTABLE_ACTIVATE_KEXEC, &error), &error);
	assert_int_equal(sim_kexec(sim), SLOT_B);
	expect(sim, SLOT_B, "kexec", "running", false);
	world_must_mark_good(sim);
	expect(sim, SLOT_B, "kexec", "confirmed", false);
}

/* The machine went down for it, and the old slot came up again. */
static void test_kexec_that_failed(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("1", 1, &small), y = system_new("2", 2, &small);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_kexec);
	assert_int_equal(world_mark_started(sim), SLOT_B);
	sim->partitions[SLOT_B].now[100] ^= 1;
	memcpy(sim->partitions[SLOT_B].medium, sim->partitions[SLOT_B].now, y.image.size);
	assert_int_equal(sim_kexec(sim), SLOT_NONE);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	expect(sim, SLOT_B, "kexec", "failed", true);
	world_must_mark_good(sim);
	assert_non_null(strstr(world_notes(), "slot B failed, or the firmware ignored"));
	expect(sim, SLOT_B, "kexec", "failed", true);

	/* What failed its trial is nothing to go back to. */
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_int_equal(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	assert_non_null(strstr(error.text, "--force"));
	assert_int_equal(sim->operations, 0);
	world_ok(world_rollback_by_force(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
	world_ok(world_activate(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
}

static void test_nothing_is_staged(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("1", 1, &small), y = system_new("2", 2, &small);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	assert_int_equal(world_mark_started(sim), SLOT_NONE);
	world_must_install(sim, &y, &by_reboot);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_int_equal(world_mark_started(sim), SLOT_NONE);
	/* Somebody else's kernel. */
	sim->kexec_staged = true;
	assert_int_equal(world_mark_started(sim), SLOT_NONE);
	assert_int_equal(sim->operations, 0);
}

/* A power cut during a trial by kexec: the note of its beginning may be missing. */
static void test_trial_that_ran(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("1", 1, &small), y = system_new("2", 2, &small);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	expect(sim, SLOT_B, "reboot", "running", false);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	expect(sim, SLOT_B, "reboot", "failed", true);
	assert_int_equal(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), -EPERM);
}

/* The firmware started what was staged for kexec: that proves a cold boot, and is recorded so. */
static void test_kexec_that_the_firmware_served(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("1", 1, &small), y = system_new("2", 2, &small);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_STATUS struct bistable_status *status = NULL;
	struct patient patient = { .sim = sim };

	(void)unused;
	world_must_install(sim, &y, &by_kexec);
	put_number(&patient, "BootNext", number_of(&patient, SLOT_B));
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	expect(sim, SLOT_B, "reboot", "running", false);
	world_must_mark_good(sim);
	expect(sim, SLOT_B, "reboot", "confirmed", false);
	status = world_status(sim);
	assert_true(status->slots[SLOT_B].cold_boot_proven);
}

/* BootNext still waits: something other than the firmware has restarted the machine. */
static void test_reboot_that_never_came(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("1", 1, &small), y = system_new("2", 2, &small);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_BUFFER struct buffer next = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(buffer_append(&next, sim_variable(sim, "BootNext")->data, 2, NULL), 0);
	sim_remove_variable(sim, "BootNext");
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	sim_put_variable(sim, "BootNext", span_of(&next));
	expect(sim, SLOT_B, "reboot", "not-started", false);
	world_must_mark_good(sim);
	sim_remove_variable(sim, "BootNext");
	expect(sim, SLOT_B, "reboot", "not-started", false);
}

/* What was confirmed once may be gone back to, whatever became of the last attempt. */
static void test_confirmed_once(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("1", 1, &small), y = system_new("2", 2, &small);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_mark_good(sim);
	world_must_install(sim, &y, &by_reboot);
	sim_power_cycle(sim);
	world_must_mark_good(sim);
	world_ok(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	expect(sim, SLOT_A, "reboot", "failed", true);
	world_ok(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kexec_that_never_came),
		cmocka_unit_test(test_kexec_that_failed),
		cmocka_unit_test(test_nothing_is_staged),
		cmocka_unit_test(test_trial_that_ran),
		cmocka_unit_test(test_kexec_that_the_firmware_served),
		cmocka_unit_test(test_reboot_that_never_came),
		cmocka_unit_test(test_confirmed_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
