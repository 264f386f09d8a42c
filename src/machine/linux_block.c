/* SPDX-License-Identifier: Apache-2.0 */
#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <systemd/sd-device.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/linux_private.h"

#define DEFAULT_LOGICAL_BLOCK 512

/* UEFI 2.10 table 5.7: EFI System Partition */
#define ESP_TYPE "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

DEFINE_CLEANUP(cleanup_probe, blkid_probe, blkid_free_probe)
DEFINE_CLEANUP(cleanup_device, sd_device *, sd_device_unref)

/* False: does not fit. */
static bool copy_name(char *to, size_t size, const char *from)
{
	size_t length = strlen(from);

	if (length == 0 || length >= size)
		return false;
	memcpy(to, from, length + 1);
	return true;
}

static bool read_number(
	const struct root_dir *root, const char *directory, const char *name, uint64_t *ret)
{
	AUTO_FREE char *path = text_format("%s/%s", directory, name);
	AUTO_FREE char *text = NULL;

	if (!path || root_read_text(root, path, &text) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return text_to_u64(text, UINT64_MAX, ret);
}

/* The disk of a partition is the folder its own lies in: …/block/vda/vda2. */
static bool read_disk(const struct root_dir *root, const char *name, char disk[BLOCK_NAME_SIZE])
{
	AUTO_FREE char *path = text_format("/sys/class/block/%s", name);
	AUTO_FREE char *target = NULL;
	char *slash;

	if (!path || root_read_link(root, path, &target) < 0)
		return false;
	slash = strrchr(target, '/');
	if (!slash)
		return false;
	*slash = '\0';
	slash = strrchr(target, '/');
	return copy_name(disk, BLOCK_NAME_SIZE, slash ? slash + 1 : target);
}

static void take_label(struct block_facts *facts, const char *label)
{
	facts->has_label = copy_name(facts->label, sizeof(facts->label), label);
}

/* One KEY=value line of a uevent file. False: it is a value that cannot be right. */
static bool take_uevent(struct block_facts *facts, const char *key, const char *value,
	unsigned int device[2], bool *partition)
{
	uint64_t number;

	if (strcmp(key, "MAJOR") == 0 || strcmp(key, "MINOR") == 0) {
		if (!text_to_u64(value, UINT32_MAX, &number))
			return false;
		device[key[1] == 'I'] = (unsigned int)number;
	} else if (strcmp(key, "DEVNAME") == 0) {
		return copy_name(facts->node, sizeof(facts->node), value);
	} else if (strcmp(key, "DEVTYPE") == 0) {
		*partition = strcmp(value, "partition") == 0;
	} else if (strcmp(key, "PARTN") == 0) {
		if (!text_to_u64(value, UINT32_MAX, &number))
			return false;
		facts->number = (uint32_t)number;
	} else if (strcmp(key, "PARTNAME") == 0) {
		/* The kernel shows what is not ASCII as '!' (block/partitions/efi.c). */
		if (!strchr(value, '!'))
			take_label(facts, value);
	} else if (strcmp(key, "PARTUUID") == 0) {
		facts->has_partuuid = guid_from_text(value, &facts->partuuid);
	}
	return true;
}

static bool take_uevents(
	struct block_facts *facts, char *text, unsigned int device[2], bool *partition)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, '=');

		if (!value)
			continue;
		*value++ = '\0';
		if (!take_uevent(facts, line, value, device, partition))
			return false;
	}
	return true;
}

static uint32_t logical_block(const struct root_dir *root, const char *disk)
{
	AUTO_FREE char *path = text_format("/sys/class/block/%s/queue", disk);
	uint64_t size;

	if (!path || !read_number(root, path, "logical_block_size", &size) || size < 512
		|| size > 1u << 20 || (size & (size - 1)) != 0)
		return DEFAULT_LOGICAL_BLOCK;
	return (uint32_t)size;
}

/* "part3-mpath-3600…": the third partition of the one device under it. */
static void read_mapped(const struct root_dir *root, struct block_facts *facts)
{
	AUTO_FREE char *path = text_format("/sys/class/block/%s/dm/uuid", facts->name);
	AUTO_FREE char *slaves = text_format("/sys/class/block/%s/slaves", facts->name);
	AUTO_TEXT_LIST struct text_list names = { 0 };
	AUTO_FREE char *text = NULL;
	uint64_t number;
	char *end;

	if (!path || !slaves || root_read_text(root, path, &text) < 0
		|| !text_starts_with(text, "part") || !(end = strchr(text, '-')))
		return;
	*end = '\0';
	if (!text_to_u64(text + 4, UINT32_MAX, &number) || number == 0
		|| root_list(root, slaves, &names) < 0 || names.count != 1
		|| !copy_name(facts->disk, sizeof(facts->disk), names.items[0]))
		return;
	facts->number = (uint32_t)number;
	facts->mapped = true;
}

int block_read(const struct root_dir *root, const char *name, struct block_facts *ret)
{
	AUTO_FREE char *directory = text_format("/sys/class/block/%s", name);
	AUTO_FREE char *path = text_format("/sys/class/block/%s/uevent", name);
	AUTO_FREE char *text = NULL;
	struct block_facts facts = { 0 };
	unsigned int device[2] = { 0 };
	bool partition = false;
	int r;

	if (!directory || !path)
		return -ENOMEM;
	r = root_read_text(root, path, &text);
	if (r < 0)
		return r == -ENOENT ? -ENODEV : r;
	if (!copy_name(facts.name, sizeof(facts.name), name)
		|| !take_uevents(&facts, text, device, &partition)
		|| (!facts.node[0] && !copy_name(facts.node, sizeof(facts.node), name)))
		return -ENODEV;
	facts.device = makedev(device[0], device[1]);
	if (!partition) {
		facts.number = 0;
		memcpy(facts.disk, facts.name, sizeof(facts.disk));
		read_mapped(root, &facts);
	} else if (!read_disk(root, name, facts.disk)) {
		return -ENODEV;
	}
	if (partition && facts.number == 0) { /* PARTN is as old as PARTNAME, not older */
		uint64_t number;

		if (!read_number(root, directory, "partition", &number) || number > UINT32_MAX)
			return -ENODEV;
		facts.number = (uint32_t)number;
	}
	read_number(root, directory, "start", &facts.start);
	read_number(root, directory, "size", &facts.size);
	facts.logical_block = logical_block(root, facts.disk);
	*ret = facts;
	return 0;
}

int block_read_device(const struct root_dir *root, dev_t device, struct block_facts *ret)
{
	AUTO_FREE char *path = text_format("/sys/dev/block/%u:%u", major(device), minor(device));
	AUTO_FREE char *target = NULL;
	const char *slash;
	int r;

	if (!path)
		return -ENOMEM;
	r = root_read_link(root, path, &target);
	if (r < 0)
		return r == -ENOENT ? -ENODEV : r;
	slash = strrchr(target, '/');
	return block_read(root, slash ? slash + 1 : target, ret);
}

bool block_is_esp(const struct block_facts *facts)
{
	struct guid type;

	return facts->has_type && guid_from_text(ESP_TYPE, &type)
	       && guid_equal(&facts->type, &type);
}

int block_list_add(struct block_list *list, const struct block_facts *facts, struct error *error)
{
	struct block_facts *grown = reallocarray(list->items, list->count + 1, sizeof(*grown));

	if (!grown)
		return error_memory(error);
	list->items = grown;
	grown[list->count++] = *facts;
	return 0;
}

void block_list_done(struct block_list *list)
{
	free(list->items);
	*list = (struct block_list){ 0 };
}

bool block_list_has(const struct block_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->items[i].name, name) == 0)
			return true;
	}
	return false;
}

bool block_list_has_disk(const struct block_list *list, const char *disk)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->items[i].disk, disk) == 0)
			return true;
	}
	return false;
}

int block_list_partitions(const struct root_dir *root, struct block_list *ret, struct error *error)
{
	AUTO_BLOCKS struct block_list list = { 0 };
	AUTO_TEXT_LIST struct text_list names = { 0 };
	int r = root_list(root, "/sys/class/block", &names);

	if (r < 0)
		return error_failed(error, -r,
			"cannot list %s/sys/class/block: %s; is /sys mounted?", root->text,
			strerror(-r));
	for (size_t i = 0; i < names.count; i++) {
		struct block_facts facts;

		/* Devices come and go while we look: one that is gone is no error. */
		if (block_read(root, names.items[i], &facts) < 0 || facts.number == 0)
			continue;
		r = block_list_add(&list, &facts, error);
		if (r < 0)
			return r;
	}
	*ret = list;
	list = (struct block_list){ 0 };
	return 0;
}

static void take_texts(
	struct block_facts *facts, const char *label, const char *partuuid, const char *type)
{
	if (!facts->has_label && label)
		take_label(facts, label);
	if (!facts->has_partuuid && partuuid)
		facts->has_partuuid = guid_from_text(partuuid, &facts->partuuid);
	if (!facts->has_type && type)
		facts->has_type = guid_from_text(type, &facts->type);
}

static bool is_unknown(const struct block_facts *facts, const char *disk)
{
	return strcmp(facts->disk, disk) == 0
	       && !(facts->has_label && facts->has_partuuid && facts->has_type);
}

/* sysfs and the table may disagree while it is being changed. */
static bool is_entry_of(struct block_facts *facts, blkid_partition entry)
{
	if (!facts->mapped)
		return (uint64_t)blkid_partition_get_start(entry) == facts->start;
	if ((uint64_t)blkid_partition_get_size(entry) != facts->size)
		return false;
	facts->start = (uint64_t)blkid_partition_get_start(entry); /* sysfs does not tell it */
	return true;
}

/* Needs read access to the disk. */
static void probe_gpt(const struct root_dir *root, struct block_list *list, const char *disk)
{
	CLEANUP(cleanup_probe) blkid_probe probe = blkid_new_probe();
	AUTO_CLOSE int fd = -1;
	struct block_facts whole;
	blkid_partlist partitions;

	if (!probe || block_read(root, disk, &whole) < 0)
		return;
	AUTO_FREE char *node = text_format("/dev/%s", whole.node);
	if (!node)
		return;
	fd = root_open(root, node, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0 || blkid_probe_set_device(probe, fd, 0, 0) != 0)
		return;
	blkid_probe_set_sectorsize(probe, whole.logical_block);
	blkid_probe_enable_superblocks(probe, 0);
	blkid_probe_enable_partitions(probe, 1);
	partitions = blkid_probe_get_partitions(probe);
	if (!partitions)
		return;

	for (size_t i = 0; i < list->count; i++) {
		struct block_facts *facts = &list->items[i];
		blkid_partition entry;

		if (!is_unknown(facts, disk))
			continue;
		entry = blkid_partlist_get_partition_by_partno(partitions, (int)facts->number);
		if (entry && is_entry_of(facts, entry))
			take_texts(facts, blkid_partition_get_name(entry),
				blkid_partition_get_uuid(entry),
				blkid_partition_get_type_string(entry));
	}
}

/* Readable by everyone, where there is udev. */
static void probe_udev(struct block_facts *facts)
{
	CLEANUP(cleanup_device) sd_device *device = NULL;
	const char *label = NULL, *partuuid = NULL, *type = NULL;

	if (sd_device_new_from_devnum(&device, 'b', facts->device) < 0)
		return;
	sd_device_get_property_value(device, "ID_PART_ENTRY_UUID", &partuuid);
	sd_device_get_property_value(device, "ID_PART_ENTRY_TYPE", &type);
	/* Its names are encoded (\x20): only those that cannot be are taken. */
	sd_device_get_property_value(device, "ID_PART_ENTRY_NAME", &label);
	take_texts(facts, label && !strchr(label, '\\') ? label : NULL, partuuid, type);
}

void block_list_probe(const struct root_dir *root, struct block_list *list, const char *disk)
{
	probe_gpt(root, list, disk);
	for (size_t i = 0; i < list->count && !root->confined; i++) {
		if (is_unknown(&list->items[i], disk))
			probe_udev(&list->items[i]);
	}
}
