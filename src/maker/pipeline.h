/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

struct error;

/** Work that comes in pieces: filled and drained in order by the caller's thread, done by others.
 */
struct pipeline_ops {
	/** Fills a piece. 1, 0 (there are no more) or -errno. */
	int (*fill)(void *context, void *piece, struct error *error);
	/** Does the work, on a thread of its own, in any order. `worker` is this thread's alone. */
	int (*work)(void *worker, void *piece, struct error *error);
	/** Takes the finished piece away. */
	int (*drain)(void *context, void *piece, struct error *error);
};

#define PIPELINE_WORKERS_MAX 64u
#define PIPELINE_PIECES_MAX  (2 * PIPELINE_WORKERS_MAX)

/** At most two pieces a worker wait or are worked on: that bounds the memory. */
struct pipeline {
	const struct pipeline_ops *ops;
	void *context;
	void *workers[PIPELINE_WORKERS_MAX];
	size_t worker_count;
	void *pieces[PIPELINE_PIECES_MAX];
	size_t piece_count; /* at least 1 */
};

/**
 * Fills, works and drains until there are no more pieces. What is drained does not depend on the
 * number of workers. The first error in the order of the pieces ends it; no thread is left then.
 */
int pipeline_run(const struct pipeline *pipeline, struct error *error);
