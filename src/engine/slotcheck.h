/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/slot.h"

struct bistable_report;
struct context;
struct error;

/**
 * Compares a slot (SLOT_NONE: both) with what it was installed from: its receipt's signature, its
 * boot file, and its image, chunk by chunk where the chunk map is known, else as a whole. The ESP
 * is opened. Works while the slot runs. *ret (bistable.h) belongs to the caller. -ECANCELED,
 * -ENOMEM.
 */
int slotcheck_run(
	struct context *context, enum slot slot, struct bistable_report **ret, struct error *error);
