/* SPDX-License-Identifier: Apache-2.0 */

/* The doctor looks at the firmware's boot entries. */

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "engine/context.h"
#include "engine/doctor_private.h"
#include "format/state.h"
#include "machine/machine.h"

#define MARK_GOOD "Call 'bistable mark-good' in the running system."

static int unknown(struct doctor *doctor, struct error *error)
{
	return doctor_warning(
		doctor, "See the check 'variables'.", error, "Boot entries cannot be read here.");
}

/* Known to be complete and not bad; an unknown record counts neither way. */
static bool is_startable(const struct doctor *doctor, enum slot slot)
{
	return doctor_record_known(doctor, slot) && record_startable(&doctor->records.of[slot]);
}

static bool is_unfit(const struct doctor *doctor, enum slot slot)
{
	return doctor_record_known(doctor, slot) && !record_startable(&doctor->records.of[slot]);
}

static bool variables_denied(struct machine *machine)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	AUTO_BUFFER struct buffer bytes = { 0 };
	uint32_t attributes;

	return machine->ops->variable_list(machine, &names, NULL) == -EACCES
	       || machine->ops->variable_read(machine, "BootOrder", &attributes, &bytes, NULL)
			  == -EACCES;
}

static int not_readable(struct doctor *doctor, struct error *error)
{
	const struct text_list *notes = &doctor->coldboot.view.notes;
	const char *why = notes->count > 0 ? notes->items[notes->count - 1]
					   : "the boot entries cannot be read";

	if (variables_denied(doctor->context->machine))
		return doctor_warning(doctor, DOCTOR_AS_ROOT, error, "%s.", why);
	return doctor_problem(doctor,
		"Reboot; if it stays, look at BootOrder in the firmware's set-up.", error, "%s.",
		why);
}

int doctor_check_firmware(struct doctor *doctor, enum slot unused, struct error *error)
{
	struct machine *machine = doctor->context->machine;
	const struct text_list *skipped = &doctor->coldboot.view.skipped;

	(void)unused;
	if (!machine->ops->efi_available(machine))
		return doctor_problem(doctor,
			"Start the machine by UEFI, and mount efivarfs on "
			"/sys/firmware/efi/efivars.",
			error,
			"There are no EFI variables: this system was not started by UEFI, or "
			"efivarfs is not mounted.");
	if (machine->ops->variables_volatile(machine))
		return doctor_problem(doctor,
			"Slots cannot be switched by boot entries with this firmware; look for an "
			"update of it.",
			error,
			"This firmware forgets what a running system writes (RTStorageVolatile).");
	if (!doctor->coldboot.view.readable)
		return not_readable(doctor, error);
	if (skipped->count > 0)
		return doctor_warning(doctor,
			"If it was made by nobody you know, delete it in the firmware's set-up.",
			error, "%zu boot %s cannot be used: %s.", skipped->count,
			skipped->count == 1 ? "entry" : "entries", skipped->items[0]);
	return doctor_ok(doctor, error, "All boot entries can be read.");
}

static int no_entry(struct doctor *doctor, enum slot slot, struct error *error)
{
	char letter = slot_letter(slot);

	if (slot == doctor->running)
		return doctor_problem(doctor, MARK_GOOD, error,
			"The firmware has no boot entry for slot %c, which runs.", letter);
	if (is_startable(doctor, slot))
		return doctor_warning(doctor, MARK_GOOD, error,
			"The firmware has no boot entry for slot %c, which is complete.", letter);
	return doctor_ok(doctor, error,
		"The firmware has no boot entry for slot %c, and needs none before an install.",
		letter);
}

static int unfit_entry(struct doctor *doctor, enum slot slot, struct error *error)
{
	const struct record *record = &doctor->records.of[slot];

	if (!record->has_boot_file)
		return doctor_warning(doctor, "Install into that slot.", error,
			"Boot%04X is active, but slot %c has no boot file.",
			doctor->coldboot.view.slots[slot].number, slot_letter(slot));
	return doctor_problem(doctor,
		"Install into that slot, or call 'bistable mark-bad' for it: that makes the entry "
		"inactive.",
		error, "Boot%04X is active, but slot %c is %s: the firmware may start it.",
		doctor->coldboot.view.slots[slot].number, slot_letter(slot),
		record->state.bad ? "marked bad" : "not complete");
}

static int inactive_entry(struct doctor *doctor, enum slot slot, struct error *error)
{
	unsigned number = doctor->coldboot.view.slots[slot].number;
	char letter = slot_letter(slot);

	if (!is_startable(doctor, slot))
		return doctor_ok(doctor, error,
			"Boot%04X of slot %c is inactive, as long as the slot is not good to "
			"start.",
			number, letter);
	if (slot == doctor->running)
		return doctor_problem(doctor, MARK_GOOD, error,
			"Boot%04X of slot %c, which runs, is inactive: the firmware does not start "
			"it.",
			number, letter);
	return doctor_warning(doctor,
		"'bistable activate' makes it active, and starts that slot next.", error,
		"Boot%04X is inactive although slot %c is complete: it is no fallback.", number,
		letter);
}

int doctor_check_entry(struct doctor *doctor, enum slot slot, struct error *error)
{
	const struct boot_slot_view *view = &doctor->coldboot.view.slots[slot];

	if (!doctor->coldboot.view.readable)
		return unknown(doctor, error);
	if (!view->present)
		return no_entry(doctor, slot, error);
	if (view->active && is_unfit(doctor, slot))
		return unfit_entry(doctor, slot, error);
	if (!view->active)
		return inactive_entry(doctor, slot, error);
	if (!view->listed)
		return doctor_warning(doctor, MARK_GOOD, error,
			"Boot%04X of slot %c is not in BootOrder: firmware may ignore or overwrite "
			"it.",
			view->number, slot_letter(slot));
	if (view->misplaced)
		return doctor_warning(doctor, MARK_GOOD, error,
			"Boot%04X of slot %c states another place of the EFI System Partition than "
			"the partition table has: some firmware does not find it.",
			view->number, slot_letter(slot));
	return doctor_ok(
		doctor, error, "Boot%04X starts slot %c.", view->number, slot_letter(slot));
}

/* An entry like ours, for an ESP that no disk has: left by a disk that was replaced. */
int doctor_check_lost(struct doctor *doctor, enum slot unused, struct error *error)
{
	const struct boot_view *view = &doctor->coldboot.view;
	struct machine *machine = doctor->context->machine;

	(void)unused;
	if (!view->readable)
		return unknown(doctor, error);
	for (size_t i = 0; i < view->elsewhere_count; i++) {
		struct partition *partition = NULL;
		char device[9 + GUID_TEXT_SIZE] = "PARTUUID=";
		int r;

		guid_to_text(&view->elsewhere[i].partuuid, device + 9);
		r = machine->ops->partition_open(machine, device, PARTITION_READ, &partition, NULL);
		machine->ops->partition_close(machine, partition);
		if (r == -ENODEV)
			return doctor_warning(doctor,
				"If its disk is gone for good, remove it: efibootmgr -B -b NUMBER.",
				error,
				"%s is like an entry of ours, but for a partition that no disk "
				"has (%s).",
				view->elsewhere[i].name, device);
	}
	return doctor_ok(doctor, error, "No boot entry of ours is for a disk that is gone.");
}

int doctor_check_loader(struct doctor *doctor, enum slot unused, struct error *error)
{
	AUTO_BOOT_LOADER struct boot_loader loader = { 0 };
	int r;

	(void)unused;
	if (!doctor->coldboot.view.readable)
		return unknown(doctor, error);
	r = boot_loader_look(doctor->context, &doctor->coldboot.view, &loader, error);
	if (r < 0)
		return r;
	if (!loader.name)
		return doctor_ok(
			doctor, error, "No boot loader stands between firmware and slots.");
	return doctor_warning(doctor,
		"'bistable mark-good' and 'install' let the firmware start the slots itself, if "
		"the UKI that runs can be told.",
		error, "This machine was started by %s, which chooses what it starts.",
		loader.name);
}

int doctor_check_duplicates(struct doctor *doctor, enum slot unused, struct error *error)
{
	const struct boot_slot_view *slots = doctor->coldboot.view.slots;
	bool removed = false;

	(void)unused;
	if (!doctor->coldboot.view.readable)
		return unknown(doctor, error);
	if (slots[SLOT_A].duplicates + slots[SLOT_B].duplicates == 0)
		return doctor_ok(doctor, error, "No boot entry of ours exists twice.");
	if (doctor->running != SLOT_NONE)
		removed = doctor->records.of[doctor->running].state.duplicates_removed;
	return doctor_warning(doctor,
		removed ? "They came back after mark-good had removed them: look for an update of "
			  "the firmware."
			: "'bistable mark-good' removes them.",
		error,
		"Beside ours, %u more boot entries bear the description of slot A and %u that of "
		"slot B.",
		slots[SLOT_A].duplicates, slots[SLOT_B].duplicates);
}

/* BootOrder starts the slot that does not run, and this start was not a trial. */
static int other_default(struct doctor *doctor, struct error *error)
{
	enum slot other = doctor->coldboot.view.default_slot;
	char letter = slot_letter(other), running = slot_letter(doctor->running);

	if (is_startable(doctor, other) && doctor->records.of[other].state.confirmed)
		return doctor_problem(doctor,
			"Find out why the default does not start, or make the running slot the "
			"default with 'bistable mark-good --force'.",
			error,
			"Slot %c is the confirmed default, but slot %c runs and nobody asked for "
			"that: the firmware fell back.",
			letter, running);
	return doctor_warning(doctor, MARK_GOOD, error,
		"A cold boot starts slot %c, but slot %c runs and was not started on trial.",
		letter, running);
}

static int foreign_first(struct doctor *doctor, struct error *error)
{
	const struct text_list *foreign = &doctor->coldboot.view.foreign_before;

	return doctor_warning(doctor,
		"If these should not be tried first, move them behind ours with efibootmgr or in "
		"the firmware's set-up.",
		error, "%s comes before both slots in BootOrder%s.", foreign->items[0],
		foreign->count > 1 ? ", and so do others" : "");
}

/* The files decide otherwise than the entries. */
static int not_as_listed(struct doctor *doctor, enum slot listed, struct error *error)
{
	const struct coldboot *coldboot = &doctor->coldboot;
	char letter = slot_letter(listed);

	if (coldboot->unread)
		return doctor_warning(doctor, DOCTOR_AS_ROOT, error,
			"What a cold boot starts cannot be told: %s.", coldboot->unread);
	return doctor_problem(doctor, MARK_GOOD, error,
		"BootOrder has slot %c first, but a cold boot starts %s: %s.", letter,
		coldboot->what ? coldboot->what : "nothing",
		coldboot->own[listed].loads ? "that comes first" : coldboot->own[listed].why);
}

int doctor_check_order(struct doctor *doctor, enum slot unused, struct error *error)
{
	enum slot slot = doctor->coldboot.view.default_slot;

	(void)unused;
	if (!doctor->coldboot.view.readable)
		return unknown(doctor, error);
	if (slot == SLOT_NONE)
		return doctor_problem(doctor, MARK_GOOD, error,
			"BootOrder lists no active entry of either slot: a cold boot starts "
			"neither.");
	if (is_unfit(doctor, slot))
		return doctor_problem(doctor, MARK_GOOD, error,
			"A cold boot starts slot %c, which is not complete or marked bad.",
			slot_letter(slot));
	if (doctor->coldboot.known && doctor->coldboot.slot != slot)
		return not_as_listed(doctor, slot, error);
	if (doctor->running == slot_other(slot) && doctor_record_known(doctor, doctor->running)
		&& !doctor_on_trial(doctor, doctor->running))
		return other_default(doctor, error);
	if (doctor->coldboot.view.foreign_before.count > 0)
		return foreign_first(doctor, error);
	return doctor_ok(doctor, error, "A cold boot starts slot %c.", slot_letter(slot));
}

#define REMOVE_NEXT "If nobody chose it, remove it: efibootmgr --delete-bootnext."

/* This very boot asked for the slot. */
static bool was_chosen(struct doctor *doctor, enum slot slot)
{
	const struct state_attempt *last = state_last_attempt(&doctor->records.of[slot].state);

	return last && last->outcome == STATE_PENDING
	       && strcmp(last->boot_id, doctor->boot_id) == 0;
}

int doctor_check_next(struct doctor *doctor, enum slot unused, struct error *error)
{
	enum slot slot = doctor->coldboot.view.next_slot;

	(void)unused;
	if (!doctor->coldboot.view.readable)
		return unknown(doctor, error);
	if (doctor->coldboot.view.next_dangling)
		return doctor_warning(
			doctor, REMOVE_NEXT, error, "BootNext is set, but names no boot entry.");
	if (!doctor->coldboot.view.next_set)
		return doctor_ok(doctor, error, "Nothing is chosen for the next start only.");
	if (slot == SLOT_NONE)
		return doctor_warning(doctor, REMOVE_NEXT, error,
			"BootNext lets something start next that is neither slot.");
	if (is_unfit(doctor, slot))
		return doctor_problem(doctor,
			"Remove it before the next restart: efibootmgr --delete-bootnext.", error,
			"BootNext lets slot %c start next, which is not complete or marked bad.",
			slot_letter(slot));
	if (doctor_record_known(doctor, slot) && !was_chosen(doctor, slot))
		return doctor_warning(doctor, REMOVE_NEXT, error,
			"BootNext names slot %c, and this boot did not choose it: the firmware may "
			"ignore BootNext.",
			slot_letter(slot));
	return doctor_ok(doctor, error, "Slot %c starts next, once.", slot_letter(slot));
}
