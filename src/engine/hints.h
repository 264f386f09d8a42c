/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

struct chunkmap;
struct error;
struct hints;

#define HINTS_NOWHERE UINT32_MAX
#define HINTS_ZERO    (UINT32_MAX - 1) /* a block of zeroes needs no place */

/**
 * Where the blocks that a payload wants may be found: by their hints, which are never trusted.
 * `wanted`: how many blocks hints_want() will be called with at most. `map` is borrowed; *ret
 * belongs to the caller (hints_free). Memory: 12 to 24 bytes a wanted block.
 */
int hints_new(const struct chunkmap *map, uint64_t wanted, struct hints **ret, struct error *error);

/** A block of the payload is looked for. Before the first hints_offer(). */
void hints_want(struct hints *hints, uint64_t block);

/**
 * A block with this hint lies at `place`, in units that the caller chooses; below HINTS_ZERO. Of
 * several places the first that was offered counts. Any thread.
 */
void hints_offer(struct hints *hints, uint64_t hint, uint32_t place);

/** Where a block that was asked for may be: a place, HINTS_ZERO or HINTS_NOWHERE. */
uint32_t hints_find(const struct hints *hints, uint64_t block);

/** NULL is fine. */
void hints_free(struct hints *hints);

static inline void hints_freep(struct hints **hints)
{
	hints_free(*hints);
}

#define AUTO_HINTS __attribute__((cleanup(hints_freep)))
