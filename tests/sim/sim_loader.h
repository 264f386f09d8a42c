/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

/** The PE machine type of programs that the firmware starts. */
#if defined(__aarch64__)
#define SIM_MACHINE 0xaa64
#else
#define SIM_MACHINE 0x8664
#endif

/**
 * Whether the firmware loads a program, as EDK2's loader decides; nothing of the product is used,
 * so that what it accepts is judged by somebody else.
 */
bool sim_loads(struct span file);

/** The bytes of a section; nothing when it is not there. data is never NULL. */
struct span sim_section(struct span file, const char *name);
