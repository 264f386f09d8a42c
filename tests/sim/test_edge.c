/* SPDX-License-Identifier: Apache-2.0 */

/* What firmware and people do beside the plain life of a machine. */

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

#define SHIM ((struct span){ (const uint8_t *)"MZ somebody's shim", 18 })

static const struct bistable_install_options by_reboot = { .activation = BISTABLE_ACTIVATE_REBOOT };
static const struct bistable_install_options not_activated = {
	.activation = BISTABLE_ACTIVATE_NONE
};
static const struct bistable_install_options forced = {
	.activation = BISTABLE_ACTIVATE_NONE,
	.force = true,
};

/* The firmware has made an entry of its own for B's file, before everything else. */
static void test_firmware_made_entry(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	world_must_mark_good(sim);
	world_add_entry(sim, 0x20, "UEFI OS", "\\EFI\\METROPOLIS\\BOOT-B.EFI", true);
	world_must_install(sim, &y, &not_activated);
	/* Not confirmed: a cold boot starts A, whatever names B's file. */
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_must_mark_good(sim);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_mark_good(sim);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
}

/* A machine whose running slot is marked bad has only the other one to start: it is kept. */
static void test_install_while_marked_bad(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };
	unsigned operations;

	(void)unused;
	sim_put_file(sim, "/EFI/BOOT/BOOTX64.EFI", SHIM);
	world_must_mark_good(sim);
	world_must_install(sim, &y, &not_activated);
	world_ok(world_mark_bad(sim, SLOT_A, &error), &error);
	assert_int_equal(world_install(sim, &z, &not_activated, NULL, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	assert_int_equal(world_mark_good(sim, false, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	/* Forced, the running slot is made startable before the other one goes. */
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	world_must_install(sim, &z, &forced);
	operations = sim->operations;
	for (unsigned at = 1; at <= operations; at++) {
		AUTO_SIM struct sim *cut = world_new(&x);

		sim_put_file(cut, "/EFI/BOOT/BOOTX64.EFI", SHIM);
		world_must_mark_good(cut);
		world_must_install(cut, &y, &not_activated);
		world_ok(world_mark_bad(cut, SLOT_A, &error), &error);
		sim_set_fault(cut, SIM_CUT_AFTER, at);
		assert_true(world_install(cut, &z, &forced, NULL, &error) < 0);
		assert_true(sim_power_cycle(cut) != SLOT_NONE);
	}
}

/* A cut between "complete" and the entry: mark-bad of the other slot makes the entry active. */
static void test_mark_bad_activates_the_counterpart(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	unsigned operations, marked = 0;
	struct error error = { 0 };

	(void)unused;
	{
		AUTO_SIM struct sim *sim = world_new(&x);

		sim_put_file(sim, "/EFI/BOOT/BOOTX64.EFI", SHIM);
		world_must_mark_good(sim);
		sim_set_fault(sim, SIM_NO_FAULT, 0);
		world_must_install(sim, &y, &not_activated);
		operations = sim->operations;
	}
	for (unsigned at = 1; at <= operations; at++) {
		AUTO_SIM struct sim *sim = world_new(&x);

		sim_put_file(sim, "/EFI/BOOT/BOOTX64.EFI", SHIM);
		world_must_mark_good(sim);
		sim_set_fault(sim, SIM_CUT_AFTER, at);
		assert_true(world_install(sim, &y, &not_activated, NULL, &error) < 0);
		assert_int_equal(sim_power_cycle(sim), SLOT_A);
		if (world_mark_bad(sim, SLOT_A, &error) == 0) {
			assert_int_equal(sim_power_cycle(sim), SLOT_B);
			marked++;
		} else {
			assert_int_equal(sim_power_cycle(sim), SLOT_A);
		}
	}
	assert_in_range(marked, 1, 3);
}

static void test_volatile_variables(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	sim->volatile_variables = true;
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_int_equal(world_install(sim, &y, &by_reboot, NULL, &error), -EOPNOTSUPP);
	assert_non_null(strstr(error.text, "RTStorageVolatile"));
	assert_int_equal(world_mark_good(sim, false, &error), -EOPNOTSUPP);
	assert_int_equal(sim->variable_writes, 0);
}

/* B failed its trial; later A's file breaks and the firmware starts B: that is no success of B. */
static void test_fallback_to_a_failed_trial(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_mark_good(sim);
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_must_mark_good(sim);
	sim_put_file(sim, "/EFI/metropolis/boot-a.efi", SHIM);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	assert_int_equal(world_mark_good(sim, false, &error), -EPERM);
	assert_non_null(strstr(error.text, "fell back"));
}

static void test_empty_image(void **unused)
{
	const struct system_faults faults = { .empty_image = true };
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), bad = system_new("bad", 2, &faults);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	assert_int_equal(world_install(sim, &bad, &by_reboot, NULL, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "empty"));
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
}

/* What an interrupted replacement left behind is written over, so its room counts. */
static void test_leftover_counts_as_room(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	const char *leftover = "/EFI/metropolis/boot-b.efi" MACHINE_NEW_SUFFIX;
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	/* Room for what lies beside the boot file, but not for another boot file. */
	sim_put_file(sim, leftover, span_of(&y.uki));
	sim->esp_capacity = 3 * x.uki.size + (258u << 10);
	world_must_install(sim, &y, &not_activated);
	assert_null(sim_file(sim, leftover));
	/* The same room with a file that is in the way. */
	sim_put_file(sim, "/other", span_of(&y.uki));
	sim->esp_capacity = 4 * x.uki.size + (200u << 10);
	assert_int_equal(world_install(sim, &x, &not_activated, NULL, &error), -ENOSPC);
}

static void test_attempts_that_never_were(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_STATUS struct bistable_status *again = NULL, *none = NULL, *bad = NULL, *after = NULL;
	struct error error = { 0 };

	(void)unused;
	/* Another choice in the same boot takes the place of the first. */
	world_must_install(sim, &y, &by_reboot);
	world_ok(world_activate(sim, BISTABLE_ACTIVATE_KEXEC, &error), &error);
	assert_null(sim_variable(sim, "BootNext"));
	again = world_status(sim);
	assert_int_equal(again->slots[SLOT_B].attempt_count, 1);
	assert_string_equal(again->slots[SLOT_B].attempts[0].how, "kexec");
	assert_int_equal(again->next_slot, 'B');
	assert_string_equal(again->next_how, "kexec");

	/* --activate=none takes it back. */
	world_must_install(sim, &y, &not_activated);
	none = world_status(sim);
	assert_int_equal(none->slots[SLOT_B].attempt_count, 0);
	assert_int_equal(none->next_slot, 'A');
	assert_false(sim->kexec_staged);

	/* So does mark-bad. */
	world_ok(world_activate(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
	world_ok(world_mark_bad(sim, SLOT_B, &error), &error);
	bad = world_status(sim);
	assert_int_equal(bad->slots[SLOT_B].attempt_count, 0);
	assert_int_equal(bad->next_slot, 'A');
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	after = world_status(sim);
	assert_false(after->slots[SLOT_B].tried_unconfirmed);
}

/* A factory slot has been started by the firmware: choosing it again does not unprove that. */
static void test_factory_slot_stays_proven(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_STATUS struct bistable_status *status = NULL;
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_ok(world_rollback(sim, BISTABLE_ACTIVATE_KEXEC, &error), &error);
	status = world_status(sim);
	assert_true(status->slots[SLOT_A].cold_boot_proven);
}

/* The removable path could not be refreshed for two updates: the copy there is still ours. */
static void test_stale_removable_path_is_remembered(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	world_must_mark_good(sim);
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	/* It is the first thing that both of them write. */
	sim_set_fault(sim, SIM_FAILS, 1);
	world_must_mark_good(sim);
	assert_non_null(strstr(world_notes(), "was not refreshed"));
	sim_set_fault(sim, SIM_FAILS, 1);
	world_must_install(sim, &z, &not_activated);
	assert_non_null(strstr(world_notes(), "was not refreshed"));
	/* By now the record of A, which told the copy to be ours, is another one. */
	world_must_mark_good(sim);
	assert_true(span_equal(span_of(sim_file(sim, "/EFI/BOOT/BOOTX64.EFI")),
		span_of(sim_file(sim, "/EFI/metropolis/boot-b.efi"))));
}

/* The entry vanishes between its activation and BootNext: nothing is left half chosen. */
static void test_start_next_fails(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_STATUS struct bistable_status *status = NULL;
	struct error error = { 0 };
	unsigned operations;

	(void)unused;
	world_must_install(sim, &y, &not_activated);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	world_ok(world_activate(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
	operations = sim->operations;
	world_must_install(sim, &y, &not_activated);
	/* BootNext is the last thing written. */
	sim_set_fault(sim, SIM_FAILS, operations);
	assert_int_equal(world_activate(sim, BISTABLE_ACTIVATE_REBOOT, &error), -EIO);
	status = world_status(sim);
	assert_int_equal(status->slots[SLOT_B].attempt_count, 0);
	assert_int_equal(status->next_slot, 'A');
}

static void test_broken_boot_order_is_not_replaced(void **unused)
{
	static const uint8_t odd[] = { 3, 0, 0x0a };
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_STATUS struct bistable_status *status = NULL;
	struct error error = { 0 };

	(void)unused;
	sim_put_variable(sim, "BootOrder", (struct span){ odd, sizeof(odd) });
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_true(world_install(sim, &y, &by_reboot, NULL, &error) < 0);
	assert_non_null(strstr(error.text, "BootOrder"));
	assert_int_equal(sim->operations, 0);
	status = world_status(sim);
	assert_false(status->slots[SLOT_A].entry_known);
}

/* BootNext names an entry that is gone: what is created now must not be what it names. */
static void test_dangling_boot_next(void **unused)
{
	const struct system_faults faults = { .wrong_crc = true };
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  bad = system_new("bad", 3, &faults);
	AUTO_SIM struct sim *sim = world_new(&x);
	static const uint8_t short_next[] = { 1, 0, 0 };
	struct error error = { 0 };
	char name[16];

	(void)unused;
	world_must_mark_good(sim);
	world_must_install(sim, &y, &by_reboot);
	snprintf(name, sizeof(name), "Boot%04X", le16(sim_variable(sim, "BootNext")->data));
	sim_remove_variable(sim, name);
	assert_true(world_install(sim, &bad, &by_reboot, NULL, &error) < 0);
	assert_null(sim_variable(sim, "BootNext"));
	assert_int_equal(sim_power_cycle(sim), SLOT_A);

	sim_put_variable(sim, "BootNext", (struct span){ short_next, sizeof(short_next) });
	world_must_install(sim, &y, &not_activated);
	assert_null(sim_variable(sim, "BootNext"));
	/* Somebody else's choice is left alone. */
	sim_put_variable(sim, "BootNext", (struct span){ (const uint8_t *)"\x0a\0", 2 });
	world_must_install(sim, &y, &not_activated);
	assert_non_null(sim_variable(sim, "BootNext"));
}

/* Numbers that BootOrder names are not given out again, even if nothing has them. */
static void test_new_entries_take_free_numbers(void **unused)
{
	static const uint8_t order[] = { 0, 0, 3, 0, 5, 0, 0x0a, 0, 1, 0 };
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	sim_put_variable(sim, "BootOrder", (struct span){ order, sizeof(order) });
	sim_put_variable(sim, "BootCurrent", (struct span){ (const uint8_t *)"\x0a\0", 2 });
	world_must_mark_good(sim);
	assert_null(sim_variable(sim, "Boot0000"));
	assert_null(sim_variable(sim, "Boot0001"));
	assert_non_null(sim_variable(sim, "Boot0002"));
	assert_non_null(sim_variable(sim, "Boot0004"));
	/* Before the entry that started this system: what comes before that one keeps its turn. */
	assert_int_equal(world_place(sim, SLOT_A), 3);
	assert_int_equal(world_place(sim, SLOT_B), 4);
}

/* A firmware that puts a duplicate back is not fought. */
static void test_duplicate_that_comes_back(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	world_must_mark_good(sim);
	sim->quirks = SIM_QUIRK_DUPLICATES_OURS;
	sim_power_cycle(sim);
	assert_non_null(sim_variable(sim, "Boot00F0"));
	world_must_mark_good(sim);
	assert_null(sim_variable(sim, "Boot00F0"));
	sim_power_cycle(sim);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	world_must_mark_good(sim);
	assert_non_null(sim_variable(sim, "Boot00F0"));
	assert_int_equal(sim->operations, 0);
}

static void test_applications_do_not_count_as_first(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_STATUS struct bistable_status *first = NULL, *application = NULL;
	struct buffer *entry;

	(void)unused;
	world_must_mark_good(sim);
	world_add_entry(sim, 0x30, "Setup", "\\EFI\\setup.efi", true);
	sim_put_file(sim, "/EFI/setup.efi", (struct span){ (const uint8_t *)"x", 1 });
	first = world_status(sim);
	assert_int_equal(first->default_slot, 'A');
	assert_true(first->note_count > 0 && strstr(first->notes[0], "'Setup' comes before"));
	entry = sim_variable(sim, "Boot0030");
	put_le32(entry->data, le32(entry->data) | 0x100); /* LOAD_OPTION_CATEGORY_APP */
	application = world_status(sim);
	assert_int_equal(application->default_slot, 'A');
	assert_int_equal(application->note_count, 0);
}

/* A cut between "complete" and the entry: activate makes it active. */
static void test_activate_enables(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	unsigned inactive = 0;

	(void)unused;
	for (unsigned at = 1; at <= 20; at++) {
		AUTO_STATUS struct bistable_status *status = NULL, *after = NULL;
		AUTO_SIM struct sim *sim = world_new(&x);
		struct error error = { 0 };

		world_must_mark_good(sim);
		sim_set_fault(sim, SIM_CUT_AFTER, at);
		world_install(sim, &y, &not_activated, NULL, &error);
		sim_power_cycle(sim);
		status = world_status(sim);
		if (!status->slots[SLOT_B].complete || status->slots[SLOT_B].entry_active)
			continue;
		inactive++;
		world_ok(world_activate(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
		after = world_status(sim);
		assert_true(after->slots[SLOT_B].entry_active);
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
	}
	assert_in_range(inactive, 1, 3);
}

/* A staged kernel goes when its attempt cannot be recorded, and when its slot is marked bad. */
static void test_staged_kernel_is_withdrawn(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_mark_good(sim);
	world_must_install(sim, &y, &not_activated);
	sim_set_fault(sim, SIM_FAILS, 1);
	assert_int_equal(world_activate(sim, BISTABLE_ACTIVATE_KEXEC, &error), -EIO);
	assert_false(sim->kexec_staged);
	world_ok(world_activate(sim, BISTABLE_ACTIVATE_KEXEC, &error), &error);
	assert_true(sim->kexec_staged);
	world_ok(world_mark_bad(sim, SLOT_B, &error), &error);
	assert_false(sim->kexec_staged);
}

/* What was chosen is taken back on record, too, when the next choice fails. */
static void test_failed_choice_leaves_no_attempt(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_STATUS struct bistable_status *status = NULL;
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	sim->kexec_refused = true;
	assert_true(world_activate(sim, BISTABLE_ACTIVATE_KEXEC_ONLY, &error) < 0);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	status = world_status(sim);
	assert_int_equal(status->slots[SLOT_B].attempt_count, 0);
	assert_false(status->slots[SLOT_B].tried_unconfirmed);
}

/* Rolled back into a slot that was confirmed once: it is on trial all the same. */
static void test_rolled_back_slot_is_on_trial(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_mark_good(sim);
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_mark_good(sim);
	world_ok(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	assert_int_equal(world_install(sim, &y, &by_reboot, NULL, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
}

/* The medium does not keep what it is given: noticed when it is read back. */
static void test_failing_medium(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_STATUS struct bistable_status *status = NULL;
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	sim->corrupts_writes = true;
	assert_int_equal(world_install(sim, &y, &by_reboot, NULL, &error), -EIO);
	assert_non_null(strstr(error.text, "is not what was written"));
	status = world_status(sim);
	assert_false(status->slots[SLOT_B].complete);
	assert_false(status->slots[SLOT_B].entry_active);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_firmware_made_entry),
		cmocka_unit_test(test_install_while_marked_bad),
		cmocka_unit_test(test_mark_bad_activates_the_counterpart),
		cmocka_unit_test(test_volatile_variables),
		cmocka_unit_test(test_fallback_to_a_failed_trial),
		cmocka_unit_test(test_empty_image),
		cmocka_unit_test(test_leftover_counts_as_room),
		cmocka_unit_test(test_attempts_that_never_were),
		cmocka_unit_test(test_factory_slot_stays_proven),
		cmocka_unit_test(test_stale_removable_path_is_remembered),
		cmocka_unit_test(test_start_next_fails),
		cmocka_unit_test(test_broken_boot_order_is_not_replaced),
		cmocka_unit_test(test_dangling_boot_next),
		cmocka_unit_test(test_new_entries_take_free_numbers),
		cmocka_unit_test(test_duplicate_that_comes_back),
		cmocka_unit_test(test_applications_do_not_count_as_first),
		cmocka_unit_test(test_activate_enables),
		cmocka_unit_test(test_staged_kernel_is_withdrawn),
		cmocka_unit_test(test_failed_choice_leaves_no_attempt),
		cmocka_unit_test(test_rolled_back_slot_is_on_trial),
		cmocka_unit_test(test_failing_medium),
	};

	return cmocka_run_group_tests_name("edge", tests, NULL, NULL);
}
