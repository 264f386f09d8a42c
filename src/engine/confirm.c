/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/confirm.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "boot/boot.h"
#include "crypto/sha256.h"
#include "engine/activate.h"
#include "engine/coldboot.h"
#include "engine/context.h"
#include "engine/espfile.h"
#include "engine/records.h"
#include "engine/removable.h"
#include "engine/startable.h"
#include "machine/machine.h"

/* A firmware that undoes repairs is not fought for ever: flash wears out. */
#define REPAIRS_MAX 3

bool confirm_passed_over(struct records *records, enum slot running, const char *boot_id)
{
	struct record *other = &records->of[slot_other(running)];

	return !record_open_attempt(&records->of[running], boot_id) && record_startable(other)
	       && other->state.confirmed
	       && other->state.confirmation > records->of[running].state.confirmation;
}

/*
 * The other slot is the confirmed default, and nobody asked for this one: the firmware could not
 * start the default, or has changed it. Making this slot the default now would hide that.
 */
static int refuse_fallback(struct context *context, enum slot running, struct records *records,
	const char *boot_id, struct error *error)
{
	const struct state *own = &records->of[running].state;
	struct record *other = &records->of[slot_other(running)];
	bool passed_over = confirm_passed_over(records, running, boot_id);
	char letter = slot_letter(running), wanted = slot_letter(slot_other(running));
	AUTO_BOOT_VIEW struct boot_view view = { 0 };
	int r;

	if (record_open_attempt(&records->of[running], boot_id) || !record_startable(other)
		|| !other->state.confirmed || own->confirmation > other->state.confirmation)
		return 0;
	/* Nobody has confirmed anything yet: a system that was installed by other means. */
	if (!records->of[running].exists && !other->exists)
		return 0;
	r = context->boot->ops->view(context->boot, &view, error);
	if (r < 0)
		return r;
	if (!view.readable)
		return 0;
	if (view.default_slot != slot_other(running) && passed_over)
		return error_set(error, ERROR_REFUSED, EPERM,
			"slot %c was confirmed last, but slot %c is running: the firmware has "
			"undone BootOrder (a boot order lock?) or lost the boot entries. Nothing "
			"is changed; 'bistable activate' starts slot %c, 'bistable mark-good "
			"--force' makes slot %c the default",
			wanted, letter, wanted, letter);
	/* Without an entry of its own the slot could not come first: that is repaired, not refused.
	 */
	if (view.default_slot != slot_other(running) || !view.slots[running].present)
		return 0;
	return error_set(error, ERROR_REFUSED, EPERM,
		"slot %c is the confirmed default, but slot %c is running and nobody asked for "
		"that: the firmware fell back. Nothing is changed; look into slot %c, or make "
		"slot %c the default with 'bistable mark-good --force'",
		wanted, letter, wanted, letter);
}

/* The firmware has undone it too often. 0 where the slot is the default all the same. */
static int leave_alone(struct context *context, enum slot slot, bool expected, struct error *error)
{
	AUTO_BOOT_VIEW struct boot_view view = { 0 };
	int r;

	r = context->boot->ops->view(context->boot, &view, error);
	if (r < 0 || (view.readable && view.default_slot == slot))
		return r;
	if (expected)
		return error_failed(error, ESTALE,
			"slot %c is not confirmed: the firmware has refused its boot entry or "
			"BootOrder %d times, and it is not tried again without 'bistable "
			"mark-good --force'; look for a boot order lock in its setup",
			slot_letter(slot), REPAIRS_MAX);
	report_warning(&context->observer.report,
		"The firmware has undone the boot entries %d times, and they are left as they are: "
		"without them it starts what is on the removable path; 'bistable mark-good "
		"--force' tries again",
		REPAIRS_MAX);
	return 0;
}

/* `expected`: a change is due. Else the firmware has undone something, and the user is told. */
static int confirm_boot(struct context *context, const struct startable *startable,
	struct records *records, bool expected, struct error *error)
{
	const enum slot slot = startable->slot;
	struct record *record = &records->of[slot];
	struct state *state = &record->state;
	struct boot_changes changes = { 0 };
	int r;

	if (!context->boot->force && state->repairs >= REPAIRS_MAX)
		return leave_alone(context, slot, expected, error);
	activate_tell_boot(context, startable, records);
	r = context->boot->ops->confirm(context->boot, slot, records->startable,
		!state->duplicates_removed, &changes, error);
	if (r == -ESTALE) {
		/* Written and not kept: that counts as well. */
		state->repairs++;
		record_write(context, slot, record, NULL);
	}
	if (r == 0 && !context->boot->force)
		r = coldboot_require(context, slot, error);
	if (r < 0)
		return r;
	state->duplicates_removed |= changes.removed > 0;
	if (expected)
		state->repairs = 0;
	if (expected || !changes.repaired)
		return 0;
	state->repairs++;
	report_warning(&context->observer.report,
		"The firmware has lost or changed boot entries since slot %c was confirmed; they "
		"are put right",
		slot_letter(slot));
	return 0;
}

/* A factory image has no record: what is in the slot is looked up once. */
static int complete_record(
	struct context *context, enum slot slot, struct record *record, struct error *error)
{
	AUTO_ESPFILE struct espfile file = { 0 };
	struct state *state = &record->state;
	int r;

	if (state->has_boot_file)
		return 0;
	r = espfile_look(context, context->config.boot_file[slot], &file, error);
	if (r < 0)
		return r;
	/* With --force: what is there is not known. */
	if (!file.loads)
		return 0;
	memcpy(state->boot_file.sha256, file.sha256, SHA256_SIZE);
	state->boot_file.size = file.size;
	state->has_boot_file = true;
	if (file.verity.count > 0)
		strcpy(state->root_hash, file.verity.trees[0].root_hash);
	if (!state->version)
		state->version = TAKE(file.version);
	return 0;
}

static int confirm_record(struct context *context, enum slot slot, struct records *records,
	const char *boot_id, struct error *error)
{
	int64_t last = records->of[slot_other(slot)].state.confirmation;
	struct record *record = &records->of[slot];
	struct state_attempt *attempt = record_open_attempt(record, boot_id);
	int r;

	r = complete_record(context, slot, record, error);
	if (r < 0)
		return r;
	if (attempt) {
		attempt->outcome = STATE_CONFIRMED;
		attempt->unstarted = false;
		/* A staged kernel that the firmware started after all, or the other way round. */
		strcpy(attempt->how,
			context->machine->ops->kexec_booted(context->machine) ? "kexec" : "reboot");
	}
	record->state.complete = true;
	record->state.confirmed = true;
	record->state.bad = false;
	if (record->state.confirmation <= last)
		record->state.confirmation = last + 1;
	if (!context->machine->ops->kexec_booted(context->machine))
		record->state.cold_booted = true;
	return record_write(context, slot, record, error);
}

/*
 * The other slot was to be started, and this one runs. Unless that start never began, the attempt
 * has failed.
 */
static int close_other_attempt(struct context *context, enum slot other, struct record *record,
	const char *boot_id, struct error *error)
{
	struct state_attempt *attempt = record_open_attempt(record, boot_id);
	const struct report *report = &context->observer.report;
	char letter = slot_letter(other), running = slot_letter(slot_other(other));
	AUTO_BOOT_VIEW struct boot_view view = { 0 };
	bool chosen;
	int r;

	if (!record->exists || !attempt)
		return 0;
	r = context->boot->ops->view(context->boot, &view, error);
	if (r < 0)
		return r;
	chosen = view.readable && view.next_set && view.next_slot == other;
	attempt->unstarted = !record_has_failed(record, chosen, boot_id);
	attempt->outcome = STATE_FAILED;
	if (attempt->unstarted)
		report_note(report,
			"Slot %c was to be started by %s, but slot %c was started in another way "
			"before that: 'bistable activate' chooses slot %c again",
			letter, attempt->how, running, letter);
	else
		report_warning(report,
			"Slot %c was to be started by %s, but slot %c runs: slot %c failed, or the "
			"firmware ignored the choice",
			letter, attempt->how, running, letter);
	return record_write(context, other, record, error);
}

static int check_running_record(
	const struct record *record, enum slot running, bool force, struct error *error)
{
	if ((record->readable && record->state.complete && !record->state.bad) || force)
		return 0;
	return error_set(error, ERROR_REFUSED, EPERM,
		"slot %c runs, but its record %s; 'bistable mark-good --force' confirms it all "
		"the same",
		slot_letter(running),
		!record->readable    ? record->why
		: !record->state.bad ? "says that an install into it did not finish"
				     : "marks it bad");
}

int confirm_mark_good(struct context *context, bool force, enum slot *ret, struct error *error)
{
	AUTO_CONTEXT_CLOSE struct context *open = context;
	AUTO_STARTABLE struct startable startable = { 0 };
	AUTO_RECORDS struct records records = { 0 };
	char boot_id[37];
	enum slot running;
	bool expected;
	int r;

	(void)open;
	r = context_require_slot(context, &running, error);
	if (r == 0)
		r = context_begin(context, true, error);
	if (r == 0)
		r = records_read(context, &records, error);
	if (r == 0)
		r = check_running_record(&records.of[running], running, force, error);
	if (r < 0)
		return r;
	context->boot->force = force;
	context_boot_id(context, boot_id);
	if (!force) {
		r = refuse_fallback(context, running, &records, boot_id, error);
		if (r < 0)
			return r;
	}
	r = startable_look(context, running, running, &records, &startable, error);
	if (r == 0)
		r = startable_make(context, &startable, error);
	if (r < 0)
		return r;
	records.of[running].has_boot_file = true;
	records.startable[running] = true;

	/* Before BootOrder names this slot: a wiped NVRAM then starts it as well. */
	removable_refresh(context, running, &records, true, &records.of[running].state);
	/* What was confirmed before, and not undone by another choice, should be in place still. */
	expected = force || record_open_attempt(&records.of[running], boot_id)
		   || records.of[running].state.confirmation == 0;
	r = confirm_boot(context, &startable, &records, expected, error);
	if (r == 0)
		r = confirm_record(context, running, &records, boot_id, error);
	if (r == 0)
		r = close_other_attempt(context, slot_other(running),
			&records.of[slot_other(running)], boot_id, error);
	if (r < 0)
		return r;
	*ret = running;
	return 0;
}

int confirm_mark_bad(struct context *context, enum slot slot, enum slot *ret, struct error *error)
{
	AUTO_CONTEXT_CLOSE struct context *open = context;
	AUTO_STARTABLE struct startable startable = { 0 };
	AUTO_RECORDS struct records records = { 0 };
	const struct record *counterpart;
	struct state_attempt *attempt;
	char boot_id[37];
	enum slot running;
	int r;

	(void)open;
	r = slot == SLOT_NONE ? context_require_slot(context, &running, error)
			      : context_running_slot(context, &running, error);
	if (r < 0)
		return r;
	if (slot == SLOT_NONE)
		slot = slot_other(running);
	r = context_begin(context, false, error);
	if (r == 0)
		r = records_read(context, &records, error);
	if (r < 0)
		return r;
	counterpart = &records.of[slot_other(slot)];
	if (!records.startable[slot_other(slot)])
		return error_set(error, ERROR_REFUSED, EPERM,
			"slot %c stays as it is: slot %c is %s%s, and one of them must start",
			slot_letter(slot), slot_letter(slot_other(slot)),
			counterpart->state.bad  ? "marked bad itself"
			: counterpart->readable ? "not complete"
						: "not known to be complete: ",
			counterpart->readable ? "" : counterpart->why);
	r = startable_look(context, slot_other(slot), running, &records, &startable, error);
	if (r == 0)
		r = startable_make(context, &startable, error);
	/* What is staged for kexec is the slot that does not run. */
	if (r == 0 && slot != running)
		r = activate_unstage(context, error);
	activate_tell_boot(context, &startable, &records);
	if (r == 0)
		r = context->boot->ops->demote(context->boot, slot, error);
	if (r < 0)
		return r;
	context_boot_id(context, boot_id);
	record_drop_pending(&records.of[slot], boot_id);
	attempt = record_open_attempt(&records.of[slot], boot_id);
	if (attempt)
		attempt->outcome = STATE_FAILED;
	records.of[slot].state.bad = true;
	if (!records.of[slot].readable)
		records.of[slot].state.complete = false;
	r = record_write(context, slot, &records.of[slot], error);
	if (r < 0)
		return r;
	*ret = slot;
	return 0;
}
