/* SPDX-License-Identifier: Apache-2.0 */
#include "failing_disk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

static struct sim *sim_of(struct machine *machine)
{
	return (struct sim *)machine;
}

static struct failing_disk *disk_of(struct machine *machine)
{
	return sim_of(machine)->disk;
}

static uint32_t next_random(struct failing_disk *disk)
{
	disk->seed = disk->seed * 1664525u + 1013904223u;
	return disk->seed >> 8;
}

/* Counts the call. Whether the fault strikes it. */
static bool strikes(struct machine *machine, enum disk_call call)
{
	struct failing_disk *disk = disk_of(machine);
	const struct disk_fault *fault = disk->fault;

	assert(disk->count < FAILING_DISK_CALLS_MAX);
	disk->calls[disk->count++] = call;
	if (!fault || !(fault->calls & call)
		|| (fault->lasts ? disk->count < disk->at : disk->count != disk->at))
		return false;
	disk->struck++;
	return true;
}

static int fail(struct machine *machine, const char *what, struct error *error)
{
	int number = disk_of(machine)->fault->number;

	return error_failed(error, number, "simulated disk, %s: %s", what, strerror(number));
}

static bool only_alters(struct machine *machine)
{
	return disk_of(machine)->fault->number == 0;
}

static int partition_open(struct machine *machine, const char *device, enum partition_mode mode,
	struct partition **ret, struct error *error)
{
	if (strikes(machine, DISK_LOOKS))
		return fail(machine, "open", error);
	return disk_of(machine)->plain.partition_open(machine, device, mode, ret, error);
}

/* Whether it touches the bad sector. */
static bool is_bad(const struct failing_disk *disk, const struct partition *partition,
	uint64_t offset, size_t size)
{
	return disk->bad && disk->bad == (const struct sim_partition *)partition
	       && disk->bad_at >= offset && disk->bad_at < offset + size;
}

static int partition_read(struct machine *machine, struct partition *partition, uint64_t offset,
	void *data, size_t size, struct error *error)
{
	bool struck = strikes(machine, DISK_READS);
	int r;

	if (struck && !only_alters(machine))
		return fail(machine, "read", error);
	if (is_bad(disk_of(machine), partition, offset, size))
		return error_failed(error, EIO, "simulated disk: a bad sector");
	r = disk_of(machine)->plain.partition_read(machine, partition, offset, data, size, error);
	if (r == 0 && struck)
		((uint8_t *)data)[size / 2] ^= 0x10;
	return r;
}

static int partition_write(struct machine *machine, struct partition *partition, uint64_t offset,
	const void *data, size_t size, struct error *error)
{
	const struct machine_ops *plain = &disk_of(machine)->plain;
	enum disk_done done;

	if (is_bad(disk_of(machine), partition, offset, size))
		disk_of(machine)->bad = NULL;
	if (!strikes(machine, DISK_WRITES))
		return plain->partition_write(machine, partition, offset, data, size, error);
	if (only_alters(machine))
		return 0;
	done = disk_of(machine)->fault->done;
	if (done != DISK_DONE_NOTHING)
		plain->partition_write(machine, partition, offset, data,
			done == DISK_DONE_ALL ? size : size / 2, NULL);
	return fail(machine, "write", error);
}

/*
 * As Linux does: what could not be written is dropped and counts as clean, so that the next flush
 * has nothing to complain of. The running system reads what is on the medium.
 */
static void lose_writes(struct machine *machine, struct sim_partition *partition)
{
	struct failing_disk *disk = disk_of(machine);
	enum disk_done done = disk->fault->done;

	for (size_t i = 0; i < partition->used; i += 512) {
		if (done == DISK_DONE_ALL || (done == DISK_DONE_PART && next_random(disk) % 2))
			memcpy(partition->medium + i, partition->now + i, 512);
		else
			memcpy(partition->now + i, partition->medium + i, 512);
	}
}

static int partition_flush(
	struct machine *machine, struct partition *partition, struct error *error)
{
	if (!strikes(machine, DISK_FLUSHES))
		return disk_of(machine)->plain.partition_flush(machine, partition, error);
	lose_writes(machine, (struct sim_partition *)partition);
	return fail(machine, "flush", error);
}

static int esp_open(struct machine *machine, const struct esp_settings *settings, struct esp **ret,
	struct error *error)
{
	if (strikes(machine, DISK_LOOKS))
		return fail(machine, "open the ESP", error);
	return disk_of(machine)->plain.esp_open(machine, settings, ret, error);
}

static int esp_read(struct machine *machine, struct esp *esp, const char *path, size_t max,
	struct buffer *ret, struct error *error)
{
	bool struck = strikes(machine, DISK_READS);
	int r;

	if (struck && !only_alters(machine))
		return fail(machine, path, error);
	r = disk_of(machine)->plain.esp_read(machine, esp, path, max, ret, error);
	if (r == 0 && struck)
		ret->data[ret->size / 2] ^= 0x10;
	return r;
}

static int esp_read_at(struct machine *machine, struct esp *esp, const char *path, uint64_t offset,
	void *data, size_t size, size_t *ret_got, struct error *error)
{
	bool struck = strikes(machine, DISK_READS);
	int r;

	if (struck && !only_alters(machine))
		return fail(machine, path, error);
	r = disk_of(machine)->plain.esp_read_at(
		machine, esp, path, offset, data, size, ret_got, error);
	if (r == 0 && struck && *ret_got > 0)
		((uint8_t *)data)[*ret_got / 2] ^= 0x10;
	return r;
}

static int esp_digest(struct machine *machine, struct esp *esp, const char *path,
	uint8_t *ret_sha256, uint64_t *ret_size, struct error *error)
{
	bool struck = strikes(machine, DISK_READS);
	int r;

	if (struck && !only_alters(machine))
		return fail(machine, path, error);
	r = disk_of(machine)->plain.esp_digest(machine, esp, path, ret_sha256, ret_size, error);
	if (r == 0 && struck && ret_sha256)
		ret_sha256[7] ^= 0x10;
	return r;
}

/* The replacement can break off beside the file, or once the new one is in place. */
static int esp_replace(struct machine *machine, struct esp *esp, const char *path,
	struct span content, struct error *error)
{
	const struct machine_ops *plain = &disk_of(machine)->plain;
	char leftover[160];

	if (!strikes(machine, DISK_WRITES) || only_alters(machine))
		return plain->esp_replace(machine, esp, path, content, error);
	snprintf(leftover, sizeof(leftover), "%s" MACHINE_NEW_SUFFIX, path);
	if (disk_of(machine)->fault->done == DISK_DONE_PART)
		sim_put_file(
			sim_of(machine), leftover, (struct span){ content.data, content.size / 2 });
	if (disk_of(machine)->fault->done == DISK_DONE_ALL)
		plain->esp_replace(machine, esp, path, content, NULL);
	return fail(machine, path, error);
}

static int esp_remove(
	struct machine *machine, struct esp *esp, const char *path, struct error *error)
{
	const struct machine_ops *plain = &disk_of(machine)->plain;

	if (!strikes(machine, DISK_REMOVES))
		return plain->esp_remove(machine, esp, path, error);
	if (disk_of(machine)->fault->done == DISK_DONE_ALL)
		plain->esp_remove(machine, esp, path, NULL);
	return fail(machine, path, error);
}

static int esp_list(struct machine *machine, struct esp *esp, const char *path,
	struct text_list *ret, struct error *error)
{
	if (strikes(machine, DISK_LOOKS))
		return fail(machine, path, error);
	return disk_of(machine)->plain.esp_list(machine, esp, path, ret, error);
}

static int esp_space(
	struct machine *machine, struct esp *esp, struct esp_space *ret, struct error *error)
{
	if (strikes(machine, DISK_LOOKS))
		return fail(machine, "free space of the ESP", error);
	return disk_of(machine)->plain.esp_space(machine, esp, ret, error);
}

static int esp_location(
	struct machine *machine, struct esp *esp, struct esp_location *ret, struct error *error)
{
	/* The entries' place is asked of sysfs, and by the checks of the tests without an ESP. */
	if (esp && strikes(machine, DISK_LOOKS))
		return fail(machine, "place of the ESP", error);
	return disk_of(machine)->plain.esp_location(machine, esp, ret, error);
}

static int esp_clash(
	struct machine *machine, struct esp *esp, const char *path, char **ret, struct error *error)
{
	if (strikes(machine, DISK_LOOKS))
		return fail(machine, "esp_clash", error);
	return disk_of(machine)->plain.esp_clash(machine, esp, path, ret, error);
}

static int lock(struct machine *machine, struct esp *esp, const char *folder, bool wait, bool make,
	struct machine_lock **ret, struct error *error)
{
	if (strikes(machine, DISK_LOOKS))
		return fail(machine, "lock", error);
	return disk_of(machine)->plain.lock(machine, esp, folder, wait, make, ret, error);
}

void failing_disk_attach(struct failing_disk *disk, struct sim *sim)
{
	failing_disk_detach(sim);
	disk->plain = disk->ops = *sim_machine(sim)->ops;
	disk->ops.partition_open = partition_open;
	disk->ops.partition_read = partition_read;
	disk->ops.partition_write = partition_write;
	disk->ops.partition_flush = partition_flush;
	disk->ops.esp_open = esp_open;
	disk->ops.esp_read = esp_read;
	disk->ops.esp_read_at = esp_read_at;
	disk->ops.esp_digest = esp_digest;
	disk->ops.esp_replace = esp_replace;
	disk->ops.esp_remove = esp_remove;
	disk->ops.esp_list = esp_list;
	disk->ops.esp_space = esp_space;
	disk->ops.esp_location = esp_location;
	disk->ops.esp_clash = esp_clash;
	disk->ops.lock = lock;
	disk->count = disk->struck = 0;
	sim->disk = disk;
}

void failing_disk_detach(struct sim *sim)
{
	sim->disk = NULL;
}
