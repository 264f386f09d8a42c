/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct chunkmap;
struct context;
struct converge;
struct error;
struct fetcher;
struct fetcher_entry;
struct image;
struct partition;
struct target;

/**
 * Makes the target's bytes those of a payload: each chunk is kept where it is, else put together
 * from blocks that the machine has, else fetched. Whatever way its bytes came, the chunk map's
 * SHA-256 decides, before they are written. Blocks that are right already are not written again.
 *
 * The functions are called in the order in which they stand here; all but the first two and the
 * last may be left out from the end. All is borrowed; *ret belongs to the caller (converge_free).
 * Memory: 9 bytes a chunk and a bit a block; hints (engine/hints.h) during converge_find(); 512 KiB
 * for each thread, more with chunks above 256 KiB.
 */
int converge_new(struct context *context, struct target *target, const struct chunkmap *map,
	struct converge **ret, struct error *error);

/** Compares the target with the map: what is kept. */
int converge_look(struct converge *converge, struct error *error);

/**
 * Where blocks may be found: on the running slot's partition (NULL: there is none), of which `size`
 * bytes count, and whose chunk map (NULL: none) is believed for a start; else it is scanned.
 */
int converge_find(struct converge *converge, struct partition *running, uint64_t size,
	const struct chunkmap *known, struct error *error);

/** Bytes of the payload by what becomes or became of them, and how. */
struct converge_counts {
	uint64_t kept, copied, fetched;
	uint64_t frames; /* bytes of the bundle that hold what is fetched */
};

struct converge_counts converge_counts(const struct converge *converge);

/** Whether all of it is kept: then there is nothing to do. */
bool converge_is_done(const struct converge *converge);

/** Puts together what can be. target_begin() was called. What turns out wrong is to be fetched. */
int converge_copy(struct converge *converge, struct error *error);

/** Fetches the rest from the payload's entry. target_begin() was called. -EBADMSG: not as signed.
 */
int converge_fetch(struct converge *converge, struct fetcher *fetcher,
	const struct fetcher_entry *entry, const char *name, struct error *error);

/** After target_finish(): reads back what was written. -EIO: the medium is failing. */
int converge_read_back(struct converge *converge, struct error *error);

/** What was seen of the image: size and verity superblock. */
const struct image *converge_image(const struct converge *converge);

/** NULL is fine. */
void converge_free(struct converge *converge);

static inline void converge_freep(struct converge **converge)
{
	converge_free(*converge);
}

#define AUTO_CONVERGE __attribute__((cleanup(converge_freep)))
