/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What can be under way when something goes wrong, and what has to hold afterwards. */

#include <stdbool.h>

#include "base/error.h"
#include "base/slot.h"
#include "bistable/bistable.h"
#include "world.h"

#define STAGE_COUNT 10

/** Where in its life the machine is when the fault happens, and what it is doing. */
struct stage {
	const char *name;
	enum {
		STAGE_FACTORY,   /* as it left the factory */
		STAGE_INSTALLED, /* B is installed and not chosen */
		STAGE_TRIAL,     /* B runs on trial */
		STAGE_UPDATED,   /* B is confirmed, A the fallback */
	} life;
	enum bistable_activation how;
	int (*operation)(struct sim *sim, const struct stage *stage, const struct system *next,
		struct error *error);
	bool installs;
	bool may_switch; /* the other slot may be what starts afterwards */
};

extern const struct stage stages[STAGE_COUNT];

/**
 * The machine just before the stage, of three systems: what the factory put into A, what was
 * installed into B first, and what is installed next. Free with sim_free().
 */
struct sim *stage_before(const struct stage *stage, const struct system systems[3]);

/**
 * The running slot is complete. One that is not complete has no active entry, unless the fault came
 * between its record and its entry: then it still holds its old system, untouched.
 */
void stage_check_rest(struct sim *sim, const struct system *factory);

/**
 * Whatever would mount begins with the first block: after an install it holds something only while
 * all behind it is of one system, the old or the new one. `old`: the slot that ran.
 */
void stage_check_first_block(
	struct sim *sim, const struct stage *stage, enum slot old, const struct system systems[3]);

/** The machine must go on: install, start, confirm, start cold. */
void stage_check_goes_on(struct sim *sim, const struct system *next);
