/* SPDX-License-Identifier: Apache-2.0 */
#include "bistable/bistable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/slot.h"
#include "engine/activate.h"
#include "engine/confirm.h"
#include "engine/context.h"
#include "engine/doctor.h"
#include "engine/inspect.h"
#include "engine/install.h"
#include "engine/repair.h"
#include "engine/restart.h"
#include "engine/slotcheck.h"
#include "engine/status.h"
#include "machine/machine.h"
#include "maker/maker.h"

struct bistable {
	struct bistable_options options;
	struct context *context;
};

_Static_assert((int)BISTABLE_FAILED == (int)ERROR_FAILED && (int)BISTABLE_USAGE == (int)ERROR_USAGE
		       && (int)BISTABLE_REFUSED == (int)ERROR_REFUSED
		       && (int)BISTABLE_BUSY == (int)ERROR_BUSY
		       && (int)BISTABLE_NOTHING == (int)ERROR_NOTHING,
	"the public codes are the internal kinds");

/* Hands the internal error out. Returns r. */
static int give(int r, const struct error *from, struct bistable_error *to)
{
	if (r >= 0 || !to)
		return r;
	to->code = from->kind != ERROR_NONE ? (enum bistable_code)from->kind : BISTABLE_FAILED;
	to->number = from->number ? from->number : -r;
	snprintf(to->text, sizeof(to->text), "%s", from->text[0] ? from->text : strerror(-r));
	return r;
}

static void on_note(void *context, bool warning, const char *text)
{
	struct bistable *bistable = context;
	struct bistable_event event = {
		.kind = warning ? BISTABLE_WARNING : BISTABLE_NOTE,
		.text = text,
	};

	if (bistable->options.event)
		bistable->options.event(bistable->options.context, &event);
}

static void on_progress(void *context, const struct progress *progress)
{
	struct bistable *bistable = context;
	struct bistable_event event = {
		.kind = BISTABLE_PROGRESS,
		.phase = progress->phase,
		.done = progress->done,
		.total = progress->total,
		.fetched = progress->fetched,
		.written = progress->written,
		.kept = progress->kept,
		.copied = progress->copied,
		.requests = progress->requests,
	};

	if (bistable->options.event)
		bistable->options.event(bistable->options.context, &event);
}

static bool on_cancelled(void *context)
{
	struct bistable *bistable = context;

	return bistable->options.cancelled
	       && bistable->options.cancelled(bistable->options.context);
}

DEFINE_CLEANUP(bistable_closep, struct bistable *, bistable_close)

int bistable_open(
	const struct bistable_options *options, struct bistable **ret, struct bistable_error *error)
{
	CLEANUP(bistable_closep) struct bistable *bistable = calloc(1, sizeof(*bistable));
	struct machine *machine = NULL;
	struct error why = { 0 };
	struct observer observer;
	int r;

	if (!bistable)
		return give(error_memory(&why), &why, error);
	bistable->options = *options;
	observer = (struct observer){
		.report = { on_note, bistable },
		.progress = on_progress,
		.cancelled = on_cancelled,
		.context = bistable,
	};
	r = limits_check_stack(&why);
	if (r == 0)
		r = machine_linux_new(options->root, &machine, &why);
	if (r == 0)
		r = context_new(machine, options->config, &observer, &bistable->context, &why);
	if (r < 0)
		return give(r, &why, error);
	*ret = TAKE(bistable);
	return 0;
}

void bistable_close(struct bistable *bistable)
{
	if (!bistable)
		return;
	context_free(bistable->context);
	free(bistable);
}

const char *bistable_version(void)
{
	return BISTABLE_VERSION;
}

void bistable_result_done(struct bistable_result *result)
{
	free(result->version);
	free(result->signer);
	free(result->fallback);
	*result = (struct bistable_result){ 0 };
}

/* Hands the result out, or frees it when r says that there is none. */
static int give_result(int r, struct bistable_result *from, struct bistable_result *to,
	const struct error *why, struct bistable_error *error)
{
	if (r < 0)
		bistable_result_done(from);
	else
		*to = *from;
	return give(r, why, error);
}

static int no_slot(char letter, struct error *error)
{
	return error_set(error, ERROR_USAGE, EINVAL, "there is no slot '%c': it is A or B", letter);
}

int bistable_install(struct bistable *bistable, const struct bistable_install_options *options,
	struct bistable_result *ret, struct bistable_error *error)
{
	struct bistable_result result = { 0 };
	struct error why = { 0 };
	int r;

	if (options->slot && slot_from_letter(options->slot) == SLOT_NONE)
		return give(no_slot(options->slot, &why), &why, error);
	r = install_run(bistable->context, options, &result, &why);
	return give_result(r, &result, ret, &why, error);
}

int bistable_repair(struct bistable *bistable, const struct bistable_install_options *options,
	struct bistable_result *ret, struct bistable_error *error)
{
	struct bistable_result result = { 0 };
	struct error why = { 0 };
	int r;

	r = repair_run(bistable->context, options, &result, &why);
	return give_result(r, &result, ret, &why, error);
}

static int start_other(struct bistable *bistable, enum bistable_activation activation, bool back,
	bool force, struct bistable_result *ret, struct bistable_error *error)
{
	struct bistable_result result = { 0 };
	struct error why = { 0 };
	int r;

	r = activate_other(bistable->context, activation, back, force, &result, &why);
	return give_result(r, &result, ret, &why, error);
}

int bistable_rollback(struct bistable *bistable, enum bistable_activation activation, bool force,
	struct bistable_result *ret, struct bistable_error *error)
{
	return start_other(bistable, activation, true, force, ret, error);
}

int bistable_activate(struct bistable *bistable, enum bistable_activation activation, bool force,
	struct bistable_result *ret, struct bistable_error *error)
{
	return start_other(bistable, activation, false, force, ret, error);
}

int bistable_mark_started(struct bistable *bistable, char *ret_slot, struct bistable_error *error)
{
	struct error why = { 0 };
	enum slot slot;
	int r;

	r = restart_mark_started(bistable->context, &slot, &why);
	if (r == 0)
		*ret_slot = slot == SLOT_NONE ? 0 : slot_letter(slot);
	return give(r, &why, error);
}

static bool chose_a_start(const struct bistable_result *result)
{
	return result->activation == BISTABLE_ACTIVATE_KEXEC
	       || result->activation == BISTABLE_ACTIVATE_REBOOT;
}

int bistable_restart_check(struct bistable *bistable, const struct bistable_result *result,
	struct bistable_error *error)
{
	struct error why = { 0 };
	int r;

	r = chose_a_start(result) ? restart_check(bistable->context, &why) : 0;
	return give(r, &why, error);
}

int bistable_restart(struct bistable *bistable, const struct bistable_result *result, bool force,
	struct bistable_error *error)
{
	bool kexec = result->activation == BISTABLE_ACTIVATE_KEXEC;
	struct error why = { 0 };
	int r;

	r = chose_a_start(result) ? restart_now(bistable->context, kexec, force, &why) : 0;
	return give(r, &why, error);
}

int bistable_mark_good(
	struct bistable *bistable, bool force, char *ret_slot, struct bistable_error *error)
{
	struct error why = { 0 };
	enum slot slot;
	int r;

	r = confirm_mark_good(bistable->context, force, &slot, &why);
	if (r == 0)
		*ret_slot = slot_letter(slot);
	return give(r, &why, error);
}

int bistable_mark_bad(
	struct bistable *bistable, char letter, char *ret_slot, struct bistable_error *error)
{
	struct error why = { 0 };
	enum slot slot;
	int r;

	if (letter && slot_from_letter(letter) == SLOT_NONE)
		return give(no_slot(letter, &why), &why, error);
	r = confirm_mark_bad(bistable->context, slot_from_letter(letter), &slot, &why);
	if (r == 0)
		*ret_slot = slot_letter(slot);
	return give(r, &why, error);
}

int bistable_status(
	struct bistable *bistable, struct bistable_status **ret, struct bistable_error *error)
{
	struct error why = { 0 };

	return give(status_read(bistable->context, ret, &why), &why, error);
}

int bistable_doctor(
	struct bistable *bistable, struct bistable_report **ret, struct bistable_error *error)
{
	struct error why = { 0 };

	return give(doctor_run(bistable->context, ret, &why), &why, error);
}

int bistable_verify(struct bistable *bistable, char slot, struct bistable_report **ret,
	struct bistable_error *error)
{
	struct error why = { 0 };

	if (slot && slot_from_letter(slot) == SLOT_NONE)
		return give(no_slot(slot, &why), &why, error);
	return give(
		slotcheck_run(bistable->context, slot_from_letter(slot), ret, &why), &why, error);
}

int bistable_uki_inspect(struct bistable *bistable, const char *file, char slot,
	struct bistable_uki **ret, struct bistable_error *error)
{
	struct error why = { 0 };

	return give(inspect_uki(bistable->context, file, slot_from_letter(slot), ret, &why), &why,
		error);
}

static void on_maker_progress(void *context, const char *phase, uint64_t done, uint64_t total)
{
	const struct progress progress = { .phase = phase, .done = done, .total = total };

	on_progress(context, &progress);
}

static struct maker_observer maker_observer(struct bistable *bistable)
{
	return (struct maker_observer){
		.report = { on_note, bistable },
		.progress = on_maker_progress,
		.cancelled = on_cancelled,
		.context = bistable,
	};
}

int bistable_bundle_create(struct bistable *bistable, const struct bistable_bundle_options *options,
	struct bistable_bundle **ret, struct bistable_error *error)
{
	const struct maker_observer observer = maker_observer(bistable);
	struct error why = { 0 };

	return give(maker_create(options, &observer, ret, &why), &why, error);
}

int bistable_bundle_inspect(struct bistable *bistable, const char *file, const char *keyring,
	struct bistable_bundle **ret, struct bistable_error *error)
{
	const struct source_options options = context_source_options(
		bistable->context, &bistable->context->config.headers);
	struct error why = { 0 };

	return give(maker_inspect(file, &options, keyring, ret, &why), &why, error);
}

int bistable_bundle_verify(struct bistable *bistable, const char *file, const char *keyring,
	struct bistable_bundle **ret, struct bistable_error *error)
{
	const struct source_options options = context_source_options(
		bistable->context, &bistable->context->config.headers);
	const struct maker_observer observer = maker_observer(bistable);
	struct error why = { 0 };

	return give(maker_verify(file, &options, keyring, &observer, ret, &why), &why, error);
}

int bistable_bundle_sign(struct bistable *bistable, const char *file, const char *output,
	const char *key, const char *cert, struct bistable_bundle **ret,
	struct bistable_error *error)
{
	const struct maker_observer observer = maker_observer(bistable);
	struct error why = { 0 };

	return give(maker_sign(file, output, key, cert, &observer, ret, &why), &why, error);
}
