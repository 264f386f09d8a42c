/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/linux_private.h"

/* proc(5): ID parent major:minor root point options [optional…] - type source super-options */
#define FIELDS_BEFORE 6

static void mount_entry_done(struct mount_entry *entry)
{
	free(entry->root);
	free(entry->point);
	free(entry->type);
	free(entry->source);
	free(entry->super_options);
}

void mount_list_done(struct mount_list *mounts)
{
	for (size_t i = 0; i < mounts->count; i++)
		mount_entry_done(&mounts->items[i]);
	free(mounts->items);
	*mounts = (struct mount_list){ 0 };
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* The kernel writes blanks, tabs, line ends and backslashes as \ooo. */
static char *unescape(const char *field)
{
	char *text = strdup(field), *to = text;

	if (!text)
		return NULL;
	for (const char *p = text; *p; p++) {
		if (p[0] == '\\' && is_octal(p[1]) && is_octal(p[2]) && is_octal(p[3])) {
			*to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
	return text;
}

static bool read_device(const char *field, dev_t *ret)
{
	unsigned int major, minor;
	char end;

	if (sscanf(field, "%u:%u%c", &major, &minor, &end) != 2)
		return false;
	*ret = makedev(major, minor);
	return true;
}

/* 1 and an entry, 0: not a line of mountinfo, -ENOMEM */
static int parse_line(char *line, struct mount_entry *ret)
{
	char *save = NULL, *before[FIELDS_BEFORE] = { 0 }, *after[3] = { 0 }, *field;
	struct mount_entry entry = { 0 };
	size_t n = 0;

	for (field = strtok_r(line, " ", &save); field && n < FIELDS_BEFORE;
		field = strtok_r(NULL, " ", &save))
		before[n++] = field;
	while (field && strcmp(field, "-") != 0)
		field = strtok_r(NULL, " ", &save);
	if (n < FIELDS_BEFORE || !field || !read_device(before[2], &entry.device))
		return 0;
	for (n = 0; n < 3; n++) {
		after[n] = strtok_r(NULL, " ", &save);
		if (!after[n] && n == 0)
			return 0;
	}

	entry.root = unescape(before[3]);
	entry.point = unescape(before[4]);
	entry.type = unescape(after[0]);
	entry.source = unescape(after[1] ? after[1] : "");
	entry.super_options = unescape(after[2] ? after[2] : "");
	entry.read_only = strncmp(before[5], "ro", 2) == 0
			  && (before[5][2] == ',' || before[5][2] == '\0');
	*ret = entry;
	if (entry.root && entry.point && entry.type && entry.source && entry.super_options)
		return 1;
	mount_entry_done(&entry);
	return -ENOMEM;
}

static int append(struct mount_list *mounts, struct mount_entry *entry)
{
	struct mount_entry *grown = reallocarray(mounts->items, mounts->count + 1, sizeof(*entry));

	if (!grown) {
		mount_entry_done(entry);
		return -ENOMEM;
	}
	mounts->items = grown;
	grown[mounts->count++] = *entry;
	return 0;
}

int mounts_parse(const char *text, struct mount_list *ret, struct error *error)
{
	AUTO_MOUNTS struct mount_list mounts = { 0 };
	AUTO_FREE char *copy = strdup(text);
	char *save = NULL;

	if (!copy)
		return error_memory(error);
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct mount_entry entry;
		int r = parse_line(line, &entry);

		if (r > 0)
			r = append(&mounts, &entry);
		if (r < 0)
			return error_memory(error);
	}
	*ret = mounts;
	mounts = (struct mount_list){ 0 };
	return 0;
}

int mounts_read(const struct root_dir *root, struct mount_list *ret, struct error *error)
{
	AUTO_FREE char *text = NULL;
	int r = root_read_text(root, "/proc/self/mountinfo", &text);

	if (r < 0)
		return error_failed(error, -r,
			"cannot read /proc/self/mountinfo: %s; is /proc mounted?", strerror(-r));
	return mounts_parse(text, ret, error);
}

const struct mount_entry *mounts_at(const struct mount_list *mounts, const char *point)
{
	for (size_t i = mounts->count; i > 0; i--) {
		if (strcmp(mounts->items[i - 1].point, point) == 0)
			return &mounts->items[i - 1];
	}
	return NULL;
}

char *mount_option(const char *options, const char *key)
{
	size_t length = strlen(key);

	for (const char *p = options; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, key, length) == 0 && p[length] == '=')
			return strndup(p + length + 1, strcspn(p + length + 1, ","));
	}
	return NULL;
}
