/* SPDX-License-Identifier: Apache-2.0 */

/* What the firmware's boot entries say, without changing any. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "boot/boot.h"
#include "boot/entries.h"
#include "boot/firmware_private.h"
#include "machine/machine.h"

/* EFI_LOAD_OPTION categories other than "boot" are never started by themselves (UEFI 2.10 §3.1.3).
 */
#define LOADOPT_CATEGORY 0x1f00u

static void choice_done(struct boot_choice *choice)
{
	free(choice->name);
	free(choice->path);
}

static int name_entry(const struct entry *entry, char **ret, struct error *error)
{
	AUTO_FREE char *description = NULL;
	int r;

	r = loadopt_description(&entry->option, &description, error);
	if (r < 0)
		return r;
	*ret = text_format("%s '%s'", entry->variable, description);
	return *ret ? 0 : error_memory(error);
}

static int view_choice(const struct entry *entry, struct boot_choice *ret, struct error *error)
{
	struct boot_choice choice = { .number = entry->number, .slot = entry->slot };
	int r;

	r = name_entry(entry, &choice.name, error);
	if (r == 0 && entry->path) {
		choice.path = strdup(entry->path);
		if (!choice.path)
			r = error_memory(error);
	}
	if (r < 0)
		choice_done(&choice);
	else
		*ret = choice;
	return r;
}

/* What the firmware tries by itself, in this order. */
static int view_choices(const struct entries *entries, struct boot_view *view, struct error *error)
{
	view->choices = calloc(entries->order.count + 1, sizeof(*view->choices));
	if (!view->choices)
		return error_memory(error);
	for (size_t i = 0; i < entries->order.count; i++) {
		const struct entry *entry = entries_find(entries, entries->order.numbers[i]);
		int r;

		if (!entry || !(entry->option.attributes & LOADOPT_ACTIVE)
			|| entry->option.attributes & LOADOPT_CATEGORY)
			continue;
		r = view_choice(entry, &view->choices[view->choice_count], error);
		if (r < 0)
			return r;
		view->choice_count++;
	}
	return 0;
}

/* Firmware goes on to the next entry when a file is not there. */
static bool is_missing(struct firmware *firmware, const char *path)
{
	struct machine *machine = firmware->settings.machine;

	return firmware->settings.esp
	       && machine->ops->esp_digest(machine, firmware->settings.esp, path, NULL, NULL, NULL)
			  == -ENOENT;
}

/* Entries of others that the firmware tries before the pair are worth knowing about. */
static int view_default(struct firmware *firmware, struct boot_view *view, struct error *error)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < view->choice_count; i++) {
		const struct boot_choice *choice = &view->choices[i];

		if (choice->path && is_missing(firmware, choice->path)) {
			r = text_list_add(&view->notes, error,
				"%s is in BootOrder, but its file %s is not there", choice->name,
				choice->path);
			continue;
		}
		if (choice->slot != SLOT_NONE) {
			view->default_slot = choice->slot;
			return 0;
		}
		r = text_list_add(&view->notes, error, "%s comes before both slots in BootOrder",
			choice->name);
		if (r == 0)
			r = text_list_add(&view->foreign_before, error, "%s", choice->name);
	}
	if (r < 0)
		return r;
	/* Nothing of ours is listed: then all those entries are not "before" anything. */
	text_list_done(&view->notes);
	text_list_done(&view->foreign_before);
	return text_list_add(&view->notes, error,
		"no active boot entry of either slot is in BootOrder; 'bistable mark-good' "
		"repairs that");
}

static int view_elsewhere(
	const struct entries *entries, struct boot_view *view, struct error *error)
{
	view->elsewhere = calloc(entries->count + 1, sizeof(*view->elsewhere));
	if (!view->elsewhere)
		return error_memory(error);
	for (size_t i = 0; i < entries->count; i++) {
		const struct entry *entry = &entries->items[i];
		struct boot_elsewhere *elsewhere = &view->elsewhere[view->elsewhere_count];
		int r;

		if (entry->elsewhere == SLOT_NONE)
			continue;
		elsewhere->partuuid = entry->partuuid;
		r = name_entry(entry, &elsewhere->name, error);
		if (r < 0)
			return r;
		view->elsewhere_count++;
	}
	return 0;
}

static int view_current(struct firmware *firmware, const struct entries *entries,
	struct boot_view *view, struct error *error)
{
	const struct entry *entry;
	uint16_t number = 0;

	if (entries_read_number(firmware->settings.machine, "BootCurrent", &number, NULL) < 0)
		return 0;
	entry = entries_find(entries, number);
	return entry ? view_choice(entry, &view->current, error) : 0;
}

static void view_next(
	struct firmware *firmware, const struct entries *entries, struct boot_view *view)
{
	const struct entry *entry;
	uint16_t number = 0;
	int r;

	r = entries_read_number(firmware->settings.machine, "BootNext", &number, NULL);
	view->next_dangling = r == -EBADMSG || r == -ENODATA;
	if (r < 0)
		return;
	view->next_set = true;
	view->next_dangling = !entries_exists(entries, number);
	entry = entries_find(entries, number);
	view->next_slot = entry ? entry->slot : SLOT_NONE;
}

static struct boot_slot_view view_slot(const struct entries *entries, const struct entry *entry)
{
	struct boot_slot_view view = {
		.present = true,
		.number = entry->number,
		.active = entry->option.attributes & LOADOPT_ACTIVE,
		.listed = bootorder_find(&entries->order, entry->number) >= 0,
		.misplaced = entry->misplaced,
	};

	for (size_t i = 0; i < entries->count; i++)
		view.duplicates += &entries->items[i] != entry && entries->items[i].ours
				   && entries->items[i].slot == entry->slot;
	return view;
}

static int fill_view(struct firmware *firmware, const struct esp_location *location,
	struct boot_view *view, struct error *error)
{
	AUTO_ENTRIES struct entries entries = { 0 };
	int r;

	r = entries_read(&firmware->settings, location, false, &entries, error);
	if (r < 0)
		return r;
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		const struct entry *entry = entries_of_slot(&entries, slot);

		if (entry)
			view->slots[slot] = view_slot(&entries, entry);
	}
	r = view_choices(&entries, view, error);
	if (r == 0)
		r = view_default(firmware, view, error);
	if (r == 0)
		r = view_elsewhere(&entries, view, error);
	if (r == 0)
		r = view_current(firmware, &entries, view, error);
	if (r < 0)
		return r;
	view_next(firmware, &entries, view);
	for (size_t i = 0; i < entries.skipped.count; i++) {
		r = text_list_add(&view->notes, error, "%s", entries.skipped.items[i]);
		if (r < 0)
			return r;
	}
	view->skipped = entries.skipped;
	entries.skipped = (struct text_list){ 0 };
	view->readable = true;
	return 0;
}

int firmware_view(struct boot *boot, struct boot_view *ret, struct error *error)
{
	struct firmware *firmware = firmware_of(boot);
	struct machine *machine = firmware->settings.machine;
	AUTO_BOOT_VIEW struct boot_view view = { .default_slot = SLOT_NONE,
		.next_slot = SLOT_NONE };
	struct esp_location location;
	struct error why = { 0 };
	bool located;
	int r;

	if (!machine->ops->efi_available(machine)) {
		r = text_list_add(&view.notes, error,
			"no EFI variables: this system was not started by UEFI, or efivarfs is "
			"not mounted");
	} else {
		located = firmware_esp_location(firmware, &location, NULL) == 0;
		r = fill_view(firmware, located ? &location : NULL, &view, &why);
		if (r < 0)
			r = text_list_add(&view.notes, error, "the boot entries cannot be read: %s",
				why.text);
	}
	if (r < 0)
		return r;
	*ret = view;
	view = (struct boot_view){ 0 };
	return 0;
}

void boot_view_done(struct boot_view *view)
{
	for (size_t i = 0; i < view->choice_count; i++)
		choice_done(&view->choices[i]);
	for (size_t i = 0; i < view->elsewhere_count; i++)
		free(view->elsewhere[i].name);
	choice_done(&view->current);
	free(view->choices);
	free(view->elsewhere);
	text_list_done(&view->notes);
	text_list_done(&view->foreign_before);
	text_list_done(&view->skipped);
	*view = (struct boot_view){ 0 };
}
