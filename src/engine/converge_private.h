/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of converge.h share. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "crypto/sha256.h"
#include "engine/chunks.h"
#include "engine/converge.h"
#include "engine/crew.h"
#include "engine/hints.h"
#include "engine/image.h"

/** Bytes that a thread takes at once; chunks may be larger. */
#define CONVERGE_UNIT (256u << 10)

/** What a thread has. */
struct converge_hand {
	struct sha256 *hash;
	uint8_t *data;    /* unit_size bytes, aligned */
	uint8_t *present; /* the same: what the target holds */
};

struct converge {
	struct context *context;
	struct target *target;
	const struct chunkmap *map;
	struct partition *running; /* where copies come from */
	uint64_t running_size;
	const struct chunkmap *known; /* of it; NULL: it has to be scanned */
	struct hints *hints;
	uint32_t unit_size;   /* bytes: whole chunks */
	uint32_t unit_chunks; /* as many */
	uint64_t units;
	uint8_t *state; /* enum chunk_state of each chunk; each belongs to one thread at a time */
	uint8_t *right; /* a bit for each block of the target that has its hint */
	uint64_t *sums; /* checksum_of() each chunk that was written */
	uint8_t first[CHUNKMAP_BLOCK_SIZE]; /* what the target began with, before it was zeroed */
	struct converge_hand hands[CREW_MAX];
	size_t hand_count;
	struct converge_counts counts;
	atomic_bool target_unreadable;  /* some of it */
	atomic_bool running_unreadable; /* the same */
	pthread_mutex_t lock;           /* of the image */
	struct image image;
};

static inline bool block_is_right(const struct converge *converge, uint64_t block)
{
	return converge->right[block / 8] >> block % 8 & 1;
}

/** Whether `data` is the chunk. */
int converge_matches(struct converge *converge, struct converge_hand *hand, uint64_t chunk,
	const uint8_t *data, bool *ret, struct error *error);

/**
 * Writes what of the chunks from `first` to before `end`, which were checked, is not on the target
 * yet. `data` is aligned. Any thread, with its hand.
 */
int converge_write(struct converge *converge, struct converge_hand *hand, uint64_t first,
	uint64_t end, const uint8_t *data, struct error *error);

/** Runs `work` for all units (of CONVERGE_UNIT bytes or one chunk) on all hands. */
int converge_crew(struct converge *converge, const char *phase, uint64_t bytes,
	int (*work)(
		void *opaque, size_t hand, uint64_t unit, uint64_t *ret_bytes, struct error *error),
	struct error *error);
