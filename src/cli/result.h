/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>

struct bistable_result;

/** Prints how and when the slot starts: "It starts on the next reboot." and what goes with it. */
void result_print_start(const struct bistable_result *result);
/** The keys every result has: slot, version, activation, fallback, restarting. New reference. */
json_t *result_json(const struct bistable_result *result);
