/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slot.h"

struct context;
struct error;
struct partition;
struct target;
struct verity;

/** Bytes that are compared and written in one go. */
#define TARGET_CHUNK (1u << 20)

/**
 * The partition that an image is streamed into. What it holds already is not written again; what
 * differs is written so that a half-written image never mounts (facts of old superblocks over new
 * blocks): first block zeroed, flush, the rest, flush, first block, flush.
 * `begin` is called once, before the first write. *ret belongs to the caller (target_close).
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

/** Appends image bytes. -EFBIG when the image does not fit. */
int target_write(struct target *target, const void *data, size_t size, struct error *error);
/** Ends the image: all of it is on the medium. */
int target_finish(struct target *target, struct error *error);

/** Bytes of the image so far, and bytes that were written because they differed. */
uint64_t target_size(const struct target *target);
uint64_t target_written(const struct target *target);
/** The SHA-256 of the image, after target_finish(). */
const uint8_t *target_digest(const struct target *target);
/**
 * The verity superblock that was seen in the stream at the end of its own data, or NULL.
 * *ret_tree is the byte offset of its hash tree.
 */
const struct verity *target_verity(const struct target *target, uint64_t *ret_tree);
struct partition *target_partition(struct target *target);

/** NULL is fine. */
void target_close(struct target *target);

static inline void target_closep(struct target **target)
{
	target_close(*target);
}

#define AUTO_TARGET __attribute__((cleanup(target_closep)))
