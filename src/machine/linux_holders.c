/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/linux_private.h"

#define BLOCK_CLASS "/sys/class/block"

/*
 * Exclusive opening is refused for the sake of the device itself, of a partition of it, and of the
 * disk it is a partition of (bd_may_claim() in the kernel's block/bdev.c).
 */
static int family_of(const struct root_dir *root, const struct block_facts *facts,
	struct block_list *ret, struct error *error)
{
	AUTO_BLOCKS struct block_list partitions = { 0 }, family = { 0 };
	struct block_facts disk;
	int r = block_list_add(&family, facts, error);

	if (r == 0)
		r = block_list_partitions(root, &partitions, error);
	for (size_t i = 0; i < partitions.count && r == 0; i++) {
		if (facts->number == 0 && strcmp(partitions.items[i].disk, facts->name) == 0)
			r = block_list_add(&family, &partitions.items[i], error);
	}
	/* Mapped partitions share their disk with each other. */
	if (r == 0 && facts->number > 0 && !facts->mapped
		&& block_read(root, facts->disk, &disk) == 0)
		r = block_list_add(&family, &disk, error);
	if (r < 0)
		return r;
	*ret = family;
	family = (struct block_list){ 0 };
	return 0;
}

/* The member that the node at `path` stands for; NULL: none. */
static const struct block_facts *member_at(
	const struct root_dir *root, const struct block_list *family, const char *path)
{
	struct stat status;

	if (root_stat(root, path, &status) < 0 || !S_ISBLK(status.st_mode))
		return NULL;
	for (size_t i = 0; i < family->count; i++) {
		if (family->items[i].device == status.st_rdev)
			return &family->items[i];
	}
	return NULL;
}

/* device-mapper and md, with the name that people gave it */
static int add_stacked(const struct root_dir *root, const struct block_list *family,
	struct text_list *ret, struct error *error)
{
	int r = 0;

	for (size_t i = 0; i < family->count; i++) {
		AUTO_FREE char *path = text_format(
			BLOCK_CLASS "/%s/holders", family->items[i].name);
		AUTO_TEXT_LIST struct text_list names = { 0 };

		if (!path)
			return error_memory(error);
		if (root_list(root, path, &names) < 0)
			continue;
		for (size_t j = 0; j < names.count && r == 0; j++) {
			AUTO_FREE char *file = text_format(
				BLOCK_CLASS "/%s/dm/name", names.items[j]);
			AUTO_FREE char *name = NULL;

			if (!file)
				return error_memory(error);
			if (root_read_text(root, file, &name) == 0)
				name[strcspn(name, "\n")] = '\0';
			r = text_list_add(ret, error, "used by /dev/%s%s%s%s", names.items[j],
				name ? " (" : "", name ? name : "", name ? ")" : "");
		}
	}
	return r;
}

static int add_loops(const struct root_dir *root, const struct block_list *family,
	struct text_list *ret, struct error *error)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	int r = 0;

	if (root_list(root, BLOCK_CLASS, &names) < 0)
		return 0;
	for (size_t i = 0; i < names.count && r == 0; i++) {
		AUTO_FREE char *path = text_format(
			BLOCK_CLASS "/%s/loop/backing_file", names.items[i]);
		AUTO_FREE char *file = NULL;

		if (!path)
			return error_memory(error);
		if (root_read_text(root, path, &file) < 0)
			continue;
		file[strcspn(file, "\n")] = '\0';
		if (member_at(root, family, file))
			r = text_list_add(ret, error, "used by /dev/%s", names.items[i]);
	}
	return r;
}

static int add_mounts(const struct root_dir *root, const struct block_list *family,
	struct text_list *ret, struct error *error)
{
	AUTO_MOUNTS struct mount_list mounts = { 0 };
	int r = 0;

	if (mounts_read(root, &mounts, NULL) < 0)
		return 0;
	for (size_t i = 0; i < mounts.count && r == 0; i++) {
		for (size_t j = 0; j < family->count && r == 0; j++) {
			if (mounts.items[i].device == family->items[j].device)
				r = text_list_add(
					ret, error, "mounted at %s", mounts.items[i].point);
		}
	}
	return r;
}

static int add_swap(const struct root_dir *root, const struct block_list *family,
	struct text_list *ret, struct error *error)
{
	AUTO_FREE char *text = NULL;
	char *save = NULL;
	int r = 0;

	if (root_read_text(root, "/proc/swaps", &text) < 0)
		return 0;
	for (char *line = strtok_r(text, "\n", &save); line && r == 0;
		line = strtok_r(NULL, "\n", &save)) {
		line[strcspn(line, " \t")] = '\0';
		if (line[0] == '/' && member_at(root, family, line))
			r = text_list_add(ret, error, "used as swap");
	}
	return r;
}

static bool has_open(
	const struct root_dir *root, const struct block_list *family, const char *process)
{
	AUTO_FREE char *folder = text_format("/proc/%s/fd", process);
	AUTO_TEXT_LIST struct text_list names = { 0 };

	if (!folder || root_list(root, folder, &names) < 0)
		return false;
	for (size_t i = 0; i < names.count; i++) {
		AUTO_FREE char *path = text_format("%s/%s", folder, names.items[i]);

		if (path && member_at(root, family, path))
			return true;
	}
	return false;
}

static int add_processes(const struct root_dir *root, const struct block_list *family,
	struct text_list *ret, struct error *error)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	uint64_t number;
	int r = 0;

	if (root_list(root, "/proc", &names) < 0)
		return 0;
	for (size_t i = 0; i < names.count && r == 0; i++) {
		AUTO_FREE char *file = NULL, *command = NULL;

		if (!text_to_u64(names.items[i], UINT64_MAX, &number)
			|| number == (uint64_t)getpid() || !has_open(root, family, names.items[i]))
			continue;
		file = text_format("/proc/%s/comm", names.items[i]);
		if (!file)
			return error_memory(error);
		if (root_read_text(root, file, &command) == 0)
			command[strcspn(command, "\n")] = '\0';
		r = text_list_add(ret, error, "opened by process %s (%s)", names.items[i],
			command ? command : "?");
	}
	return r;
}

int holders_list(const struct root_dir *root, const struct block_facts *facts,
	struct text_list *ret, struct error *error)
{
	AUTO_BLOCKS struct block_list family = { 0 };
	int r = family_of(root, facts, &family, error);

	if (r == 0)
		r = add_stacked(root, &family, ret, error);
	if (r == 0)
		r = add_loops(root, &family, ret, error);
	if (r == 0)
		r = add_mounts(root, &family, ret, error);
	if (r == 0)
		r = add_swap(root, &family, ret, error);
	/* Many have a device open without holding it: only where nothing else explains it. */
	if (r == 0 && ret->count == 0)
		r = add_processes(root, &family, ret, error);
	return r;
}

int holders_list_loops(const struct root_dir *root, const struct block_facts *facts,
	struct text_list *ret, struct error *error)
{
	AUTO_BLOCKS struct block_list family = { 0 };
	int r = family_of(root, facts, &family, error);

	return r < 0 ? r : add_loops(root, &family, ret, error);
}
