/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "format/verity.h"
#include "machine/machine.h"

#define BLOCK 4096u

struct target {
	struct machine *machine;
	const char *device; /* borrowed from the configuration */
	struct partition *partition;
	uint64_t capacity;
	int (*begin)(void *opaque, struct error *error);
	void *opaque;

	struct sha256 *hash;
	uint8_t digest[SHA256_SIZE];
	uint8_t *chunk; /* TARGET_CHUNK bytes of the image that were not looked at yet */
	size_t fill;
	uint8_t *present;     /* what the partition holds in their place */
	uint64_t offset;      /* of the chunk */
	uint8_t first[BLOCK]; /* the image's first block: written last */
	size_t first_size;
	bool begun;
	uint64_t written;

	bool has_verity;
	struct verity verity;
	uint64_t tree;
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
	target->chunk = malloc(TARGET_CHUNK);
	target->present = malloc(TARGET_CHUNK);
	if (!target->chunk || !target->present)
		return error_memory(error);
	r = sha256_new(&target->hash, error);
	if (r < 0)
		return r;
	r = machine->ops->partition_open(
		machine, target->device, PARTITION_WRITE, &target->partition, error);
	if (r < 0)
		return r;
	target->capacity = machine->ops->partition_size(machine, target->partition);
	*ret = TAKE(target);
	return 0;
}

uint64_t target_capacity(const struct target *target)
{
	return target->capacity;
}

const char *target_device(const struct target *target)
{
	return target->device;
}

/*
 * From here on the partition is no image any more: without its first block nothing mounts it, not
 * even an old superblock over new blocks.
 */
static int begin(struct target *target, struct error *error)
{
	static const uint8_t zeroes[BLOCK];
	struct machine *machine = target->machine;
	size_t size = target->capacity < BLOCK ? (size_t)target->capacity : BLOCK;
	int r;

	if (target->begun)
		return 0;
	r = target->begin(target->opaque, error);
	if (r < 0)
		return r;
	target->begun = true;
	r = machine->ops->partition_write(machine, target->partition, 0, zeroes, size, error);
	if (r < 0)
		return r;
	return machine->ops->partition_flush(machine, target->partition, error);
}

/* The smallest run of blocks that holds every difference; false if there is none. */
static bool differing_range(
	const uint8_t *a, const uint8_t *b, size_t size, size_t *ret_start, size_t *ret_end)
{
	size_t start = 0, end = size;

	if (memcmp(a, b, size) == 0)
		return false;
	while (memcmp(a + start, b + start, size - start < BLOCK ? size - start : BLOCK) == 0)
		start += BLOCK;
	while (end > start) {
		size_t tail = (end - 1) / BLOCK * BLOCK;

		if (memcmp(a + tail, b + tail, end - tail) != 0)
			break;
		end = tail;
	}
	*ret_start = start;
	*ret_end = end;
	return true;
}

/* A verity superblock lies right behind the data it protects. */
static void look_for_verity(struct target *target)
{
	for (size_t i = 0; !target->has_verity && i + VERITY_SUPERBLOCK_SIZE <= target->fill;
		i += BLOCK) {
		uint64_t offset = target->offset + i, end;
		struct verity verity;

		if (!verity_is_superblock(target->chunk + i))
			continue;
		if (verity_parse((struct span){ target->chunk + i, VERITY_SUPERBLOCK_SIZE },
			    &verity, NULL)
				< 0
			|| __builtin_mul_overflow(verity.data_blocks, verity.data_block_size, &end)
			|| end != offset)
			continue;
		target->has_verity = true;
		target->verity = verity;
		target->tree = offset + verity.hash_block_size;
	}
}

static int write_chunk(struct target *target, struct error *error)
{
	struct machine *machine = target->machine;
	size_t start, end, skip = 0;
	int r;

	if (target->fill == 0)
		return 0;
	r = machine->ops->partition_read(
		machine, target->partition, target->offset, target->present, target->fill, error);
	if (r < 0)
		return r;
	look_for_verity(target);
	if (target->offset == 0) {
		target->first_size = target->fill < BLOCK ? target->fill : BLOCK;
		memcpy(target->first, target->chunk, target->first_size);
		skip = target->first_size;
	}
	if (differing_range(target->chunk, target->present, target->fill, &start, &end)) {
		r = begin(target, error);
		if (r < 0)
			return r;
		if (start < skip)
			start = skip;
		if (start < end) {
			r = machine->ops->partition_write(machine, target->partition,
				target->offset + start, target->chunk + start, end - start, error);
			if (r < 0)
				return r;
			target->written += end - start;
		}
	}
	target->offset += target->fill;
	target->fill = 0;
	return 0;
}

int target_check_size(const struct target *target, uint64_t size, struct error *error)
{
	if (size <= target->capacity)
		return 0;
	return error_failed(error, EFBIG, "the image is larger than the partition %s (%llu bytes)",
		target->device, (unsigned long long)target->capacity);
}

int target_write(struct target *target, const void *data, size_t size, struct error *error)
{
	const uint8_t *bytes = data;
	int r;

	r = target_check_size(target, target_size(target) + size, error);
	if (r < 0)
		return r;
	r = sha256_update(target->hash, data, size, error);
	if (r < 0)
		return r;
	while (size > 0) {
		size_t part = TARGET_CHUNK - target->fill;

		if (part > size)
			part = size;
		memcpy(target->chunk + target->fill, bytes, part);
		target->fill += part;
		bytes += part;
		size -= part;
		if (target->fill == TARGET_CHUNK) {
			r = write_chunk(target, error);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int target_finish(struct target *target, struct error *error)
{
	struct machine *machine = target->machine;
	int r;

	if (target_size(target) == 0)
		return error_failed(error, EBADMSG, "the image is empty");
	r = write_chunk(target, error);
	if (r < 0)
		return r;
	r = sha256_final(target->hash, target->digest, error);
	if (r < 0 || !target->begun)
		return r;
	r = machine->ops->partition_flush(machine, target->partition, error);
	if (r < 0)
		return r;
	r = machine->ops->partition_write(
		machine, target->partition, 0, target->first, target->first_size, error);
	if (r < 0)
		return r;
	target->written += target->first_size;
	return machine->ops->partition_flush(machine, target->partition, error);
}

uint64_t target_size(const struct target *target)
{
	return target->offset + target->fill;
}

uint64_t target_written(const struct target *target)
{
	return target->written;
}

const uint8_t *target_digest(const struct target *target)
{
	return target->digest;
}

const struct verity *target_verity(const struct target *target, uint64_t *ret_tree)
{
	if (!target->has_verity)
		return NULL;
	*ret_tree = target->tree;
	return &target->verity;
}

struct partition *target_partition(struct target *target)
{
	return target->partition;
}

void target_close(struct target *target)
{
	if (!target)
		return;
	target->machine->ops->partition_close(target->machine, target->partition);
	sha256_free(target->hash);
	free(target->chunk);
	free(target->present);
	free(target);
}
