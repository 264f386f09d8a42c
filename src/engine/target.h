/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slot.h"

struct context;
struct error;
struct image;
struct partition;
struct target;
struct verify_tree;

/**
 * The partition that an image is streamed into. What it holds already is not written again; what
 * differs is written so that a half-written image never mounts (facts of old superblocks over new
 * blocks): first block zeroed, flush, the rest, flush, first block, flush.
 * A thread of the target hashes, compares and writes while the caller gets the next bytes.
 * `begin` is called once, before the first write, on the caller's thread inside one of the
 * functions below. *ret belongs to the caller (target_close).
 */
int target_open(struct context *context, enum slot slot,
	int (*begin)(void *opaque, struct error *error), void *opaque, struct target **ret,
	struct error *error);

/** Bytes that the partition holds. */
uint64_t target_capacity(const struct target *target);
/** The partition's configured name, for messages. */
const char *target_device(const struct target *target);

/** Whether an image of `size` bytes fits. -EFBIG when not. */
int target_check_size(const struct target *target, uint64_t size, struct error *error);

/**
 * What comes is checked against this tree at once. Before the first byte; to no effect when the
 * tree does not lie behind its data.
 */
int target_expect_tree(struct target *target, const struct verify_tree *tree, struct error *error);

/** Room for the next bytes of the image, borrowed until target_commit(). Waits for it. */
int target_room(struct target *target, uint8_t **ret, size_t *ret_size, struct error *error);
/** `size` bytes were put there. -EFBIG when the image does not fit. */
int target_commit(struct target *target, size_t size, struct error *error);
/** Ends the image: all of it is on the medium. */
int target_finish(struct target *target, struct error *error);

/** Bytes of the image so far, and bytes that were written because they differed. */
uint64_t target_size(const struct target *target);
uint64_t target_written(struct target *target);
/** The image, after target_finish(). */
const struct image *target_image(const struct target *target);
struct partition *target_partition(struct target *target);

/** What is under way is given up. NULL is fine. */
void target_close(struct target *target);

static inline void target_closep(struct target **target)
{
	target_close(*target);
}

#define AUTO_TARGET __attribute__((cleanup(target_closep)))
