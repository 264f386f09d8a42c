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

/**
 * Installs into the other slot the bundle that is there already, so that what differs is put right;
 * what the slot is (confirmed, bad) stays, and nothing is activated. An install that broke off is
 * brought to its end. options->source NULL: where it came from. ERROR_REFUSED: another bundle, or a
 * slot without a receipt.
 */
int install_repair(struct context *context, const struct bistable_install_options *options,
	struct bistable_result *result, struct error *error);
