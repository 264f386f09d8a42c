/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Block devices as /sys and /dev show them, below a tree. Include it after cmocka. */

#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/error.h"
#include "linux_gpt_image.h"
#include "linux_tree.h"
#include "machine/linux_private.h"

#define ESP_TYPE   "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
#define DATA_TYPE  "0fc63daf-8483-4772-8e79-3d69d8477de4"
#define SLOT_LABEL "METROPOLIS-SYSTEM-A"

struct fixture {
	struct tree tree;
	struct root_dir root;
	struct error error;
};

static inline void fixture_make(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	tree_make(&f->tree);
	f->root = (struct root_dir){ f->tree.fd, true, f->tree.path };
	tree_folder(&f->tree, "sys/class/block");
	tree_folder(&f->tree, "sys/dev/block");
	tree_folder(&f->tree, "dev");
}

/* A block device in sysfs as Linux shows it. disk NULL: it is one. */
static inline void add_device(struct fixture *f, const char *disk, const char *name,
	unsigned int major, unsigned int minor, const char *uevent)
{
	char path[512], target[256], text[1024];

	snprintf(target, sizeof(target), "sys/devices/pci0/block/%s%s%s", disk ? disk : "",
		disk ? "/" : "", name);
	snprintf(path, sizeof(path), "%s/uevent", target);
	snprintf(text, sizeof(text), "MAJOR=%u\nMINOR=%u\nDEVNAME=%s\nDEVTYPE=%s\nDISKSEQ=1\n%s",
		major, minor, name, disk ? "partition" : "disk", uevent);
	tree_text(&f->tree, path, text);
	snprintf(path, sizeof(path), "sys/class/block/%s", name);
	snprintf(text, sizeof(text), "../../%s", target + 4);
	tree_link(&f->tree, text, path);
	snprintf(path, sizeof(path), "sys/dev/block/%u:%u", major, minor);
	tree_link(&f->tree, text, path);
}

static inline void add_text(struct fixture *f, const char *name, const char *file, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "sys/class/block/%s/%s", name, file);
	tree_make_parents(&f->tree, path);
	tree_text(&f->tree, path, text);
}

static inline void add_extent(
	struct fixture *f, const char *name, const char *start, const char *size)
{
	add_text(f, name, "start", start);
	add_text(f, name, "size", size);
}

static inline void add_slave(struct fixture *f, const char *name, const char *slave)
{
	char path[256];

	snprintf(path, sizeof(path), "sys/class/block/%s/slaves/%s", name, slave);
	tree_link(&f->tree, "/nowhere", path);
}

static inline void add_disk_image(struct fixture *f, const char *name, uint32_t sector,
	const struct gpt_partition *partitions, size_t count)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "dev/%s", name);
	tree_text(&f->tree, path, "");
	fd = openat(f->tree.fd, path, O_RDWR | O_CLOEXEC);
	gpt_write(fd, 8 << 20, sector, partitions, count);
	close(fd);
}

static inline void add_esp_disk(struct fixture *f, const char *disk, unsigned int minor,
	const struct gpt_partition *partitions)
{
	char name[32];

	add_device(f, NULL, disk, 8, minor, "");
	for (unsigned int n = 1; n <= 2; n++) {
		char uevent[32], start[32];

		snprintf(name, sizeof(name), "%s%u", disk, n);
		snprintf(uevent, sizeof(uevent), "PARTN=%u\n", n);
		snprintf(start, sizeof(start), "%u\n", 64 * n);
		add_device(f, disk, name, 8, minor + n, uevent);
		add_extent(f, name, start, "64\n");
	}
	add_disk_image(f, disk, 512, partitions, 2);
}

static inline int seek_esp(struct fixture *f, dev_t below_root, const char *mountinfo,
	const char *beside, struct block_facts *ret)
{
	AUTO_BLOCKS struct block_list stack = { 0 };
	AUTO_MOUNTS struct mount_list mounts = { 0 };

	assert_int_equal(mounts_parse(mountinfo, &mounts, NULL), 0);
	if (below_root)
		assert_int_equal(find_stack(&f->root, below_root, &stack, &f->error), 0);
	return find_esp(&f->root, &stack, &mounts, beside, ret, &f->error);
}
