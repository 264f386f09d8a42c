/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file: what is accepted is complete and fit for use. */
#include <errno.h>

#include "base/cleanup.h"
#include "engine/config.h"
#include "fuzz.h"

/* A machine that has one file. */
struct one_file {
	struct machine machine;
	const uint8_t *data;
	size_t size;
};

static int read_text(struct machine *machine, const char *path, char **ret, struct error *error)
{
	const struct one_file *file = (const struct one_file *)machine;

	(void)path;
	(void)error;
	*ret = text_of(file->data, file->size);
	return 0;
}

static const struct machine_ops ops = { .read_text = read_text };

static void check_slot(const struct config *config, enum slot slot)
{
	must(strlen(config->bound[slot]) == strlen(config->placeholder));
	must(config->boot_file[slot][0] == '/' && config->description[slot]);
	must(config->system_device[slot]);
	must(strncmp(config->boot_file[slot], config->folder, strlen(config->folder)) == 0);
	must(strcmp(config->boot_file[slot], config->state_file[slot]) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_CONFIG struct config config = { 0 };
	struct one_file file = { .machine = { &ops }, .data = data, .size = size };
	struct error error = { 0 };

	if (!succeeded(config_load(&file.machine, "fuzz.conf", &config, &error), &error)) {
		must(error.kind == ERROR_USAGE);
		return 0;
	}
	check_slot(&config, SLOT_A);
	check_slot(&config, SLOT_B);
	must(strcmp(config.boot_file[SLOT_A], config.boot_file[SLOT_B]) != 0);
	must(strstr(config.cmdline_match, "%s"));
	must(config.activation != BISTABLE_ACTIVATE_DEFAULT);
	return 0;
}
