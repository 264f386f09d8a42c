/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "machine/linux_private.h"

#define PRIVATE_ATTRIBUTES (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

bool mount_is_fat(int fd)
{
	struct statfs status;

	return fstatfs(fd, &status) == 0 && status.f_type == MSDOS_SUPER_MAGIC;
}

static int mount_failed(const char *node, int number, struct error *error)
{
	if (number == EPERM && geteuid() == 0)
		return error_failed(error, EACCES,
			"the ESP %s is not mounted, and this container may not mount it; mount it "
			"outside and set [esp] mount",
			node);
	if (number == EPERM || number == EACCES)
		return error_failed(error, EACCES,
			"the ESP %s is not mounted, and mounting it needs root; run as root or "
			"mount it",
			node);
	if (number == ENODEV)
		return error_failed(error, ENODEV,
			"the kernel has no vfat to mount the ESP %s with; load or build the vfat "
			"module",
			node);
	if (number == ENOSYS)
		return error_failed(error, ENOSYS,
			"mounting the ESP %s privately needs Linux 5.2; mount it and set [esp] "
			"mount",
			node);
	return error_failed(error, number, "cannot mount the ESP %s: %s; see the kernel log (%s)",
		node, strerror(number),
		number == EINVAL ? "the kernel may lack a character set, nls_cp437 or nls_ascii, "
				   "or it is no FAT"
				 : "check it with fsck.vfat");
}

/* Creates the superblock. 0 or -errno. */
static int configure(int context, const char *node, bool read_only)
{
	if (fsconfig(context, FSCONFIG_SET_STRING, "source", node, 0) < 0
		|| fsconfig(context, FSCONFIG_SET_STRING, "umask", "0077", 0) < 0
		|| (read_only && fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		|| fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return 0;
}

/* A mount that no path leads to: the fd or -errno. */
static int mount_detached(const char *node, bool read_only)
{
	AUTO_CLOSE int context = fsopen("vfat", FSOPEN_CLOEXEC);
	int fd, r;

	if (context < 0)
		return -errno;
	r = configure(context, node, read_only);
	if (r < 0)
		return r;
	fd = fsmount(context, FSMOUNT_CLOEXEC, PRIVATE_ATTRIBUTES);
	return fd < 0 ? -errno : fd;
}

int mount_privately(const char *node, int *ret_mount, int *ret_directory, struct error *error)
{
	AUTO_CLOSE int detached = mount_detached(node, true), directory = -1;

	/* In another mount namespace it may be mounted writable: then ours has to be as well. */
	if (detached == -EBUSY)
		detached = mount_detached(node, false);
	if (detached < 0)
		return mount_failed(node, -detached, error);
	directory = openat(detached, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return mount_failed(node, errno, error);
	*ret_mount = take_fd(&detached);
	*ret_directory = take_fd(&directory);
	return 0;
}

int mount_private_writable(int directory, struct error *error)
{
	AUTO_CLOSE int context = fspick(directory, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);

	if (context < 0 || fsconfig(context, FSCONFIG_SET_FLAG, "rw", NULL, 0) < 0
		|| fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return error_failed(
			error, errno, "cannot make the ESP writable: %s", strerror(errno));
	return 0;
}

static unsigned long kept_flags(unsigned long flags)
{
	static const struct {
		unsigned long seen, flag;
	} kept[] = {
		{ ST_NOSUID, MS_NOSUID },
		{ ST_NODEV, MS_NODEV },
		{ ST_NOEXEC, MS_NOEXEC },
		{ ST_SYNCHRONOUS, MS_SYNCHRONOUS },
		{ ST_NOATIME, MS_NOATIME },
		{ ST_NODIRATIME, MS_NODIRATIME },
		{ ST_RELATIME, MS_RELATIME },
	};
	unsigned long result = 0;

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		if (flags & kept[i].seen)
			result |= kept[i].flag;
	}
	return result;
}

int mount_set_read_only(int directory, bool read_only)
{
	char path[64];
	struct statvfs status;

	if (fstatvfs(directory, &status) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", directory);
	if (mount(NULL, path, NULL,
		    MS_REMOUNT | kept_flags(status.f_flag) | (read_only ? MS_RDONLY : 0), NULL)
		< 0)
		return -errno;
	return 0;
}
