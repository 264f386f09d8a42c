/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <assert.h>

/** One of the two places a system can lie in. */
enum slot { SLOT_NONE = -1, SLOT_A = 0, SLOT_B = 1 };

#define SLOT_COUNT 2

static inline char slot_letter(enum slot slot)
{
	return slot == SLOT_A ? 'A' : slot == SLOT_B ? 'B' : '?';
}

static inline enum slot slot_from_letter(char letter)
{
	return letter == 'A' || letter == 'a'   ? SLOT_A
	       : letter == 'B' || letter == 'b' ? SLOT_B
						: SLOT_NONE;
}

/** The counterpart; `slot` must be A or B. */
static inline enum slot slot_other(enum slot slot)
{
	assert(slot == SLOT_A || slot == SLOT_B);
	return slot == SLOT_A ? SLOT_B : SLOT_A;
}

/**
 * Expands %s (the slot's letter), %l (the same in lower case) and %% in `pattern`.
 * The new string belongs to the caller; NULL when out of memory.
 */
char *slot_expand(const char *pattern, enum slot slot);
