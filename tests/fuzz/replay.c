/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target on every file of the given folders, without libFuzzer. */
#include <dirent.h>
#include <errno.h>

#include "base/cleanup.h"
#include "fuzz.h"

DEFINE_CLEANUP(cleanup_file, FILE *, fclose)
DEFINE_CLEANUP(cleanup_dir, DIR *, closedir)

static void run_file(const char *folder, const char *name)
{
	CLEANUP(cleanup_file) FILE *file = NULL;
	AUTO_FREE uint8_t *data = NULL;
	char path[4096];
	long size;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	must(file && fseek(file, 0, SEEK_END) == 0);
	size = ftell(file);
	must(size >= 0 && fseek(file, 0, SEEK_SET) == 0);
	/* Of the exact size, so that the sanitizer sees what reads past it. */
	data = malloc((size_t)size);
	must(fread(data, 1, (size_t)size, file) == (size_t)size);
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(data, (size_t)size);
}

static size_t run_folder(const char *folder)
{
	CLEANUP(cleanup_dir) DIR *dir = opendir(folder);
	struct dirent *entry;
	size_t count = 0;

	if (!dir)
		fprintf(stderr, "%s: %s\n", folder, strerror(errno));
	must(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		run_file(folder, entry->d_name);
		count++;
	}
	return count;
}

int main(int argc, char **argv)
{
	size_t count = 0;

	for (int i = 1; i < argc; i++)
		count += run_folder(argv[i]);
	printf("%zu inputs\n", count);
	return count > 0 ? 0 : 1;
}
