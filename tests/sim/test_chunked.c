/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bundles of format 1 on the simulated machine: what is kept, copied and fetched is counted against
 * what the images tell; installs that broke off go on; slots are repaired.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "failing_disk.h"
#include "patient.h"
#include "stage.h"
#include "world.h"

#define CHUNK 32768u
#define BLOCK 4096u

static const struct bistable_install_options by_reboot = { .activation = BISTABLE_ACTIVATE_REBOOT };
static const struct bistable_install_options not_activated = {
	.activation = BISTABLE_ACTIVATE_NONE,
};
static const struct system_faults chunked = { .chunked = true };

/** X, Y and Z: what the factory put into A, what is installed first, what next. */
struct systems {
	struct system x, y, z;
};

static struct systems make_systems(void)
{
	return (struct systems){
		system_new("1", 1, &chunked),
		system_new("2", 2, &chunked),
		system_new("3", 3, &chunked),
	};
}

static void systems_done(struct systems *systems)
{
	system_done(&systems->x);
	system_done(&systems->y);
	system_done(&systems->z);
}

#define AUTO_SYSTEMS CLEANUP(systems_done)

/* Whether a block of the image is somewhere in the other one, or holds only zeroes. */
static bool holds(const struct buffer *other, const uint8_t *block)
{
	if (all_zero(block, BLOCK))
		return true;
	for (size_t i = 0; i + BLOCK <= other->size; i += BLOCK)
		if (memcmp(other->data + i, block, BLOCK) == 0)
			return true;
	return false;
}

/** Bytes of an image by what should become of them. */
struct expected {
	uint64_t kept, copied, fetched, written;
};

static struct expected expect(
	const struct buffer *image, const uint8_t *present, const struct buffer *running)
{
	struct expected expected = { 0 };

	for (size_t i = 0; i < image->size; i += CHUNK) {
		const uint8_t *chunk = image->data + i;
		bool all = true;

		if (memcmp(chunk, present + i, CHUNK) == 0) {
			expected.kept += CHUNK;
			continue;
		}
		for (size_t j = 0; j < CHUNK; j += BLOCK) {
			bool same = memcmp(chunk + j, present + i + j, BLOCK) == 0;

			all = all && (same || holds(running, chunk + j));
			expected.written += same ? 0 : BLOCK;
		}
		*(all ? &expected.copied : &expected.fetched) += CHUNK;
	}
	/* The first block is zeroed before all else, and comes last. */
	if (expected.written > 0 && memcmp(image->data, present, BLOCK) == 0)
		expected.written += BLOCK;
	return expected;
}

/* `boot`: bytes of the boot file, which has one chunk: another one than all that are there. */
static void check_counts(
	const struct bistable_result *result, const struct expected *expected, uint64_t boot)
{
	assert_true(result->chunked);
	assert_int_equal(result->kept, expected->kept);
	assert_int_equal(result->copied, expected->copied);
	/* The images are noise: frames are as large as their chunks, and a little more. */
	assert_in_range(result->to_fetch, expected->fetched + boot / 2,
		expected->fetched + expected->fetched / 100 + boot);
	assert_int_equal(result->written, expected->written + boot);
}

static void install(struct sim *sim, const struct system *system,
	const struct bistable_install_options *options, struct bistable_result *result)
{
	struct error error = { 0 };

	world_ok(world_install(sim, system, options, result, &error), &error);
}

/* Z over Y, while X runs, and then over X, while Z runs. */
static void test_counts(void **unused)
{
	AUTO_SYSTEMS struct systems systems = make_systems();
	AUTO_SIM struct sim *sim = world_new(&systems.x);
	struct bistable_install_options back = by_reboot;
	struct expected expected;

	(void)unused;
	back.allow_downgrade = true;
	sim_put_image(sim, SLOT_B, span_of(&systems.y.image));
	for (int round = 0; round < 2; round++) {
		const struct system *next = round == 0 ? &systems.z : &systems.y;
		const struct buffer *running = round == 0 ? &systems.x.image : &systems.z.image;
		struct bistable_result result = { 0 };
		uint8_t *present = sim->partitions[slot_other(sim->running)].now;

		expected = expect(&next->image, present, running);
		assert_true(expected.kept > 0 && expected.copied > 0 && expected.fetched > 0);
		install(sim, next, &back, &result);
		check_counts(&result, &expected, next->uki.size);
		bistable_result_done(&result);
		sim_power_cycle(sim);
		world_must_mark_good(sim);
	}
}

/* The map of the running slot spares scanning it: it is believed for a start, not for the end. */
static void test_known_blocks(void **unused)
{
	const char *const map = SIM_DISK "/var/lib/bistable/slot-b.system.chunks";

	(void)unused;
	for (int damage = 0; damage < 3; damage++) {
		AUTO_SYSTEMS struct systems systems = make_systems();
		AUTO_SIM struct sim *sim = world_new(&systems.x);
		struct bistable_result result = { 0 };
		struct expected expected;
		struct buffer *file;

		install(sim, &systems.y, &by_reboot, NULL);
		sim_power_cycle(sim);
		world_must_mark_good(sim);
		file = sim_file(sim, map);
		assert_non_null(file);
		expected = expect(&systems.z.image, sim->partitions[SLOT_A].now, &systems.y.image);
		/* Lost, or not what the receipt says: then the slot is scanned. */
		if (damage == 1)
			file->data[file->size - 1] ^= 1;
		/* True, but the slot has changed since: what was copied in vain is fetched. */
		if (damage == 2) {
			for (size_t i = 0; i < systems.y.image.size; i += BLOCK)
				sim->partitions[SLOT_B].now[i + 7] ^= 1;
			expected.fetched += expected.copied;
			expected.copied = 0;
		}
		install(sim, &systems.z, &by_reboot, &result);
		check_counts(&result, &expected, systems.z.uki.size);
		bistable_result_done(&result);
		assert_int_equal(sim_power_cycle(sim), SLOT_A);
	}
}

static void test_nothing_changed(void **unused)
{
	AUTO_SYSTEMS struct systems systems = make_systems();
	AUTO_SIM struct sim *sim = world_new(&systems.x);
	struct bistable_result result = { 0 };

	(void)unused;
	install(sim, &systems.y, &not_activated, NULL);
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	install(sim, &systems.y, &not_activated, &result);
	assert_int_equal(result.to_fetch, 0);
	assert_int_equal(result.written, 0);
	assert_int_equal(result.kept, systems.y.image.size + systems.y.uki.size);
	/* The flush of what was found. */
	assert_in_range(sim->operations, 0, 1);
	bistable_result_done(&result);
}

/* Wherever the power is cut, the next install finds what the last one had brought. */
static void test_resume(void **unused)
{
	AUTO_SYSTEMS struct systems systems = make_systems();
	uint64_t whole = 0, least = UINT64_MAX;
	unsigned count = 0;

	(void)unused;
	for (unsigned at = 1;; at++) {
		AUTO_SIM struct sim *sim = world_new(&systems.x);
		struct bistable_result result = { 0 };
		struct error error = { 0 };
		struct expected expected;

		sim_set_fault(sim, SIM_CUT_AFTER, at);
		if (world_install(sim, &systems.y, &by_reboot, NULL, &error) == 0)
			break;
		/* After the very last operation. */
		if (sim_power_cycle(sim) == SLOT_B)
			continue;
		expected = expect(&systems.y.image, sim->partitions[SLOT_B].now, &systems.x.image);
		install(sim, &systems.y, &by_reboot, &result);
		if (at == 1)
			whole = result.to_fetch;
		assert_in_range(result.to_fetch, 0, whole);
		assert_int_equal(result.copied, expected.copied);
		if (result.to_fetch < least)
			least = result.to_fetch;
		bistable_result_done(&result);
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
		count++;
	}
	/* At the end, only the chunk of the first block is fetched again. */
	assert_true(count > 10 && whole > CHUNK * 10);
	assert_in_range(least, 0, CHUNK + CHUNK / 100);
}

static void damage(struct sim *sim, enum slot slot, size_t offset)
{
	struct sim_partition *partition = &sim->partitions[slot];

	partition->now[offset] ^= 0x40;
	partition->medium[offset] ^= 0x40;
}

static void check_damage(struct sim *sim, size_t count)
{
	AUTO_REPORT struct bistable_report *report = world_verify(sim, SLOT_NONE);

	assert_int_equal(report->damage_count, count);
	assert_int_equal(report->worst, count > 0 ? PROBLEM : WARNING);
}

/* The machine with Y in B, confirmed, and A the fallback with Z. */
static struct sim *updated(const struct systems *systems)
{
	struct sim *sim = world_new(&systems->x);

	install(sim, &systems->y, &by_reboot, NULL);
	sim_power_cycle(sim);
	world_must_mark_good(sim);
	install(sim, &systems->z, &by_reboot, NULL);
	sim_power_cycle(sim);
	world_must_mark_good(sim);
	assert_int_equal(world_rollback(sim, BISTABLE_ACTIVATE_REBOOT, NULL), 0);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_mark_good(sim);
	return sim;
}

static void check_repaired(struct sim *sim, const struct systems *systems)
{
	AUTO_STATUS struct bistable_status *status = world_status(sim);

	assert_memory_equal(
		sim->partitions[SLOT_A].now, systems->z.image.data, systems->z.image.size);
	assert_true(status->slots[SLOT_A].complete && status->slots[SLOT_A].confirmed);
	assert_true(status->slots[SLOT_A].entry_active);
	assert_int_equal(sim->running, SLOT_B);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
}

static void test_repair(void **unused)
{
	static const size_t places[] = { 5, 4096 * 9, 300 << 10, (1200 << 10) - 1 };
	AUTO_SYSTEMS struct systems systems = make_systems();
	AUTO_SIM struct sim *sim = updated(&systems);
	struct bistable_result result = { 0 };
	struct error error = { 0 };
	struct buffer *boot = sim_file(sim, BOOT_A);

	(void)unused;
	for (size_t i = 0; i < 4; i++)
		damage(sim, SLOT_A, places[i]);
	boot->data[boot->size / 2] ^= 1;
	world_ok(world_repair(sim, NULL, &result, &error), &error);
	assert_non_null(strstr(world_notes(), "Slot A, image: 16.0 KiB of"));
	assert_non_null(strstr(world_notes(), "Slot A, boot-file: "));
	/* Each place is a block of a chunk of its own. */
	assert_int_equal(result.written, 4 * BLOCK + systems.z.uki.size);
	assert_in_range(result.to_fetch, 0, 4 * (CHUNK + CHUNK / 100));
	bistable_result_done(&result);
	check_repaired(sim, &systems);
}

/* Nothing is wrong, the running slot is, or the bundle is another one. */
static void test_repair_refuses(void **unused)
{
	AUTO_SYSTEMS struct systems systems = make_systems();
	AUTO_SIM struct sim *sim = updated(&systems);
	struct bistable_result result = { 0 };
	struct error error = { 0 };

	(void)unused;
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	world_ok(world_repair(sim, &systems.y, &result, &error), &error);
	assert_int_equal(sim->operations, 0);
	assert_int_equal(result.slot, 'A');
	bistable_result_done(&result);
	damage(sim, SLOT_B, 100000);
	assert_int_equal(world_repair(sim, NULL, NULL, &error), -EIO);
	assert_non_null(strstr(error.text, "slot B, which is running"));
	assert_non_null(strstr(world_notes(), "Slot B, image: 4.0 KiB of"));
	damage(sim, SLOT_B, 100000);
	damage(sim, SLOT_A, 100000);
	assert_int_equal(world_repair(sim, &systems.y, NULL, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	assert_non_null(strstr(error.text, "is not the one that slot A was installed from"));
	assert_int_equal(sim->operations, 0);
	world_ok(world_repair(sim, &systems.z, NULL, &error), &error);
	check_repaired(sim, &systems);
}

/* The slot's record says all along that it is of the same bundle. */
static void test_repair_cut(void **unused)
{
	static const enum sim_fault faults[] = { SIM_CUT_BEFORE, SIM_CUT_AFTER, SIM_CUT_TORN,
		SIM_FAILS };
	AUTO_SYSTEMS struct systems systems = make_systems();
	unsigned count = 0;

	(void)unused;
	for (size_t i = 0; i < 4; i++) {
		for (unsigned at = 1;; at++, count++) {
			AUTO_SIM struct sim *sim = updated(&systems);
			struct error error = { 0 };

			damage(sim, SLOT_A, 9);
			damage(sim, SLOT_A, 500000);
			sim->seed = at;
			sim_set_fault(sim, faults[i], at);
			if (world_repair(sim, NULL, NULL, &error) == 0)
				break;
			assert_int_equal(sim_power_cycle(sim), SLOT_B);
			world_must_mark_good(sim);
			world_ok(world_repair(sim, NULL, NULL, &error), &error);
			check_repaired(sim, &systems);
		}
	}
	print_message("# %u repairs broken off\n", count);
	assert_true(count > 40);
}

/* An install that broke off is brought to its end, and is not started by itself. */
static void test_repair_ends_an_install(void **unused)
{
	AUTO_SYSTEMS struct systems systems = make_systems();
	AUTO_SIM struct sim *sim = world_new(&systems.x);
	struct error error = { 0 };

	(void)unused;
	sim_set_fault(sim, SIM_CUT_AFTER, 12);
	assert_true(world_install(sim, &systems.y, &by_reboot, NULL, &error) < 0);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_ok(world_repair(sim, NULL, NULL, &error), &error);
	assert_memory_equal(
		sim->partitions[SLOT_B].now, systems.y.image.data, systems.y.image.size);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	assert_int_equal(world_activate(sim, BISTABLE_ACTIVATE_REBOOT, &error), 0);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
}

/* What the disk swallows is noticed: the first block, too, which is written twice. */
static void test_swallowed_writes(void **unused)
{
	static const struct disk_fault fault = { "swallowed", DISK_WRITES, 0, false,
		DISK_DONE_NOTHING };
	AUTO_SYSTEMS struct systems systems = make_systems();
	unsigned noticed = 0, at = 1;

	(void)unused;
	for (;; at++) {
		struct failing_disk disk = { .fault = &fault, .at = at };
		AUTO_SIM struct sim *sim = updated(&systems);
		struct error error = { 0 };
		int r;

		/* The first chunk is kept. */
		damage(sim, SLOT_A, 500000);
		failing_disk_attach(&disk, sim);
		r = world_repair(sim, NULL, NULL, &error);
		failing_disk_detach(sim);
		if (disk.count < at)
			break;
		noticed += r < 0;
		if (r < 0)
			world_ok(world_repair(sim, NULL, NULL, &error), &error);
		check_repaired(sim, &systems);
	}
	/* The block itself, and the image's first one. */
	assert_true(noticed >= 2);
}

/* A sector that cannot be read: of the target it is written anew, what was to be copied is fetched.
 */
static void test_bad_sector(void **unused)
{
	AUTO_SYSTEMS struct systems systems = make_systems();

	(void)unused;
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		for (unsigned at = 0; at < 3; at++) {
			AUTO_SIM struct sim *sim = updated(&systems);
			struct failing_disk disk = {
				.bad = &sim->partitions[slot],
				.bad_at = (uint64_t)at * 400000 + 100,
			};
			struct bistable_install_options back = by_reboot;
			struct bistable_result result = { 0 };

			back.allow_downgrade = true;
			failing_disk_attach(&disk, sim);
			install(sim, &systems.x, &back, &result);
			failing_disk_detach(sim);
			assert_memory_equal(sim->partitions[SLOT_A].now, systems.x.image.data,
				systems.x.image.size);
			assert_int_equal(disk.bad == NULL, slot == SLOT_A);
			if (slot == SLOT_A)
				assert_non_null(strstr(world_notes(), "is written anew"));
			bistable_result_done(&result);
			assert_int_equal(sim_power_cycle(sim), SLOT_A);
		}
	}
}

/* A repair that puts the bad sector right, and one of a plain bundle's install over it. */
static void test_bad_sector_repaired(void **unused)
{
	AUTO_SYSTEMS struct systems systems = make_systems();
	AUTO_SIM struct sim *sim = updated(&systems);
	AUTO_SYSTEM struct system plain = system_new("4", 4, NULL);
	struct failing_disk disk = { .bad = &sim->partitions[SLOT_A], .bad_at = 500000 };
	struct error error = { 0 };

	(void)unused;
	failing_disk_attach(&disk, sim);
	world_ok(world_repair(sim, NULL, NULL, &error), &error);
	assert_null(disk.bad);
	disk.bad = &sim->partitions[SLOT_A];
	install(sim, &plain, &not_activated, NULL);
	failing_disk_detach(sim);
	assert_null(disk.bad);
	assert_memory_equal(sim->partitions[SLOT_A].now, plain.image.data, plain.image.size);
}

/* A plain bundle leaves no receipt: its record tells whether all is well, not what is wrong. */
static void test_verify_plain(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("1", 1, NULL), y = system_new("2", 2, NULL);
	AUTO_SYSTEM struct system z = system_new("3", 3, &chunked);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct error error = { 0 };

	(void)unused;
	/* What a bundle of format 1 left there goes. */
	install(sim, &z, &not_activated, NULL);
	assert_non_null(sim_file(sim, "/EFI/metropolis/boot-b.receipt"));
	install(sim, &y, &not_activated, NULL);
	assert_null(sim_file(sim, "/EFI/metropolis/boot-b.receipt"));
	check_damage(sim, 0);
	damage(sim, SLOT_B, 777);
	check_damage(sim, 1);
	assert_int_equal(world_repair(sim, &y, NULL, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	assert_non_null(strstr(error.text, "says too little"));
}

/* The map may be lost: then the whole image's digest tells, and repairing goes on as well. */
static void test_without_map(void **unused)
{
	AUTO_SYSTEMS struct systems systems = make_systems();
	AUTO_SIM struct sim *sim = updated(&systems);
	struct error error = { 0 };

	(void)unused;
	sim_machine(sim)->ops->file_remove(
		&sim->machine, "/var/lib/bistable/slot-a.system.chunks", NULL);
	damage(sim, SLOT_A, 200000);
	{
		AUTO_REPORT struct bistable_report *report = world_verify(sim, SLOT_A);

		assert_int_equal(report->damage_count, 1);
		assert_int_equal(report->damage[0].end, systems.z.image.size);
	}
	world_ok(world_repair(sim, NULL, NULL, &error), &error);
	check_repaired(sim, &systems);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_known_blocks),
		cmocka_unit_test(test_nothing_changed),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_repair),
		cmocka_unit_test(test_repair_refuses),
		cmocka_unit_test(test_repair_cut),
		cmocka_unit_test(test_repair_ends_an_install),
		cmocka_unit_test(test_swallowed_writes),
		cmocka_unit_test(test_bad_sector),
		cmocka_unit_test(test_bad_sector_repaired),
		cmocka_unit_test(test_verify_plain),
		cmocka_unit_test(test_without_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
