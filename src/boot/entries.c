/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/entries.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "boot/boot.h"
#include "format/devicepath.h"
#include "machine/machine.h"

#define READ_TRIES 3

/* The file's path on the ESP, with '/'. */
static int path_on_esp(const char *path, char **ret, struct error *error)
{
	char *copy = strdup(path);

	if (!copy)
		return error_memory(error);
	for (char *p = copy; *p; p++)
		if (*p == '\\')
			*p = '/';
	*ret = copy;
	return 0;
}

static bool same_place(const struct devicepath_hd *hd, const struct esp_location *location)
{
	return hd->partition_number == location->partition_number && hd->start == location->start
	       && hd->size == location->size;
}

/* What the entry names: the same path on another disk (a clone, an installer stick) is not ours. */
static int classify_target(const struct boot_settings *settings,
	const struct esp_location *location, const struct devicepath_target *target,
	struct entry *entry, enum slot *ret_slot, struct error *error)
{
	bool here = !location
		    || (target->has_hd && guid_equal(&target->hd.partuuid, &location->partuuid));

	*ret_slot = SLOT_NONE;
	if (!target->path)
		return 0;
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		if (devicepath_same_file(target->path, settings->boot_files[slot]))
			*ret_slot = slot;
	if (!here) {
		entry->partuuid = target->hd.partuuid;
		return 0;
	}
	entry->slot = *ret_slot;
	entry->misplaced = entry->slot != SLOT_NONE && location
			   && !same_place(&target->hd, location);
	return path_on_esp(target->path, &entry->path, error);
}

static int classify(const struct boot_settings *settings, const struct esp_location *location,
	struct entry *entry, struct error *error)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	AUTO_FREE char *description = NULL;
	enum slot slot = SLOT_NONE;
	bool same;
	int r;

	entry->slot = entry->elsewhere = SLOT_NONE;
	r = loadopt_parse(span_of(&entry->bytes), &entry->option, error);
	if (r < 0)
		return r;
	/* A path that cannot be parsed is somebody else's business: foreign, not an error. */
	if (devicepath_parse(entry->option.device_paths, &target, NULL) < 0)
		return 0;
	r = classify_target(settings, location, &target, entry, &slot, error);
	if (r < 0 || slot == SLOT_NONE)
		return r;
	r = loadopt_description(&entry->option, &description, error);
	if (r < 0)
		return r;
	same = strcmp(description, settings->descriptions[slot]) == 0;
	entry->ours = same && entry->slot == slot;
	if (same && entry->slot == SLOT_NONE && target.has_hd)
		entry->elsewhere = slot;
	return 0;
}

/* Failures that may pass: the machine has tried again after a pause only where that is usual. */
static bool may_pass(int r)
{
	return r == -EINTR || r == -EINVAL || r == -EIO || r == -ENOSPC;
}

static int read_variable(
	struct machine *machine, const char *name, struct buffer *ret, struct error *error)
{
	uint32_t attributes;
	int r;

	for (int try = 1;; try++) {
		r = machine->ops->variable_read(machine, name, &attributes, ret, error);
		if (!may_pass(r) || try == READ_TRIES)
			break;
	}
	if (r == 0 && error)
		*error = (struct error){ 0 };
	return r;
}

static int read_entry(const struct boot_settings *settings, const struct esp_location *location,
	const char *variable, uint16_t number, struct entries *entries, struct error *error)
{
	struct machine *machine = settings->machine;
	struct entry *entry = &entries->items[entries->count];
	struct error why = { 0 };
	int r;

	entries->taken[entries->taken_count++] = number;
	*entry = (struct entry){ .number = number };
	strcpy(entry->variable, variable);
	r = read_variable(machine, variable, &entry->bytes, &why);
	if (r == 0)
		r = classify(settings, location, entry, &why);
	if (r == 0) {
		entries->count++;
		return 0;
	}
	buffer_done(&entry->bytes);
	free(entry->path);
	if (r == -ENOMEM)
		return error_memory(error);
	return text_list_add(&entries->skipped, error, "%s is skipped: %s", variable, why.text);
}

static int read_order(
	struct machine *machine, bool force, struct entries *entries, struct error *error)
{
	struct bootorder *order = &entries->order;
	AUTO_BUFFER struct buffer bytes = { 0 };
	struct error why = { 0 };
	int r;

	order->count = 0;
	r = read_variable(machine, "BootOrder", &bytes, &why);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = bootorder_parse(span_of(&bytes), order, &why);
	if (r == 0)
		return 0;
	if (r == -ENOMEM)
		return error_memory(error);
	if (!force)
		return error_set(error, ERROR_REFUSED, -r,
			"BootOrder exists but cannot be used, and is not replaced blindly: %s; "
			"reboot and try again, or let 'bistable mark-good --force' make a new one",
			why.text);
	order->count = 0;
	for (size_t i = 0; i < entries->count && i < BOOTORDER_MAX; i++)
		order->numbers[order->count++] = entries->items[i].number;
	entries->order_unreadable = true;
	return text_list_add(&entries->skipped, error,
		"BootOrder cannot be used (%s): a new one lists all boot entries", why.text);
}

int entries_read_number(
	struct machine *machine, const char *name, uint16_t *ret, struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	int r;

	r = read_variable(machine, name, &bytes, error);
	if (r < 0)
		return r;
	if (bytes.size != 2)
		return error_failed(
			error, EBADMSG, "%s holds %zu bytes instead of 2", name, bytes.size);
	*ret = le16(bytes.data);
	return 0;
}

int entries_read(const struct boot_settings *settings, const struct esp_location *location,
	bool force, struct entries *ret, struct error *error)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	AUTO_ENTRIES struct entries entries = { 0 };
	struct machine *machine = settings->machine;
	int r;

	r = machine->ops->variable_list(machine, &names, error);
	if (r < 0)
		return r;
	entries.items = calloc(names.count + 1, sizeof(*entries.items));
	/* Room for the two entries that may be created. */
	entries.taken = calloc(names.count + SLOT_COUNT, sizeof(*entries.taken));
	if (!entries.items || !entries.taken)
		return error_memory(error);
	for (size_t i = 0; i < names.count; i++) {
		uint16_t number;

		if (!bootorder_entry_number(names.items[i], &number))
			continue;
		r = read_entry(settings, location, names.items[i], number, &entries, error);
		if (r < 0)
			return r;
	}
	r = read_order(machine, force, &entries, error);
	if (r < 0)
		return r;
	*ret = entries;
	entries = (struct entries){ 0 };
	return 0;
}

/* Whether `a` stands for its slot rather than `b`. */
static bool better(const struct entries *entries, const struct entry *a, const struct entry *b)
{
	long place_a = bootorder_find(&entries->order, a->number);
	long place_b = bootorder_find(&entries->order, b->number);

	if (a->ours != b->ours)
		return a->ours;
	if ((place_a < 0) != (place_b < 0))
		return place_b < 0;
	return place_a != place_b ? place_a < place_b : a->number < b->number;
}

struct entry *entries_of_slot(const struct entries *entries, enum slot slot)
{
	struct entry *best = NULL;

	for (size_t i = 0; i < entries->count; i++) {
		struct entry *entry = &entries->items[i];

		if (entry->slot == slot && (!best || better(entries, entry, best)))
			best = entry;
	}
	return best;
}

struct entry *entries_find(const struct entries *entries, uint16_t number)
{
	for (size_t i = 0; i < entries->count; i++)
		if (entries->items[i].number == number)
			return &entries->items[i];
	return NULL;
}

uint16_t entries_first_listed(
	const struct entries *entries, enum slot slot, uint16_t not_this, uint16_t otherwise)
{
	for (size_t i = 0; i < entries->order.count; i++) {
		uint16_t number = entries->order.numbers[i];
		const struct entry *entry = entries_find(entries, number);

		if (entry ? entry->slot == slot
			  : number != not_this && entries_exists(entries, number))
			return number;
	}
	return otherwise;
}

bool entries_exists(const struct entries *entries, uint16_t number)
{
	for (size_t i = 0; i < entries->taken_count; i++)
		if (entries->taken[i] == number)
			return true;
	return false;
}

/* Some firmware hides a variable from the listing that BootOrder still names. */
static bool is_taken(const struct entries *entries, uint16_t number)
{
	return entries_exists(entries, number) || bootorder_find(&entries->order, number) >= 0;
}

int entries_free_number(const struct entries *entries, uint16_t *ret, struct error *error)
{
	for (uint32_t number = 0; number <= UINT16_MAX; number++) {
		if (!is_taken(entries, (uint16_t)number)) {
			*ret = (uint16_t)number;
			return 0;
		}
	}
	return error_failed(error, ENOSPC, "all 65536 boot entry numbers are taken");
}

void entries_done(struct entries *entries)
{
	for (size_t i = 0; i < entries->count; i++) {
		buffer_done(&entries->items[i].bytes);
		free(entries->items[i].path);
	}
	free(entries->items);
	free(entries->taken);
	text_list_done(&entries->skipped);
	*entries = (struct entries){ 0 };
}
