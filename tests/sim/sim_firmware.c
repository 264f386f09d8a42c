/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "format/bootorder.h"
#include "format/devicepath.h"
#include "format/loadopt.h"
#include "format/uki.h"
#include "sim.h"

struct sim *sim_new(void)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	assert(sim);
	sim->running = SLOT_NONE;
	sim->esp_capacity = 64u << 20;
	sim->clock = 1700000000;
	sim->seed = 1;
	return sim;
}

void sim_free(struct sim *sim)
{
	if (!sim)
		return;
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++)
		buffer_done(&sim->variables[i].data);
	for (size_t i = 0; i < SIM_FILES_MAX; i++)
		buffer_done(&sim->files[i].data);
	free(sim);
}

static void set_bytes(struct buffer *buffer, struct span data)
{
	struct buffer fresh = { 0 };

	assert(buffer_append(&fresh, data.data, data.size, NULL) == 0);
	buffer_done(buffer);
	*buffer = fresh;
}

struct buffer *sim_file(struct sim *sim, const char *path)
{
	for (size_t i = 0; i < SIM_FILES_MAX; i++)
		if (sim->files[i].used && strcasecmp(sim->files[i].path, path) == 0)
			return &sim->files[i].data;
	return NULL;
}

void sim_put_file(struct sim *sim, const char *path, struct span data)
{
	struct buffer *present = sim_file(sim, path);

	for (size_t i = 0; !present && i < SIM_FILES_MAX; i++) {
		if (sim->files[i].used)
			continue;
		sim->files[i].used = true;
		snprintf(sim->files[i].path, sizeof(sim->files[i].path), "%s", path);
		present = &sim->files[i].data;
	}
	assert(present);
	set_bytes(present, data);
}

struct buffer *sim_variable(struct sim *sim, const char *name)
{
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++)
		if (sim->variables[i].used && strcmp(sim->variables[i].name, name) == 0)
			return &sim->variables[i].data;
	return NULL;
}

void sim_put_variable(struct sim *sim, const char *name, struct span data)
{
	struct buffer *present = sim_variable(sim, name);

	for (size_t i = 0; !present && i < SIM_VARIABLES_MAX; i++) {
		if (sim->variables[i].used)
			continue;
		sim->variables[i].used = true;
		snprintf(sim->variables[i].name, sizeof(sim->variables[i].name), "%s", name);
		present = &sim->variables[i].data;
	}
	assert(present);
	set_bytes(present, data);
}

void sim_remove_variable(struct sim *sim, const char *name)
{
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++) {
		if (sim->variables[i].used && strcmp(sim->variables[i].name, name) == 0) {
			buffer_done(&sim->variables[i].data);
			sim->variables[i].used = false;
		}
	}
}

void sim_put_image(struct sim *sim, enum slot slot, struct span image)
{
	struct sim_partition *partition = &sim->partitions[slot];

	assert(image.size <= SIM_PARTITION_SIZE);
	memcpy(partition->now, image.data, image.size);
	memcpy(partition->medium, partition->now, SIM_PARTITION_SIZE);
}

void sim_set_fault(struct sim *sim, enum sim_fault fault, unsigned at)
{
	sim->fault = fault;
	sim->fault_at = at;
	sim->operations = 0;
}

/* The kernel comes up, if its slot's partition holds the image that the command line names. */
static bool start_kernel(struct sim *sim, const char *cmdline, bool by_kexec)
{
	char letter, hex[SHA256_TEXT_SIZE], wanted[SHA256_TEXT_SIZE];
	const char *label = strstr(cmdline, "PARTLABEL=METROPOLIS-SYSTEM-");
	const char *image = strstr(cmdline, "sim.image=");
	uint8_t digest[SHA256_SIZE];
	enum slot slot;
	unsigned size;

	if (!label || !image || sscanf(label, "PARTLABEL=METROPOLIS-SYSTEM-%c", &letter) != 1
		|| sscanf(image, "sim.image=%64s sim.size=%u", wanted, &size) != 2)
		return false;
	slot = slot_from_letter(letter);
	if (slot == SLOT_NONE || size > SIM_PARTITION_SIZE)
		return false;
	assert(sha256_of(sim->partitions[slot].now, size, digest, NULL) == 0);
	text_hex(digest, SHA256_SIZE, hex);
	if (strcmp(hex, wanted) != 0)
		return false;
	sim->running = slot;
	sim->by_kexec = by_kexec;
	sim->boots++;
	snprintf(sim->cmdline, sizeof(sim->cmdline), "%s", cmdline);
	return true;
}

enum start { NOT_STARTED, STARTED, PANICKED };

static enum start start_file(struct sim *sim, const char *path)
{
	AUTO_FREE char *cmdline = NULL;
	struct buffer *file;
	struct uki uki;
	char name[128];

	snprintf(name, sizeof(name), "%s", path);
	for (char *p = name; *p; p++)
		if (*p == '\\')
			*p = '/';
	file = sim_file(sim, name);
	if (!file || uki_parse(span_of(file), &uki, NULL) < 0)
		return NOT_STARTED;
	assert(uki_cmdline(&uki, &cmdline, NULL) == 0);
	return start_kernel(sim, cmdline, false) ? STARTED : PANICKED;
}

/* BootNext starts an entry whatever its attributes say; BootOrder only an active one (EDK2). */
static enum start start_entry(struct sim *sim, uint16_t number, bool active_only)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	struct esp_location location;
	struct buffer *variable;
	struct loadopt option;
	char name[16];

	snprintf(name, sizeof(name), "Boot%04X", number);
	variable = sim_variable(sim, name);
	if (!variable || loadopt_parse(span_of(variable), &option, NULL) < 0
		|| (active_only && !(option.attributes & LOADOPT_ACTIVE))
		|| devicepath_parse(option.device_paths, &target, NULL) < 0 || !target.has_hd
		|| !target.path)
		return NOT_STARTED;
	/* A file on another disk, which is not there. */
	sim_machine(sim)->ops->esp_location(&sim->machine, NULL, &location, NULL);
	if (!guid_equal(&target.hd.partuuid, &location.partuuid))
		return NOT_STARTED;
	return start_file(sim, target.path);
}

static void read_order(struct sim *sim, struct bootorder *order)
{
	struct buffer *variable = sim_variable(sim, "BootOrder");

	order->count = 0;
	if (variable)
		assert(bootorder_parse(span_of(variable), order, NULL) == 0);
}

static enum start start_next(struct sim *sim)
{
	struct buffer *next = sim_variable(sim, "BootNext");
	struct bootorder order;
	uint16_t number;

	if (!next)
		return NOT_STARTED;
	number = le16(next->data);
	/* Gone before the entry is loaded, as in EDK2: a cut during the trial looks like its end.
	 */
	sim_remove_variable(sim, "BootNext");
	read_order(sim, &order);
	if (sim->quirks & SIM_QUIRK_NEXT_NEEDS_ORDER && bootorder_find(&order, number) < 0)
		return NOT_STARTED;
	return start_entry(sim, number, false);
}

static enum start start_order(struct sim *sim)
{
	struct bootorder order;

	read_order(sim, &order);
	for (size_t i = 0; i < order.count; i++) {
		enum start start = start_entry(sim, order.numbers[i], true);

		if (start != NOT_STARTED)
			return start;
	}
	return start_file(sim, "/EFI/BOOT/BOOTX64.EFI");
}

static void drop_inactive(struct sim *sim)
{
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++) {
		struct sim_variable *variable = &sim->variables[i];
		uint16_t number;

		if (variable->used && bootorder_entry_number(variable->name, &number)
			&& !(le32(variable->data.data) & LOADOPT_ACTIVE))
			sim_remove_variable(sim, variable->name);
	}
}

static void duplicate_ours(struct sim *sim)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	struct bootorder order;
	struct buffer *first;
	char name[16];

	read_order(sim, &order);
	for (size_t i = 0; i < order.count; i++) {
		AUTO_FREE char *description = NULL;
		struct loadopt option;

		snprintf(name, sizeof(name), "Boot%04X", order.numbers[i]);
		first = sim_variable(sim, name);
		if (!first || loadopt_parse(span_of(first), &option, NULL) < 0
			|| loadopt_description(&option, &description, NULL) < 0
			|| !text_starts_with(description, "Metropolis Slot"))
			continue;
		if (sim_variable(sim, "Boot00F0"))
			return;
		assert(buffer_append(&bytes, first->data, first->size, NULL) == 0);
		sim_put_variable(sim, "Boot00F0", span_of(&bytes));
		order.numbers[order.count++] = 0xf0;
		buffer_done(&bytes);
		assert(bootorder_format(&order, &bytes, NULL) == 0);
		sim_put_variable(sim, "BootOrder", span_of(&bytes));
		return;
	}
}

enum slot sim_power_cycle(struct sim *sim)
{
	enum start start;

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		struct sim_partition *partition = &sim->partitions[slot];

		memcpy(partition->now, partition->medium, SIM_PARTITION_SIZE);
		partition->open = false;
	}
	sim->running = SLOT_NONE;
	sim->dead = sim->locked = sim->kexec_staged = false;
	sim->fault = SIM_NO_FAULT;
	if (sim->quirks & SIM_QUIRK_DROPS_INACTIVE)
		drop_inactive(sim);
	if (sim->quirks & SIM_QUIRK_DUPLICATES_OURS)
		duplicate_ours(sim);
	start = start_next(sim);
	/* A panic resets the machine (panic=), and BootNext is used up by then. */
	if (start != STARTED)
		start_order(sim);
	return sim->running;
}

enum slot sim_kexec(struct sim *sim)
{
	assert(sim->kexec_staged);
	sim->running = SLOT_NONE;
	sim->kexec_staged = false;
	sim->locked = false;
	if (!start_kernel(sim, sim->staged_cmdline, true))
		return SLOT_NONE;
	return sim->running;
}
