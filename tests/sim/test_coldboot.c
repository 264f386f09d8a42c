/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A cold boot never starts a trial, whatever the machine looked like before: each operation of
 * world.h checks that, too.
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
#include "layouts.h"
#include "make_uki.h"
#include "patient.h"
#include "world.h"

struct three {
	struct system x, y, z;
};

static struct three make_three(bool root_hash)
{
	const struct system_faults kind = { .small = true, .verity = root_hash };

	return (struct three){
		system_new("1", 1, &kind),
		system_new("2", 2, &kind),
		system_new("3", 3, &kind),
	};
}

static void three_done(struct three *three)
{
	system_done(&three->x);
	system_done(&three->y);
	system_done(&three->z);
}

#define AUTO_THREE CLEANUP(three_done)

static struct bistable_install_options by(enum bistable_activation how)
{
	return (struct bistable_install_options){ .activation = how };
}

#define expect_start(sim, layout, wanted)                                                 \
	do {                                                                              \
		enum slot started_ = sim_power_cycle(sim);                                \
		if (started_ != (wanted))                                                 \
			fail_msg("%s, line %d: slot %c starts", (layout)->name, __LINE__, \
				slot_letter(started_));                                   \
	} while (0)

static void wipe(struct sim *sim)
{
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++)
		if (sim->variables[i].used)
			sim_remove_variable(sim, sim->variables[i].name);
}

/* Install, trial, fall back, trial again, confirm, update the other slot, go back. */
static void live(
	const struct layout *layout, const struct three *three, enum bistable_activation how)
{
	const struct bistable_install_options options = by(how);
	AUTO_SIM struct sim *sim = layout_new(layout, &three->x);
	struct error error = { 0 };

	world_ok(world_install(sim, &three->y, &options, NULL, &error), &error);
	if (how == BISTABLE_ACTIVATE_KEXEC)
		assert_int_equal(sim_kexec(sim), SLOT_B);
	else
		expect_start(sim, layout, SLOT_B);
	/* Power is cut in the middle of the trial. */
	expect_start(sim, layout, SLOT_A);

	world_ok(world_activate(sim, how, &error), &error);
	if (how == BISTABLE_ACTIVATE_KEXEC)
		assert_int_equal(sim_kexec(sim), SLOT_B);
	else
		expect_start(sim, layout, SLOT_B);
	world_ok(world_mark_good(sim, false, &error), &error);
	expect_start(sim, layout, SLOT_B);

	world_ok(world_install(sim, &three->z, &options, NULL, &error), &error);
	expect_start(sim, layout, how == BISTABLE_ACTIVATE_KEXEC ? SLOT_B : SLOT_A);
	expect_start(sim, layout, SLOT_B);
	/* The firmware started the trial, and power was cut; what is staged never began. */
	if (how == BISTABLE_ACTIVATE_REBOOT)
		assert_int_equal(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), -EPERM);
	world_ok(how == BISTABLE_ACTIVATE_REBOOT
			 ? world_rollback_by_force(sim, BISTABLE_ACTIVATE_REBOOT, &error)
			 : world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error),
		&error);
	expect_start(sim, layout, SLOT_A);
	world_ok(world_mark_good(sim, false, &error), &error);
	expect_start(sim, layout, SLOT_A);
	if (layout->keeps_removable)
		return;
	wipe(sim);
	expect_start(sim, layout, SLOT_A);
}

static void each_layout(void (*run)(const struct layout *layout, const struct three *three))
{
	for (int root_hash = 0; root_hash < 2; root_hash++) {
		AUTO_THREE struct three three = make_three(root_hash);

		for (size_t i = 0; i < layout_count; i++)
			if (root_hash || layouts[i].without_root_hash)
				run(&layouts[i], &three);
	}
}

static void live_by_kexec(const struct layout *layout, const struct three *three)
{
	live(layout, three, BISTABLE_ACTIVATE_KEXEC);
}

static void live_by_reboot(const struct layout *layout, const struct three *three)
{
	live(layout, three, BISTABLE_ACTIVATE_REBOOT);
}

static void test_lives(void **unused)
{
	(void)unused;
	each_layout(live_by_kexec);
	each_layout(live_by_reboot);
}

/* The first thing that bistable does is to confirm what runs. */
static void confirm_first(const struct layout *layout, const struct three *three)
{
	AUTO_SIM struct sim *sim = layout_new(layout, &three->x);
	AUTO_STATUS struct bistable_status *status = NULL;
	struct error error = { 0 };

	world_ok(world_mark_good(sim, false, &error), &error);
	status = world_status(sim);
	assert_int_equal(status->default_slot, 'A');
	assert_string_equal(status->slots[SLOT_A].version, "1");
	expect_start(sim, layout, SLOT_A);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	world_ok(world_mark_good(sim, false, &error), &error);
	assert_int_equal(sim->operations, 0);
}

static void test_confirm_first(void **unused)
{
	(void)unused;
	each_layout(confirm_first);
}

/* Power fails before, or after, each changing operation of a first install. */
static unsigned cut_everywhere(const struct layout *layout, const struct three *three,
	enum bistable_activation how, enum sim_fault fault)
{
	const struct bistable_install_options options = by(how);
	unsigned at = 0;

	for (bool dead = true; dead;) {
		AUTO_SIM struct sim *sim = layout_new(layout, &three->x);
		struct error error = { 0 };
		enum slot now;

		sim_set_fault(sim, fault, ++at);
		world_install(sim, &three->y, &options, NULL, &error);
		dead = sim->dead;
		now = sim_power_cycle(sim);
		if (now != SLOT_A && dead && how == BISTABLE_ACTIVATE_KEXEC)
			fail_msg("%s, cut %u: slot %c starts", layout->name, at, slot_letter(now));
		if (now != SLOT_A)
			expect_start(sim, layout, SLOT_A);
		world_ok(world_install(sim, &three->y, &options, NULL, &error), &error);
	}
	return at;
}

static void test_power_cuts(void **unused)
{
	AUTO_THREE struct three three = make_three(true);
	const bool all = getenv("SIM_ALL");

	(void)unused;
	for (size_t i = 0; i < layout_count; i++) {
		for (int kind = 0; kind < 4; kind++) {
			if (!all && (size_t)kind != i % 4)
				continue;
			assert_in_range(cut_everywhere(&layouts[i], &three,
						kind < 2 ? BISTABLE_ACTIVATE_KEXEC
							 : BISTABLE_ACTIVATE_REBOOT,
						kind % 2 ? SIM_CUT_AFTER : SIM_CUT_BEFORE),
				10, 50);
		}
	}
}

/* --- what is refused --- */

static void files_gone(struct sim *sim)
{
	sim_remove_file(sim, BOOT_A);
	sim_remove_file(sim, BOOTX);
}

static void only_a_stranger(struct sim *sim)
{
	AUTO_BUFFER struct buffer other = make_uki(
		"root=PARTLABEL=METROPOLIS-SYSTEM-A sim.image=00 sim.size=1 roothash="
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
		"0", 9);

	files_gone(sim);
	sim_put_file(sim, BOOTX, span_of(&other));
}

static void names_the_other(struct sim *sim)
{
	struct buffer *file = sim_file(sim, BOOT_A);
	uint8_t *name = memmem(file->data, file->size, "SYSTEM-A", 8);

	assert_non_null(name);
	name[7] = 'B';
	sim_remove_file(sim, BOOTX);
}

static void not_bound(struct sim *sim)
{
	struct buffer *file = sim_file(sim, BOOTX);
	uint8_t *name = memmem(file->data, file->size, "SYSTEM-A", 8);

	assert_non_null(name);
	name[7] = 'X';
	sim_remove_file(sim, BOOT_A);
}

/* Nothing is written, and the same is said by a dry run. */
static void refuse(void (*happen)(struct sim *sim), const char *says, const struct three *three)
{
	struct bistable_install_options options = by(BISTABLE_ACTIVATE_KEXEC);

	for (int dry_run = 0; dry_run < 2; dry_run++) {
		AUTO_SIM struct sim *sim = world_new(&three->x);
		struct error error = { 0 };

		happen(sim);
		sim_set_fault(sim, SIM_NO_FAULT, 0);
		options.dry_run = dry_run;
		assert_int_equal(world_install(sim, &three->y, &options, NULL, &error), -EPERM);
		assert_int_equal(error.kind, ERROR_REFUSED);
		if (!strstr(error.text, says) || !strstr(error.text, "--force"))
			fail_msg("'%s' is not said: %s", says, error.text);
		assert_int_equal(world_mark_good(sim, false, &error), -EPERM);
		assert_int_equal(sim->operations, 0);
	}
}

static void test_refused(void **unused)
{
	AUTO_THREE struct three three = make_three(true);

	(void)unused;
	refuse(files_gone, "boot-a.efi is not there", &three);
	refuse(only_a_stranger, "boot-a.efi is not there", &three);
	refuse(names_the_other, "boot-a.efi starts slot B", &three);
	refuse(not_bound, "boot-a.efi is not there", &three);
}

static void test_forced(void **unused)
{
	AUTO_THREE struct three three = make_three(true);
	AUTO_SIM struct sim *sim = world_new(&three.x);
	struct bistable_install_options options = by(BISTABLE_ACTIVATE_KEXEC);
	struct error error = { 0 };

	(void)unused;
	files_gone(sim);
	options.force = true;
	/* The other slot is all that such a machine can start. */
	sim->confirmed = SLOT_B;
	world_ok(world_install(sim, &three.y, &options, NULL, &error), &error);
	assert_non_null(strstr(world_notes(), "A power cycle may not start slot A"));
	assert_int_equal(sim_kexec(sim), SLOT_B);
	world_ok(world_mark_good(sim, false, &error), &error);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
}

/* What is to start instead of a slot that is marked bad has to start. */
static void test_mark_bad(void **unused)
{
	AUTO_THREE struct three three = make_three(true);
	AUTO_SIM struct sim *sim = world_new(&three.x);
	const struct bistable_install_options none = by(BISTABLE_ACTIVATE_NONE);
	struct error error = { 0 };

	(void)unused;
	world_must_mark_good(sim);
	world_must_install(sim, &three.y, &none);
	sim_put_file(sim, BOOT_B, TEXT("junk"));
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_int_equal(world_mark_bad(sim, SLOT_A, &error), -EPERM);
	assert_non_null(strstr(error.text, "boot-b.efi does not load"));
	assert_int_equal(sim->operations, 0);
}

/* A slot whose boot file was changed since is not started, and not confirmed. */
static void test_changed_boot_file(void **unused)
{
	AUTO_THREE struct three three = make_three(false);
	AUTO_SIM struct sim *sim = world_new(&three.x);
	const struct bistable_install_options by_reboot = by(BISTABLE_ACTIVATE_REBOOT);
	struct error error = { 0 };
	struct buffer *file;

	(void)unused;
	world_must_install(sim, &three.y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	file = sim_file(sim, BOOT_B);
	file->data[file->size - 1] ^= 1;
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_int_equal(world_mark_good(sim, false, &error), -EPERM);
	assert_non_null(strstr(error.text, "is not the file that was installed"));
	assert_int_equal(sim->operations, 0);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	assert_int_equal(world_activate(sim, BISTABLE_ACTIVATE_KEXEC, &error), -EPERM);
	assert_false(sim->kexec_staged);
}

/* The running slot's boot file is damaged; what the removable path holds puts it right. */
static void test_restored(void **unused)
{
	AUTO_THREE struct three three = make_three(false);
	AUTO_SIM struct sim *sim = world_new(&three.x);
	const struct bistable_install_options by_kexec = by(BISTABLE_ACTIVATE_KEXEC);

	(void)unused;
	world_must_mark_good(sim);
	sim_put_file(sim, BOOT_A, TEXT("junk"));
	world_must_install(sim, &three.y, &by_kexec);
	assert_non_null(strstr(world_notes(), "was copied to " BOOT_A));
	assert_int_equal(sim_kexec(sim), SLOT_B);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lives),
		cmocka_unit_test(test_confirm_first),
		cmocka_unit_test(test_power_cuts),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_forced),
		cmocka_unit_test(test_mark_bad),
		cmocka_unit_test(test_changed_boot_file),
		cmocka_unit_test(test_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
