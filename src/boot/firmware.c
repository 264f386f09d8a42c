/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "boot/boot.h"
#include "boot/entries.h"
#include "boot/firmware_private.h"
#include "format/devicepath.h"
#include "machine/machine.h"

int firmware_esp_location(struct firmware *firmware, struct esp_location *ret, struct error *error)
{
	struct machine *machine = firmware->settings.machine;

	if (!firmware->settings.esp)
		return error_failed(error, ENODEV, "the EFI System Partition is not reachable");
	return machine->ops->esp_location(machine, firmware->settings.esp, ret, error);
}

static int read_entries(struct firmware *firmware, struct entries *ret, struct error *error)
{
	struct machine *machine = firmware->settings.machine;
	struct esp_location location;
	int r;

	if (!machine->ops->efi_available(machine))
		return error_failed(error, EOPNOTSUPP,
			"this system was not started by UEFI, or efivarfs is not mounted on "
			"/sys/firmware/efi/efivars: there are no boot entries to work with");
	if (machine->ops->variables_volatile(machine))
		return error_failed(error, EOPNOTSUPP,
			"this firmware forgets boot entries that a running system writes "
			"(RTStorageVolatile): slots cannot be switched by boot entries here");
	r = firmware_esp_location(firmware, &location, error);
	if (r < 0)
		return r;
	r = entries_read(&firmware->settings, &location, firmware->boot.force, ret, error);
	if (r < 0)
		return r;
	for (size_t i = 0; !firmware->told && i < ret->skipped.count; i++)
		report_warning(firmware->settings.report, "%s", ret->skipped.items[i]);
	firmware->told = true;
	return 0;
}

/* What cannot be read cannot be compared, and so not written over. */
static int replace_order(
	struct machine *machine, struct entries *entries, struct span bytes, struct error *error)
{
	int r;

	r = machine->ops->variable_delete(machine, "BootOrder", error);
	if (r < 0)
		return r;
	entries->order_unreadable = false;
	/* Without it the entries of others would be unlisted: one more try than usual. */
	r = machine->ops->variable_write(machine, "BootOrder", bytes, NULL);
	return r == 0 ? 0 : machine->ops->variable_write(machine, "BootOrder", bytes, error);
}

static int write_order(struct firmware *firmware, struct entries *entries, struct error *error)
{
	struct bootorder *order = &entries->order;
	struct machine *machine = firmware->settings.machine;
	AUTO_BUFFER struct buffer bytes = { 0 };
	int r;

	/* Some firmware stops at a number that is listed twice. */
	bootorder_dedup(order);
	r = bootorder_format(order, &bytes, error);
	if (r == 0 && entries->order_unreadable)
		return replace_order(machine, entries, span_of(&bytes), error);
	if (r < 0)
		return r;
	return machine->ops->variable_write(machine, "BootOrder", span_of(&bytes), error);
}

static int write_option(struct firmware *firmware, const struct entry *entry, struct error *error)
{
	struct machine *machine = firmware->settings.machine;
	AUTO_BUFFER struct buffer bytes = { 0 };
	int r = loadopt_format(&entry->option, &bytes, error);

	if (r < 0)
		return r;
	return machine->ops->variable_write(machine, entry->variable, span_of(&bytes), error);
}

static int write_entry(
	struct firmware *firmware, struct entry *entry, uint32_t attributes, struct error *error)
{
	if (entry->option.attributes == attributes)
		return 0;
	entry->option.attributes = attributes;
	return write_option(firmware, entry, error);
}

static int set_active(struct firmware *firmware, enum slot slot, bool active, struct error *error)
{
	AUTO_ENTRIES struct entries entries = { 0 };
	int r;

	r = read_entries(firmware, &entries, error);
	if (r < 0)
		return r;
	/* prepare() has seen one: what cannot be read now must not stay as it is unnoticed. */
	if (!entries_of_slot(&entries, slot))
		return error_failed(error, EIO,
			"the firmware does not show the boot entry '%s' any more%s%s; try again",
			firmware->settings.descriptions[slot], entries.skipped.count ? ": " : "",
			entries.skipped.count ? entries.skipped.items[0] : "");
	for (size_t i = 0; i < entries.count; i++) {
		struct entry *entry = &entries.items[i];
		uint32_t attributes = entry->option.attributes;

		if (entry->slot != slot)
			continue;
		attributes = active ? attributes | LOADOPT_ACTIVE : attributes & ~LOADOPT_ACTIVE;
		r = write_entry(firmware, entry, attributes, error);
		if (r < 0)
			return r;
	}
	return 0;
}

static int firmware_disable(struct boot *boot, enum slot slot, struct error *error)
{
	return set_active(firmware_of(boot), slot, false, error);
}

static int firmware_enable(struct boot *boot, enum slot slot, struct error *error)
{
	return set_active(firmware_of(boot), slot, true, error);
}

static int format_entry(struct firmware *firmware, enum slot slot, bool active, struct buffer *out,
	struct error *error)
{
	AUTO_BUFFER struct buffer paths = { 0 };
	AUTO_FREE uint8_t *description = NULL;
	struct esp_location location;
	struct devicepath_hd hd;
	struct loadopt option;
	size_t size;
	int r;

	r = firmware_esp_location(firmware, &location, error);
	if (r < 0)
		return r;
	hd = (struct devicepath_hd){
		.partition_number = location.partition_number,
		.start = location.start,
		.size = location.size,
		.partuuid = location.partuuid,
	};
	r = devicepath_append_file(&paths, &hd, firmware->settings.boot_files[slot], error);
	if (r < 0)
		return r;
	r = text_to_utf16(firmware->settings.descriptions[slot], &description, &size, error);
	if (r < 0)
		return r;
	option = (struct loadopt){
		.attributes = active ? LOADOPT_ACTIVE : 0,
		.description = { description, size },
		.device_paths = span_of(&paths),
	};
	return loadopt_format(&option, out, error);
}

static int create_entry(struct firmware *firmware, const struct entries *entries, enum slot slot,
	bool active, uint16_t *ret_number, struct error *error)
{
	struct machine *machine = firmware->settings.machine;
	AUTO_BUFFER struct buffer bytes = { 0 };
	char name[9];
	int r;

	r = entries_free_number(entries, ret_number, error);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "Boot%04X", *ret_number);
	r = format_entry(firmware, slot, active, &bytes, error);
	if (r < 0)
		return r;
	r = machine->ops->variable_write(machine, name, span_of(&bytes), error);
	if (r < 0)
		return r;
	report_note(firmware->settings.report, "%s boot entry %s (%s)",
		firmware->boot.known[slot] ? "Recreated" : "Created",
		firmware->settings.descriptions[slot], name);
	return 0;
}

/*
 * Where the pair goes when BootOrder lists neither of it: before the entry that started this
 * system, so that what comes before that one (the network, say) keeps its turn; else to the front.
 */
static uint16_t place_of_pair(struct firmware *firmware, const struct bootorder *order)
{
	uint16_t current = 0;

	if (entries_read_number(firmware->settings.machine, "BootCurrent", &current, NULL) == 0
		&& bootorder_find(order, current) >= 0)
		return current;
	return order->count > 0 ? order->numbers[0] : 0;
}

/*
 * Some firmware finds the ESP by its number (EDK2) or place as well, and these may have changed
 * since an entry was made: it starts nothing until it is put right. So the first in BootOrder is
 * put right first.
 */
static int put_in_place(struct firmware *firmware, struct entries *entries,
	const uint16_t numbers[SLOT_COUNT], bool *ret_repaired, struct error *error)
{
	struct esp_location location;
	int r;

	r = firmware_esp_location(firmware, &location, error);
	for (size_t i = 0; r == 0 && i < entries->order.count; i++) {
		struct entry *entry = entries_find(entries, entries->order.numbers[i]);
		struct devicepath_hd hd = {
			.partition_number = location.partition_number,
			.start = location.start,
			.size = location.size,
		};

		if (!entry || !entry->misplaced
			|| (!entry->ours && entry->number != numbers[entry->slot]))
			continue;
		/* Inside of the entry's own bytes: all that is not understood stays. */
		devicepath_set_place(
			entry->bytes.data + (entry->option.device_paths.data - entry->bytes.data),
			entry->option.device_paths.size, &hd);
		r = write_option(firmware, entry, error);
		if (r < 0)
			return r;
		report_note(firmware->settings.report,
			"%s stated an old place of the EFI System Partition, and states its "
			"present one now",
			entry->variable);
		*ret_repaired = true;
	}
	return r;
}

/* BootOrder as it is to be, then what it names. */
static int write_pair(struct firmware *firmware, struct entries *entries,
	const uint16_t numbers[SLOT_COUNT], bool *ret_repaired, struct error *error)
{
	int r = write_order(firmware, entries, error);

	return r < 0 ? r : put_in_place(firmware, entries, numbers, ret_repaired, error);
}

/* Both slots have an entry and are listed; an unlisted one goes behind its counterpart. */
static int complete_pair(struct firmware *firmware, const bool startable[SLOT_COUNT],
	enum slot first, struct entries *ret, uint16_t numbers[SLOT_COUNT], bool *ret_repaired,
	struct error *error)
{
	bool repaired = false;
	int r;

	r = read_entries(firmware, ret, error);
	if (r < 0)
		return r;
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		struct entry *entry = entries_of_slot(ret, slot);

		if (entry) {
			numbers[slot] = entry->number;
			continue;
		}
		r = create_entry(firmware, ret, slot, startable[slot], &numbers[slot], error);
		if (r < 0)
			return r;
		repaired = true;
		/* A second creation must see this one's number as taken. */
		ret->taken[ret->taken_count++] = numbers[slot];
	}
	if (bootorder_find(&ret->order, numbers[SLOT_A]) < 0
		&& bootorder_find(&ret->order, numbers[SLOT_B]) < 0)
		repaired |= bootorder_put_before(
			&ret->order, numbers[first], place_of_pair(firmware, &ret->order));
	repaired |= bootorder_put_after(&ret->order, numbers[SLOT_A], numbers[SLOT_B]);
	repaired |= bootorder_put_after(&ret->order, numbers[SLOT_B], numbers[SLOT_A]);
	*ret_repaired = repaired;
	return 0;
}

/*
 * Nothing chosen for the next start names the slot. A BootNext that makes no sense, or names an
 * entry that is gone, goes as well: some firmware starts whatever is there by then.
 */
static int clear_next(struct firmware *firmware, const struct entries *entries, enum slot slot,
	struct error *error)
{
	struct machine *machine = firmware->settings.machine;
	const struct entry *entry;
	struct error why = { 0 };
	uint16_t number = 0;
	int r;

	r = entries_read_number(machine, "BootNext", &number, &why);
	if (r == -ENOENT)
		return 0;
	if (r < 0 && r != -EBADMSG && r != -ENODATA) {
		if (error)
			*error = why;
		return r;
	}
	entry = entries_find(entries, number);
	if (r == 0 && (entry ? entry->slot != slot : entries_exists(entries, number)))
		return 0;
	return machine->ops->variable_delete(machine, "BootNext", error);
}

/* The slot comes before any entry that names the other slot's file, and before all rivals. */
static bool move_to_front(struct firmware *firmware, struct entries *entries, enum slot slot,
	const uint16_t numbers[SLOT_COUNT])
{
	enum slot other = slot_other(slot);
	bool moved;

	moved = bootorder_put_before(&entries->order, numbers[slot],
		entries_first_listed(entries, other, numbers[slot], numbers[other]));
	for (size_t i = 0; i < firmware->boot.rival_count; i++)
		if (bootorder_find(&entries->order, firmware->boot.rivals[i]) >= 0)
			moved |= bootorder_put_before(
				&entries->order, numbers[slot], firmware->boot.rivals[i]);
	return moved;
}

/* Complete pair; the slot's entry is active and comes first. */
static int put_first(struct firmware *firmware, enum slot slot, const bool startable[SLOT_COUNT],
	struct entries *entries, uint16_t numbers[SLOT_COUNT], struct boot_changes *changes,
	struct error *error)
{
	struct entry *entry;
	int r;

	r = complete_pair(firmware, startable, slot, entries, numbers, &changes->repaired, error);
	if (r < 0)
		return r;
	entry = entries_find(entries, numbers[slot]);
	if (entry) {
		changes->repaired |= !(entry->option.attributes & LOADOPT_ACTIVE);
		r = write_entry(firmware, entry, entry->option.attributes | LOADOPT_ACTIVE, error);
		if (r < 0)
			return r;
	}
	changes->moved = move_to_front(firmware, entries, slot, numbers);
	changes->repaired |= changes->moved;
	return write_pair(firmware, entries, numbers, &changes->repaired, error);
}

static int firmware_check(struct boot *boot, struct error *error)
{
	AUTO_ENTRIES struct entries entries = { 0 };

	return read_entries(firmware_of(boot), &entries, error);
}

static int firmware_prepare(struct boot *boot, enum slot running, enum slot target,
	const bool startable[SLOT_COUNT], struct error *error)
{
	struct firmware *firmware = firmware_of(boot);
	AUTO_ENTRIES struct entries entries = { 0 };
	struct boot_changes changes = { 0 };
	uint16_t numbers[SLOT_COUNT];
	int r;

	if (running != SLOT_NONE) {
		/* It runs, and soon it is the only one left: startable, whatever its record says.
		 */
		const bool at_least[SLOT_COUNT] = {
			startable[SLOT_A] || running == SLOT_A,
			startable[SLOT_B] || running == SLOT_B,
		};

		r = put_first(firmware, running, at_least, &entries, numbers, &changes, error);
	} else {
		r = complete_pair(firmware, startable, slot_other(target), &entries, numbers,
			&changes.repaired, error);
		if (r == 0)
			r = write_pair(firmware, &entries, numbers, &changes.repaired, error);
	}
	return r < 0 ? r : clear_next(firmware, &entries, target, error);
}

static int firmware_start_next(struct boot *boot, enum slot slot, struct error *error)
{
	struct firmware *firmware = firmware_of(boot);
	struct machine *machine = firmware->settings.machine;
	AUTO_ENTRIES struct entries entries = { 0 };
	struct entry *entry;
	uint8_t bytes[2];
	int r;

	r = read_entries(firmware, &entries, error);
	if (r < 0)
		return r;
	entry = entries_of_slot(&entries, slot);
	if (!entry || !(entry->option.attributes & LOADOPT_ACTIVE))
		return error_failed(error, ENOENT,
			"the firmware %s boot entry '%s' right after it was written; the machine "
			"stays on its old slot",
			entry ? "deactivated" : "lost", firmware->settings.descriptions[slot]);
	put_le16(bytes, entry->number);
	return machine->ops->variable_write(machine, "BootNext", (struct span){ bytes, 2 }, error);
}

/* Deletes the entries that bear a slot's description beside the one that stands for the slot. */
static int remove_duplicates(struct firmware *firmware, struct entries *entries,
	const uint16_t numbers[SLOT_COUNT], unsigned *ret_removed, struct error *error)
{
	struct machine *machine = firmware->settings.machine;
	int r;

	for (size_t i = 0; i < entries->count; i++) {
		struct entry *entry = &entries->items[i];

		if (!entry->ours || entry->number == numbers[entry->slot])
			continue;
		/* First out of the order: a cut in between leaves an unlisted entry, no dangling
		 * number. */
		bootorder_remove(&entries->order, entry->number);
		r = write_order(firmware, entries, error);
		if (r < 0)
			return r;
		r = machine->ops->variable_delete(machine, entry->variable, error);
		if (r < 0)
			return r;
		report_note(firmware->settings.report, "Removed duplicate boot entry %s (%s)",
			firmware->settings.descriptions[entry->slot], entry->variable);
		++*ret_removed;
	}
	return 0;
}

static int firmware_confirm(struct boot *boot, enum slot slot, const bool startable[SLOT_COUNT],
	bool duplicates, struct boot_changes *ret, struct error *error)
{
	struct firmware *firmware = firmware_of(boot);
	AUTO_ENTRIES struct entries entries = { 0 };
	struct boot_changes changes = { 0 };
	uint16_t numbers[SLOT_COUNT];
	int r;

	r = put_first(firmware, slot, startable, &entries, numbers, &changes, error);
	if (r < 0)
		return r;
	if (changes.moved)
		report_note(firmware->settings.report, "%s now comes first in BootOrder",
			firmware->settings.descriptions[slot]);
	if (duplicates) {
		r = remove_duplicates(firmware, &entries, numbers, &changes.removed, error);
		if (r < 0)
			return r;
	}
	*ret = changes;
	return 0;
}

static int firmware_demote(struct boot *boot, enum slot slot, struct error *error)
{
	struct firmware *firmware = firmware_of(boot);
	AUTO_ENTRIES struct entries entries = { 0 };
	uint16_t numbers[SLOT_COUNT];
	struct boot_changes changes = { 0 };
	bool startable[SLOT_COUNT];
	int r;

	startable[slot] = false;
	startable[slot_other(slot)] = true;
	r = put_first(firmware, slot_other(slot), startable, &entries, numbers, &changes, error);
	if (r == 0)
		r = clear_next(firmware, &entries, slot, error);
	return r < 0 ? r : set_active(firmware, slot, false, error);
}

static void firmware_free(struct boot *boot)
{
	free(boot);
}

static const struct boot_ops firmware_ops = {
	.view = firmware_view,
	.check = firmware_check,
	.prepare = firmware_prepare,
	.disable = firmware_disable,
	.enable = firmware_enable,
	.start_next = firmware_start_next,
	.confirm = firmware_confirm,
	.demote = firmware_demote,
	.free = firmware_free,
};

int boot_firmware_new(const struct boot_settings *settings, struct boot **ret, struct error *error)
{
	struct firmware *firmware = calloc(1, sizeof(*firmware));

	if (!firmware)
		return error_memory(error);
	firmware->boot.ops = &firmware_ops;
	firmware->settings = *settings;
	*ret = &firmware->boot;
	return 0;
}
