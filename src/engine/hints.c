/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/hints.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/random.h"
#include "format/chunkmap.h"

/* A place in the table, open to the next free one. Blocks with one hint share one. */
struct place {
	uint32_t block; /* that wants it, and 1; 0: free */
	_Atomic uint32_t found;
};

struct hints {
	const struct chunkmap *map;
	struct place *table;
	uint64_t mask; /* places - 1 */
	uint64_t seed; /* nobody can choose hints that meet in one place */
	uint64_t zero; /* the hint of zeroes */
};

int hints_new(const struct chunkmap *map, uint64_t wanted, struct hints **ret, struct error *error)
{
	static const uint8_t zeroes[CHUNKMAP_BLOCK_SIZE];
	AUTO_HINTS struct hints *hints = calloc(1, sizeof(*hints));
	uint64_t places = 16;

	if (!hints)
		return error_memory(error);
	/* At most two thirds are taken. */
	while (places < wanted + wanted / 2)
		places *= 2;
	hints->map = map;
	hints->mask = places - 1;
	hints->table = calloc(places, sizeof(*hints->table));
	if (!hints->table)
		return error_memory(error);
	hints->seed = random_u64() | 1;
	hints->zero = chunkmap_hint_of(zeroes, sizeof(zeroes));
	*ret = TAKE(hints);
	return 0;
}

/* The place of a hint, or the free one where it belongs. */
static struct place *place_of(const struct hints *hints, uint64_t hint)
{
	uint64_t product = (hint ^ hint >> 32) * hints->seed;
	uint64_t i = product >> 32 ^ product;

	for (;; i++) {
		struct place *place = &hints->table[i & hints->mask];

		if (place->block == 0 || chunkmap_hint(hints->map, place->block - 1) == hint)
			return place;
	}
}

void hints_want(struct hints *hints, uint64_t block)
{
	uint64_t hint = chunkmap_hint(hints->map, block);
	struct place *place = place_of(hints, hint);

	if (place->block != 0)
		return;
	place->block = (uint32_t)block + 1;
	place->found = hint == hints->zero ? HINTS_ZERO : HINTS_NOWHERE;
}

void hints_offer(struct hints *hints, uint64_t hint, uint32_t location)
{
	struct place *place = place_of(hints, hint);
	uint32_t nowhere = HINTS_NOWHERE;

	if (place->block != 0)
		atomic_compare_exchange_strong(&place->found, &nowhere, location);
}

uint32_t hints_find(const struct hints *hints, uint64_t block)
{
	const struct place *place = place_of(hints, chunkmap_hint(hints->map, block));

	return place->block == 0 ? HINTS_NOWHERE : place->found;
}

void hints_free(struct hints *hints)
{
	if (!hints)
		return;
	free(hints->table);
	free(hints);
}
