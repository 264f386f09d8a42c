/* SPDX-License-Identifier: Apache-2.0 */

/* Files of our own, on whatever file system the state directory lies. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/limits.h"
#include "machine/linux_private.h"

#define FOLDER_MODE 0755
#define FILE_MODE   0644
#define SECRET_MODE 0600

static int failed(const struct root_dir *root, const char *what, const char *path, int number,
	struct error *error)
{
	return error_failed(
		error, number, "cannot %s %s%s: %s", what, root->text, path, strerror(number));
}

int linux_file_read(struct machine *machine, const char *path, size_t max, struct buffer *ret,
	struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	int r = root_read_file(root, path, max, ret);

	return r < 0 ? failed(root, "read", path, -r, error) : 0;
}

/* Makes the folder and those above it. 0 or -errno. */
static int make_folder(const struct root_dir *root, const char *path)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *above = NULL;
	AUTO_CLOSE int directory = -1;
	struct stat status;
	int r;

	if (slash == path && !slash[1])
		return 0;
	r = root_stat(root, path, &status);
	if (r != -ENOENT)
		return r;
	above = strndup(path, slash > path ? (size_t)(slash - path) : 1);
	if (!above)
		return -ENOMEM;
	r = make_folder(root, above);
	/* Of "/a/" nothing is left to be made. */
	if (r < 0 || !slash[1])
		return r;
	directory = root_open(root, above, O_RDONLY | O_DIRECTORY, 0);
	if (directory < 0)
		return directory;
	if (mkdirat(directory, slash + 1, FOLDER_MODE) < 0 && errno != EEXIST)
		return -errno;
	return fsync(directory) < 0 ? -errno : 0;
}

/* The folder of a path. The fd or -errno. */
static int open_folder(const struct root_dir *root, const char *path, bool make)
{
	size_t length = (size_t)(strrchr(path, '/') - path);
	AUTO_FREE char *folder = strndup(path, length > 0 ? length : 1);
	int r;

	if (!folder)
		return -ENOMEM;
	r = make ? make_folder(root, folder) : 0;
	return r < 0 ? r : root_open(root, folder, O_RDONLY | O_DIRECTORY, 0);
}

static int write_all(int fd, struct span content)
{
	while (content.size > 0) {
		ssize_t n = write(fd, content.data, content.size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		content.data += n;
		content.size -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int replace(const struct root_dir *root, const char *path, struct span content, mode_t mode)
{
	AUTO_CLOSE int folder = open_folder(root, path, true), fd = -1;
	const char *name = strrchr(path, '/') + 1;
	char fresh[256];
	int r;

	if (folder < 0)
		return folder;
	if (snprintf(fresh, sizeof(fresh), "%s" MACHINE_NEW_SUFFIX, name) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	fd = openat(folder, fresh, O_CREAT | O_TRUNC | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, mode);
	/* One that was left over may be readable by more. */
	if (fd < 0 || (mode == SECRET_MODE && fchmod(fd, mode) < 0))
		return -errno;
	r = write_all(fd, content);
	if (r == 0 && renameat(folder, fresh, folder, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(folder, fresh, 0);
	else if (fsync(folder) < 0)
		r = -errno;
	return r;
}

int linux_file_replace(struct machine *machine, const char *path, struct span content, bool secret,
	struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	int r = replace(root, path, content, secret ? SECRET_MODE : FILE_MODE);

	char text[LIMITS_ERROR_MAX];

	return r < 0 ? error_failed(error, -r, "cannot write %s%s: %s", root->text, path,
		       limits_strerror(-r, text))
		     : 0;
}

int linux_file_remove(struct machine *machine, const char *path, struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	AUTO_CLOSE int folder = open_folder(root, path, false);

	if (folder == -ENOENT)
		return 0;
	if (folder < 0)
		return failed(root, "remove", path, -folder, error);
	if (unlinkat(folder, strrchr(path, '/') + 1, 0) < 0 && errno != ENOENT)
		return failed(root, "remove", path, errno, error);
	return 0;
}
