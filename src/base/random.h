/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <sys/random.h>

#include "base/clock.h"

/** For what need not be secret: without entropy (early at boot) it is only less random. */
static inline uint64_t random_u64(void)
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
		number = (clock_ms() ^ (uintptr_t)&number) * 0x9e3779b97f4a7c15u;
	return number;
}
