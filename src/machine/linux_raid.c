/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The firmware knows partitions only: of a mirror it sees each member, and reads one as if it were
 * alone. Linux has to write to all of them, through the array.
 */
#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-device.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/linux_private.h"

#define BLOCK_CLASS "/sys/class/block"
#define LAYERS_MAX  8
#define SECTOR      512
#define FAT16_STATE 0x25 /* "dirty", which differs while it is mounted (fatgen103) */
#define FAT32_STATE 0x41

DEFINE_CLEANUP(cleanup_probe, blkid_probe, blkid_free_probe)
DEFINE_CLEANUP(cleanup_device, sd_device *, sd_device_unref)

static int list_holders(const struct root_dir *root, const char *name, struct text_list *ret)
{
	AUTO_FREE char *path = text_format(BLOCK_CLASS "/%s/holders", name);

	return path ? root_list(root, path, ret) : -ENOMEM;
}

/* md as /sys tells it (Documentation/admin-guide/md.rst); false: no array, or no such file. */
static bool read_md(const struct root_dir *root, const char *array, const char *file, char ret[64])
{
	AUTO_FREE char *path = text_format(BLOCK_CLASS "/%s/md/%s", array, file), *text = NULL;

	if (!path || root_read_text(root, path, &text) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	snprintf(ret, 64, "%s", text);
	return true;
}

static bool is_idle_array(const struct root_dir *root, const char *name)
{
	char state[64];

	return read_md(root, name, "array_state", state)
	       && (strcmp(state, "inactive") == 0 || strcmp(state, "clear") == 0);
}

enum raid_use raid_use_of(const struct root_dir *root, const struct block_facts *partition,
	struct block_facts *ret_top)
{
	struct block_facts top = *partition;

	*ret_top = top;
	for (unsigned int layer = 0; layer < LAYERS_MAX; layer++) {
		AUTO_TEXT_LIST struct text_list names = { 0 };

		if (list_holders(root, top.name, &names) < 0 || names.count == 0) {
			*ret_top = top;
			return layer > 0 ? RAID_TOP : RAID_PLAIN;
		}
		if (names.count > 1 || block_read(root, names.items[0], &top) < 0)
			return RAID_UNCLEAR;
		if (is_idle_array(root, top.name))
			return RAID_IDLE;
	}
	return RAID_UNCLEAR;
}

/* Readable by everyone, where there is udev. */
static bool is_member_by_udev(const struct block_facts *facts)
{
	CLEANUP(cleanup_device) sd_device *device = NULL;
	const char *usage = NULL;

	return sd_device_new_from_devnum(&device, 'b', facts->device) >= 0
	       && sd_device_get_property_value(device, "ID_FS_USAGE", &usage) >= 0
	       && strcmp(usage, "raid") == 0;
}

static int open_node(const struct root_dir *root, const struct block_facts *facts)
{
	AUTO_FREE char *node = text_format("/dev/%s", facts->node);

	return node ? root_open(root, node, O_RDONLY | O_NONBLOCK, 0) : -ENOMEM;
}

bool raid_is_member(const struct root_dir *root, const struct block_facts *facts)
{
	CLEANUP(cleanup_probe) blkid_probe probe = blkid_new_probe();
	AUTO_CLOSE int fd = open_node(root, facts);

	if (fd < 0)
		return !root->confined && is_member_by_udev(facts);
	if (!probe || blkid_probe_set_device(probe, fd, 0, 0) != 0)
		return false;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_filter_superblocks_usage(probe, BLKID_FLTR_ONLYIN, BLKID_USAGE_RAID);
	return blkid_do_probe(probe) == 0;
}

int raid_member_failed(const struct block_facts *member, struct error *error)
{
	return error_failed(error, EBUSY,
		"the EFI System Partition /dev/%s is a member of an array that does not run, and "
		"is not touched without it: start the array (mdadm --assemble --scan, mdadm "
		"--run); if there is none any more, remove the superblock from the unmounted "
		"partition (mdadm --zero-superblock)",
		member->node);
}

bool raid_shadowed(const struct root_dir *root, const struct block_facts *partition)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };

	if (list_holders(root, partition->disk, &names) < 0)
		return false;
	for (size_t i = 0; i < names.count; i++) {
		struct block_facts holder;

		/* Its own partitions lie on a multipath disk, too. */
		if (!partition->mapped || block_read(root, names.items[i], &holder) < 0
			|| !holder.mapped)
			return true;
	}
	return false;
}

bool raid_in_sync(const struct root_dir *root, const struct block_list *stack, const char *name)
{
	AUTO_FREE char *file = text_format("dev-%s/state", name);

	for (size_t i = 0; file && i < stack->count; i++) {
		char state[64];

		if (read_md(root, stack->items[i].name, file, state))
			return strstr(state, "in_sync") != NULL;
	}
	return file != NULL;
}

bool raid_degraded(
	const struct root_dir *root, const struct block_list *stack, char ret[BLOCK_NAME_SIZE])
{
	for (size_t i = 0; i < stack->count; i++) {
		char count[64];

		if (!read_md(root, stack->items[i].name, "degraded", count)
			|| strcmp(count, "0") == 0)
			continue;
		memcpy(ret, stack->items[i].name, BLOCK_NAME_SIZE);
		return true;
	}
	return false;
}

/* 1, 0: this user may not, -errno */
static int read_boot_sector(
	const struct root_dir *root, const struct block_facts *facts, uint8_t ret[SECTOR])
{
	AUTO_CLOSE int fd = open_node(root, facts);

	if (fd < 0)
		return fd == -EACCES || fd == -EPERM ? 0 : fd;
	if (pread(fd, ret, SECTOR, 0) != SECTOR)
		return -EIO;
	ret[FAT16_STATE] = ret[FAT32_STATE] = 0;
	return 1;
}

/* What firmware reads at the beginning of `part` is what Linux reads at that of `top`. */
static bool begins_alike(
	const struct root_dir *root, const struct block_facts *top, const struct block_facts *part)
{
	uint8_t one[SECTOR], two[SECTOR];
	int r = read_boot_sector(root, top, one);

	if (r == 1)
		r = read_boot_sector(root, part, two);
	return r == 1 ? memcmp(one, two, SECTOR) == 0 : r == 0;
}

static bool is_better(
	const struct block_facts *a, const struct block_facts *b, const struct block_list *near)
{
	bool near_a = block_list_has_disk(near, a->disk),
	     near_b = block_list_has_disk(near, b->disk);

	if (block_is_esp(a) != block_is_esp(b))
		return block_is_esp(a);
	if (near_a != near_b)
		return near_a;
	/* The names of disks may change with each boot. */
	return memcmp(a->partuuid.bytes, b->partuuid.bytes, sizeof(a->partuuid.bytes)) < 0;
}

const struct block_facts *raid_part(
	const struct root_dir *root, const struct block_list *stack, const struct block_list *near)
{
	const struct block_facts *top = &stack->items[0], *best = NULL;

	if (stack->count == 0)
		return NULL;
	if (top->number > 0)
		return top;
	for (size_t i = 1; i < stack->count; i++) {
		const struct block_facts *part = &stack->items[i];

		if (part->number > 0 && part->has_partuuid && raid_in_sync(root, stack, part->name)
			&& begins_alike(root, top, part) && (!best || is_better(part, best, near)))
			best = part;
	}
	return best;
}
