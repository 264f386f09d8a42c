/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/install.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "boot/boot.h"
#include "crypto/sha256.h"
#include "engine/activate.h"
#include "engine/context.h"
#include "engine/install_private.h"
#include "engine/origin.h"
#include "engine/receipt.h"
#include "engine/removable.h"
#include "engine/stream.h"
#include "engine/target.h"
#include "fetch/fetcher.h"
#include "format/version.h"
#include "machine/machine.h"
#include "source/source.h"

static void install_done(struct install *install)
{
	stream_close(install->stream);
	chunked_done(&install->chunked);
	target_close(install->target);
	fetcher_close(install->fetcher);
	bootfile_done(&install->boot);
	records_done(&install->records);
	startable_done(&install->startable);
	text_list_done(&install->headers);
	free(install->origin);
}

#define AUTO_INSTALL CLEANUP(install_done)

static int choose_slot(struct install *install, struct error *error)
{
	struct context *context = install->context;
	char wanted = install->options->slot;
	int r;

	if (!wanted) {
		r = context_require_slot(context, &install->running, error);
		if (r == 0)
			install->slot = slot_other(install->running);
		return r;
	}
	install->slot = slot_from_letter(wanted);
	r = context_running_slot(context, &install->running, error);
	if (r == 0 && install->slot == install->running)
		return error_set(error, ERROR_REFUSED, EBUSY,
			"slot %c is running and cannot be overwritten", slot_letter(install->slot));
	return r;
}

/* The running system must be one that may fall back to what it installs. */
static int check_running(struct install *install, struct error *error)
{
	struct context *context = install->context;
	struct record *running;
	char boot_id[37];

	if (install->running == SLOT_NONE || install->options->force)
		return 0;
	running = &install->records.of[install->running];
	context_boot_id(context, boot_id);
	if (running->state.bad)
		return error_set(error, ERROR_REFUSED, EPERM,
			"slot %c is running and marked bad; installing would overwrite the other "
			"one, which is what starts instead. Roll back first (or --force)",
			slot_letter(install->running));
	/* A repair may be made from a slot that was gone back to, if it was confirmed once. */
	if (running->readable && running->state.confirmed
		&& (install->repair || !record_open_attempt(running, boot_id)))
		return 0;
	if (!running->readable)
		return error_set(error, ERROR_REFUSED, EPERM,
			"whether slot %c, which is running, was confirmed cannot be told: %s. "
			"Confirm it with 'bistable mark-good --force' first (or --force)",
			slot_letter(install->running), running->why);
	return error_set(error, ERROR_REFUSED, EPERM,
		"slot %c is running on trial and was not confirmed; installing would overwrite "
		"what it falls back to. Confirm it with 'bistable mark-good' first (or --force)",
		slot_letter(install->running));
}

/*
 * A repair brings nothing that had not been taken before, if there is something to go by: an
 * install that broke off is taken up under the rules of an install.
 */
struct trust_settings install_trust(const struct install *install)
{
	const struct record *target = &install->records.of[install->slot];
	bool again = install->repair && target->state.payload_count > 0;

	return (struct trust_settings){
		.allow_unsigned = install->options->allow_unsigned,
		.allow_downgrade = install->options->allow_downgrade || again,
		.taken = again ? target : NULL,
		.running = install->running == SLOT_NONE ? NULL
							 : &install->records.of[install->running],
	};
}

static int check_repair(struct install *install, struct error *error)
{
	const struct record *record = &install->records.of[install->slot];

	if (!install->repair)
		return 0;
	if (!record->exists && !record->has_boot_file)
		return error_set(error, ERROR_NOTHING, ENOENT,
			"slot %c holds nothing that could be repaired: install into it",
			slot_letter(install->slot));
	return install->options->source ? 0
					: origin_find(install->context, install->slot,
						&record->state, &install->origin, error);
}

static const char *source_of(const struct install *install)
{
	return install->origin ? install->origin : install->options->source;
}

/* Whether the record is of the payloads that the bundle brings. */
static bool has_same_payloads(const struct install *install)
{
	const struct state *state = &install->records.of[install->slot].state;

	for (size_t i = 0; i < state->payload_count; i++) {
		const struct state_content *content = &state->payloads[i];
		const struct manifest_payload *payload = manifest_find(
			&install->chunked.manifest, content->role, install->slot);

		if (!payload || payload->size != content->size
			|| memcmp(payload->sha256, content->sha256, SHA256_SIZE) != 0)
			return false;
	}
	return state->payload_count > 0;
}

/* Who serves it must not be able to take an epoch back. */
static bool is_older(const struct install *install)
{
	const struct state *state = &install->records.of[install->slot].state;
	const struct manifest *manifest = &install->chunked.manifest;

	return !chunked_is_none(&install->chunked) && !install->options->allow_downgrade
	       && state->version
	       && (manifest->epoch < (uint64_t)state->epoch
		       || version_compare(manifest->version, state->version) < 0);
}

int install_check_same(struct install *install, struct error *error)
{
	const struct record *record = &install->records.of[install->slot];

	if (!install->repair)
		return 0;
	install->keeps = has_same_payloads(install);
	if (install->keeps && is_older(install))
		return error_set(error, ERROR_REFUSED, EPERM,
			"the bundle at '%s' is an older one of the same payloads: version %s, "
			"epoch %llu, where slot %c was installed from version %s, epoch %llu",
			fetcher_name(install->fetcher), install->chunked.manifest.version,
			(unsigned long long)install->chunked.manifest.epoch,
			slot_letter(install->slot), record->state.version,
			(unsigned long long)record->state.epoch);
	/* An install that broke off left nothing to go by: any bundle may be put into the slot. */
	if (install->keeps || record->state.payload_count == 0)
		return 0;
	if (chunked_is_none(&install->chunked))
		return error_set(error, ERROR_REFUSED, EPERM,
			"a plain bundle says too little to repair slot %c by: 'bistable install "
			"--activate=none' writes what differs",
			slot_letter(install->slot));
	return error_set(error, ERROR_REFUSED, EPERM,
		"the bundle at '%s' is not the one that slot %c was installed from (version %s)",
		fetcher_name(install->fetcher), slot_letter(install->slot),
		record->state.version ? record->state.version : "unknown");
}

static int open_bundle(struct install *install, struct error *error)
{
	const struct config *config = &install->context->config;
	const char *const *header = install->options->headers;
	int r;

	for (size_t i = 0; i < config->headers.count; i++) {
		r = text_list_add(&install->headers, error, "%s", config->headers.items[i]);
		if (r < 0)
			return r;
	}
	for (; header && *header; header++) {
		r = text_list_add(&install->headers, error, "%s", *header);
		if (r < 0)
			return r;
	}
	install->source_options = context_source_options(install->context, &install->headers);
	return fetcher_open(source_of(install), &install->source_options, &install->fetcher, error);
}

int install_check_size(
	struct install *install, const char *name, uint64_t size, struct error *error)
{
	uint64_t capacity = target_capacity(install->target);

	if (size == 0)
		return error_failed(error, EBADMSG, "%s is empty", name);
	if (size != UINT64_MAX && size > capacity)
		return error_failed(error, EFBIG,
			"%s is %llu bytes, but the partition %s of slot %c has only %llu", name,
			(unsigned long long)size, target_device(install->target),
			slot_letter(install->slot), (unsigned long long)capacity);
	return 0;
}

/* Step 2 of an install: whatever happens from here on, the running slot is what starts. */
static int prepare(struct install *install, struct error *error)
{
	int r;

	if (install->prepared)
		return 0;
	r = activate_prepare(install->context,
		install->running == SLOT_NONE ? NULL : &install->startable, install->slot,
		&install->records, error);
	install->prepared = r == 0;
	return r;
}

/*
 * The record that tells the file on the removable path to be ours may be about to go. Here and not
 * later, so that only one boot file is in memory at a time.
 */
int install_secure_running(struct install *install, struct error *error)
{
	struct context *context = install->context;
	struct record *running;
	bool copied = install->startable.source;
	char boot_id[37];
	int r;

	if (install->running == SLOT_NONE)
		return 0;
	r = startable_make(context, &install->startable, error);
	if (r < 0)
		return r;
	running = &install->records.of[install->running];
	running->has_boot_file |= copied;
	context_boot_id(context, boot_id);
	if (record_startable(running) && running->state.confirmed
		&& !record_open_attempt(running, boot_id))
		removable_refresh(context, install->running, &install->records, false, NULL);
	return 0;
}

int install_check_space(struct install *install, uint64_t size, struct error *error)
{
	uint64_t besides = install->startable.source ? install->startable.size : 0;
	bool remove_first;

	return bootfile_check_space(
		install->context, install->slot, size + besides, &remove_first, error);
}

static int set_text(char **place, const char *text, struct error *error)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		return error_memory(error);
	free(*place);
	*place = copy;
	return 0;
}

/* As the manifest says, else the UKI. NULL: unknown. */
static const char *version(const struct install *install)
{
	const struct manifest *manifest = &install->chunked.manifest;

	return manifest->version ? manifest->version : install->boot.version;
}

/* For status to tell; who is believed is decided anew each time. */
static int note_signer(const struct install *install, struct state *state, struct error *error)
{
	const struct trust *trust = &install->chunked.trust;

	if (!trust->verified)
		return 0;
	memcpy(state->signer_sha256, trust->signer.fingerprint, sizeof(state->signer_sha256));
	return set_text(&state->signer, trust->signer.subject, error);
}

/* A fresh record: attempts, confirmation and "bad" belong to what was in the slot before. */
static int fresh_record(struct install *install, struct record *record, struct error *error)
{
	struct state *old = &record->state, fresh;
	int r;

	if (install->keeps) {
		record->state.complete = false;
		return 0;
	}
	fresh = (struct state){ .complete = false };
	/* What lies on the removable path is still ours when this slot's boot file is another one.
	 */
	if (old->has_removable || old->has_boot_file) {
		fresh.has_removable = true;
		memcpy(fresh.removable_sha256,
			old->has_removable ? old->removable_sha256 : old->boot_file.sha256,
			SHA256_SIZE);
	}
	state_done(old);
	*old = fresh;
	/* Not as the fetching process says: what it read may have taken it over. */
	r = origin_keep(install->context, install->slot, source_of(install), old, error);
	if (r == 0)
		r = set_text(&record->state.version, version(install), error);
	if (r == 0)
		r = note_signer(install, old, error);
	record->state.epoch = (int64_t)install->chunked.manifest.epoch;
	record->state.created = install->chunked.manifest.created;
	return r;
}

/* Step 3, just before the first write: nothing half-written is ever started. */
int install_begin(void *opaque, struct error *error)
{
	struct install *install = opaque;
	struct record *record = &install->records.of[install->slot];
	int r;

	if (install->begun)
		return 0;
	r = prepare(install, error);
	if (r == 0)
		r = fresh_record(install, record, error);
	if (r == 0)
		r = record_write(install->context, install->slot, record, error);
	if (r == 0)
		r = install->context->boot->ops->disable(
			install->context->boot, install->slot, error);
	/* What the slot held before is no more what it holds. */
	if (r == 0 && !install->keeps)
		r = receipt_remove(install->context, install->slot, error);
	install->begun = r == 0;
	return r;
}

static int write_boot(struct install *install, struct error *error)
{
	bool present;
	int r;

	r = bootfile_is_present(install->context, install->slot, &install->boot, &present, error);
	if (r < 0 || present)
		return r;
	r = install_begin(install, error);
	if (r == 0)
		r = bootfile_write(install->context, install->slot, &install->boot, error);
	if (r == 0)
		install->result->written += install->boot.bytes.size;
	return r;
}

/* What is there already may have come by another bundle, of another version or epoch. */
static int rename_record(struct install *install, struct record *record, struct error *error)
{
	int r;

	r = set_text(&record->state.version, version(install), error);
	if (r == 0)
		r = note_signer(install, &record->state, error);
	record->state.epoch = (int64_t)install->chunked.manifest.epoch;
	record->state.created = install->chunked.manifest.created;
	return r < 0 ? r : record_write(install->context, install->slot, record, error);
}

/* Step 5's end: the slot is whole, and its record says of what. */
static int complete(struct install *install, struct error *error)
{
	struct record *record = &install->records.of[install->slot];
	struct state *state = &record->state;
	int r;

	record->has_boot_file = true;
	/* Nothing was written, and nothing was wrong with the slot: nothing is written now either.
	 */
	if (!install->begun && record_startable(record))
		return chunked_is_none(&install->chunked) ? 0
							  : rename_record(install, record, error);
	/* What was found as it should be may be left of an install that broke off unflushed. */
	r = install->context->machine->ops->partition_flush(
		install->context->machine, target_partition(install->target), error);
	if (r == 0)
		r = fresh_record(install, record, error);
	if (r < 0)
		return r;
	state->complete = true;
	state->installed = install->context->machine->ops->now(install->context->machine);
	/* The bundle had been made by then, whatever the clock says. */
	if (state->installed < state->created)
		state->installed = state->created;
	state->payloads[0] = install->boot.payload;
	state->payloads[1] = install->system;
	strcpy(state->payloads[1].role, "system");
	state->payload_count = 2;
	state->boot_file = install->boot.bound;
	state->has_boot_file = true;
	state->root_hash[0] = '\0';
	if (install->boot.verity.count > 0)
		strcpy(state->root_hash, install->boot.verity.trees[0].root_hash);
	return record_write(install->context, install->slot, record, error);
}

static int finish(struct install *install, struct error *error)
{
	struct context *context = install->context;
	struct record *record = &install->records.of[install->slot];
	int r;

	install->result->written = target_written(install->target);
	install->result->system_size = install->system.size;
	r = write_boot(install, error);
	if (r == 0)
		r = chunked_write_receipt(&install->chunked, context, install->slot, error);
	if (r == 0)
		r = complete(install, error);
	if (r == 0)
		r = prepare(install, error);
	if (r == 0 && !record->state.bad)
		r = context->boot->ops->enable(context->boot, install->slot, error);
	/* The partition is released before anything starts it. */
	stream_close(TAKE(install->stream));
	target_close(TAKE(install->target));
	if (r == 0)
		r = activate_slot(context, install->slot, record, install->options->activation,
			&install->boot.uki, install->result, error);
	return r;
}

static void describe(struct install *install)
{
	struct bistable_result *result = install->result;

	result->slot = slot_letter(install->slot);
	result->dry_run = install->options->dry_run;
	result->boot_size = result->system_size = UINT64_MAX;
	if (install->options->dry_run)
		result->activation = install->options->activation == BISTABLE_ACTIVATE_DEFAULT
					     ? install->context->config.activation
					     : install->options->activation;
}

static int describe_signer(struct install *install, struct error *error)
{
	const struct trust *trust = &install->chunked.trust;
	struct bistable_result *result = install->result;

	result->unsigned_bundle = !trust->verified;
	memcpy(result->signer_sha256, trust->signer.fingerprint, sizeof(result->signer_sha256));
	return set_text(&result->signer, trust->signer.subject, error);
}

/* What would fail at the end, when everything has been fetched and written. */
static int check_means(const struct install *install, struct error *error)
{
	struct context *context = install->context;
	struct esp_space space;
	int r;

	r = context->boot->ops->check(context->boot, error);
	if (r == 0)
		r = context->machine->ops->esp_space(context->machine, context->esp, &space, error);
	if (r == 0 && space.read_only && !context->config.esp_remount)
		return error_failed(error, EROFS,
			"the EFI System Partition is mounted read-only; mount it writable, or set "
			"[esp] remount = yes");
	return r < 0 ? r : activate_check(context, install->options->activation, error);
}

static int run(struct install *install, struct error *error)
{
	struct context *context = install->context;
	struct esp_location place;
	int r;

	r = choose_slot(install, error);
	/* A dry run writes nothing: no lock file's folder either. */
	if (r == 0)
		r = install->options->dry_run ? context_rehearse(context, error)
					      : context_begin(context, false, error);
	/* New boot entries need its place: told now rather than halfway. */
	if (r == 0)
		r = context->machine->ops->esp_location(
			context->machine, context->esp, &place, error);
	if (r == 0)
		context->boot->force = install->options->force;
	if (r == 0)
		r = check_means(install, error);
	if (r == 0)
		r = records_read(context, &install->records, error);
	if (r == 0)
		r = check_running(install, error);
	if (r == 0)
		r = check_repair(install, error);
	if (r == 0 && install->running != SLOT_NONE)
		r = startable_look(context, install->running, install->running, &install->records,
			&install->startable, error);
	if (r == 0)
		r = target_open(
			context, install->slot, install_begin, install, &install->target, error);
	if (r == 0)
		r = open_bundle(install, error);
	if (r < 0)
		return r;
	describe(install);
	r = fetcher_is_plain(install->fetcher) ? install_plain(install, error)
					       : install_chunked(install, error);
	if (r == 0)
		r = describe_signer(install, error);
	if (r == 0 && !install->options->dry_run)
		r = finish(install, error);
	return r < 0 ? r : set_text(&install->result->version, version(install), error);
}

static int start(struct context *context, const struct bistable_install_options *options,
	bool repair, struct bistable_result *result, struct error *error)
{
	/* The lock is released last. */
	AUTO_CONTEXT_CLOSE struct context *open = context;
	AUTO_INSTALL struct install install = {
		.context = context,
		.options = options,
		.result = result,
		.running = SLOT_NONE,
		.slot = SLOT_NONE,
		.repair = repair,
	};
	const uint64_t began = clock_ms();
	int r;

	(void)open;
	r = run(&install, error);
	if (install.fetcher) {
		result->fetched = fetcher_received(install.fetcher);
		result->requests = fetcher_requests(install.fetcher);
	}
	result->seconds = (double)(clock_ms() - began) / 1000;
	return r;
}

int install_run(struct context *context, const struct bistable_install_options *options,
	struct bistable_result *result, struct error *error)
{
	return start(context, options, false, result, error);
}

int install_repair(struct context *context, const struct bistable_install_options *options,
	struct bistable_result *result, struct error *error)
{
	struct bistable_install_options own = *options;

	own.activation = BISTABLE_ACTIVATE_NONE;
	return start(context, &own, true, result, error);
}
