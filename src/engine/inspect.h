/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/slot.h"
#include "bistable/bistable.h"

struct context;
struct error;

/** Looks into a UKI at a path, URL or "-". SLOT_NONE leaves the command line unbound. */
int inspect_uki(struct context *context, const char *file, enum slot slot,
	struct bistable_uki **ret, struct error *error);
