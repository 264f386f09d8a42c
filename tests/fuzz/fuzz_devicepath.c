/* SPDX-License-Identifier: Apache-2.0 */
/* A device path, and the one that is written from what was understood of it. */
#include <errno.h>

#include "base/cleanup.h"
#include "format/devicepath.h"
#include "fuzz.h"

static void check_path(const char *path)
{
	must(path[0] == '\\' && path[1]);
	must(!strstr(path, "\\\\") && !strchr(path, '/'));
	must(path[strlen(path) - 1] != '\\');
	must(devicepath_same_file(path, path) && devicepath_same_file(path, path + 1));
	must(!devicepath_same_file(path, "") && !devicepath_same_file(NULL, path));
}

static void check_round_trip(const struct devicepath_target *target)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target again = { 0 };
	AUTO_BUFFER struct buffer out = { 0 };
	struct error error = { 0 };
	int r = devicepath_append_file(&out, &target->hd, target->path, &error);

	if (!succeeded(r, &error)) {
		/* One file's path is limited; those of several File() nodes together are not. */
		must(r == -EINVAL && out.size == 0 && strlen(target->path) > 1023);
		return;
	}
	must(devicepath_parse(span_of(&out), &again, &error) == 0);
	must(again.has_hd && again.hd.partition_number == target->hd.partition_number);
	must(again.hd.start == target->hd.start && again.hd.size == target->hd.size);
	must(guid_equal(&again.hd.partuuid, &target->hd.partuuid));
	must(strcmp(again.path, target->path) == 0);
}

/* A path of any bytes is either refused or read back as the same file. */
static void check_any_path(const uint8_t *data, size_t size)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	AUTO_BUFFER struct buffer out = { 0 };
	AUTO_FREE char *path = text_of(data, size);
	struct devicepath_hd hd = { .partition_number = 1 };
	struct error error = { 0 };
	int r = devicepath_append_file(&out, &hd, path, &error);

	if (!succeeded(r, &error)) {
		must(out.size == 0);
		return;
	}
	must(devicepath_parse(span_of(&out), &target, &error) == 0);
	check_path(target.path);
	/* Separators at the end are not written. */
	for (size_t length = strlen(path); strchr("/\\", path[length - 1]);)
		path[--length] = '\0';
	must(devicepath_same_file(target.path, path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	struct error error = { 0 };

	check_any_path(data, size);
	if (!succeeded(devicepath_parse((struct span){ data, size }, &target, &error), &error))
		return 0;
	if (target.path) {
		check_path(target.path);
		check_round_trip(&target);
	}
	return 0;
}
