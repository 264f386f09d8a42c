/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Disks that fail: every call on a partition or the ESP of the simulated machine is counted, and
 * from a chosen one on they fail, do half of what they should, or read what was never written.
 */

#include <stdbool.h>
#include <stdint.h>

#include "machine/machine.h"
#include "sim.h"

#define FAILING_DISK_CALLS_MAX 256

/** What a call does: a fault strikes those that it can strike. Values are bits. */
enum disk_call {
	DISK_LOOKS = 1u << 0, /* opens, lists, asks for the free space, locks */
	DISK_READS = 1u << 1,
	DISK_WRITES = 1u << 2, /* a partition's blocks, a whole file */
	DISK_FLUSHES = 1u << 3,
	DISK_REMOVES = 1u << 4,
};

#define DISK_CHANGES (DISK_WRITES | DISK_FLUSHES | DISK_REMOVES)

/** How much of a failing change was done all the same. */
enum disk_done { DISK_DONE_NOTHING, DISK_DONE_PART, DISK_DONE_ALL };

struct disk_fault {
	const char *name;
	unsigned calls; /* enum disk_call: those that it can strike */
	int number; /* errno; 0: nothing fails, but one byte is read wrong, or a write swallowed */
	bool lasts; /* from that call on; else it strikes once */
	enum disk_done done;
};

/** A simulated machine's disk. Zero-initialised and attached: nothing fails. */
struct failing_disk {
	struct machine_ops ops, plain;
	const struct disk_fault *fault;
	unsigned at; /* the call that it strikes first, counted from 1 */
	unsigned count;
	unsigned struck;
	uint32_t seed; /* which blocks a failed flush loses */
	/* A partition with a sector that gives EIO until it is written; NULL: none. */
	const struct sim_partition *bad;
	uint64_t bad_at; /* a byte of it */
	enum disk_call calls[FAILING_DISK_CALLS_MAX];
};

/** Puts the disk under the machine, until failing_disk_detach(). Counts from 1 again. */
void failing_disk_attach(struct failing_disk *disk, struct sim *sim);
void failing_disk_detach(struct sim *sim);
