/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slot.h"

struct context;
struct error;
struct machine;
struct partition;
struct target;

#define TARGET_BLOCK 4096u /* bytes that are compared and held back */

/**
 * The partition that an image goes to. It is written such that a half-written image never mounts:
 * first block zeroed, flush, all the rest, flush, first block, flush (an old superblock over new
 * blocks would mount). Opened exclusively. `begin` is called once, before the first of that.
 * *ret belongs to the caller (target_close).
 */
int target_open(struct context *context, enum slot slot,
	int (*begin)(void *opaque, struct error *error), void *opaque, struct target **ret,
	struct error *error);

struct machine *target_machine(const struct target *target);
struct partition *target_partition(const struct target *target);
/** Bytes that the partition holds. */
uint64_t target_capacity(const struct target *target);
/** The partition's configured name, for messages. */
const char *target_device(const struct target *target);

/** Whether an image of `size` bytes fits. -EFBIG when not. */
int target_check_size(const struct target *target, uint64_t size, struct error *error);

/** Reads what the partition holds; any thread. */
int target_read(
	struct target *target, uint64_t offset, void *data, size_t size, struct error *error);

/** Nothing of the partition was touched before this. Further calls do nothing. */
int target_begin(struct target *target, struct error *error);
bool target_begun(const struct target *target);

/**
 * Says what the first block (of an image of less bytes: all of it) will be, written or not: it
 * comes last. Before target_finish(), once it is known.
 */
void target_set_first(struct target *target, const uint8_t *data, size_t size);

/**
 * Writes, after target_begin(); any thread. What falls into the first block is left out. `data` is
 * aligned to TARGET_BLOCK, as is `offset`.
 */
int target_write(struct target *target, uint64_t offset, const uint8_t *data, size_t size,
	struct error *error);

/** If it was begun: a flush, the first block, another flush. */
int target_finish(struct target *target, struct error *error);

/** Bytes written so far; any thread. */
uint64_t target_written(const struct target *target);

/** NULL is fine. */
void target_close(struct target *target);

static inline void target_closep(struct target **target)
{
	target_close(*target);
}

#define AUTO_TARGET __attribute__((cleanup(target_closep)))
