/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The boot file is put together from those on the ESP: what has to be fetched is counted against
 * what lies there, whatever has become of it.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "failing_disk.h"
#include "format/cmdline.h"
#include "patient.h"
#include "world.h"

#define CHUNK 32768u
#define BLOCK 4096u
#define STEP  512u

static const struct bistable_install_options by_reboot = { .activation = BISTABLE_ACTIVATE_REBOOT };
/* One machine has nothing left to fall back to. */
static const struct bistable_install_options forced = {
	.activation = BISTABLE_ACTIVATE_REBOOT,
	.force = true,
};
static const struct bistable_install_options dry_run = { .dry_run = true, .force = true };

/* The image differs, so that the command line does; kernel and initrd are the same. */
static struct system make_system(const char *version, uint8_t seed, uint32_t osrel, bool small)
{
	const struct system_faults faults = { .chunked = true, .small = small, .osrel = osrel };

	return system_new(version, seed, &faults);
}

static bool holds(const struct buffer *old, const uint8_t *block, size_t size)
{
	for (size_t i = 0; old && i + size <= old->size; i += STEP)
		if (memcmp(old->data + i, block, size) == 0)
			return true;
	return size == BLOCK && all_zero(block, size);
}

/* Bytes of chunks of which a block lies in none of the files; NULL: it is not there. */
static uint64_t missing(const struct buffer *file, uint32_t chunk_size, const struct buffer *one,
	const struct buffer *other)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < file->size; i += chunk_size) {
		size_t end = file->size - i < chunk_size ? file->size : i + chunk_size;
		bool all = true;

		for (size_t at = i; at < end; at += BLOCK) {
			size_t size = end - at < BLOCK ? end - at : BLOCK;

			all = all
			      && (holds(one, file->data + at, size)
				      || holds(other, file->data + at, size));
		}
		bytes += all ? 0 : end - i;
	}
	return bytes;
}

/** Slot A runs with X, and slot B holds the image of what comes, so that only the boot file lacks.
 */
struct machine_case {
	const char *name;
	uint32_t osrel, next_osrel; /* of X, and of what comes: its sections move */
	bool no_running, no_removable, running_rots, cut_short, garbage;
	bool restored;         /* from the removable path, before anything is looked for */
	uint32_t target_osrel; /* of the boot file in slot B; 0: there is none */
	bool small;            /* chunks of one block */
	uint32_t most;         /* chunks that may be missing */
};

static const struct machine_case cases[] = {
	{ .name = "nothing moves", .osrel = 100, .next_osrel = 100, .most = 1 },
	{ .name = "by 512 bytes", .osrel = 100, .next_osrel = 600, .most = 2 },
	{ .name = "by 1024 bytes", .osrel = 100, .next_osrel = 1100, .most = 2 },
	{ .name = "by 1536 bytes", .osrel = 100, .next_osrel = 1600, .most = 2 },
	{ .name = "by 4096 bytes", .osrel = 100, .next_osrel = 4196, .most = 2 },
	{ .name = "back by 1536 bytes", .osrel = 1600, .next_osrel = 100, .most = 2 },
	{ .name = "far", .osrel = 100, .next_osrel = 100100, .most = 5 },
	{ .name = "small chunks", .osrel = 100, .next_osrel = 1600, .small = true, .most = 5 },
	{ .name = "in the target alone",
		.osrel = 100,
		.next_osrel = 600,
		.no_running = true,
		.no_removable = true,
		.target_osrel = 1100,
		.most = 2 },
	{ .name = "on the removable path alone",
		.osrel = 100,
		.next_osrel = 600,
		.no_running = true,
		.most = 2 },
	{ .name = "rotten", .osrel = 100, .next_osrel = 600, .running_rots = true, .most = 6 },
	{ .name = "rotten, and whole in the target",
		.osrel = 100,
		.next_osrel = 600,
		.running_rots = true,
		.target_osrel = 100,
		.most = 2 },
	{ .name = "cut short",
		.osrel = 100,
		.next_osrel = 600,
		.cut_short = true,
		.no_removable = true,
		.most = 9 },
	{ .name = "cut short, and whole on the removable path",
		.osrel = 100,
		.next_osrel = 600,
		.cut_short = true,
		.restored = true,
		.most = 2 },
	{ .name = "garbage",
		.osrel = 100,
		.next_osrel = 600,
		.garbage = true,
		.no_removable = true,
		.most = 15 },
	{ .name = "nowhere",
		.osrel = 100,
		.next_osrel = 600,
		.no_running = true,
		.no_removable = true,
		.most = 15 },
};

static void damage_files(struct sim *sim, const struct machine_case *c)
{
	static const uint8_t garbage[] = "no boot file";
	struct buffer *running = sim_file(sim, BOOT_A);

	for (size_t i = 0; c->running_rots && i < 4; i++)
		running->data[running->size / 5 * (i + 1)] ^= 0x10;
	if (c->cut_short)
		running->size = running->size / 2 + 100;
	if (c->garbage)
		sim_put_file(sim, BOOT_A, (struct span){ garbage, sizeof(garbage) });
	if (c->no_running)
		sim_machine(sim)->ops->esp_remove(sim_machine(sim), NULL, BOOT_A, NULL);
	if (c->no_removable)
		sim_machine(sim)->ops->esp_remove(sim_machine(sim), NULL, BOOTX, NULL);
}

static struct sim *make_machine(
	const struct machine_case *c, const struct system *x, const struct system *next)
{
	struct sim *sim = world_new(x);

	sim_put_image(sim, SLOT_B, span_of(&next->image));
	if (c->target_osrel) {
		AUTO_SYSTEM struct system target = make_system("0", 4, c->target_osrel, c->small);

		sim_put_file(sim, BOOT_B, span_of(&target.uki));
	}
	damage_files(sim, c);
	return sim;
}

static void check_boot_file(struct sim *sim, const struct system *next)
{
	AUTO_BUFFER struct buffer bound = { 0 };

	assert_int_equal(buffer_append(&bound, next->uki.data, next->uki.size, NULL), 0);
	assert_int_equal(cmdline_bind(bound.data, bound.size, "METROPOLIS-SYSTEM-X",
				 "METROPOLIS-SYSTEM-B", NULL, NULL),
		0);
	assert_true(span_equal(span_of(sim_file(sim, BOOT_B)), span_of(&bound)));
}

/* What a dry run says of the boot file, an install does. */
static void check_install(
	struct sim *sim, const struct system *next, uint64_t lacks, const char *name)
{
	const uint64_t whole = next->uki.size + next->image.size;
	struct bistable_result plan = { 0 }, result = { 0 };
	struct error error = { 0 };

	world_ok(world_install(sim, next, &dry_run, &plan, &error), &error);
	world_ok(world_install(sim, next, &forced, &result, &error), &error);
	if (result.kept + result.copied + lacks != whole)
		fail_msg("%s: %llu bytes lack, %llu were to", name,
			(unsigned long long)(whole - result.kept - result.copied),
			(unsigned long long)lacks);
	assert_int_equal(plan.kept, result.kept);
	assert_int_equal(plan.copied, result.copied);
	assert_int_equal(plan.to_fetch, result.to_fetch);
	assert_in_range(result.to_fetch, lacks ? 1 : 0, lacks + lacks / 100);
	bistable_result_done(&plan);
	bistable_result_done(&result);
}

static void test_places(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct machine_case *c = &cases[i];
		AUTO_SYSTEM struct system x = make_system("1", 1, c->osrel, c->small);
		AUTO_SYSTEM struct system next = make_system("2", 2, c->next_osrel, c->small);
		AUTO_SIM struct sim *sim = make_machine(c, &x, &next);
		uint32_t chunk_size = c->small ? BLOCK : CHUNK;
		uint64_t lacks = missing(&next.uki, chunk_size,
			c->no_running || c->restored ? sim_file(sim, BOOTX) : sim_file(sim, BOOT_A),
			sim_file(sim, BOOT_B));

		assert_in_range(lacks, 1, c->most * chunk_size);
		/* Then the new slot is all that such a machine can start. */
		sim->confirmed = c->no_removable ? SLOT_B : SLOT_NONE;
		check_install(sim, &next, lacks, c->name);
		check_boot_file(sim, &next);
		assert_int_equal(sim_power_cycle(sim), SLOT_B);
	}
}

/* The same payload in the running slot is copied, in the target it is kept: bound in either. */
static void test_whole_file(void **unused)
{
	AUTO_SYSTEM struct system x = make_system("1", 1, 100, false);
	AUTO_SYSTEM struct system y = make_system("2", 2, 100, false);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct bistable_result result = { 0 };
	struct error error = { 0 };

	(void)unused;
	world_must_install(sim, &y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_mark_good(sim);
	world_ok(world_install(sim, &y, &by_reboot, &result, &error), &error);
	assert_int_equal(result.to_fetch, 0);
	assert_true(result.copied >= y.uki.size);
	bistable_result_done(&result);
	world_ok(world_install(sim, &y, &by_reboot, &result, &error), &error);
	assert_int_equal(result.kept, y.uki.size + y.image.size);
	bistable_result_done(&result);
}

/** Old boot files that change, or become unreadable, at a chosen read. */
struct changing {
	struct failing_disk disk;
	unsigned count, at;
	int number; /* errno; 0: another file is there from then on */
};

static struct changing *changing_of(struct machine *machine)
{
	struct sim *sim = (struct sim *)machine;

	return (struct changing *)sim->disk;
}

static int changing_read_at(struct machine *machine, struct esp *esp, const char *path,
	uint64_t offset, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct changing *changing = changing_of(machine);
	int r;

	if (++changing->count >= changing->at && changing->number)
		return error_failed(error, changing->number, "cannot read \"%s\"", path);
	r = changing->disk.plain.esp_read_at(
		machine, esp, path, offset, data, size, ret_got, error);
	if (r == 0 && changing->count >= changing->at)
		memset(data, (int)changing->count, *ret_got);
	return r;
}

/* Whatever becomes of them meanwhile, what is installed is what the bundle brings. */
static void test_changing_files(void **unused)
{
	static const int numbers[] = { 0, EIO, ENOENT };
	AUTO_SYSTEM struct system x = make_system("1", 1, 100, false);
	AUTO_SYSTEM struct system next = make_system("2", 2, 600, false);
	const struct machine_case c = { 0 };

	(void)unused;
	for (size_t i = 0; i < 3; i++) {
		struct changing changing = { .number = numbers[i] };

		do {
			AUTO_SIM struct sim *sim = make_machine(&c, &x, &next);

			failing_disk_attach(&changing.disk, sim);
			changing.disk.ops.esp_read_at = changing_read_at;
			changing.count = 0;
			changing.at++;
			world_must_install(sim, &next, &by_reboot);
			failing_disk_detach(sim);
			check_boot_file(sim, &next);
			assert_int_equal(
				strstr(world_notes(), "an old boot file cannot be read") != NULL,
				numbers[i] == EIO && changing.at <= 3);
			assert_int_equal(sim_power_cycle(sim), SLOT_B);
		} while (changing.count >= changing.at);
		assert_true(changing.at > 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_whole_file),
		cmocka_unit_test(test_changing_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
