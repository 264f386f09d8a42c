/* SPDX-License-Identifier: Apache-2.0 */

/* The doctor looks at the EFI System Partition: its health, and what it says of the slots. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "engine/bootfile.h"
#include "engine/context.h"
#include "engine/doctor_private.h"
#include "engine/espfile.h"
#include "engine/removable.h"
#include "machine/machine.h"

#define MARK_GOOD     "Call 'bistable mark-good' in the running system."
#define INSTALL_AGAIN "Install into that slot again."

static int unknown(struct doctor *doctor, struct error *error)
{
	return doctor_warning(doctor, "See the check 'esp'.", error,
		"It cannot be told without the EFI System Partition.");
}

static int cannot_read(struct doctor *doctor, const char *why, struct error *error)
{
	const char *device = doctor->survey.device;

	return doctor_warning(doctor, DOCTOR_AS_ROOT " If it stays, unmount it and run fsck.vfat.",
		error, "It%s%s%s cannot be read: %s.", device ? " (" : "", device ? device : "",
		device ? ")" : "", why);
}

static int check_twin(struct doctor *doctor, struct error *error)
{
	struct context *context = doctor->context;
	AUTO_FREE char *twin = NULL;
	int r = context->machine->ops->esp_twin(context->machine, context->esp, &twin, error);

	if (r < 0)
		return r;
	if (!twin)
		return doctor_ok(doctor, error, "The EFI System Partition can be reached.");
	return doctor_warning(doctor,
		"Disconnect the cloned disk, or give it GUIDs of its own (sgdisk -G).", error,
		"%s has the same partition GUID as the EFI System Partition: the firmware may "
		"start an old system from there.",
		twin);
}

int doctor_check_esp(struct doctor *doctor, enum slot unused, struct error *error)
{
	(void)unused;
	if (doctor->esp_number == 0)
		return check_twin(doctor, error);
	if (doctor->esp_number == -EACCES || doctor->esp_number == -EPERM)
		return doctor_warning(doctor, DOCTOR_AS_ROOT, error, "%s.", doctor->no_esp);
	return doctor_problem(doctor,
		"Mount it, or say where it is mounted ([esp] mount); without it nothing can be "
		"installed.",
		error, "%s.", doctor->no_esp);
}

int doctor_check_location(struct doctor *doctor, enum slot unused, struct error *error)
{
	struct context *context = doctor->context;
	const struct esp_survey *survey = &doctor->survey;
	struct esp_location location;
	struct error why = { 0 };
	int r;

	(void)unused;
	if (!context->esp)
		return unknown(doctor, error);
	r = context->machine->ops->esp_location(context->machine, context->esp, &location, &why);
	if (r == -EACCES)
		return doctor_warning(doctor, DOCTOR_AS_ROOT, error, "%s.", why.text);
	if (r < 0)
		return doctor_problem(doctor,
			"Nothing is installed before: boot entries could not be made.", error,
			"%s.", why.text);
	if (survey->misplaced)
		return doctor_problem(doctor,
			"Correct [esp] partition-number, start, size and partuuid, or leave them "
			"out; then call 'bistable mark-good'.",
			error, "The firmware is led elsewhere: %s.", survey->misplaced);
	if (survey->degraded)
		return doctor_warning(doctor,
			"Complete the array, and let the firmware see no disk that was in it "
			"before: it may start an old system from there. If boot entries are "
			"missing, 'bistable mark-good' makes those of a member that is left.",
			error, "The array %s lacks a member.", survey->degraded);
	return doctor_ok(doctor, error, "Boot entries lead to its partition %" PRIu32 "%s%s.",
		location.partition_number, survey->device ? ", in use as " : "",
		survey->device ? survey->device : "");
}

int doctor_check_writable(struct doctor *doctor, enum slot unused, struct error *error)
{
	struct context *context = doctor->context;
	struct esp_space space = { 0 };
	struct error why = { 0 };

	(void)unused;
	if (!context->esp)
		return unknown(doctor, error);
	if (context->machine->ops->esp_space(context->machine, context->esp, &space, &why) < 0)
		return cannot_read(doctor, why.text, error);
	if (!space.read_only)
		return doctor_ok(doctor, error, "It can be written to.");
	if (context->config.esp_remount)
		return doctor_ok(doctor, error,
			"It is mounted read-only, and is remounted for the moment of a write.");
	return doctor_problem(doctor, "Set [esp] remount=yes, or mount it for writing.", error,
		"It is mounted read-only and must not be remounted: nothing can be installed.");
}

/* The larger of the boot files: the next one will hardly be smaller. Bytes; 0: there is none. */
static int size_of_next(struct context *context, uint64_t *ret, struct error *error)
{
	uint64_t largest = 0;

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		uint64_t size = 0;
		int r;

		r = context->machine->ops->esp_digest(context->machine, context->esp,
			context->config.boot_file[slot], NULL, &size, error);
		if (r < 0 && r != -ENOENT)
			return r;
		if (size > largest)
			largest = size;
	}
	*ret = largest;
	return 0;
}

int doctor_check_space(struct doctor *doctor, enum slot unused, struct error *error)
{
	enum slot target = doctor->running == SLOT_NONE ? SLOT_B : slot_other(doctor->running);
	struct context *context = doctor->context;
	struct error why = { 0 };
	bool remove_first = false;
	uint64_t size = 0;
	char text[16];
	int r;

	(void)unused;
	if (!context->esp)
		return unknown(doctor, error);
	r = size_of_next(context, &size, &why);
	if (r == 0)
		r = bootfile_check_space(context, target, size, &remove_first, &why);
	if (r == -ENOSPC)
		return doctor_problem(doctor,
			"Remove what is not needed there, or make the partition larger.", error,
			"It has no room for a boot file like today's: %s.", why.text);
	if (r == -EFBIG)
		return doctor_problem(
			doctor, "Raise it where installs run.", error, "%s.", why.text);
	if (r < 0)
		return cannot_read(doctor, why.text, error);
	text_size(size, text);
	if (remove_first)
		return doctor_warning(doctor,
			"It works like this; with more room the old boot file would stay until the "
			"new one is there.",
			error,
			"There is room for a boot file like today's (%s) only once that of slot %c "
			"is gone.",
			text, slot_letter(target));
	return doctor_ok(
		doctor, error, "There is room for another boot file like today's (%s).", text);
}

int doctor_check_names(struct doctor *doctor, enum slot unused, struct error *error)
{
	struct context *context = doctor->context;
	const char *const folders[] = { context->config.folder, "/EFI/BOOT" };
	AUTO_FREE char *clash = NULL;
	struct error why = { 0 };
	int r = 0;

	(void)unused;
	if (!context->esp)
		return unknown(doctor, error);
	for (size_t i = 0; r == 0 && !clash && i < sizeof(folders) / sizeof(folders[0]); i++)
		r = context->machine->ops->esp_clash(
			context->machine, context->esp, folders[i], &clash, &why);
	if (r < 0)
		return cannot_read(doctor, why.text, error);
	if (clash)
		return doctor_problem(doctor,
			"Mount it with -o check=s, which tells them apart, and keep one of them; "
			"nothing is written there before.",
			error,
			"It holds %s, which are one name to the firmware: it may take another "
			"one than Linux does.",
			clash);
	return doctor_ok(doctor, error, "The firmware and Linux find the same files.");
}

/* NAME.new or NAME.new.lostN of something that is replaced there. */
static bool is_leftover(const char *name, bool *ret_lost)
{
	const char *suffix = strcasestr(name, MACHINE_NEW_SUFFIX);

	if (!suffix)
		return false;
	suffix += strlen(MACHINE_NEW_SUFFIX);
	*ret_lost = strncasecmp(suffix, ".lost", 5) == 0;
	return *suffix == '\0' || *ret_lost;
}

static int find_leftovers(struct context *context, const char *folder, char **ret_lost,
	char **ret_new, struct error *error)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	bool lost;
	int r;

	r = context->machine->ops->esp_list(context->machine, context->esp, folder, &names, error);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (size_t i = 0; i < names.count; i++) {
		char **ret;

		if (!is_leftover(names.items[i], &lost))
			continue;
		ret = lost ? ret_lost : ret_new;
		if (!*ret)
			*ret = text_format("%s/%s", folder, names.items[i]);
		if (!*ret)
			return error_memory(error);
	}
	return 0;
}

int doctor_check_leftovers(struct doctor *doctor, enum slot unused, struct error *error)
{
	struct context *context = doctor->context;
	AUTO_FREE char *lost = NULL, *fresh = NULL;
	const char *device = doctor->survey.device;
	struct error why = { 0 };
	int r;

	(void)unused;
	if (!context->esp)
		return unknown(doctor, error);
	r = find_leftovers(context, context->config.folder, &lost, &fresh, &why);
	if (r == 0)
		r = find_leftovers(context, "/EFI/BOOT", &lost, &fresh, &why);
	if (r < 0)
		return cannot_read(doctor, why.text, error);
	if (lost)
		return doctor_problem(doctor,
			"Unmount it and run fsck.vfat; do not delete the file, for its clusters "
			"may belong to another one.",
			error, "A power cut damaged the file system%s%s: %s was put aside.",
			device ? " on " : "", device ? device : "", lost);
	if (fresh)
		return doctor_warning(doctor,
			"Nothing: the next install or mark-good writes over it.", error,
			"A write was interrupted, or goes on: %s is left over.", fresh);
	return doctor_ok(doctor, error, "No interrupted write left anything behind.");
}

/* The slot that has to be there: the confirmed one. */
static enum slot expected_on_removable(struct doctor *doctor)
{
	if (doctor->running == SLOT_NONE)
		return doctor->coldboot.view.readable ? doctor->coldboot.view.default_slot
						      : SLOT_NONE;
	return doctor_on_trial(doctor, doctor->running) ? slot_other(doctor->running)
							: doctor->running;
}

static int stale_removable(
	struct doctor *doctor, const struct removable_view *view, struct error *error)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		if (view->same[slot] && doctor_record_known(doctor, slot)
			&& record_startable(&doctor->records.of[slot]))
			return doctor_warning(doctor, MARK_GOOD, error,
				"%s starts slot %c, which is complete but not the confirmed one.",
				view->path, slot_letter(slot));
	return doctor_problem(doctor, MARK_GOOD, error,
		"%s is a boot file of ours whose system is gone: a machine that lost its boot "
		"entries would not start.",
		view->path);
}

/* What it is: a machine that lost its boot entries is left to it. */
static int foreign_removable(struct doctor *doctor, const char *path, struct error *error)
{
	AUTO_ESPFILE struct espfile file = { 0 };
	int r = espfile_look(doctor->context, path, &file, error);

	if (r < 0)
		return r;
	return doctor_warning(doctor,
		"If it starts a slot, set [boot] removable-path=no; else remove it, and "
		"mark-good puts ours there.",
		error, "%s belongs to somebody else (it is %s) and is left alone.", path,
		filekind_name(file.kind));
}

int doctor_check_removable(struct doctor *doctor, enum slot unused, struct error *error)
{
	enum slot slot = expected_on_removable(doctor);
	struct removable_view view;
	struct error why = { 0 };

	(void)unused;
	if (!doctor->context->config.removable_path)
		return doctor_ok(doctor, error,
			"The configuration leaves it alone ([boot] removable-path).");
	if (!doctor->context->esp)
		return unknown(doctor, error);
	if (removable_look(doctor->context, &doctor->records, &view, &why) < 0)
		return cannot_read(doctor, why.text, error);
	if (!view.present)
		return doctor_warning(doctor, MARK_GOOD, error,
			"%s is absent: a machine that lost its boot entries would not start.",
			view.path);
	if (!view.ours)
		return foreign_removable(doctor, view.path, error);
	if (slot == SLOT_NONE ? !view.same[SLOT_A] && !view.same[SLOT_B] : !view.same[slot])
		return stale_removable(doctor, &view, error);
	return doctor_ok(doctor, error, "%s starts slot %c.", view.path,
		slot_letter(slot != SLOT_NONE   ? slot
			    : view.same[SLOT_A] ? SLOT_A
						: SLOT_B));
}

static int bad_record(struct doctor *doctor, enum slot slot, struct error *error)
{
	const struct record *record = &doctor->records.of[slot];

	return doctor_problem(doctor,
		slot == doctor->running ? "'bistable mark-good --force' writes it anew."
					: INSTALL_AGAIN,
		error, "Its record cannot be used, and the slot counts as incomplete: %s.",
		record->why);
}

/* The slot is there, but not good to start. */
static int check_unfit(struct doctor *doctor, enum slot slot, struct error *error)
{
	bool bad = doctor->records.of[slot].state.complete;
	char letter = slot_letter(slot);

	if (slot == doctor->running)
		return doctor_problem(doctor,
			"Install into the other slot and start that, or call 'bistable mark-good "
			"--force' if this one works.",
			error, "Slot %c runs, but %s.", letter,
			bad ? "is marked bad" : "its record says that an install did not finish");
	if (bad)
		return doctor_warning(doctor, INSTALL_AGAIN, error,
			"Slot %c is marked bad: it is no fallback.", letter);
	return doctor_warning(doctor, INSTALL_AGAIN, error,
		"An install into slot %c did not finish, or goes on right now: it is no fallback.",
		letter);
}

/* A trial: a health check that failed is why it was not confirmed, and mark-good no answer. */
static int check_trial(struct doctor *doctor, enum slot slot, struct error *error)
{
	struct machine *machine = doctor->context->machine;
	AUTO_TEXT_LIST struct text_list failed = { 0 };
	struct error why = { 0 };
	int r;

	r = machine->ops->failed_units(machine, &failed, &why);
	if (r == -ENOMEM)
		return error_memory(error);
	if (failed.count > 0)
		return doctor_problem(doctor,
			"'systemctl status' says why; 'bistable rollback' starts the other slot.",
			error, "Slot %c runs on trial, and a health check failed: %s%s.",
			slot_letter(slot), failed.items[0], failed.count > 1 ? ", and others" : "");
	return doctor_warning(doctor, MARK_GOOD, error,
		"Slot %c runs and is not confirmed: a power cycle may start the other one.",
		slot_letter(slot));
}

static int check_trials(struct doctor *doctor, enum slot slot, struct error *error)
{
	struct record *record = &doctor->records.of[slot];
	const struct state_attempt *last = state_last_attempt(&record->state);
	bool open = record_open_attempt(record, doctor->boot_id);
	const struct boot_view *view = &doctor->coldboot.view;
	bool chosen = view->readable && view->next_set && view->next_slot == slot;
	char letter = slot_letter(slot);

	if (slot == doctor->running && (open || !record->state.confirmed))
		return check_trial(doctor, slot, error);
	if (slot != doctor->running && record_has_failed(record, chosen, doctor->boot_id))
		return doctor_warning(doctor,
			"Look into why, or install another version; 'bistable activate' tries it "
			"again.",
			error, "The last attempt to start slot %c, by %s, failed.", letter,
			last->how);
	if (slot == doctor->coldboot.view.default_slot && doctor->coldboot.view.readable
		&& !record->state.cold_booted)
		return doctor_warning(doctor, "Reboot once at a good moment, and confirm.", error,
			"A cold boot starts slot %c, which has only ever been started by kexec.",
			letter);
	return doctor_ok(doctor, error, "Slot %c is complete%s.", letter,
		record->state.confirmed ? " and confirmed" : "");
}

int doctor_check_state(struct doctor *doctor, enum slot slot, struct error *error)
{
	const struct record *record = &doctor->records.of[slot];

	if (!doctor->context->esp)
		return unknown(doctor, error);
	if (doctor->no_record[slot])
		return cannot_read(doctor, doctor->no_record[slot], error);
	if (!record->readable)
		return bad_record(doctor, slot, error);
	if (!record->state.complete || record->state.bad)
		return check_unfit(doctor, slot, error);
	if (!record->has_boot_file && !record->exists && slot != doctor->running)
		return doctor_ok(
			doctor, error, "Nothing was installed into slot %c.", slot_letter(slot));
	return check_trials(doctor, slot, error);
}

static int no_boot_file(struct doctor *doctor, enum slot slot, struct error *error)
{
	const struct record *record = &doctor->records.of[slot];
	char letter = slot_letter(slot);

	if (slot == doctor->running)
		return doctor_problem(doctor, "Install into the other slot and start that.", error,
			"Slot %c runs, but its boot file is gone: it does not start again.",
			letter);
	if (record->exists && record->readable && record->state.complete)
		return doctor_problem(doctor, INSTALL_AGAIN, error,
			"Slot %c is complete by its record, but its boot file is gone.", letter);
	return doctor_ok(doctor, error, "Slot %c has no boot file.", letter);
}

int doctor_check_boot_file(struct doctor *doctor, enum slot slot, struct error *error)
{
	const struct record *record = &doctor->records.of[slot];
	struct context *context = doctor->context;
	const char *path = context->config.boot_file[slot], *device = doctor->survey.device;
	uint8_t digest[SHA256_SIZE];
	struct error why = { 0 };
	int r;

	if (!context->esp)
		return unknown(doctor, error);
	if (doctor->no_record[slot])
		return cannot_read(doctor, doctor->no_record[slot], error);
	if (!record->has_boot_file)
		return no_boot_file(doctor, slot, error);
	r = espfile_digest(context, path, digest, &why);
	if (r == -EACCES)
		return cannot_read(doctor, why.text, error);
	if (r < 0)
		return doctor_problem(doctor,
			"Unmount the EFI System Partition, run fsck.vfat, and install into that "
			"slot again.",
			error, "%s%s%s cannot be read: %s.", path, device ? " on " : "",
			device ? device : "", why.text);
	if (!record->readable || !record->state.complete)
		return doctor_ok(doctor, error, "%s is there, and nothing vouches for it.", path);
	if (!record->state.has_boot_file)
		return doctor_ok(doctor, error, "%s is there; nothing tells its digest.", path);
	if (memcmp(digest, record->state.boot_file.sha256, SHA256_SIZE) != 0)
		return doctor_problem(doctor,
			slot == doctor->running
				? "Install into the other slot and start that: this one may not "
				  "start again."
				: INSTALL_AGAIN,
			error, "%s is not what was installed: its digest differs from the record.",
			path);
	return doctor_ok(doctor, error, "%s is what was installed.", path);
}
