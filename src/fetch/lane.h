/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "fetch/channel.h"
#include "source/input.h"

struct child;
struct error;
struct source;
struct unframer;

/**
 * One of the threads that fetch frames, each by a connection of its own, and decompress them: what
 * one waits for, another works through.
 */
struct lane {
	struct child *child; /* borrowed */
	pthread_t thread;
	bool started;
	struct source *source; /* a clone; NULL: the child's own is the only one */
	struct input own;      /* of the clone */
	struct unframer *unframer;
	uint16_t method;             /* that the unframer is for */
	uint8_t *frame;              /* one that is too large for the input; NULL: none yet */
	uint64_t received, requests; /* that the child's counters have */
};

/** Fetches a run of chunks and sends them. -EPIPE without an error: nobody listens any more. */
int lane_fetch(struct lane *lane, const struct channel_run *run, struct error *error);

/** Frees what it holds; its thread has ended. */
void lane_done(struct lane *lane);
