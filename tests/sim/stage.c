/* SPDX-License-Identifier: Apache-2.0 */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"

#define FIRST_BLOCK 4096

static int do_install(
	struct sim *sim, const struct stage *stage, const struct system *next, struct error *error)
{
	const struct bistable_install_options options = { .activation = stage->how };

	return world_install(sim, next, &options, NULL, error);
}

static int do_activate(
	struct sim *sim, const struct stage *stage, const struct system *next, struct error *error)
{
	(void)next;
	return world_activate(sim, stage->how, error);
}

static int do_mark_good(
	struct sim *sim, const struct stage *stage, const struct system *next, struct error *error)
{
	(void)stage, (void)next;
	return world_mark_good(sim, false, error);
}

static int do_rollback(
	struct sim *sim, const struct stage *stage, const struct system *next, struct error *error)
{
	(void)next;
	return world_rollback(sim, stage->how, error);
}

static int do_mark_bad(
	struct sim *sim, const struct stage *stage, const struct system *next, struct error *error)
{
	(void)stage, (void)next;
	return world_mark_bad(sim, SLOT_NONE, error);
}

const struct stage stages[STAGE_COUNT] = {
	{ "first install", STAGE_FACTORY, BISTABLE_ACTIVATE_REBOOT, do_install, true, true },
	{ "first install, kexec", STAGE_FACTORY, BISTABLE_ACTIVATE_KEXEC, do_install, true, false },
	{ "second install", STAGE_UPDATED, BISTABLE_ACTIVATE_REBOOT, do_install, true, true },
	{ "activate", STAGE_INSTALLED, BISTABLE_ACTIVATE_REBOOT, do_activate, false, true },
	{ "activate, kexec", STAGE_INSTALLED, BISTABLE_ACTIVATE_KEXEC, do_activate, false, false },
	{ "first mark-good", STAGE_FACTORY, BISTABLE_ACTIVATE_NONE, do_mark_good, false, false },
	{ "mark-good of a trial", STAGE_TRIAL, BISTABLE_ACTIVATE_NONE, do_mark_good, false, true },
	{ "rollback of a trial", STAGE_TRIAL, BISTABLE_ACTIVATE_REBOOT, do_rollback, false, true },
	{ "rollback", STAGE_UPDATED, BISTABLE_ACTIVATE_REBOOT, do_rollback, false, true },
	{ "mark-bad", STAGE_UPDATED, BISTABLE_ACTIVATE_NONE, do_mark_bad, false, false },
};

struct sim *stage_before(const struct stage *stage, const struct system systems[3])
{
	const struct bistable_install_options options = {
		.activation = stage->life == STAGE_INSTALLED ? BISTABLE_ACTIVATE_NONE
							     : BISTABLE_ACTIVATE_REBOOT,
	};
	struct sim *sim = world_new(&systems[0]);
	struct error error = { 0 };

	/* What was in B before must not show through. */
	sim_put_image(sim, SLOT_B, span_of(&systems[1].image));
	if (stage->life == STAGE_FACTORY)
		return sim;
	world_ok(world_install(sim, &systems[1], &options, NULL, &error), &error);
	if (stage->life == STAGE_INSTALLED)
		return sim;
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	if (stage->life == STAGE_UPDATED)
		world_ok(world_mark_good(sim, false, &error), &error);
	return sim;
}

void stage_check_goes_on(struct sim *sim, const struct system *next)
{
	const struct bistable_install_options options = {
		.activation = BISTABLE_ACTIVATE_REBOOT,
		.force = true,
	};
	enum slot running = sim->running;
	struct error error = { 0 };

	world_ok(world_install(sim, next, &options, NULL, &error), &error);
	assert_int_equal(sim_power_cycle(sim), slot_other(running));
	world_ok(world_mark_good(sim, true, &error), &error);
	assert_int_equal(sim_power_cycle(sim), slot_other(running));
	world_check_foreign(sim);
	world_check_order(sim);
}

void stage_check_rest(struct sim *sim, const struct system *factory)
{
	AUTO_STATUS struct bistable_status *status = world_status(sim);
	enum slot running = sim->running;

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		if (!status->slots[slot].complete && status->slots[slot].entry_active)
			assert_memory_equal(sim->partitions[slot].medium, factory->image.data,
				factory->image.size);
	assert_true(status->slots[running].complete);
}

void stage_check_first_block(
	struct sim *sim, const struct stage *stage, enum slot old, const struct system systems[3])
{
	const struct system *before = &systems[stage->life == STAGE_UPDATED ? 0 : 1];
	const uint8_t *medium = sim->partitions[slot_other(old)].medium;
	const struct system *next = &systems[2];
	const size_t body = next->image.size - FIRST_BLOCK;

	if (stage->installs && !all_zero(medium, FIRST_BLOCK)
		&& memcmp(medium + FIRST_BLOCK, before->image.data + FIRST_BLOCK, body) != 0
		&& memcmp(medium + FIRST_BLOCK, next->image.data + FIRST_BLOCK, body) != 0)
		fail_msg("the first block lies over a mixture of two images");
}
