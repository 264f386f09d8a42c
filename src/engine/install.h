/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "bistable/bistable.h"

struct context;
struct error;

/**
 * Installs a bundle into the target slot and activates it (all but the restart). See
 * docs/architecture.md for the order of its writes, which is what makes a power cut harmless.
 */
int install_run(struct context *context, const struct bistable_install_options *options,
	struct bistable_result *result, struct error *error);
