/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "format/fatname.h"
#include "machine/linux_esp.h"
#include "machine/linux_private.h"

DEFINE_CLEANUP(cleanup_esp, struct esp *, esp_free)

void esp_free(struct esp *esp)
{
	if (!esp)
		return;
	if (esp->directory >= 0)
		close(esp->directory);
	if (esp->device >= 0)
		close(esp->device);
	if (esp->mount >= 0)
		close(esp->mount);
	block_list_done(&esp->stack);
	free(esp->where);
	free(esp);
}

static int open_directory(const struct root_dir *root, const char *path)
{
	return root_open(root, path, O_RDONLY | O_DIRECTORY, 0);
}

static int open_failed(
	const struct root_dir *root, const char *path, int number, struct error *error)
{
	if (number == EACCES || number == EPERM)
		return error_failed(error, EACCES,
			"the ESP at %s%s is not readable for this user; run as root", root->text,
			path);
	return error_failed(error, ENODEV, "cannot open the ESP at %s%s: %s; check [esp] mount",
		root->text, path, strerror(number));
}

/* -ENOENT: it does not. */
static int holds_efi(int directory)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	const char *name = NULL, *other = NULL;
	AUTO_CLOSE int fd = -1;
	int r = directory_list(directory, &names);

	if (r < 0)
		return r;
	fatname_find(&names, "EFI", &name, &other);
	fd = openat(directory, name ? name : "EFI", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : 0;
}

/* Under --root it is a folder. */
static int open_in_tree(
	const struct root_dir *root, const char *configured, struct esp *esp, struct error *error)
{
	static const char *const places[] = { "/efi", "/boot/efi", "/boot", "/esp" };

	if (configured) {
		esp->directory = open_directory(root, configured);
		if (esp->directory < 0)
			return open_failed(root, configured, -esp->directory, error);
		esp->where = text_format("%s%s", root->text, configured);
		return esp->where ? 0 : error_memory(error);
	}
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		AUTO_CLOSE int fd = open_directory(root, places[i]);
		int r = fd < 0 ? fd : holds_efi(fd);

		if (r == -EACCES)
			return open_failed(root, places[i], EACCES, error);
		if (r == -EMFILE || r == -ENOMEM)
			return error_failed(error, -r, "cannot open the ESP at %s%s: %s",
				root->text, places[i], strerror(-r));
		if (r < 0)
			continue;
		esp->directory = take_fd(&fd);
		esp->where = text_format("%s%s", root->text, places[i]);
		return esp->where ? 0 : error_memory(error);
	}
	return error_failed(error, ENODEV,
		"no ESP below %s: none of /efi, /boot/efi, /boot and /esp holds EFI/; set [esp] "
		"mount",
		root->text);
}

static int open_configured(
	const struct root_dir *root, const char *path, struct esp *esp, struct error *error)
{
	AUTO_BLOCKS struct block_list stack = { 0 };
	struct stat status;
	int r;

	esp->where = strdup(path);
	if (!esp->where)
		return error_memory(error);
	esp->directory = open_directory(root, path);
	if (esp->directory < 0)
		return open_failed(root, path, -esp->directory, error);
	if (fstat(esp->directory, &status) < 0)
		return open_failed(root, path, errno, error);
	/* Else the boot files would go into a folder that firmware never sees. */
	if (!mount_is_fat(esp->directory))
		return error_failed(error, ENODEV,
			"%s ([esp] mount) is no FAT file system; is the ESP mounted there?", path);
	r = find_root_stack(root, &stack, error);
	if (r == 0)
		r = esp_learn_place(root, status.st_dev, &stack, esp, error);
	/* Nothing lies on it, or it could not be mounted. */
	if (r == 0 && esp->facts.device && raid_is_member(root, &esp->facts))
		r = raid_member_failed(&esp->facts, error);
	return r;
}

/* True if the root of the file system on the device is at `point`. Its errno is kept otherwise. */
static bool try_point(const struct root_dir *root, const char *point, struct esp *esp, int *number)
{
	AUTO_CLOSE int fd = open_directory(root, point);
	struct stat status;

	if (fd < 0) {
		*number = -fd;
		return false;
	}
	/* Something else may be mounted over it. */
	if (fstat(fd, &status) < 0 || status.st_dev != esp->facts.device)
		return false;
	esp->where = strdup(point);
	esp->directory = take_fd(&fd);
	return true;
}

static bool open_mounted(
	const struct root_dir *root, const struct mount_list *mounts, struct esp *esp, int *number)
{
	/* systemd-gpt-auto-generator and friends mount it once someone looks (autofs). */
	static const char *const automatic[] = { "/efi", "/boot", "/boot/efi" };

	for (size_t i = mounts->count; i > 0; i--) {
		const struct mount_entry *entry = &mounts->items[i - 1];

		if (entry->device == esp->facts.device && strcmp(entry->root, "/") == 0
			&& try_point(root, entry->point, esp, number))
			return true;
	}
	for (size_t i = 0; i < sizeof(automatic) / sizeof(automatic[0]); i++) {
		const struct mount_entry *entry = mounts_at(mounts, automatic[i]);

		if (entry && strcmp(entry->type, "autofs") == 0
			&& try_point(root, automatic[i], esp, number))
			return true;
	}
	return false;
}

static int open_found(
	const struct root_dir *root, const char *beside, struct esp *esp, struct error *error)
{
	AUTO_BLOCKS struct block_list stack = { 0 };
	AUTO_MOUNTS struct mount_list mounts = { 0 };
	struct block_facts facts;
	int number = 0, r = find_root_stack(root, &stack, error);

	if (r == 0)
		r = mounts_read(root, &mounts, error);
	if (r == 0)
		r = find_esp(root, &stack, &mounts, beside, &facts, error);
	if (r == 0)
		r = esp_learn_place(root, facts.device, &stack, esp, error);
	if (r < 0)
		return r;
	if (open_mounted(root, &mounts, esp, &number))
		return esp->where ? 0 : error_memory(error);
	esp->where = text_format("/dev/%s", esp->facts.node);
	if (!esp->where)
		return error_memory(error);
	r = mount_privately(esp->where, &esp->mount, &esp->directory, error);
	if (r == -EACCES && number == EACCES)
		return error_failed(error, EACCES,
			"the ESP %s is mounted but not readable for this user; run as root",
			esp->where);
	return r;
}

/* For flushing the disk's cache; without it (no access) the rest has to do. */
static int open_device(const struct root_dir *root, const struct esp *esp)
{
	AUTO_FREE char *node = text_format("/dev/%s", esp->facts.node);
	AUTO_CLOSE int fd = -1;
	struct stat status;

	if (!esp->facts.node[0] || !node)
		return -1;
	fd = root_open(root, node, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0 || fstat(fd, &status) < 0 || !S_ISBLK(status.st_mode)
		|| status.st_rdev != esp->facts.device)
		return -1;
	return take_fd(&fd);
}

int linux_esp_open(struct machine *machine, const struct esp_settings *settings, struct esp **ret,
	struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	CLEANUP(cleanup_esp) struct esp *esp = calloc(1, sizeof(*esp));
	int r;

	if (!esp)
		return error_memory(error);
	esp->directory = esp->mount = esp->device = -1;
	esp->remount = settings->remount;
	esp->has_location = settings->has_location;
	esp->location = settings->location;
	if (root->confined)
		r = open_in_tree(root, settings->mount, esp, error);
	else if (settings->mount)
		r = open_configured(root, settings->mount, esp, error);
	else
		r = open_found(root, settings->beside, esp, error);
	if (r < 0)
		return r;
	esp->device = open_device(root, esp);
	*ret = TAKE(esp);
	return 0;
}
