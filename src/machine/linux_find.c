/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/linux_private.h"

#define STACK_MAX 256 /* devices under one file system */

/* The block device that a file lies on; false: on none (major 0). */
static bool device_of(const struct root_dir *root, const char *path, dev_t *ret)
{
	struct stat status;

	if (root_stat(root, path, &status) < 0)
		return false;
	*ret = S_ISBLK(status.st_mode) ? status.st_rdev : status.st_dev;
	return major(*ret) != 0;
}

/* Puts the devices directly under `facts` on the stack. */
static int push_below(const struct root_dir *root, const struct block_facts *facts,
	struct block_list *stack, struct error *error)
{
	AUTO_FREE char *slaves = text_format("/sys/class/block/%s/slaves", facts->disk);
	AUTO_FREE char *loop = text_format("/sys/class/block/%s/loop/backing_file", facts->disk);
	AUTO_FREE char *file = NULL;
	AUTO_TEXT_LIST struct text_list names = { 0 };
	struct block_facts below;
	dev_t device;
	int r = 0;

	if (!slaves || !loop)
		return error_memory(error);
	if (root_list(root, slaves, &names) < 0)
		names = (struct text_list){ 0 };
	for (size_t i = 0; i < names.count && r == 0; i++) {
		if (!block_list_has(stack, names.items[i])
			&& block_read(root, names.items[i], &below) == 0)
			r = block_list_add(stack, &below, error);
	}
	if (r < 0 || root_read_text(root, loop, &file) < 0)
		return r;
	file[strcspn(file, "\n")] = '\0';
	if (device_of(root, file, &device) && block_read_device(root, device, &below) == 0
		&& !block_list_has(stack, below.name))
		r = block_list_add(stack, &below, error);
	return r;
}

int find_stack(
	const struct root_dir *root, dev_t device, struct block_list *stack, struct error *error)
{
	struct block_facts facts;
	size_t next = stack->count;
	int r;

	if (block_read_device(root, device, &facts) < 0 || block_list_has(stack, facts.name))
		return 0;
	r = block_list_add(stack, &facts, error);
	for (; r == 0 && next < stack->count && next < STACK_MAX; next++) {
		facts = stack->items[next]; /* a copy: the array may move */
		r = push_below(root, &facts, stack, error);
	}
	return r;
}

/* overlay: every lower layer may be a mounted image. */
static int stack_layers(const struct root_dir *root, const struct mount_entry *entry,
	struct block_list *stack, struct error *error)
{
	AUTO_FREE char *layers = mount_option(entry->super_options, "lowerdir");
	char *save = NULL;
	dev_t device;
	int r = 0;

	if (!layers)
		return 0;
	for (char *layer = strtok_r(layers, ":", &save); layer && r == 0;
		layer = strtok_r(NULL, ":", &save)) {
		if (layer[0] == '/' && device_of(root, layer, &device))
			r = find_stack(root, device, stack, error);
	}
	return r;
}

/* btrfs and overlay have device numbers of their own: what they are made of is in mountinfo. */
static int stack_anonymous(const struct root_dir *root, const char *point, struct block_list *stack,
	struct error *error)
{
	AUTO_MOUNTS struct mount_list mounts = { 0 };
	const struct mount_entry *entry;
	dev_t device;

	if (mounts_read(root, &mounts, NULL) < 0)
		return 0;
	entry = mounts_at(&mounts, point);
	if (!entry)
		return 0;
	if (strcmp(entry->type, "overlay") == 0)
		return stack_layers(root, entry, stack, error);
	if (text_starts_with(entry->source, "/dev/") && device_of(root, entry->source, &device))
		return find_stack(root, device, stack, error);
	return 0;
}

int find_root_stack(const struct root_dir *root, struct block_list *ret, struct error *error)
{
	static const char *const points[] = { "/", "/usr" };
	AUTO_BLOCKS struct block_list stack = { 0 };
	dev_t device;
	int r;

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		r = device_of(root, points[i], &device)
			    ? find_stack(root, device, &stack, error)
			    : stack_anonymous(root, points[i], &stack, error);
		if (r < 0)
			return r;
	}
	*ret = stack;
	stack = (struct block_list){ 0 };
	return 0;
}

bool find_holds(const struct block_list *stack, const struct block_facts *facts)
{
	return block_list_has(stack, facts->name)
	       || (facts->number == 0 && block_list_has_disk(stack, facts->name));
}

/* What PARTLABEL=… or PARTUUID=… asks for, or a type. */
struct wanted {
	enum { BY_LABEL, BY_PARTUUID, BY_TYPE } by;
	const char *label;
	struct guid guid;
};

static int wanted_from_text(const char *device, struct wanted *ret, struct error *error)
{
	struct wanted wanted = { 0 };

	if (text_starts_with(device, "PARTLABEL=") && device[10])
		wanted = (struct wanted){ .by = BY_LABEL, .label = device + 10 };
	else if (text_starts_with(device, "PARTUUID=") && guid_from_text(device + 9, &wanted.guid))
		wanted.by = BY_PARTUUID;
	else
		return error_set(error, ERROR_USAGE, EINVAL,
			"\"%s\" names no partition; use PARTLABEL=label, PARTUUID=guid or a path",
			device);
	*ret = wanted;
	return 0;
}

static bool is_known(const struct wanted *wanted, const struct block_facts *facts)
{
	return wanted->by == BY_LABEL      ? facts->has_label
	       : wanted->by == BY_PARTUUID ? facts->has_partuuid
					   : facts->has_type;
}

static bool is_wanted(const struct wanted *wanted, const struct block_facts *facts)
{
	if (!is_known(wanted, facts))
		return false;
	return wanted->by == BY_LABEL      ? strcmp(facts->label, wanted->label) == 0
	       : wanted->by == BY_PARTUUID ? guid_equal(&facts->partuuid, &wanted->guid)
					   : block_is_esp(facts);
}

/* A choice among devices: by rank (0 is the best), and only one of each may be. */
struct choice {
	struct block_facts best;
	bool any;
	unsigned int rank;
	size_t equals;
	char names[256]; /* of the equals, for the message */
};

static void choice_offer(struct choice *choice, const struct block_facts *facts, unsigned int rank)
{
	size_t used;

	if (choice->any && rank > choice->rank)
		return;
	if (!choice->any || rank < choice->rank)
		*choice = (struct choice){ .any = true, .rank = rank };
	choice->best = *facts;
	choice->equals++;
	used = strlen(choice->names);
	if (used + BLOCK_NAME_SIZE + 8 < sizeof(choice->names)) {
		char *p = stpcpy(choice->names + used, used > 0 ? ", /dev/" : "/dev/");

		strcpy(p, facts->node);
	}
}

/* Where to look first. Lower ranks are not even opened when a higher one has it. */
enum rank { RANK_BESIDE, RANK_ROOT, RANK_OTHER, RANK_COUNT };

static enum rank rank_of(const struct block_list *stack, const struct block_list *beside,
	const struct block_facts *facts)
{
	if (block_list_has_disk(beside, facts->disk))
		return RANK_BESIDE;
	return block_list_has_disk(stack, facts->disk) ? RANK_ROOT : RANK_OTHER;
}

/* Opens the disk of partition `i` if sysfs does not tell enough of one of its partitions. */
static void probe_for(
	const struct root_dir *root, const struct wanted *wanted, struct block_list *list, size_t i)
{
	bool unknown = false;

	for (size_t j = 0; j < list->count; j++) {
		if (strcmp(list->items[j].disk, list->items[i].disk) != 0)
			continue;
		if (j < i)
			return; /* it was its turn before */
		unknown |= !is_known(wanted, &list->items[j]);
	}
	if (unknown)
		block_list_probe(root, list, list->items[i].disk);
}

int find_partition(const struct root_dir *root, const struct block_list *stack, const char *device,
	struct block_facts *ret, struct error *error)
{
	AUTO_BLOCKS struct block_list list = { 0 };
	const struct block_list none = { 0 };
	struct choice choice = { 0 };
	struct wanted wanted;
	int r = wanted_from_text(device, &wanted, error);

	if (r < 0)
		return r;
	r = block_list_partitions(root, &list, error);
	if (r < 0)
		return r;
	for (enum rank rank = RANK_ROOT; rank < RANK_COUNT && !choice.any; rank++) {
		for (size_t i = 0; i < list.count; i++) {
			if (rank_of(stack, &none, &list.items[i]) != rank
				|| raid_shadowed(root, &list.items[i]))
				continue;
			probe_for(root, &wanted, &list, i);
			if (is_wanted(&wanted, &list.items[i]))
				choice_offer(&choice, &list.items[i], 0);
		}
	}
	if (!choice.any)
		return error_failed(error, ENODEV,
			"no partition with %s on any disk (%zu partitions seen); check the "
			"configured device and the partition table",
			device, list.count);
	if (choice.equals > 1)
		return error_failed(error, ENOTUNIQ,
			"%zu partitions have %s (%s) and none can be preferred; rename one or "
			"configure its path",
			choice.equals, device, choice.names);
	*ret = choice.best;
	return 0;
}

static bool is_mounted(const struct mount_list *mounts, dev_t device)
{
	for (size_t i = 0; i < mounts->count; i++) {
		if (mounts->items[i].device == device)
			return true;
	}
	return false;
}

/* Where no type can be learnt (no access to the disk, no udev), its usual place tells the ESP. */
static bool is_mounted_as_esp(const struct mount_list *mounts, dev_t device)
{
	static const char *const points[] = { "/efi", "/boot/efi", "/boot", "/esp" };

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		const struct mount_entry *entry = mounts_at(mounts, points[i]);

		if (entry && entry->device == device && strcmp(entry->type, "vfat") == 0)
			return true;
	}
	return false;
}

/* What `beside` lies on, through device-mapper and the like; nothing when that cannot be told. */
static int stack_of(const struct root_dir *root, const struct block_list *stack, const char *beside,
	struct block_list *ret, struct error *error)
{
	struct block_facts facts;
	dev_t device;

	if (!beside)
		return 0;
	if (beside[0] == '/') {
		if (!device_of(root, beside, &device))
			return 0;
	} else {
		if (find_partition(root, stack, beside, &facts, NULL) < 0)
			return 0;
		device = facts.device;
	}
	return find_stack(root, device, ret, error);
}

/* What is seen of the ESPs while one is chosen. */
struct esps {
	struct choice choice;
	struct block_list seen; /* offered before: an array has several members */
	size_t unknown;         /* partitions whose type is not known */
	struct block_facts idle, unclear;
	bool has_idle, has_unclear;
};

static void esps_done(struct esps *esps)
{
	block_list_done(&esps->seen);
}

static int offer_esp(const struct root_dir *root, const struct mount_list *mounts,
	const struct block_facts *facts, struct esps *esps, struct error *error)
{
	struct block_facts top;
	enum raid_use use = raid_use_of(root, facts, &top);

	esps->unknown += !facts->has_type;
	if (facts->has_type ? !block_is_esp(facts) : !is_mounted_as_esp(mounts, top.device))
		return 0;
	if (use == RAID_PLAIN && raid_is_member(root, facts))
		use = RAID_IDLE;
	if (use == RAID_IDLE || use == RAID_UNCLEAR) {
		*(use == RAID_IDLE ? &esps->idle : &esps->unclear) = *facts;
		*(use == RAID_IDLE ? &esps->has_idle : &esps->has_unclear) = true;
		return 0;
	}
	if (block_list_has(&esps->seen, top.name))
		return 0;
	choice_offer(&esps->choice, &top, !is_mounted(mounts, top.device));
	return block_list_add(&esps->seen, &top, error);
}

static int no_esp(const struct esps *esps, size_t count, struct error *error)
{
	if (esps->has_idle)
		return raid_member_failed(&esps->idle, error);
	if (esps->has_unclear)
		return error_failed(error, EBUSY,
			"several devices lie on the EFI System Partition /dev/%s; mount the right "
			"one and set [esp] mount",
			esps->unclear.node);
	if (esps->unknown > 0 && geteuid() != 0)
		return error_failed(error, EACCES,
			"cannot find the EFI System Partition: this user may not read the "
			"partition tables; run as root");
	return error_failed(error, ENODEV,
		"no EFI System Partition found (%zu partitions seen); mount it and set "
		"[esp] mount",
		count);
}

int find_esp(const struct root_dir *root, const struct block_list *stack,
	const struct mount_list *mounts, const char *beside, struct block_facts *ret,
	struct error *error)
{
	AUTO_BLOCKS struct block_list list = { 0 }, disks = { 0 };
	const struct wanted wanted = { .by = BY_TYPE };
	CLEANUP(esps_done) struct esps esps = { 0 };
	int r = block_list_partitions(root, &list, error);

	if (r == 0)
		r = stack_of(root, stack, beside, &disks, error);
	for (enum rank rank = RANK_BESIDE; rank < RANK_COUNT && !esps.choice.any; rank++) {
		for (size_t i = 0; i < list.count && r == 0; i++) {
			if (rank_of(stack, &disks, &list.items[i]) != rank
				|| raid_shadowed(root, &list.items[i]))
				continue;
			probe_for(root, &wanted, &list, i);
			r = offer_esp(root, mounts, &list.items[i], &esps, error);
		}
	}
	if (r < 0)
		return r;
	if (!esps.choice.any)
		return no_esp(&esps, list.count, error);
	if (esps.choice.equals > 1)
		return error_failed(error, ENOTUNIQ,
			"%zu EFI System Partitions (%s) and none can be preferred; set [esp] mount",
			esps.choice.equals, esps.choice.names);
	*ret = esps.choice.best;
	return 0;
}

int find_twin(const struct root_dir *root, const struct block_facts *facts,
	const struct block_list *stack, struct block_facts *ret, bool *ret_found,
	struct error *error)
{
	const struct wanted wanted = { .by = BY_PARTUUID, .guid = facts->partuuid };
	AUTO_BLOCKS struct block_list list = { 0 };
	int r = block_list_partitions(root, &list, error);

	if (r < 0)
		return r;
	*ret_found = false;
	for (size_t i = 0; i < list.count && !*ret_found; i++) {
		probe_for(root, &wanted, &list, i);
		if (list.items[i].device == facts->device || !is_wanted(&wanted, &list.items[i])
			|| block_list_has(stack, list.items[i].disk)
			/* An old copy, if it is not in sync. */
			|| (block_list_has(stack, list.items[i].name)
				&& raid_in_sync(root, stack, list.items[i].name)))
			continue;
		*ret = list.items[i];
		*ret_found = true;
	}
	return 0;
}
