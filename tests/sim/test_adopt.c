/* SPDX-License-Identifier: Apache-2.0 */

/* Machines that something else has installed or changed: what bistable makes of them. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "format/cmdline.h"
#include "format/devicepath.h"
#include "format/loadopt.h"
#include "patient.h"
#include "world.h"

static const struct bistable_install_options by_reboot = { .activation = BISTABLE_ACTIVATE_REBOOT };

/* Both slots as an installer fills them, with `y` in B; entries of ours, A's first. */
static struct sim *make_both(const struct system *x, const struct system *y, bool entries)
{
	struct sim *sim = world_new(x);
	AUTO_BUFFER struct buffer uki = { 0 };

	assert_int_equal(buffer_append(&uki, y->uki.data, y->uki.size, NULL), 0);
	assert_int_equal(cmdline_bind(uki.data, uki.size, "METROPOLIS-SYSTEM-X",
				 "METROPOLIS-SYSTEM-B", NULL, NULL),
		0);
	sim_put_file(sim, BOOT_B, span_of(&uki));
	sim_put_image(sim, SLOT_B, span_of(&y->image));
	if (!entries)
		return sim;
	world_add_entry(sim, 0x41, "Metropolis Slot B", BOOT_B, true);
	world_add_entry(sim, 0x40, "Metropolis Slot A", BOOT_A, true);
	return sim;
}

/* Nobody has confirmed anything: what runs is confirmed, whatever BootOrder says. */
static void test_first_confirmation(void **unused)
{
	const struct system_faults kind = { .small = true, .verity = true };
	AUTO_SYSTEM struct system x = system_new("1", 1, &kind), y = system_new("2", 2, &kind);

	(void)unused;
	for (int entries = 0; entries < 2; entries++) {
		AUTO_SIM struct sim *sim = make_both(&x, &y, entries);
		AUTO_STATUS struct bistable_status *before = NULL, *after = NULL;
		struct patient patient = { .sim = sim };
		struct error error = { 0 };

		/* The other tool has let B start next, or nothing tells why B runs. */
		if (entries)
			put_number(&patient, "BootNext", 0x41);
		else
			copy_file(&patient, BOOT_B, BOOTX);
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
		/* What a slot holds is read from its UKI as long as there is no record. */
		before = world_status(sim);
		assert_string_equal(before->slots[SLOT_A].version, "1");
		assert_string_equal(before->slots[SLOT_B].version, "2");
		assert_int_equal(strlen(before->slots[SLOT_B].root_hash), 64);
		world_ok(world_mark_good(sim, false, &error), &error);
		after = world_status(sim);
		assert_int_equal(after->default_slot, 'B');
		assert_string_equal(after->slots[SLOT_B].version, "2");
		assert_string_equal(
			after->slots[SLOT_B].root_hash, before->slots[SLOT_B].root_hash);
		assert_non_null(sim_file(sim, "/EFI/metropolis/boot-b.state"));
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
		/* From now on a fallback is one. */
		sim_put_file(sim, BOOT_B, TEXT("junk"));
		assert_int_equal(sim_power_cycle(sim), SLOT_A);
	}
}

/* A record of the other slot alone: its version was confirmed, and the firmware fell back. */
static void test_one_record(void **unused)
{
	const struct system_faults kind = { .small = true };
	AUTO_SYSTEM struct system x = system_new("1", 1, &kind), y = system_new("2", 2, &kind);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_mark_good(sim);
	assert_null(sim_file(sim, "/EFI/metropolis/boot-a.state"));
	sim_put_file(sim, BOOT_B, TEXT("junk"));
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	assert_int_equal(world_mark_good(sim, false, &error), -EPERM);
	assert_non_null(strstr(error.text, "fell back"));
}

/* Changes the place that an entry states. */
static void misplace(struct sim *sim, const char *name, uint32_t number, uint64_t start)
{
	struct buffer *entry = sim_variable(sim, name);
	const struct devicepath_hd place = { number, start, 999, { { 0 } } };
	struct loadopt option;

	assert_int_equal(loadopt_parse(span_of(entry), &option, NULL), 0);
	devicepath_set_place(entry->data + (option.device_paths.data - entry->data),
		option.device_paths.size, &place);
}

static void doctor_says(struct sim *sim, const char *name, int level, const char *says)
{
	struct patient patient = { .sim = sim, .ops = *sim_machine(sim)->ops };
	AUTO_REPORT struct bistable_report *report = NULL;
	const struct bistable_check *check;

	report = examine(&patient);
	check = find_check(report, name);
	if ((int)check->level != level || !strstr(check->what, says))
		fail_msg("%s: level %d, '%s'", name, check->level, check->what);
}

/* The partition table was changed: firmware that goes by numbers would find nothing. */
static void test_misplaced_entries(void **unused)
{
	static const struct {
		uint32_t number;
		uint64_t start;
	} places[] = { { 7, 2048 }, { 1, 4096 }, { 1, 2048 } };
	const struct system_faults kind = { .small = true };
	AUTO_SYSTEM struct system x = system_new("1", 1, &kind), y = system_new("2", 2, &kind);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct patient patient = { .sim = sim };

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	sim_power_cycle(sim);
	world_must_mark_good(sim);
	for (size_t i = 0; i < 3; i++) {
		AUTO_BUFFER struct buffer whole = { 0 };
		char name[16];
		struct buffer *entry = entry_of(&patient, SLOT_B, name);

		/* What others have put behind it stays. */
		assert_int_equal(buffer_append(entry, "\1\2\3", 3, NULL), 0);
		assert_int_equal(buffer_append(&whole, entry->data, entry->size, NULL), 0);
		misplace(sim, name, places[i].number, places[i].start);
		doctor_says(sim, "entry-b", WARNING, "states another place");
		world_must_mark_good(sim);
		assert_non_null(strstr(world_notes(), "states its present one now"));
		assert_true(span_equal(span_of(entry_of(&patient, SLOT_B, name)), span_of(&whole)));
		doctor_says(sim, "entry-b", OK, "starts slot B");
		sim_set_fault(sim, SIM_NO_FAULT, 0);
		world_must_mark_good(sim);
		assert_int_equal(sim->operations, 0);
	}
	/* An install puts both right before it goes on. */
	misplace(sim, "Boot0000", 5, 5);
	misplace(sim, "Boot0001", 5, 5);
	world_must_install(sim, &x, &by_reboot);
	doctor_says(sim, "entry-a", OK, "starts slot A");
	doctor_says(sim, "entry-b", OK, "starts slot B");
}

static int mark_good(struct sim *sim, struct error *error)
{
	return world_mark_good(sim, false, error);
}

static int go_back(struct sim *sim, struct error *error)
{
	return world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, error);
}

/* B is confirmed, A a trial; the partition has got another number, so that no entry starts. */
static struct sim *make_renumbered(const struct system systems[3], bool trial_runs)
{
	const struct bistable_install_options by_kexec = { .activation = BISTABLE_ACTIVATE_KEXEC };
	struct sim *sim = world_new(&systems[0]);
	struct patient patient = { .sim = sim };

	world_must_install(sim, &systems[1], &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_mark_good(sim);
	world_must_install(sim, &systems[2], &by_kexec);
	if (trial_runs)
		assert_int_equal(sim_kexec(sim), SLOT_A);
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		char name[16];

		entry_of(&patient, slot, name);
		misplace(sim, name, 7, 2048);
	}
	if (!trial_runs)
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
	return sim;
}

/* Whenever the power fails while the entries are put right, no trial starts. */
static void test_renumbered(void **unused)
{
	static int (*const operations[])(
		struct sim * sim, struct error * error) = { mark_good, go_back };
	const struct system_faults kind = { .small = true };
	struct system systems[] = {
		system_new("1", 1, &kind),
		system_new("2", 2, &kind),
		system_new("3", 3, &kind),
	};

	(void)unused;
	for (size_t i = 0; i < 2; i++) {
		AUTO_SIM struct sim *before = make_renumbered(systems, operations[i] == go_back);
		unsigned at = 0;

		for (bool dead = true; dead;) {
			AUTO_SIM struct sim *sim = sim_copy(before);
			struct error error = { 0 };
			enum slot now;

			sim_set_fault(sim, SIM_CUT_AFTER, ++at);
			operations[i](sim, &error);
			dead = sim->dead;
			now = sim_power_cycle(sim);
			if (now != SLOT_B)
				fail_msg("operation %zu, cut %u: slot %c starts", i, at,
					slot_letter(now));
		}
		assert_true(at > 3);
	}
	for (size_t i = 0; i < 3; i++)
		system_done(&systems[i]);
}

/* An entry of ours on an ESP that no disk has any more. */
static void test_entry_of_a_lost_esp(void **unused)
{
	const struct system_faults kind = { .small = true };
	AUTO_SYSTEM struct system x = system_new("1", 1, &kind);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	world_must_mark_good(sim);
	/* world_new() has one of a clone, Boot0005. */
	doctor_says(sim, "lost-entries", OK, "No boot entry of ours");
	sim->clone_gone = true;
	doctor_says(sim, "lost-entries", WARNING, "Boot0005 'Metropolis Slot B'");
	doctor_says(sim, "lost-entries", WARNING, SIM_CLONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_confirmation),
		cmocka_unit_test(test_one_record),
		cmocka_unit_test(test_misplaced_entries),
		cmocka_unit_test(test_renumbered),
		cmocka_unit_test(test_entry_of_a_lost_esp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
