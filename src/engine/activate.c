/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/activate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "boot/boot.h"
#include "crypto/sha256.h"
#include "engine/coldboot.h"
#include "engine/context.h"
#include "engine/records.h"
#include "engine/restart.h"
#include "engine/startable.h"
#include "format/kexecplan.h"
#include "format/uki.h"
#include "machine/machine.h"

/* Where the stub looks for files that it adds to the kernel's command line and initrd. */
static const struct {
	const char *folder; /* NULL: the boot file's own ".extra.d" */
	const char *suffixes[4];
} companion_places[] = {
	{ NULL, { ".cred", ".raw", ".addon.efi" } },
	{ "/loader/addons", { ".addon.efi" } },
	{ "/loader/credentials", { ".cred" } },
	{ "/loader/extensions", { ".raw" } },
};

static bool is_companion(const char *name, const char *const suffixes[4])
{
	if (name[0] == '.')
		return false;
	for (size_t i = 0; i < 4 && suffixes[i]; i++)
		if (text_ends_with_nocase(name, suffixes[i]))
			return true;
	return false;
}

static int find_companions(
	struct context *context, enum slot slot, struct text_list *ret, struct error *error)
{
	AUTO_FREE char *extra = text_format("%s.extra.d", context->config.boot_file[slot]);

	if (!extra)
		return error_memory(error);
	for (size_t i = 0; i < sizeof(companion_places) / sizeof(companion_places[0]); i++) {
		const char *folder = companion_places[i].folder ? companion_places[i].folder
								: extra;
		AUTO_TEXT_LIST struct text_list names = { 0 };
		struct error why = { 0 };
		int r;

		r = context->machine->ops->esp_list(
			context->machine, context->esp, folder, &names, &why);
		if (r == -ENOENT)
			continue;
		if (r < 0) {
			if (error)
				*error = why;
			return r;
		}
		for (size_t n = 0; n < names.count; n++) {
			if (!is_companion(names.items[n], companion_places[i].suffixes))
				continue;
			r = text_list_add(ret, error, "%s/%s", folder, names.items[n]);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int activate_unstage(struct context *context, struct error *error)
{
	struct machine *machine = context->machine;
	bool staged = false;
	int r;

	r = machine->ops->kexec_staged(machine, &staged, error);
	if (r < 0 || !staged)
		return r;
	r = machine->ops->kexec_unstage(machine, error);
	if (r < 0)
		error_prefix(error,
			"a kernel is staged for kexec, possibly the target slot's, and cannot be "
			"unloaded; reboot first");
	return r;
}

void activate_tell_boot(
	struct context *context, const struct startable *first, const struct records *records)
{
	struct boot *boot = context->boot;

	boot->rivals = first ? first->rivals : NULL;
	boot->rival_count = first ? first->rival_count : 0;
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		boot->known[slot] = records->of[slot].exists;
}

int activate_prepare(struct context *context, struct startable *first, enum slot target,
	const struct records *records, struct error *error)
{
	int r = activate_unstage(context, error);

	if (r == 0 && first)
		r = startable_make(context, first, error);
	if (r < 0)
		return r;
	activate_tell_boot(context, first, records);
	r = context->boot->ops->prepare(
		context->boot, first ? first->slot : SLOT_NONE, target, records->startable, error);
	return r < 0 || !first || context->boot->force
		       ? r
		       : coldboot_require(context, first->slot, error);
}

int activate_look_at_kexec(
	struct context *context, bool *ret_known, char **ret_reason, struct error *error)
{
	struct machine *machine = context->machine;
	const char *reason = "[activate] kexec = no forbids it here";
	struct error why = { 0 };
	int r = 0;

	*ret_known = true;
	if (context->config.kexec) {
		r = machine->ops->kexec_preflight(machine, ret_reason, &why);
		*ret_known = r != -EPERM;
		if (*ret_known)
			return r < 0 ? error_pass(error, &why) : 0;
		reason = why.text;
	}
	*ret_reason = strdup(reason);
	return *ret_reason ? 0 : error_memory(error);
}

int activate_check(struct context *context, enum bistable_activation how, struct error *error)
{
	AUTO_FREE char *reason = NULL;
	bool known;
	int r;

	if (how == BISTABLE_ACTIVATE_DEFAULT)
		how = context->config.activation;
	if (how != BISTABLE_ACTIVATE_KEXEC_ONLY)
		return 0;
	r = activate_look_at_kexec(context, &known, &reason, error);
	if (r < 0 || !reason)
		return r;
	return error_failed(error, EOPNOTSUPP, "kexec is not possible: %s", reason);
}

/*
 * Fills `reasons` with why the kexec of `uki` (bound) for a slot would fail or would not do what a
 * firmware start does, in words; with none, stages it.
 */
static int stage_kexec(struct context *context, enum slot slot, const struct uki *uki,
	struct text_list *reasons, struct error *error)
{
	AUTO_TEXT_LIST struct text_list companions = { 0 };
	AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
	struct machine *machine = context->machine;
	AUTO_FREE char *reason = NULL;
	struct error why = { 0 };
	bool known;
	int r;

	r = activate_look_at_kexec(context, &known, &reason, error);
	if (r < 0)
		return r;
	if (reason)
		return text_list_add(reasons, error, "%s", reason);
	r = find_companions(context, slot, &companions, error);
	if (r == 0)
		r = kexec_plan_make(uki, context->config.placeholder, context->config.bound[slot],
			&companions, &plan, error);
	if (r < 0)
		return r;
	for (size_t i = 0; i < plan.reasons.count; i++) {
		r = text_list_add(reasons, error, "%s", plan.reasons.items[i]);
		if (r < 0)
			return r;
	}
	if (!kexec_plan_possible(&plan))
		return 0;
	r = machine->ops->kexec_stage(machine, plan.kernel, plan.initrd, plan.cmdline, &why);
	return r < 0 ? text_list_add(reasons, error, "%s", why.text) : 0;
}

/* The boot file of a slot, for an activation that no install precedes. */
static int read_uki(struct context *context, enum slot slot, struct buffer *bytes, struct uki *ret,
	struct error *error)
{
	const char *path = context->config.boot_file[slot];
	int r;

	r = context->machine->ops->esp_read(
		context->machine, context->esp, path, BOOT_FILE_MAX, bytes, error);
	if (r == 0)
		r = uki_parse(span_of(bytes), ret, error);
	if (r < 0)
		error_prefix(error, "%s", path);
	return r;
}

/* kexec starts whatever is there: firmware would at least look at a signature. */
static int check_boot_file(struct context *context, enum slot slot, const struct state *state,
	const struct buffer *bytes, struct text_list *reasons, struct error *error)
{
	uint8_t digest[SHA256_SIZE];
	int r;

	if (!state->has_boot_file)
		return 0;
	r = sha256_of(bytes->data, bytes->size, digest, error);
	if (r < 0 || memcmp(digest, state->boot_file.sha256, SHA256_SIZE) == 0)
		return r;
	return text_list_add(reasons, error,
		"%s is not what was installed: its digest differs from the record, or the medium "
		"is failing",
		context->config.boot_file[slot]);
}

/* 0 and *ret_staged; not staged: *ret_fallback says why. */
static int try_kexec(struct context *context, enum slot slot, const struct record *record,
	const struct uki *uki, bool *ret_staged, char **ret_fallback, struct error *error)
{
	AUTO_TEXT_LIST struct text_list reasons = { 0 };
	AUTO_BUFFER struct buffer bytes = { 0 };
	struct uki own;
	int r;

	if (!uki) {
		r = read_uki(context, slot, &bytes, &own, error);
		if (r == 0)
			r = check_boot_file(context, slot, &record->state, &bytes, &reasons, error);
		if (r < 0)
			return r;
		uki = &own;
	}
	r = reasons.count > 0 ? 0 : stage_kexec(context, slot, uki, &reasons, error);
	if (r < 0)
		return r;
	*ret_staged = reasons.count == 0;
	return *ret_staged ? 0 : text_list_join(&reasons, "; ", ret_fallback, error);
}

static int record_attempt(struct context *context, enum slot slot, struct record *record,
	const char *boot_id, const char *how, struct error *error)
{
	struct state_attempt attempt = {
		.outcome = STATE_PENDING,
		/* Firmware has to serve BootNext; a staged kernel is left out by a plain reboot. */
		.unstarted = strcmp(how, "kexec") == 0,
	};

	attempt.time = context->machine->ops->now(context->machine);
	strcpy(attempt.boot_id, boot_id);
	strcpy(attempt.how, how);
	state_add_attempt(&record->state, &attempt);
	return record_write(context, slot, record, error);
}

/* The attempt is on record before anything can start it; BootNext comes last of all. */
static int choose(struct context *context, enum slot slot, struct record *record,
	const char *boot_id, bool kexec, struct error *error)
{
	struct machine *machine = context->machine;
	int r;

	r = record_attempt(context, slot, record, boot_id, kexec ? "kexec" : "reboot", error);
	if (r == 0 && !kexec)
		r = context->boot->ops->start_next(context->boot, slot, error);
	if (r == 0)
		return 0;
	if (kexec)
		machine->ops->kexec_unstage(machine, NULL);
	/* Nothing was chosen after all. */
	if (record_drop_pending(record, boot_id))
		record_write(context, slot, record, NULL);
	return r;
}

int activate_slot(struct context *context, enum slot slot, struct record *record,
	enum bistable_activation how, const struct uki *uki, struct bistable_result *result,
	struct error *error)
{
	AUTO_FREE char *fallback = NULL;
	bool kexec = false, dropped;
	char boot_id[37];
	int r;

	/* What this boot chose before was taken back by activate_prepare(). */
	context_boot_id(context, boot_id);
	dropped = record_drop_pending(record, boot_id);
	if (how == BISTABLE_ACTIVATE_DEFAULT)
		how = context->config.activation;
	result->activation = BISTABLE_ACTIVATE_NONE;
	if (how == BISTABLE_ACTIVATE_NONE)
		return dropped ? record_write(context, slot, record, error) : 0;
	r = how == BISTABLE_ACTIVATE_REBOOT
		    ? 0
		    : try_kexec(context, slot, record, uki, &kexec, &fallback, error);
	if (r == 0 && !kexec && how == BISTABLE_ACTIVATE_KEXEC_ONLY)
		r = error_failed(error, EOPNOTSUPP,
			"slot %c is ready but not activated: kexec is not possible: %s",
			slot_letter(slot), fallback);
	if (r < 0) {
		if (dropped)
			record_write(context, slot, record, NULL);
		return r;
	}
	r = choose(context, slot, record, boot_id, kexec, error);
	if (r < 0)
		return r;
	result->activation = kexec ? BISTABLE_ACTIVATE_KEXEC : BISTABLE_ACTIVATE_REBOOT;
	result->fallback = TAKE(fallback);
	restart_name_command(context, result);
	return 0;
}

/* Whether the running slot is what cold boots are to start: confirmed, and not on trial. */
static bool is_default(struct records *records, enum slot running, const char *boot_id)
{
	struct record *record = &records->of[running];

	return record_startable(record) && record->state.confirmed
	       && !record_open_attempt(record, boot_id);
}

static int check_other(const struct record *record, enum slot other, enum error_kind incomplete,
	struct error *error)
{
	if (!record_complete(record))
		return error_set(error, incomplete, ENOENT,
			"slot %c is not complete (%s): there is nothing to start",
			slot_letter(other),
			!record->has_boot_file ? "it has no boot file"
			: !record->readable    ? record->why
					       : "an install did not finish");
	if (record->state.bad)
		return error_set(error, ERROR_REFUSED, EPERM,
			"slot %c is marked bad; install into it again first", slot_letter(other));
	return 0;
}

/* The other slot can be started at all, and where the running one is the default, it stays so. */
static int prepare_other(struct context *context, enum slot running, struct records *records,
	struct startable *first, struct error *error)
{
	AUTO_STARTABLE struct startable target = { 0 };
	enum slot other = slot_other(running);
	struct error why = { 0 };
	char boot_id[37];
	bool is_first;
	int r;

	r = startable_look(context, other, running, records, &target, error);
	if (r == 0)
		r = startable_make(context, &target, error);
	if (r < 0)
		return r;
	context_boot_id(context, boot_id);
	is_first = is_default(records, running, boot_id);
	if (is_first)
		r = startable_look(context, running, running, records, first, &why);
	/* A running slot that cannot start any more is what one goes back from. */
	if (r == -EPERM && records->of[other].state.confirmed) {
		report_warning(&context->observer.report, "%s", why.text);
		is_first = false;
		r = 0;
	}
	return r < 0 ? error_pass(error, &why)
		     : activate_prepare(context, is_first ? first : NULL, other, records, error);
}

/* Going back is for what has proved itself. */
static int check_proven(
	struct context *context, struct record *record, enum slot other, struct error *error)
{
	const struct state_attempt *last = state_last_attempt(&record->state);
	AUTO_BOOT_VIEW struct boot_view view = { 0 };
	char boot_id[37];
	bool chosen;
	int r;

	if (record->state.confirmed || context->boot->force || !last)
		return 0;
	r = context->boot->ops->view(context->boot, &view, error);
	if (r < 0)
		return r;
	context_boot_id(context, boot_id);
	chosen = view.readable && view.next_set && view.next_slot == other;
	if (!record_has_failed(record, chosen, boot_id))
		return 0;
	return error_set(error, ERROR_REFUSED, EPERM,
		"slot %c was never confirmed, and the last attempt to start it, by %s, failed: "
		"going back to it is refused without --force ('bistable activate' tries it again)",
		slot_letter(other), last->how);
}

int activate_other(struct context *context, enum bistable_activation how, bool back, bool force,
	struct bistable_result *result, struct error *error)
{
	AUTO_RECORDS struct records records = { 0 };
	AUTO_STARTABLE struct startable first = { 0 };
	AUTO_CONTEXT_CLOSE struct context *open = context;
	enum slot running, other;
	struct record *record;
	int r;

	(void)open;
	r = context_require_slot(context, &running, error);
	if (r == 0)
		r = context_begin(context, false, error);
	if (r == 0)
		r = records_read(context, &records, error);
	if (r < 0)
		return r;
	other = slot_other(running);
	record = &records.of[other];
	context->boot->force = force;
	r = check_other(record, other, back ? ERROR_NOTHING : ERROR_REFUSED, error);
	if (r == 0 && back)
		r = check_proven(context, record, other, error);
	if (r == 0)
		r = prepare_other(context, running, &records, &first, error);
	if (r == 0)
		r = context->boot->ops->enable(context->boot, other, error);
	if (r < 0)
		return r;
	result->slot = slot_letter(other);
	if (record->state.version) {
		result->version = strdup(record->state.version);
		if (!result->version)
			return error_memory(error);
	}
	return activate_slot(context, other, record, how, NULL, result, error);
}
