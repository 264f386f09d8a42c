/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A temporary directory tree for the tests of src/machine/linux_*.c. */

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree {
	char path[64];
	int fd;
};

static inline void tree_make(struct tree *tree)
{
	strcpy(tree->path, "/tmp/bistable-test-XXXXXX");
	if (!mkdtemp(tree->path))
		abort();
	tree->fd = open(tree->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree->fd < 0)
		abort();
}

static inline int tree_remove_one(
	const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status, (void)type, (void)walk;
	return remove(path);
}

static inline void tree_remove(struct tree *tree)
{
	close(tree->fd);
	nftw(tree->path, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/** Makes the folders above `path`, which is relative to the tree. */
static inline void tree_make_parents(struct tree *tree, const char *path)
{
	char part[512];

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		mkdirat(tree->fd, part, 0755);
	}
}

static inline void tree_folder(struct tree *tree, const char *path)
{
	tree_make_parents(tree, path);
	mkdirat(tree->fd, path, 0755);
}

static inline void tree_write(struct tree *tree, const char *path, const void *data, size_t size)
{
	int fd;

	tree_make_parents(tree, path);
	fd = openat(tree->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	close(fd);
}

static inline void tree_text(struct tree *tree, const char *path, const char *text)
{
	tree_write(tree, path, text, strlen(text));
}

/** Cuts the file off, or fills it up with zeroes. */
static inline void tree_resize(struct tree *tree, const char *path, off_t size)
{
	int fd = openat(tree->fd, path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || ftruncate(fd, size) < 0)
		abort();
	close(fd);
}

static inline void tree_link(struct tree *tree, const char *target, const char *path)
{
	tree_make_parents(tree, path);
	if (symlinkat(target, tree->fd, path) < 0)
		abort();
}

/** Whether the file holds just these bytes. */
static inline int tree_holds(struct tree *tree, const char *path, const void *data, size_t size)
{
	int fd = openat(tree->fd, path, O_RDONLY | O_CLOEXEC), same;
	char *content = malloc(size + 1);

	same = fd >= 0 && read(fd, content, size + 1) == (ssize_t)size
	       && memcmp(content, data, size) == 0;
	if (fd >= 0)
		close(fd);
	free(content);
	return same;
}

static inline int tree_has(struct tree *tree, const char *path)
{
	return faccessat(tree->fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/** Open descriptors of this process, to find leaks. */
static inline int count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}
