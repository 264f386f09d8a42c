/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/repair.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/slot.h"
#include "boot/boot.h"
#include "engine/coldboot.h"
#include "engine/context.h"
#include "engine/install.h"
#include "engine/records.h"
#include "engine/slotcheck.h"

DEFINE_CLEANUP(report_freep, struct bistable_report *, bistable_report_free)

/* Tells what is wrong with a slot. Whether anything is; being incomplete counts. */
static bool tell(struct context *context, const struct bistable_report *report)
{
	bool wrong = false;

	for (size_t i = 0; i < report->check_count; i++) {
		const struct bistable_check *check = &report->checks[i];

		if (check->level < BISTABLE_LEVEL_PROBLEM && strcmp(check->name, "state") != 0)
			continue;
		report_warning(&context->observer.report, "%s, %s: %s", check->group, check->name,
			check->what);
		wrong = true;
	}
	return wrong;
}

static int check(struct context *context, enum slot slot, bool *ret, struct error *error)
{
	CLEANUP(report_freep) struct bistable_report *report = NULL;
	int r;

	r = slotcheck_run(context, slot, &report, error);
	if (r == 0)
		*ret = tell(context, report);
	return r;
}

static int running_is_damaged(enum slot running, struct error *error)
{
	return error_failed(error, EIO,
		"slot %c, which is running, is not as it was installed, and cannot be repaired "
		"while it runs: start slot %c ('bistable rollback') and repair it from there, if "
		"that one was confirmed; else install into it first",
		slot_letter(running), slot_letter(slot_other(running)));
}

/* A repair that was cut off at its very end left only the boot entry to be done. */
static int enable(struct context *context, enum slot slot, struct error *error)
{
	AUTO_CONTEXT_CLOSE struct context *open = context;
	AUTO_RECORDS struct records records = { 0 };
	AUTO_BOOT_VIEW struct boot_view view = { 0 };
	int r;

	(void)open;
	r = context_begin(context, false, error);
	if (r == 0)
		r = records_read(context, &records, error);
	if (r == 0 && records.startable[slot])
		r = context->boot->ops->view(context->boot, &view, error);
	if (r < 0 || !records.startable[slot] || !view.readable)
		return r;
	if (view.slots[slot].active)
		return 0;
	r = coldboot_require(context, slot_other(slot), error);
	if (r < 0)
		return r;
	if (view.slots[slot].present)
		return context->boot->ops->enable(context->boot, slot, error);
	report_warning(&context->observer.report,
		"Slot %c has no boot entry: 'bistable mark-good' or 'bistable activate' makes one",
		slot_letter(slot));
	return 0;
}

/* Nothing is wrong: what the slot holds is all there is to tell. */
static int describe(
	const struct record *record, struct bistable_result *result, struct error *error)
{
	const struct state *state = &record->state;

	result->nothing = true;
	result->activation = BISTABLE_ACTIVATE_NONE;
	result->chunked = state->created > 0;
	result->unsigned_bundle = state->payload_count > 0 && !state->signer;
	result->boot_size = result->system_size = UINT64_MAX;
	for (size_t i = 0; i < state->payload_count; i++) {
		bool boot = strcmp(state->payloads[i].role, "boot") == 0;

		*(boot ? &result->boot_size : &result->system_size) = state->payloads[i].size;
		result->kept += state->payloads[i].size;
	}
	memcpy(result->signer_sha256, state->signer_sha256, sizeof(result->signer_sha256));
	if (state->version)
		result->version = strdup(state->version);
	if (state->signer)
		result->signer = strdup(state->signer);
	return (state->version && !result->version) || (state->signer && !result->signer)
		       ? error_memory(error)
		       : 0;
}

static int find_nothing(struct context *context, enum slot slot, struct bistable_result *result,
	struct error *error)
{
	AUTO_RECORD struct record record = { 0 };
	AUTO_CONTEXT_CLOSE struct context *open = context;
	int r;

	(void)open;
	r = enable(context, slot, error);
	if (r == 0)
		r = context_open(context, true, NULL, error);
	if (r == 0)
		r = record_read(context, slot, &record, error);
	return r < 0 ? r : describe(&record, result, error);
}

int repair_run(struct context *context, const struct bistable_install_options *options,
	struct bistable_result *result, struct error *error)
{
	const uint64_t began = clock_ms();
	bool running_wrong = false, wrong = false;
	enum slot running;
	int r;

	r = context_require_slot(context, &running, error);
	if (r == 0)
		r = check(context, running, &running_wrong, error);
	if (r == 0)
		r = check(context, slot_other(running), &wrong, error);
	if (r < 0)
		return r;
	result->slot = slot_letter(slot_other(running));
	r = wrong ? install_repair(context, options, result, error)
		  : find_nothing(context, slot_other(running), result, error);
	if (r == 0 && running_wrong && wrong)
		report_note(&context->observer.report, "Slot %c is as it was installed again",
			result->slot);
	if (r == 0 && running_wrong)
		r = running_is_damaged(running, error);
	result->seconds = (double)(clock_ms() - began) / 1000;
	return r;
}
