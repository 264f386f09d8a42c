/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Disks that fail, at every call on a partition or the ESP in turn, reads included: an error comes
 * back, the machine rests in the old system or the complete new one, and the next try works.
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
#include "failing_disk.h"
#include "patient.h"
#include "stage.h"
#include "world.h"

#define ALL_CALLS (DISK_LOOKS | DISK_READS | DISK_CHANGES)

static const struct disk_fault faults[] = {
	{ "EIO", ALL_CALLS, EIO, false, DISK_DONE_NOTHING },
	{ "EIO from then on", ALL_CALLS, EIO, true, DISK_DONE_NOTHING },
	{ "EIO, half done", DISK_WRITES | DISK_FLUSHES, EIO, false, DISK_DONE_PART },
	{ "EIO, done all the same", DISK_CHANGES, EIO, false, DISK_DONE_ALL },
	{ "EIO from then on, done all the same", DISK_CHANGES, EIO, true, DISK_DONE_ALL },
	{ "ENOSPC", DISK_WRITES, ENOSPC, false, DISK_DONE_NOTHING },
	{ "ENOSPC, half written", DISK_WRITES, ENOSPC, false, DISK_DONE_PART },
	{ "ENOSPC from then on, half written", DISK_WRITES, ENOSPC, true, DISK_DONE_PART },
	{ "one byte read wrong", DISK_READS, 0, false, DISK_DONE_NOTHING },
};

#define FAULT_COUNT (sizeof(faults) / sizeof(faults[0]))

/** X, Y and Z, shared by all cases; counts over all. */
struct world {
	struct system systems[3];
	unsigned injected, failed, warned;
};

/** What is done with plain bundles, and with those of format 1. */
#define KINDS 2

/** One fault at one call of one stage. */
struct injection {
	const struct stage *stage;
	const struct disk_fault *fault;
	unsigned at;
	enum disk_call call; /* what it strikes first */
	enum slot due;       /* what starts when the stage works */
};

#define fail_injection(injection, format, ...)                                          \
	fail_msg("%s, call %u: %s: " format, (injection)->stage->name, (injection)->at, \
		(injection)->fault->name, ##__VA_ARGS__)

/*
 * What may go wrong unnoticed: a file that is not refreshed warns; and what is read only to spare a
 * write, or to choose between two ways that both work.
 */
static bool may_succeed(const struct injection *injection)
{
	return strstr(world_notes(), "was not refreshed") != NULL || injection->call == DISK_READS
	       || injection->call == DISK_LOOKS;
}

/* The cause is told, and the exit code is that of a failure. */
static void check_error(const struct injection *injection, const struct error *error)
{
	/* A record that cannot be read vouches for nothing, nor one for a file that is read
	 * wrong: a refusal, which names it. */
	bool vouches = injection->call != DISK_READS
		       || (!strstr(error->text, ".state")
			       && !strstr(error->text, "is not the file that was installed"));

	if (error->kind != ERROR_FAILED && vouches)
		fail_injection(injection, "error of kind %d: %s", error->kind, error->text);
	if (injection->fault->number && !strstr(error->text, "simulated disk"))
		fail_injection(injection, "the cause is not told: %s", error->text);
}

static void check_start(const struct injection *injection, struct sim *sim, enum slot old, int r)
{
	/* A kernel that cannot be staged is left to the firmware. */
	bool fell_back = injection->stage->how == BISTABLE_ACTIVATE_KEXEC && !sim->kexec_staged;
	enum slot now = sim_power_cycle(sim);

	if (r == 0 && now != (fell_back ? slot_other(old) : injection->due))
		fail_injection(injection, "it worked, but slot %c starts\n%s", slot_letter(now),
			world_notes());
	/* A trial is started once: after that the old default is. */
	if (r < 0 && now != old && injection->stage->life != STAGE_TRIAL)
		fail_injection(injection, "it failed, but slot %c starts", slot_letter(now));
}

/* What a wiped machine starts is a boot file as it was written, whatever was read meanwhile. */
static void check_removable(const struct injection *injection, struct sim *sim, struct span before)
{
	static const char *const paths[] = { BOOT_A, BOOT_B };
	struct span now = span_of(sim_file(sim, BOOTX));
	bool same = span_equal(now, before);

	for (size_t i = 0; i < 2; i++) {
		const struct buffer *file = sim_file(sim, paths[i]);

		same = same || (file && span_equal(now, span_of(file)));
	}
	if (!same)
		fail_injection(injection, BOOTX " is no boot file");
}

/* `again`: the user tries again at once; else the machine is switched off. */
static void inject(struct world *world, const struct sim *before, const struct injection *injection,
	bool again)
{
	const struct stage *stage = injection->stage;
	AUTO_SIM struct sim *sim = sim_copy(before);
	struct failing_disk disk = {
		.fault = injection->fault,
		.at = injection->at,
		.seed = injection->at,
	};
	AUTO_BUFFER struct buffer removable = { 0 };
	const enum slot old = sim->running;
	struct error error = { 0 };
	int r;

	buffer_append(&removable, sim_file(sim, BOOTX)->data, sim_file(sim, BOOTX)->size, NULL);
	failing_disk_attach(&disk, sim);
	r = stage->operation(sim, stage, &world->systems[2], &error);
	failing_disk_detach(sim);
	assert_true(disk.struck > 0);
	assert_false(sim->locked);
	world->injected++;
	world->failed += r < 0;
	if (r < 0)
		check_error(injection, &error);
	else if (!may_succeed(injection))
		fail_injection(injection, "nothing is said of it");
	world->warned += r == 0 && strstr(world_notes(), "was not refreshed");
	stage_check_first_block(sim, stage, old, world->systems);
	check_removable(injection, sim, span_of(&removable));
	if (again) {
		r = stage->operation(sim, stage, &world->systems[2], &error);
		if (r < 0)
			fail_injection(injection, "the next try: %s", error.text);
	}
	check_start(injection, sim, old, r);
	stage_check_rest(sim, &world->systems[0]);
	if (!again)
		stage_check_goes_on(sim, &world->systems[2]);
}

/* The calls of a stage on which nothing fails, and the slot that starts then. */
static enum slot watch(struct world *world, const struct sim *before, const struct stage *stage,
	struct failing_disk *disk)
{
	AUTO_SIM struct sim *sim = sim_copy(before);
	struct error error = { 0 };

	failing_disk_attach(disk, sim);
	world_ok(stage->operation(sim, stage, &world->systems[2], &error), &error);
	failing_disk_detach(sim);
	assert_in_range(disk->count, 5, FAILING_DISK_CALLS_MAX - 1);
	return sim_power_cycle(sim);
}

/* Each fault at every other call, at all of them with SIM_ALL. */
static void inject_everywhere(struct world *world)
{
	const bool all = getenv("SIM_ALL");

	for (size_t s = 0; s < STAGE_COUNT; s++) {
		struct failing_disk disk = { 0 };
		struct injection injection = { .stage = &stages[s] };
		AUTO_SIM struct sim *before = stage_before(&stages[s], world->systems);

		injection.due = watch(world, before, &stages[s], &disk);
		for (size_t f = 0; f < FAULT_COUNT; f++) {
			injection.fault = &faults[f];
			for (unsigned i = 0; i < disk.count; i++) {
				injection.at = i + 1;
				injection.call = disk.calls[i];
				if (!(faults[f].calls & disk.calls[i]) || (!all && (f + i + s) % 2))
					continue;
				inject(world, before, &injection, false);
				inject(world, before, &injection, true);
			}
		}
	}
	print_message("# %u faults of the disk: %u failed, %u warned\n", world->injected,
		world->failed, world->warned);
}

static void test_faults(void **state)
{
	struct world *worlds = *state;

	for (int kind = 0; kind < KINDS; kind++)
		inject_everywhere(&worlds[kind]);
}

/* What is read back is not what was written: the install fails and says that the medium does. */
static void read_back(struct world *world)
{
	static const struct disk_fault fault = { "one byte read wrong", DISK_READS, 0, false,
		DISK_DONE_NOTHING };
	AUTO_SIM struct sim *before = stage_before(&stages[0], world->systems);
	unsigned failing = 0;

	for (unsigned at = 1; at <= FAILING_DISK_CALLS_MAX; at++) {
		AUTO_SIM struct sim *sim = sim_copy(before);
		struct failing_disk disk = { .fault = &fault, .at = at };
		struct error error = { 0 };
		int r;

		failing_disk_attach(&disk, sim);
		r = stages[0].operation(sim, &stages[0], &world->systems[2], &error);
		failing_disk_detach(sim);
		if (disk.count < at)
			break;
		if (r < 0 && strstr(error.text, "the medium is failing")) {
			AUTO_STATUS struct bistable_status *status = world_status(sim);

			assert_int_equal(error.kind, ERROR_FAILED);
			assert_false(status->slots[SLOT_B].complete);
			assert_false(status->slots[SLOT_B].entry_active);
			assert_int_equal(sim_power_cycle(sim), SLOT_A);
			failing++;
		}
	}
	assert_in_range(failing, 1, 30);
}

static void test_read_back(void **state)
{
	struct world *worlds = *state;

	for (int kind = 0; kind < KINDS; kind++)
		read_back(&worlds[kind]);
}

/* kexec would start a damaged kernel, and firmware perhaps, too: it is not chosen at all. */
static void test_damaged_boot_file(void **state)
{
	const struct stage *stage = &stages[4];
	struct world *world = *state;
	AUTO_SIM struct sim *sim = stage_before(stage, world->systems);
	struct buffer *file = sim_file(sim, BOOT_B);
	struct error error = { 0 };

	assert_int_equal(stage->how, BISTABLE_ACTIVATE_KEXEC);
	file->data[file->size / 2] ^= 1;
	assert_int_equal(world_activate(sim, BISTABLE_ACTIVATE_KEXEC_ONLY, &error), -EPERM);
	assert_int_equal(error.kind, ERROR_REFUSED);
	assert_non_null(strstr(error.text, "is not the file that was installed"));
	assert_non_null(strstr(error.text, "bistable repair"));
	assert_int_equal(world_activate(sim, BISTABLE_ACTIVATE_REBOOT, &error), -EPERM);
	assert_null(sim_variable(sim, "BootNext"));
	assert_false(sim->kexec_staged);
	file->data[file->size / 2] ^= 1;
	world_ok(world_activate(sim, BISTABLE_ACTIVATE_KEXEC_ONLY, &error), &error);
	assert_true(sim->kexec_staged);
}

/* The doctor, whatever he cannot read, reports it, changes nothing, and gives no clean bill. */
static void test_doctor(void **state)
{
	static const struct disk_fault eio[] = {
		{ "EIO", DISK_LOOKS | DISK_READS, EIO, false, DISK_DONE_NOTHING },
		{ "EIO from then on", DISK_LOOKS | DISK_READS, EIO, true, DISK_DONE_NOTHING },
	};
	struct world *world = *state;
	AUTO_SIM struct sim *sim = world_new(&world->systems[0]);
	unsigned injected = 0, told = 0;

	settle(sim, &world->systems[1]);
	for (size_t i = 0; i < 2; i++) {
		for (unsigned at = 1;; at++) {
			struct failing_disk disk = { .fault = &eio[i], .at = at };
			AUTO_REPORT struct bistable_report *report = NULL;
			struct patient patient = { .sim = sim };

			failing_disk_attach(&disk, sim);
			patient.ops = disk.ops;
			report = examine(&patient);
			failing_disk_detach(sim);
			if (disk.struck == 0)
				break;
			/* What is asked only in passing (a size, a digest to compare) may fail
			 * once. */
			told += report->worst != OK;
			if (report->worst == OK && eio[i].lasts)
				fail_msg("%s at call %u of the doctor: all is well", eio[i].name,
					at);
			injected++;
		}
	}
	print_message("# %u faults under the doctor: %u told\n", injected, told);
	assert_in_range(injected, 20, 200);
	assert_in_range(told, injected * 3 / 4, injected);
}

static int set_up(void **state)
{
	static struct world worlds[KINDS];

	for (int kind = 0; kind < KINDS; kind++) {
		/* Whole images are written in several steps; small ones make the same calls. */
		const struct system_faults how = {
			.small = !getenv("SIM_ALL"),
			.chunked = kind,
		};

		for (size_t i = 0; i < 3; i++)
			worlds[kind].systems[i] = system_new(
				(const char *[]){ "1", "2", "3" }[i], (uint8_t)(i + 1), &how);
	}
	*state = worlds;
	return 0;
}

static int tear_down(void **state)
{
	struct world *worlds = *state;

	for (size_t i = 0; i < 3 * KINDS; i++)
		system_done(&worlds[i / 3].systems[i % 3]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_read_back),
		cmocka_unit_test(test_damaged_boot_file),
		cmocka_unit_test(test_doctor),
	};

	return cmocka_run_group_tests_name("io", tests, set_up, tear_down);
}
