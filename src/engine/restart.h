/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/slot.h"
#include "bistable/bistable.h"

struct context;
struct error;

/**
 * The machine goes down for the staged kernel: from here on the attempt counts as started. *ret:
 * whose it is; SLOT_NONE: nothing is staged, or this boot chose nothing.
 */
int restart_mark_started(struct context *context, enum slot *ret, struct error *error);

/** ERROR_REFUSED with who and why, if inhibitors forbid a restart at the moment. */
int restart_check(struct context *context, struct error *error);

/** Restarts the machine, into the staged kernel or by the firmware. `force`: whoever forbids it. */
int restart_now(struct context *context, bool kexec, bool force, struct error *error);

/** Tells which command does so in an orderly way, by what the result says was chosen. */
void restart_name_command(struct context *context, struct bistable_result *result);
