/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/repair.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/slot.h"
#include "boot/boot.h"
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
		"while it runs: start slot %c ('bistable rollback') and repair it from there",
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
	if (view.slots[slot].present)
		return context->boot->ops->enable(context->boot, slot, error);
	report_warning(&context->observer.report,
		"Slot %c has no boot entry: 'bistable mark-good' or 'bistable activate' makes one",
		slot_letter(slot));
	return 0;
}

int repair_run(struct context *context, const struct bistable_install_options *options,
	struct bistable_result *result, struct error *error)
{
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
		  : enable(context, slot_other(running), error);
	if (r == 0 && running_wrong && wrong)
		report_note(&context->observer.report, "Slot %c is as it was installed again",
			result->slot);
	if (r == 0 && running_wrong)
		r = running_is_damaged(running, error);
	return r;
}
