/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>

struct bistable;
struct bistable_error;
struct bistable_result;
struct cli;

/** Asks, where --now asks for a restart, whether one is inhibited. Before anything is printed. */
void result_check_restart(
	struct cli *cli, struct bistable *bistable, const struct bistable_result *result);

/** Prints how and when the slot starts: "It starts on the next reboot." and what goes with it. */
void result_print_start(const struct cli *cli, const struct bistable_result *result);
/** The keys every result has: slot, version, activation, fallback, command, restarting. New
 * reference. */
json_t *result_json(const struct cli *cli, const struct bistable_result *result);
/** Restarts when --now asks for it. Call it last: with luck it does not return. */
int result_restart(const struct cli *cli, struct bistable *bistable,
	const struct bistable_result *result, struct bistable_error *error);
