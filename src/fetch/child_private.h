/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the fetching process's threads share: child.c and lane.c. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fetch/channel.h"
#include "fetch/lane.h"
#include "fetch/material.h"
#include "source/input.h"
#include "source/source.h"
#include "source/walk.h"

#define CHILD_LANES_MAX 4u

struct child {
	int socket;
	uint8_t *slots; /* the pool */
	struct source_options options;
	struct material material;
	int resolver;             /* -1: none */
	pthread_mutex_t question; /* to it, one at a time */

	/* Of the lane that has a job other than a run; there is no other job then. */
	struct source *source;
	struct input input;    /* format 1 */
	struct walk walk;      /* format 1 */
	struct bundle *bundle; /* plain; NULL: format 1 */
	const struct listing_entry *entry;

	atomic_uint_fast64_t received, requests; /* by lanes with sources of their own */

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	bool taken[CHANNEL_SLOTS]; /* by the parent, by a lane, or on the way */
	struct channel_message jobs[CHANNEL_RUNS];
	size_t given, done; /* jobs that came, and that a lane took */
	bool stop;
	struct lane lanes[CHILD_LANES_MAX];
	size_t lane_count;
};

/** Sends a message with the counters. */
int child_say(struct child *child, struct channel_message *message, size_t size);
/** Waits for one of the first `count` slots. -EPIPE: nobody listens any more. */
int child_take_slot(struct child *child, uint32_t count, uint32_t *ret);
uint8_t *child_slot(struct child *child, uint32_t slot, uint32_t size);
/** The input of the child's own source. */
struct input *child_input(struct child *child);
/** A lane's source of its own brought more bytes, and sent more requests. */
void child_count(struct child *child, uint64_t received, uint64_t requests);
