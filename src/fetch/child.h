/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

struct source_options;

/**
 * The fetching process: opens the source `spec`, locks itself in, and serves what comes by `socket`
 * through `pool` until the other end is closed, or something fails; then it closes `socket`.
 * Where the bundle comes from and what it says is handled here alone.
 */
void child_run(int socket, uint8_t *pool, const char *spec, const struct source_options *options);
