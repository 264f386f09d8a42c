/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/target.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "engine/context.h"
#include "machine/machine.h"

struct target {
	struct machine *machine; /* borrowed */
	const char *device;      /* borrowed from the configuration */
	struct partition *partition;
	uint64_t capacity;
	int (*begin)(void *opaque, struct error *error);
	void *opaque;
	bool begun;
	uint8_t *first; /* the image's first block */
	size_t first_size;
	atomic_uint_fast64_t written; /* bytes */
};

int target_open(struct context *context, enum slot slot,
	int (*begin)(void *opaque, struct error *error), void *opaque, struct target **ret,
	struct error *error)
{
	AUTO_TARGET struct target *target = calloc(1, sizeof(*target));
	struct machine *machine = context->machine;
	int r;

	if (!target)
		return error_memory(error);
	target->machine = machine;
	target->device = context->config.system_device[slot];
	target->begin = begin;
	target->opaque = opaque;
	target->first = aligned_new(TARGET_BLOCK);
	if (!target->first)
		return error_memory(error);
	r = machine->ops->partition_open(
		machine, target->device, PARTITION_WRITE, &target->partition, error);
	if (r < 0)
		return r;
	target->capacity = machine->ops->partition_size(machine, target->partition);
	*ret = TAKE(target);
	return 0;
}

struct machine *target_machine(const struct target *target)
{
	return target->machine;
}

struct partition *target_partition(const struct target *target)
{
	return target->partition;
}

uint64_t target_capacity(const struct target *target)
{
	return target->capacity;
}

const char *target_device(const struct target *target)
{
	return target->device;
}

int target_check_size(const struct target *target, uint64_t size, struct error *error)
{
	if (size <= target->capacity)
		return 0;
	return error_failed(error, EFBIG, "the image is larger than the partition %s (%llu bytes)",
		target->device, (unsigned long long)target->capacity);
}

int target_read(
	struct target *target, uint64_t offset, void *data, size_t size, struct error *error)
{
	return target->machine->ops->partition_read(
		target->machine, target->partition, offset, data, size, error);
}

/*
 * From here on the partition is no image any more: without its first block nothing mounts it, not
 * even an old superblock over new blocks.
 */
int target_begin(struct target *target, struct error *error)
{
	static const uint8_t zeroes[TARGET_BLOCK] __attribute__((aligned(TARGET_BLOCK)));
	struct machine *machine = target->machine;
	size_t size = target->capacity < TARGET_BLOCK ? (size_t)target->capacity : TARGET_BLOCK;
	int r;

	if (target->begun)
		return 0;
	r = target->begin(target->opaque, error);
	if (r == 0)
		r = machine->ops->partition_write(
			machine, target->partition, 0, zeroes, size, error);
	if (r == 0)
		r = machine->ops->partition_flush(machine, target->partition, error);
	target->begun = r == 0;
	return r;
}

bool target_begun(const struct target *target)
{
	return target->begun;
}

void target_set_first(struct target *target, const uint8_t *data, size_t size)
{
	target->first_size = size < TARGET_BLOCK ? size : TARGET_BLOCK;
	memcpy(target->first, data, target->first_size);
}

int target_write(struct target *target, uint64_t offset, const uint8_t *data, size_t size,
	struct error *error)
{
	size_t skip = offset == 0 ? TARGET_BLOCK : 0;
	int r;

	if (size <= skip)
		return 0;
	r = target->machine->ops->partition_write(
		target->machine, target->partition, offset + skip, data + skip, size - skip, error);
	if (r == 0)
		atomic_fetch_add(&target->written, size - skip);
	return r;
}

int target_finish(struct target *target, struct error *error)
{
	struct machine *machine = target->machine;
	int r;

	if (!target->begun)
		return 0;
	r = machine->ops->partition_flush(machine, target->partition, error);
	if (r == 0)
		r = machine->ops->partition_write(
			machine, target->partition, 0, target->first, target->first_size, error);
	if (r == 0)
		r = machine->ops->partition_flush(machine, target->partition, error);
	if (r == 0)
		atomic_fetch_add(&target->written, target->first_size);
	return r;
}

uint64_t target_written(const struct target *target)
{
	return atomic_load(&target->written);
}

void target_close(struct target *target)
{
	if (!target)
		return;
	target->machine->ops->partition_close(target->machine, target->partition);
	free(target->first);
	free(target);
}
