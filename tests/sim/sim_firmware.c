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
#include "sim.h"

static void new_partition(struct sim_partition *partition)
{
	partition->now = calloc(1, SIM_PARTITION_SIZE);
	partition->medium = calloc(1, SIM_PARTITION_SIZE);
	assert(partition->now && partition->medium);
}

struct sim *sim_new(void)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	assert(sim);
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		new_partition(&sim->partitions[slot]);
	sim->running = sim->started = sim->confirmed = SLOT_NONE;
	sim->esp_capacity = 64u << 20;
	sim->clock = 1800000000;
	sim->seed = 1;
	return sim;
}

/* What a copy made by sim_cold_start() has of its own. */
static void free_copy(struct sim *sim)
{
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++)
		buffer_done(&sim->variables[i].data);
	for (size_t i = 0; i < SIM_FILES_MAX; i++)
		buffer_done(&sim->files[i].data);
	free(sim);
}

void sim_free(struct sim *sim)
{
	if (!sim)
		return;
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		free(sim->partitions[slot].now);
		free(sim->partitions[slot].medium);
	}
	buffer_done(&sim->first_order);
	buffer_done(&sim->locked_order);
	free_copy(sim);
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

void sim_remove_file(struct sim *sim, const char *path)
{
	for (size_t i = 0; i < SIM_FILES_MAX; i++) {
		if (sim->files[i].used && strcasecmp(sim->files[i].path, path) == 0) {
			buffer_done(&sim->files[i].data);
			sim->files[i].used = false;
		}
	}
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
	if (partition->used < image.size)
		partition->used = image.size;
	memcpy(partition->medium, partition->now, partition->used);
}

void sim_set_fault(struct sim *sim, enum sim_fault fault, unsigned at)
{
	sim->fault = fault;
	sim->fault_at = at;
	sim->operations = 0;
	sim->variable_calls = 0;
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

/* A path in a variable of the Boot Loader Interface. */
static void put_path(struct sim *sim, const char *variable, const char *path)
{
	AUTO_FREE uint8_t *text = NULL;
	AUTO_FREE char *name = strdup(path);
	size_t size;

	assert(name);
	for (char *p = name; *p; p++)
		if (*p == '/')
			*p = '\\';
	assert(text_to_utf16(name, &text, &size, NULL) == 0);
	sim_put_variable(sim, variable, (struct span){ text, size });
}

/*
 * What the stub says of the UKI: version 252 only in LoaderImageIdentifier, if no boot loader has
 * put itself there; version 257 in StubImageIdentifier. Either has to do.
 */
static void put_image(struct sim *sim, const char *path, const char *loader)
{
	sim_remove_variable(sim, SIM_STUB_IMAGE);
	put_path(sim, SIM_LOADER_IMAGE, loader ? loader : path);
	if (loader)
		put_path(sim, SIM_STUB_IMAGE, path);
}

/* The last by name, as systemd-boot takes the newest. */
static const char *last_of_type2(struct sim *sim)
{
	const char *last = NULL;

	for (size_t i = 0; i < SIM_FILES_MAX; i++)
		if (sim->files[i].used && strncasecmp(sim->files[i].path, "/EFI/Linux/", 11) == 0
			&& (!last || strcasecmp(sim->files[i].path, last) > 0))
			last = sim->files[i].path;
	return last;
}

static bool is_systemd_boot(const struct buffer *file)
{
	return memmem(file->data, file->size, SIM_SYSTEMD_BOOT, strlen(SIM_SYSTEMD_BOOT));
}

static enum start start_file(struct sim *sim, const char *path, const char *loader)
{
	AUTO_FREE char *cmdline = NULL;
	struct buffer *file;
	struct span text;
	char name[128];

	snprintf(name, sizeof(name), "%s", path);
	for (char *p = name; *p; p++)
		if (*p == '\\')
			*p = '/';
	file = sim_file(sim, name);
	if (!file || !sim_loads(span_of(file)))
		return NOT_STARTED;
	if (is_systemd_boot(file)) {
		path = last_of_type2(sim);
		return path && !is_systemd_boot(sim_file(sim, path)) ? start_file(sim, path, name)
								     : NOT_STARTED;
	}
	/* Without a kernel, a stub returns to the firmware. */
	if (sim_section(span_of(file), ".linux").size == 0)
		return NOT_STARTED;
	text = sim_section(span_of(file), ".cmdline");
	cmdline = strndup((const char *)text.data, text.size);
	assert(cmdline);
	if (!start_kernel(sim, cmdline, false))
		return PANICKED;
	put_image(sim, name, loader);
	return STARTED;
}

static void put_current(struct sim *sim, uint16_t number)
{
	uint8_t bytes[2];

	put_le16(bytes, number);
	sim_put_variable(sim, "BootCurrent", (struct span){ bytes, 2 });
}

/* BootNext starts an entry whatever its attributes say; BootOrder only an active one (EDK2). */
static enum start start_entry(struct sim *sim, uint16_t number, bool active_only)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	struct sim_variable *variable = sim_entry(sim, number);
	struct esp_location location;
	struct loadopt option;
	enum start start;

	if (!variable || loadopt_parse(span_of(&variable->data), &option, NULL) < 0
		|| (active_only && !(option.attributes & LOADOPT_ACTIVE))
		|| devicepath_parse(option.device_paths, &target, NULL) < 0 || !target.has_hd
		|| !target.path)
		return NOT_STARTED;
	/* A file on another disk, which is not there. EDK2 goes by the number as well, and not by
	 * start and size. */
	sim_machine(sim)->ops->esp_location(&sim->machine, NULL, &location, NULL);
	if (!guid_equal(&target.hd.partuuid, &location.partuuid)
		|| target.hd.partition_number != location.partition_number)
		return NOT_STARTED;
	start = start_file(sim, target.path, NULL);
	if (start == STARTED)
		put_current(sim, number);
	return start;
}

static void read_order(struct sim *sim, struct bootorder *order)
{
	struct buffer *variable = sim_variable(sim, "BootOrder");

	order->count = 0;
	/* One that makes no sense starts nothing. */
	if (variable && bootorder_parse(span_of(variable), order, NULL) < 0)
		order->count = 0;
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
	/* A number that is listed twice stops such firmware. */
	if (sim->quirks & SIM_QUIRK_DROPS_DUPLICATES && bootorder_dedup(&order))
		return NOT_STARTED;
	for (size_t i = 0; i < order.count; i++) {
		enum start start = start_entry(sim, order.numbers[i], true);

		if (start != NOT_STARTED)
			return start;
	}
	return start_file(sim, "/EFI/BOOT/BOOTX64.EFI", NULL);
}

enum slot sim_power_cycle(struct sim *sim)
{
	enum start start;

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		struct sim_partition *partition = &sim->partitions[slot];

		memcpy(partition->now, partition->medium, partition->used);
		partition->open = false;
	}
	sim->running = SLOT_NONE;
	sim->dead = sim->locked = sim->kexec_staged = false;
	sim->fault = SIM_NO_FAULT;
	sim_remove_variable(sim, "BootCurrent");
	sim_quirks_boot(sim);
	start = start_next(sim);
	/* A panic resets the machine (panic=), and BootNext is used up by then. */
	if (start != STARTED)
		start_order(sim);
	sim->started = sim->running;
	return sim->running;
}

/* All but what is on the partitions, which is shared, and the orders kept for quirks. */
static struct sim *copy_all_but_partitions(const struct sim *sim)
{
	struct sim *copy = malloc(sizeof(*copy));

	assert(copy);
	*copy = *sim;
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++) {
		copy->variables[i].data = (struct buffer){ 0 };
		if (sim->variables[i].used)
			set_bytes(&copy->variables[i].data, span_of(&sim->variables[i].data));
	}
	for (size_t i = 0; i < SIM_FILES_MAX; i++) {
		copy->files[i].data = (struct buffer){ 0 };
		if (sim->files[i].used)
			set_bytes(&copy->files[i].data, span_of(&sim->files[i].data));
	}
	return copy;
}

struct sim *sim_copy(const struct sim *sim)
{
	struct sim *copy = copy_all_but_partitions(sim);

	assert(!sim->disk);
	copy->first_order = copy->locked_order = (struct buffer){ 0 };
	set_bytes(&copy->first_order, span_of(&sim->first_order));
	set_bytes(&copy->locked_order, span_of(&sim->locked_order));
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		struct sim_partition *partition = &copy->partitions[slot];

		new_partition(partition);
		memcpy(partition->now, sim->partitions[slot].now, partition->used);
		memcpy(partition->medium, sim->partitions[slot].medium, partition->used);
	}
	return copy;
}

/* Shares what a power cut leaves on the partitions, and nothing else. */
static struct sim *copy_for_power_cycle(const struct sim *sim)
{
	struct sim *copy = copy_all_but_partitions(sim);

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		/* The power cycle finds what is on the medium there already. */
		copy->partitions[slot].now = copy->partitions[slot].medium;
		copy->partitions[slot].used = 0;
	}
	return copy;
}

enum slot sim_cold_start(const struct sim *sim)
{
	struct sim *copy = copy_for_power_cycle(sim);
	enum slot slot;

	copy->disk = NULL;
	copy->quirks = 0;
	sim_remove_variable(copy, "BootNext");
	slot = sim_power_cycle(copy);
	free_copy(copy);
	return slot;
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
