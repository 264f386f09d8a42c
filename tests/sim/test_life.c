/* SPDX-License-Identifier: Apache-2.0 */

/* The life of a machine: install, start, confirm, roll back, and what is refused on the way. */

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

static const struct bistable_install_options by_reboot = { .activation = BISTABLE_ACTIVATE_REBOOT };
static const struct bistable_install_options by_kexec = { .activation = BISTABLE_ACTIVATE_KEXEC };
static const struct bistable_install_options not_activated = {
	.activation = BISTABLE_ACTIVATE_NONE
};

static void test_life_by_reboot(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_mark_good(sim);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_install(sim, &z, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_must_mark_good(sim);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	assert_true(world_place(sim, SLOT_A) < world_place(sim, SLOT_B));
	/* Flash wears out: a whole life takes a bounded number of NVRAM writes. */
	assert_in_range(sim->variable_writes, 1, 24);
}

static void test_life_by_kexec(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	world_must_install(sim, &y, &by_kexec);
	assert_int_equal(sim_kexec(sim), SLOT_B);
	world_must_mark_good(sim);
	world_must_install(sim, &z, &by_kexec);
	assert_int_equal(sim_kexec(sim), SLOT_A);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
}

static void test_kexec_then_power_cycle(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);

	(void)unused;
	for (int confirmed = 0; confirmed < 2; confirmed++) {
		AUTO_SIM struct sim *sim = world_new(&x);
		AUTO_STATUS struct bistable_status *status = NULL, *later = NULL;

		world_must_install(sim, &y, &by_kexec);
		/* Staged only: a power cycle right now starts the old slot. */
		assert_null(sim_variable(sim, "BootNext"));
		assert_int_equal(sim_kexec(sim), SLOT_B);
		if (confirmed)
			world_must_mark_good(sim);
		status = world_status(sim);
		assert_true(status->kexec_booted);
		assert_false(status->slots[SLOT_B].cold_boot_proven);
		assert_int_equal(sim_power_cycle(sim), confirmed ? SLOT_B : SLOT_A);
		if (!confirmed)
			continue;
		world_must_mark_good(sim);
		later = world_status(sim);
		assert_true(later->slots[SLOT_B].cold_boot_proven);
	}
}

static void test_kexec_refused(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	const struct bistable_install_options only = { .activation = BISTABLE_ACTIVATE_KEXEC_ONLY };
	AUTO_SIM struct sim *sim = world_new(&x);
	struct bistable_result result = { 0 };
	struct error error = { 0 };

	(void)unused;
	sim->kexec_refused = true;
	world_ok(world_install(sim, &y, &by_kexec, &result, &error), &error);
	assert_int_equal(result.activation, BISTABLE_ACTIVATE_REBOOT);
	assert_non_null(strstr(result.fallback, "the kernel refuses to load it"));
	bistable_result_done(&result);
	assert_int_equal(world_install(sim, &y, &only, NULL, &error), -EOPNOTSUPP);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_ok(world_activate(sim, BISTABLE_ACTIVATE_DEFAULT, &error), &error);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
}

/* What the stub would add from the ESP is not reproduced: a reason each to start by the firmware.
 */
static void test_kexec_companions(void **unused)
{
	static const struct {
		const char *path;
		bool counts;
	} cases[] = {
		{ "/EFI/metropolis/boot-b.efi.extra.d/a.cred", true },
		{ "/EFI/metropolis/boot-b.efi.extra.d/b.raw", true },
		{ "/EFI/metropolis/boot-b.efi.extra.d/c.addon.efi", true },
		{ "/EFI/metropolis/boot-b.efi.extra.d/.hidden.cred", false },
		{ "/EFI/metropolis/boot-a.efi.extra.d/a.cred", false },
		{ "/loader/addons/x.ADDON.EFI", true },
		{ "/loader/credentials/y.cred", true },
		{ "/loader/extensions/z.confext.raw", true },
		{ "/loader/entries/arch.conf", false },
	};
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_SIM struct sim *sim = world_new(&x);
		struct bistable_result result = { 0 };
		struct error error = { 0 };

		sim_put_file(sim, cases[i].path, (struct span){ (const uint8_t *)"x", 1 });
		world_ok(world_install(sim, &y, &by_kexec, &result, &error), &error);
		if (cases[i].counts) {
			assert_int_equal(result.activation, BISTABLE_ACTIVATE_REBOOT);
			assert_non_null(strstr(result.fallback, cases[i].path));
		} else {
			assert_int_equal(result.activation, BISTABLE_ACTIVATE_KEXEC);
		}
		bistable_result_done(&result);
	}
}

static void test_staged_kernel_is_unloaded_first(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_kexec);
	assert_true(sim->kexec_staged);
	/* It is the target's: it must not be there while the target changes. */
	world_must_install(sim, &z, &not_activated);
	assert_false(sim->kexec_staged);

	world_must_install(sim, &y, &by_kexec);
	sim->unstage_refused = true;
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_int_equal(world_install(sim, &z, &by_reboot, NULL, &error), -EPERM);
	assert_int_equal(sim->operations, 0);
	assert_non_null(strstr(error.text, "reboot first"));
}

static void test_damaged_trial_falls_back(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_STATUS struct bistable_status *before = NULL, *after = NULL, *closed = NULL;

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	before = world_status(sim);
	assert_int_equal(before->next_slot, 'B');
	assert_string_equal(before->next_how, "reboot");
	assert_string_equal(before->slots[SLOT_B].attempts[0].outcome, "pending");
	assert_false(before->slots[SLOT_B].tried_unconfirmed);
	sim->partitions[SLOT_B].medium[5000] ^= 1;
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	after = world_status(sim);
	assert_true(after->slots[SLOT_B].tried_unconfirmed);
	assert_string_equal(after->slots[SLOT_B].attempts[0].outcome, "failed");
	assert_int_equal(after->next_slot, 'A');
	world_must_mark_good(sim);
	closed = world_status(sim);
	assert_true(closed->slots[SLOT_B].tried_unconfirmed);
	assert_int_equal(closed->default_slot, 'A');
}

static void test_rollback(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	assert_int_equal(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), -ENOENT);
	assert_int_equal(error.kind, ERROR_NOTHING);
	world_must_install(sim, &y, &by_reboot);
	sim_power_cycle(sim);

	/* From a trial: the trial is not promoted on the way. */
	world_ok(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
	assert_true(world_place(sim, SLOT_A) < world_place(sim, SLOT_B));
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_must_mark_good(sim);

	/* And from a confirmed slot, by kexec. */
	world_ok(world_activate(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_mark_good(sim);
	world_ok(world_rollback(sim, BISTABLE_ACTIVATE_KEXEC, &error), &error);
	assert_int_equal(sim_kexec(sim), SLOT_A);
	/* Not confirmed there: a power cycle starts the default again. */
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_ok(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), &error);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_must_mark_good(sim);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
}

static void test_trial_is_not_overwritten(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	const struct bistable_install_options forced = {
		.activation = BISTABLE_ACTIVATE_REBOOT,
		.force = true,
	};
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	sim_power_cycle(sim);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_int_equal(world_install(sim, &z, &by_reboot, NULL, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	assert_int_equal(sim->operations, 0);
	world_must_install(sim, &z, &forced);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
}

static void test_same_content_writes_nothing(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct bistable_result result = { 0 };
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &not_activated);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	world_ok(world_install(sim, &y, &not_activated, &result, &error), &error);
	assert_int_equal(sim->operations, 0);
	assert_int_equal(result.written, 0);
	bistable_result_done(&result);
	/* mark-good: the second call in a row writes nothing either. */
	world_must_mark_good(sim);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	world_must_mark_good(sim);
	assert_int_equal(sim->operations, 0);
}

static void test_mark_bad(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_STATUS struct bistable_status *status = NULL;
	struct error error = { 0 };

	(void)unused;
	/* A has no complete counterpart. */
	assert_int_equal(world_mark_bad(sim, SLOT_A, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	world_must_install(sim, &y, &by_reboot);
	sim_power_cycle(sim);
	world_must_mark_good(sim);
	/* The running default is bad: A comes first again, and B is not started any more. */
	world_ok(world_mark_bad(sim, SLOT_B, &error), &error);
	world_check_foreign(sim);
	status = world_status(sim);
	assert_true(status->slots[SLOT_B].bad);
	assert_false(status->slots[SLOT_B].entry_active);
	assert_int_equal(status->default_slot, 'A');
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	assert_int_equal(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	world_must_mark_good(sim);
	/* The next install lifts it, even one of the same content. */
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
}

static void test_fallback_is_not_confirmed(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_mark_good(sim);
	world_must_install(sim, &y, &by_reboot);
	sim_power_cycle(sim);
	world_must_mark_good(sim);
	/* The firmware cannot load the default's file any more and goes on to the next entry. */
	sim_put_file(
		sim, "/EFI/metropolis/boot-b.efi", (struct span){ (const uint8_t *)"junk", 4 });
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_int_equal(world_mark_good(sim, false, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	assert_non_null(strstr(error.text, "fell back"));
	assert_int_equal(sim->operations, 0);
	world_ok(world_mark_good(sim, true, &error), &error);
	assert_true(world_place(sim, SLOT_A) < world_place(sim, SLOT_B));
}

static void test_wiped_nvram(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	world_must_install(sim, &y, &by_kexec);
	sim_kexec(sim);
	world_must_mark_good(sim);
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++)
		if (sim->variables[i].used)
			sim_remove_variable(sim, sim->variables[i].name);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	/* The next mark-good restores both entries, B before A. */
	assert_int_equal(world_mark_good(sim, false, NULL), 0);
	assert_int_equal(world_place(sim, SLOT_B), 0);
	assert_int_equal(world_place(sim, SLOT_A), 1);
	assert_non_null(strstr(world_notes(), "Recreated boot entry Metropolis Slot B"));
}

static void test_removable_path_of_others(void **unused)
{
	static const uint8_t shim[] = "MZ somebody's shim";
	const struct span theirs = { shim, sizeof(shim) };
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);

	(void)unused;
	sim_put_file(sim, "/EFI/BOOT/BOOTX64.EFI", theirs);
	world_must_install(sim, &y, &by_reboot);
	sim_power_cycle(sim);
	world_must_mark_good(sim);
	assert_true(span_equal(span_of(sim_file(sim, "/EFI/BOOT/BOOTX64.EFI")), theirs));
}

/* A stale copy of ours is refreshed before the record that proves it ours is overwritten. */
static void test_removable_path_stale(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	AUTO_BUFFER struct buffer old = { 0 };
	const char *path = "/EFI/BOOT/BOOTX64.EFI";

	(void)unused;
	buffer_append(&old, sim_file(sim, path)->data, sim_file(sim, path)->size, NULL);
	world_must_install(sim, &y, &by_reboot);
	sim_power_cycle(sim);
	world_must_mark_good(sim);
	sim_put_file(sim, path, span_of(&old));
	world_must_install(sim, &z, &not_activated);
	assert_true(span_equal(span_of(sim_file(sim, path)),
		span_of(sim_file(sim, "/EFI/metropolis/boot-b.efi"))));
}

static void test_esp_too_small(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	sim_power_cycle(sim);
	world_must_mark_good(sim);
	/* Room for a third file only if the target's old one goes first. */
	sim->esp_capacity = 3 * y.uki.size + (300u << 10);
	world_must_install(sim, &z, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_must_mark_good(sim);
	sim->esp_capacity = 2 * y.uki.size;
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	assert_int_equal(world_install(sim, &y, &by_reboot, NULL, &error), -ENOSPC);
	assert_int_equal(sim->operations, 0);
}

#define OTHER_HASH "5555555555555555555555555555555555555555555555555555555555555555"

static void test_refused_bundles(void **unused)
{
	static const struct {
		struct system_faults faults;
		const char *says;
		int r;
		bool touches; /* it shows only after the partition was written */
	} cases[] = {
		{ { .image_too_large = true }, "has only", -EFBIG, false },
		{ { .no_kernel = true }, ".linux", -EBADMSG, false },
		{ { .wrong_crc = true }, "CRC", -EBADMSG, true },
		{ { .verity = true, .wrong_root = true }, "do not belong together", -EBADMSG,
			true },
		{ { .verity = true, .wrong_tree = true }, "hash tree", -EBADMSG, true },
		{ { .verity = true, .wrong_data = true }, "hash tree", -EBADMSG, true },
		{ { .verity = true, .short_tree = true }, "truncated", -EBADMSG, true },
		{ { .verity = true, .table = true, .wrong_root = true }, "do not belong together",
			-EBADMSG, true },
		{ { .verity = true, .table = true, .wrong_tree = true },
			"is not that of its data (level 0)", -EBADMSG, true },
		{ { .verity = true, .table = true, .wrong_data = true }, "have the root hash",
			-EBADMSG, true },
		{ { .verity = true, .table = true, .short_tree = true }, "truncated", -EBADMSG,
			true },
		{ { .verity = true, .wrong_root = true, .also = " usrhash=" OTHER_HASH },
			" and " OTHER_HASH, -EBADMSG, true },
		{ { .names_a = true }, "names slot A", -EINVAL, false },
	};
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), good = system_new("Y", 5, NULL);

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_SYSTEM struct system bad = system_new("bad", 4, &cases[i].faults);
		AUTO_SIM struct sim *sim = world_new(&x);
		AUTO_STATUS struct bistable_status *status = NULL;
		struct error error = { 0 };

		world_must_install(sim, &good, &not_activated);
		assert_int_equal(world_install(sim, &bad, &by_reboot, NULL, &error), cases[i].r);
		assert_int_equal(error.kind, ERROR_FAILED);
		if (!strstr(error.text, cases[i].says))
			fail_msg("case %zu: %s", i, error.text);
		status = world_status(sim);
		assert_int_equal(status->slots[SLOT_B].complete, !cases[i].touches);
		assert_int_equal(status->slots[SLOT_B].entry_active, !cases[i].touches);
		assert_true(status->slots[SLOT_A].complete);
		assert_int_equal(sim_power_cycle(sim), SLOT_A);
		world_must_install(sim, &good, &by_reboot);
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
	}
}

/* The image is one of the trees that the UKI names: bundles of either kind, with a table or not. */
static void test_verity_is_verified(void **unused)
{
	static const char *const also[] = { NULL, " usrhash=" OTHER_HASH, " usrhash=" };
	static const struct {
		bool table, chunked;
	} kinds[] = { { false, false }, { true, false }, { false, true }, { true, true } };

	(void)unused;
	for (size_t i = 0; i < 3 * 4; i++) {
		const struct system_faults verity = { .verity = true,
			.table = kinds[i / 3].table,
			.chunked = kinds[i / 3].chunked,
			.also = also[i % 3] };
		AUTO_SYSTEM struct system x = system_new("X", 1, NULL);
		AUTO_SYSTEM struct system y = system_new("Y", 2, &verity);
		AUTO_SIM struct sim *sim = world_new(&x);

		world_must_install(sim, &y, &by_reboot);
		assert_null(strstr(world_notes(), "no hash tree"));
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
	}
}

/* A tree that is not there is told, with the root hash and the partition, whatever was written. */
static void test_no_tree_is_told(void **unused)
{
	(void)unused;
	for (int chunked = 0; chunked < 2; chunked++) {
		const struct system_faults faults = { .chunked = chunked,
			.also = " roothash=" OTHER_HASH };
		AUTO_SYSTEM struct system x = system_new("X", 1, NULL);
		AUTO_SYSTEM struct system y = system_new("Y", 2, &faults);
		AUTO_SIM struct sim *sim = world_new(&x);

		for (int again = 0; again < 2; again++) {
			world_must_install(sim, &y, &by_reboot);
			assert_non_null(strstr(world_notes(), "no hash tree was found"));
			assert_non_null(strstr(world_notes(), OTHER_HASH));
			assert_non_null(strstr(world_notes(), "PARTLABEL=METROPOLIS-SYSTEM-B"));
		}
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
	}
}

static void test_unsigned_refused_and_busy(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	sim->locked = true;
	assert_int_equal(world_install(sim, &y, &by_reboot, NULL, &error), -EWOULDBLOCK);
	assert_int_equal(error.kind, ERROR_BUSY);
	sim->locked = false;
	sim->partitions[SLOT_B].held = true;
	assert_int_equal(world_install(sim, &y, &by_reboot, NULL, &error), -EBUSY);
	assert_int_equal(sim->operations, 0);
}

static void test_quirks(void **unused)
{
	static const unsigned quirks[] = { SIM_QUIRK_NEXT_NEEDS_ORDER, SIM_QUIRK_DROPS_INACTIVE,
		SIM_QUIRK_DUPLICATES_OURS };
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);

	(void)unused;
	for (size_t i = 0; i < sizeof(quirks) / sizeof(quirks[0]); i++) {
		AUTO_SIM struct sim *sim = world_new(&x);

		sim->quirks = quirks[i];
		world_must_mark_good(sim);
		world_must_install(sim, &y, &by_reboot);
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
		world_must_mark_good(sim);
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
		world_must_install(sim, &z, &by_reboot);
		assert_int_equal(sim_power_cycle(sim), SLOT_A);
		world_must_mark_good(sim);
		assert_int_equal(sim_power_cycle(sim), SLOT_A);
		assert_in_range(sim->variable_writes, 1, 40);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life_by_reboot),
		cmocka_unit_test(test_life_by_kexec),
		cmocka_unit_test(test_kexec_then_power_cycle),
		cmocka_unit_test(test_kexec_refused),
		cmocka_unit_test(test_kexec_companions),
		cmocka_unit_test(test_staged_kernel_is_unloaded_first),
		cmocka_unit_test(test_damaged_trial_falls_back),
		cmocka_unit_test(test_rollback),
		cmocka_unit_test(test_trial_is_not_overwritten),
		cmocka_unit_test(test_same_content_writes_nothing),
		cmocka_unit_test(test_mark_bad),
		cmocka_unit_test(test_fallback_is_not_confirmed),
		cmocka_unit_test(test_wiped_nvram),
		cmocka_unit_test(test_removable_path_of_others),
		cmocka_unit_test(test_removable_path_stale),
		cmocka_unit_test(test_esp_too_small),
		cmocka_unit_test(test_refused_bundles),
		cmocka_unit_test(test_verity_is_verified),
		cmocka_unit_test(test_no_tree_is_told),
		cmocka_unit_test(test_unsigned_refused_and_busy),
		cmocka_unit_test(test_quirks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
