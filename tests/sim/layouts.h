/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Machines as factories, distributions and other tools leave them: slot A runs, in each. */

#include <stdbool.h>
#include <stddef.h>

#include "sim.h"

struct system;

struct layout {
	const char *name;
	void (*lay)(struct sim *sim); /* what differs from world_new() */
	bool without_root_hash;       /* it also works for a UKI that names none */
	bool keeps_removable;         /* somebody else's program stays on the removable path */
};

extern const struct layout layouts[];
extern const size_t layout_count;

/** Slot A of the layout runs, started by the firmware as the layout has it. Free with sim_free().
 */
struct sim *layout_new(const struct layout *layout, const struct system *system);
