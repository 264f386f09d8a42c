/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct context;
struct error;

#define CREW_MAX 4u /* threads: more do not make a medium faster, and each takes memory */

/** Work that is cut into units, which may be done in any order and at once. */
struct crew {
	struct context *context; /* but for its machine, for the caller's thread alone */
	const char *phase;       /* that the observer is told of */
	uint64_t bytes;          /* of all units, for the observer */
	uint64_t count;          /* units */
	size_t hands;            /* threads: at most crew_size() of any work */
	/**
	 * Does one unit; `hand` (0 … hands - 1) tells the threads apart. *ret_bytes: what of
	 * `bytes` is done with it.
	 */
	int (*work)(
		void *opaque, size_t hand, uint64_t unit, uint64_t *ret_bytes, struct error *error);
	void *opaque;
};

/** How many threads such work gets: two for each processor, at most CREW_MAX and `count`. */
size_t crew_size(const struct context *context, uint64_t count);

/**
 * Does all units on `hands` threads, of which the caller's is hand 0. The first error ends it;
 * no thread is left then. Also -ECANCELED.
 */
int crew_run(const struct crew *crew, struct error *error);
