/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/guid.h"
#include "base/text.h"
#include "machine/linux_partition.h"
#include "machine/linux_private.h"

/* What PARTLABEL=…, PARTUUID=… or a path leads to. */
struct place {
	char *path;
	struct block_facts facts; /* of the running machine's block devices */
	bool has_facts;
};

static void place_done(struct place *place)
{
	free(place->path);
}

#define AUTO_PLACE CLEANUP(place_done)

static void cleanup_partition(struct partition **partition)
{
	partition_free(*partition);
}

/* Under --root the links stand for partitions. */
static char *path_in_tree(const char *device)
{
	char text[GUID_TEXT_SIZE];
	struct guid guid;

	if (text_starts_with(device, "PARTLABEL=") && device[10] && !strchr(device + 10, '/'))
		return text_format("/dev/disk/by-partlabel/%s", device + 10);
	if (text_starts_with(device, "PARTUUID=") && guid_from_text(device + 9, &guid)) {
		guid_to_text(&guid, text);
		return text_format("/dev/disk/by-partuuid/%s", text);
	}
	return NULL;
}

static int place_in_tree(const char *device, struct place *ret, struct error *error)
{
	ret->path = device[0] == '/' ? strdup(device) : path_in_tree(device);
	if (!ret->path)
		return error_set(error, ERROR_USAGE, EINVAL,
			"\"%s\" names no partition; use PARTLABEL=label, PARTUUID=guid or a path",
			device);
	return 0;
}

static int place_of_path(
	const struct root_dir *root, const char *path, struct place *ret, struct error *error)
{
	struct stat status;
	int r = root_stat(root, path, &status);

	ret->path = strdup(path);
	if (!ret->path)
		return error_memory(error);
	if (r < 0)
		return error_failed(error, r == -ENOENT ? ENODEV : -r,
			"cannot find the partition %s: %s", path, strerror(-r));
	ret->has_facts = S_ISBLK(status.st_mode)
			 && block_read_device(root, status.st_rdev, &ret->facts) == 0;
	return 0;
}

static int find_place(const struct root_dir *root, const struct block_list *stack,
	const char *device, struct place *ret, struct error *error)
{
	int r;

	if (root->confined)
		return place_in_tree(device, ret, error);
	if (device[0] == '/')
		return place_of_path(root, device, ret, error);
	r = find_partition(root, stack, device, &ret->facts, error);
	if (r < 0)
		return r;
	ret->has_facts = true;
	ret->path = text_format("/dev/%s", ret->facts.node);
	return ret->path ? 0 : error_memory(error);
}

static int in_use(const struct root_dir *root, const char *device, const struct place *place,
	const struct text_list *holders, struct error *error)
{
	char text[512] = "";
	size_t used = 0;

	for (size_t i = 0; i < holders->count && used < sizeof(text); i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s",
			i > 0 ? ", " : "", holders->items[i]);
	return error_failed(error, EBUSY,
		"%s (%s%s) is in use (%s); release it before installing there", device, root->text,
		place->path,
		text[0] ? text : "by what cannot be seen from here, as in another mount namespace");
}

static int open_failed(const struct root_dir *root, const char *device, const struct place *place,
	int number, struct error *error)
{
	if (number == EBUSY) {
		AUTO_TEXT_LIST struct text_list holders = { 0 };

		if (place->has_facts)
			holders_list(root, &place->facts, &holders, NULL);
		return in_use(root, device, place, &holders, error);
	}
	if (number == ENOENT || number == ENXIO)
		return error_failed(
			error, ENODEV, "%s: there is no %s%s", device, root->text, place->path);
	return error_failed(error, number, "cannot open %s (%s%s): %s%s", device, root->text,
		place->path, strerror(number),
		number == EACCES || number == EPERM ? "; run as root" : "");
}

static int not_a_partition(const char *device, struct error *error)
{
	return error_failed(error, EINVAL,
		"%s is neither a block device nor a regular file; check the configuration", device);
}

static int measure(int fd, const char *device, const struct place *place, uint64_t *ret_size,
	struct error *error)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return error_failed(error, errno, "cannot look at %s: %s", device, strerror(errno));
	if (S_ISREG(status.st_mode)) {
		*ret_size = (uint64_t)status.st_size;
		return 0;
	}
	if (!S_ISBLK(status.st_mode))
		return not_a_partition(device, error);
	/* The node was made, or the path changed, since it was looked up. */
	if (place->has_facts && status.st_rdev != place->facts.device)
		return error_failed(error, ENODEV,
			"%s (%s) is now device %u:%u instead of %u:%u; try again", device,
			place->path, major(status.st_rdev), minor(status.st_rdev),
			major(place->facts.device), minor(place->facts.device));
	if (ioctl(fd, BLKGETSIZE64, ret_size) < 0)
		return error_failed(
			error, errno, "cannot tell the size of %s: %s", device, strerror(errno));
	return 0;
}

/* Nothing but block devices and regular files is opened: no FIFO, no terminal. */
static int open_place(const struct root_dir *root, const char *device, const struct place *place,
	int flags, int *ret_fd, struct error *error)
{
	struct stat status;
	int fd, r = root_stat(root, place->path, &status);

	if (r < 0)
		return open_failed(root, device, place, -r, error);
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return not_a_partition(device, error);
	if (S_ISREG(status.st_mode))
		flags &= ~O_EXCL; /* means something for devices only */
	fd = root_open(root, place->path, flags, 0);
	if (fd < 0)
		return open_failed(root, device, place, -fd, error);
	*ret_fd = fd;
	return 0;
}

static int check_loops(const struct root_dir *root, const char *device, const struct place *place,
	struct error *error)
{
	AUTO_TEXT_LIST struct text_list loops = { 0 };
	int r = place->has_facts ? holders_list_loops(root, &place->facts, &loops, error) : 0;

	return r < 0 || loops.count == 0 ? r : in_use(root, device, place, &loops, error);
}

/* A second descriptor, past the page cache; -1 where the file system has no such thing. */
static int open_direct(int fd, bool writable)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, (writable ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
}

int linux_partition_open(struct machine *machine, const char *device, enum partition_mode mode,
	struct partition **ret, struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	CLEANUP(cleanup_partition) struct partition *partition = NULL;
	AUTO_BLOCKS struct block_list stack = { 0 };
	AUTO_PLACE struct place place = { 0 };
	int flags = mode == PARTITION_WRITE ? O_RDWR | O_EXCL : O_RDONLY, r;

	r = root->confined ? 0 : find_root_stack(root, &stack, error);
	if (r == 0)
		r = find_place(root, &stack, device, &place, error);
	if (r < 0)
		return r;
	if (mode == PARTITION_WRITE && place.has_facts && find_holds(&stack, &place.facts))
		return error_failed(error, EBUSY,
			"%s (%s) holds the running system and is never written to; choose the "
			"other slot",
			device, place.path);
	partition = partition_new(device);
	if (!partition)
		return error_memory(error);
	r = open_place(root, device, &place, flags, &partition->fd, error);
	if (r == 0)
		r = measure(partition->fd, device, &place, &partition->size, error);
	if (r == 0 && mode == PARTITION_WRITE)
		r = check_loops(root, device, &place, error);
	if (r < 0)
		return r;
	partition->writable = mode == PARTITION_WRITE;
	partition->direct = open_direct(partition->fd, partition->writable);
	*ret = TAKE(partition);
	return 0;
}

void linux_partition_close(struct machine *machine, struct partition *partition)
{
	(void)machine;
	partition_free(partition);
}

int linux_partition_holds_root(
	struct machine *machine, const char *device, bool *ret, struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	AUTO_BLOCKS struct block_list stack = { 0 };
	AUTO_PLACE struct place place = { 0 };
	int r;

	if (root->confined) { /* nothing runs from there */
		*ret = false;
		return 0;
	}
	r = find_root_stack(root, &stack, error);
	if (r == 0)
		r = find_place(root, &stack, device, &place, error);
	if (r == 0)
		*ret = place.has_facts && find_holds(&stack, &place.facts);
	return r;
}
