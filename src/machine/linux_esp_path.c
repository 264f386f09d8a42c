/* SPDX-License-Identifier: Apache-2.0 */

/* Paths on the ESP lead where they lead the firmware, whether Linux folds case there or not. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "format/fatname.h"
#include "machine/linux_esp.h"
#include "machine/linux_private.h"

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* A path on its way. */
struct way {
	struct esp *esp;
	const char *path;
	enum esp_walk how;
	int folder;  /* as far as it has come */
	char *clash; /* where it ended because a name is not the only one; owned */
};

static void way_done(struct way *way)
{
	if (way->folder >= 0)
		close(way->folder);
	free(way->clash);
}

/* "." and ".." are nothing but dots, too. */
static int trim_component(const char *path, char *name, struct error *error)
{
	fatname_trim(name);
	if (!*name)
		return error_failed(error, EINVAL,
			"\"%s\" is no path on the ESP: use /folder/file without . and ..", path);
	return 0;
}

int esp_folder_failed(const char *path, int number, struct error *error)
{
	return error_failed(error, number, "cannot open the folder of \"%s\" on the ESP: %s%s",
		path, strerror(number), number == EACCES ? "; run as root" : "");
}

static char *clash_in(const char *folder, const char *name, const char *other)
{
	return text_format("\"%s\" and \"%s\" in %s", name, other, folder);
}

/*
 * How the component `name`, which begins at `offset` of the path, is spelled where it is already.
 * What is listed under no such name may still be there, under its short one (METROP~1).
 */
static int spell(struct way *way, const char *name, size_t offset, char **ret, struct error *error)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	AUTO_FREE char *folder = strndup(way->path, offset > 1 ? offset - 1 : 1);
	const char *found = NULL, *other = NULL;
	int r = directory_list(way->folder, &names);

	if (!folder || r == -ENOMEM)
		return error_memory(error);
	/* Some mounts let this user pass, but not look. */
	if (r < 0 && r != -EACCES)
		return esp_folder_failed(way->path, -r, error);
	fatname_find(&names, name, &found, &other);
	if (other && way->how != ESP_READ) {
		way->clash = clash_in(folder, found, other);
		return way->clash ? error_set(
			       error, ERROR_REFUSED, ENOTUNIQ, MACHINE_CLASH, way->clash)
				  : error_memory(error);
	}
	*ret = strdup(found ? found : name);
	return *ret ? 0 : error_memory(error);
}

/* Goes on into the folder `name`. */
static int enter(struct way *way, const char *name, struct error *error)
{
	int fd = openat(way->folder, name, FOLDER_FLAGS), r;

	if (fd < 0 && errno == ENOENT && way->how == ESP_CREATE) {
		struct vfat_folder parent = { &vfat_linux_calls, way->folder, way->esp->device };

		r = vfat_make_folder(&parent, name, error);
		if (r < 0)
			return r;
		fd = openat(way->folder, name, FOLDER_FLAGS);
	}
	if (fd < 0)
		return esp_folder_failed(way->path, errno, error);
	close(way->folder);
	way->folder = fd;
	return 0;
}

static int walk(struct way *way, char **ret_name, struct error *error)
{
	AUTO_FREE char *copy = strdup(way->path);
	char *rest = copy, *name;
	int r = 0;

	if (!copy)
		return error_memory(error);
	way->folder = openat(way->esp->directory, ".", FOLDER_FLAGS);
	if (way->folder < 0)
		return esp_folder_failed(way->path, errno, error);
	if (*rest != '/')
		*rest = '\0'; /* no path */
	rest += *rest == '/';
	if (!ret_name && !*rest)
		rest = NULL; /* the root itself */
	while (r == 0 && (name = strsep(&rest, "/"))) {
		AUTO_FREE char *spelling = NULL;

		r = trim_component(way->path, name, error);
		if (r == 0)
			r = spell(way, name, (size_t)(name - copy), &spelling, error);
		if (r < 0)
			return r;
		if (ret_name && !rest)
			*ret_name = TAKE(spelling);
		else
			r = enter(way, spelling, error);
	}
	return r;
}

int esp_walk(struct esp *esp, const char *path, enum esp_walk how, int *ret_folder, char **ret_name,
	struct error *error)
{
	CLEANUP(way_done) struct way way = { esp, path, how, -1, NULL };
	int r = walk(&way, ret_name, error);

	if (r == 0)
		*ret_folder = take_fd(&way.folder);
	return r;
}

int linux_esp_clash(
	struct machine *machine, struct esp *esp, const char *path, char **ret, struct error *error)
{
	CLEANUP(way_done) struct way way = { esp, path, ESP_CHANGE, -1, NULL };
	AUTO_TEXT_LIST struct text_list names = { 0 };
	const char *name = NULL, *other = NULL;
	struct error why = { 0 };
	int r = walk(&way, NULL, &why);

	(void)machine;
	if (r < 0 && r != -ENOENT && !way.clash)
		return error_pass(error, &why);
	if (r == 0)
		r = directory_list(way.folder, &names);
	if (r < 0 && r != -ENOENT && !way.clash)
		return esp_folder_failed(path, -r, error);
	if (fatname_clash(&names, &name, &other))
		way.clash = clash_in(path, name, other);
	if (other && !way.clash)
		return error_memory(error);
	*ret = TAKE(way.clash);
	return 0;
}
