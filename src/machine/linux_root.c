/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "machine/linux_private.h"

#define READ_STEP    (64u << 10)
#define LOOKUP_TRIES 4096

static void cleanup_directory(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

static bool climbs(const char *path)
{
	for (const char *p = strstr(path, ".."); p; p = strstr(p + 2, "..")) {
		if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'))
			return true;
	}
	return false;
}

static int open_confined(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)flags,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int tries = 0, fd;

	/* openat2(2), EAGAIN: a rename or mount anywhere in the system met a "..". */
	do
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN && ++tries < LOOKUP_TRIES);
	if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
		return fd;
	/* Before Linux 5.6, or in a container that does not know it: links are followed wherever
	 * they lead, but no path may climb. */
	if (climbs(path)) {
		errno = EXDEV;
		return -1;
	}
	return openat(root, path, flags, mode);
}

int root_open(const struct root_dir *root, const char *path, int flags, mode_t mode)
{
	const char *relative = path + strspn(path, "/");
	int fd;

	if (!*relative)
		relative = ".";
	flags |= O_CLOEXEC;
	fd = root->confined ? open_confined(root->fd, relative, flags, mode)
			    : openat(root->fd, relative, flags, mode);
	return fd < 0 ? -errno : fd;
}

int root_stat(const struct root_dir *root, const char *path, struct stat *ret)
{
	AUTO_CLOSE int fd = root_open(root, path, O_PATH, 0);

	if (fd < 0)
		return fd;
	return fstat(fd, ret) < 0 ? -errno : 0;
}

int root_read_link(const struct root_dir *root, const char *path, char **ret)
{
	AUTO_CLOSE int fd = root_open(root, path, O_PATH | O_NOFOLLOW, 0);
	char target[PATH_MAX];
	ssize_t n;

	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", target, sizeof(target));
	if (n < 0)
		return errno == ENOENT ? -EINVAL : -errno; /* ENOENT: not a link */
	if ((size_t)n == sizeof(target))
		return -ENAMETOOLONG;
	*ret = strndup(target, (size_t)n);
	return *ret ? 0 : -ENOMEM;
}

int root_read_file(const struct root_dir *root, const char *path, size_t max, struct buffer *out)
{
	AUTO_CLOSE int fd = root_open(root, path, O_RDONLY | O_NOCTTY, 0);
	size_t start = out->size;

	if (fd < 0)
		return fd;
	/* Until the end: files in /proc and /sys do not know their size. */
	for (;;) {
		ssize_t n;

		if (buffer_reserve(out, READ_STEP, NULL) < 0)
			return -ENOMEM;
		n = read(fd, out->data + out->size, READ_STEP);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		out->size += (size_t)n;
		if (out->size - start > max)
			return -EFBIG;
	}
}

int root_read_text(const struct root_dir *root, const char *path, char **ret)
{
	AUTO_BUFFER struct buffer text = { 0 };
	int r;

	r = root_read_file(root, path, MACHINE_TEXT_MAX, &text);
	if (r == 0)
		r = buffer_append(&text, NULL, 1, NULL);
	if (r < 0)
		return r;
	*ret = (char *)TAKE(text.data);
	return 0;
}

int directory_list(int directory, struct text_list *ret)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	AUTO_CLOSE int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(cleanup_directory) DIR *stream = NULL;
	struct dirent *entry;

	if (fd < 0)
		return -errno;
	stream = fdopendir(fd);
	if (!stream)
		return -errno;
	take_fd(&fd);

	while (errno = 0, entry = readdir(stream)) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (text_list_add(&names, NULL, "%s", entry->d_name) < 0)
			return -ENOMEM;
	}
	if (errno != 0)
		return -errno;
	text_list_sort(&names);
	*ret = names;
	names = (struct text_list){ 0 };
	return 0;
}

int root_list(const struct root_dir *root, const char *path, struct text_list *ret)
{
	AUTO_CLOSE int fd = root_open(root, path, O_RDONLY | O_DIRECTORY, 0);

	return fd < 0 ? fd : directory_list(fd, ret);
}
