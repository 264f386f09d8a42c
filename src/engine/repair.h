/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "bistable/bistable.h"

struct context;
struct error;

/**
 * Checks both slots (slotcheck_run()), and puts the other one right if something is wrong with it
 * (install_repair()); nothing is fetched when nothing is. -EIO when the running slot is damaged,
 * which cannot be mended while it runs: that is done after the other one.
 */
int repair_run(struct context *context, const struct bistable_install_options *options,
	struct bistable_result *result, struct error *error);
