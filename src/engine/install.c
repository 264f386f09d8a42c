/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/install.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "boot/boot.h"
#include "engine/activate.h"
#include "engine/bootfile.h"
#include "engine/context.h"
#include "engine/records.h"
#include "engine/removable.h"
#include "engine/target.h"
#include "engine/verify.h"
#include "engine/writer.h"
#include "fetch/fetcher.h"
#include "machine/machine.h"
#include "source/source.h"

#define READ_SIZE (256u << 10)

/** One install on its way. */
struct install {
	struct context *context;
	const struct bistable_install_options *options;
	struct bistable_result *result;
	enum slot running; /* SLOT_NONE: installer media */
	enum slot slot;    /* the target */
	struct records records;
	struct fetcher *fetcher;
	struct target *target;
	struct bootfile boot;
	bool prepared; /* boot entries and BootNext are safe */
	bool begun;    /* the record says incomplete, nothing starts the target */
	struct text_list headers;
	struct source_options source_options;
};

static void install_done(struct install *install)
{
	target_close(install->target);
	fetcher_close(install->fetcher);
	bootfile_done(&install->boot);
	records_done(&install->records);
	text_list_done(&install->headers);
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

static int check_policy(struct install *install, struct error *error)
{
	struct context *context = install->context;
	struct record *running;
	char boot_id[37];

	if (!context->config.allow_unsigned && !install->options->allow_unsigned)
		return error_set(error, ERROR_REFUSED, EPERM,
			"a plain bundle carries no signature: allow that with --allow-unsigned, "
			"or allow-unsigned = yes in [system] of the configuration");
	if (install->running == SLOT_NONE || install->options->force)
		return 0;
	running = &install->records.of[install->running];
	context_boot_id(context, boot_id);
	if (running->state.bad)
		return error_set(error, ERROR_REFUSED, EPERM,
			"slot %c is running and marked bad; installing would overwrite the other "
			"one, which is what starts instead. Roll back first (or --force)",
			slot_letter(install->running));
	if (running->readable && running->state.confirmed && !record_open_attempt(running, boot_id))
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
	return fetcher_open(
		install->options->source, &install->source_options, &install->fetcher, error);
}

static int check_system_size(
	struct install *install, const struct bundle_payload *payload, struct error *error)
{
	if (payload->size == 0)
		return error_failed(error, EBADMSG, "%s is empty", payload->name);
	if (payload->size != BUNDLE_SIZE_UNKNOWN
		&& payload->size > target_capacity(install->target))
		return error_failed(error, EFBIG,
			"%s is %llu bytes, but the partition %s of slot %c has only %llu",
			payload->name, (unsigned long long)payload->size,
			target_device(install->target), slot_letter(install->slot),
			(unsigned long long)target_capacity(install->target));
	return 0;
}

/* What the bundle's directory tells before anything is fetched. */
static int check_sizes(struct install *install, struct error *error)
{
	struct bundle_payload payload;
	bool remove_first;
	int r;

	install->result->boot_size = install->result->system_size = UINT64_MAX;
	if (fetcher_payload(install->fetcher, BUNDLE_ROLE_SYSTEM, &payload)) {
		install->result->system_size = payload.size;
		r = check_system_size(install, &payload, error);
		if (r < 0)
			return r;
	}
	if (fetcher_payload(install->fetcher, BUNDLE_ROLE_BOOT, &payload)) {
		install->result->boot_size = payload.size;
		return bootfile_check_space(
			install->context, install->slot, payload.size, &remove_first, error);
	}
	return 0;
}

/* Step 2 of an install: whatever happens from here on, the running slot is what starts. */
static int prepare(struct install *install, struct error *error)
{
	int r;

	if (install->prepared)
		return 0;
	r = activate_prepare(install->context, install->running, install->slot,
		install->records.startable, error);
	install->prepared = r == 0;
	return r;
}

/*
 * The record that tells the file on the removable path to be ours may be about to go. Here and not
 * later, so that only one boot file is in memory at a time.
 */
static void refresh_removable(struct install *install)
{
	struct context *context = install->context;
	struct record *running;
	char boot_id[37];

	if (install->running == SLOT_NONE)
		return;
	running = &install->records.of[install->running];
	context_boot_id(context, boot_id);
	if (record_startable(running) && running->state.confirmed
		&& !record_open_attempt(running, boot_id))
		removable_refresh(context, install->running, &install->records, false, NULL);
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

/* A fresh record: attempts, confirmation and "bad" belong to what was in the slot before. */
static int fresh_record(struct install *install, struct record *record, struct error *error)
{
	int r;

	state_done(&record->state);
	record->state = (struct state){ .complete = false };
	r = set_text(&record->state.source, fetcher_name(install->fetcher), error);
	if (r == 0)
		r = set_text(&record->state.version, install->boot.version, error);
	return r;
}

/* Step 3, just before the first write: nothing half-written is ever started. */
static int begin(void *opaque, struct error *error)
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
	install->begun = r == 0;
	return r;
}

/* The next bytes of the image, to where they are checked and written, or (dry run) nowhere. */
static int pass_on(struct install *install, uint8_t *scratch, size_t *ret_got, struct error *error)
{
	struct target *target = install->target;
	uint8_t *data = scratch;
	size_t size = READ_SIZE;
	int r;

	r = scratch ? 0 : target_room(target, &data, &size, error);
	if (r == 0)
		r = fetcher_read(install->fetcher, data, size, ret_got, error);
	return r < 0 || scratch ? r : target_commit(target, *ret_got, error);
}

/* A table on the command line says all of the tree beforehand, if the boot file came first. */
static int expect_tree(struct install *install, struct error *error)
{
	const struct cmdline_verity *named = &install->boot.verity;
	struct verify_tree tree;

	if (!verify_tree_of_table(named, &tree) || !verify_tree_set_root(&tree, named))
		return 0;
	return target_expect_tree(install->target, &tree, error);
}

static int read_system(
	struct install *install, const struct bundle_payload *payload, struct error *error)
{
	struct context *context = install->context;
	bool dry_run = install->options->dry_run;
	AUTO_FREE uint8_t *scratch = dry_run ? malloc(READ_SIZE) : NULL;
	uint64_t done = 0;
	size_t got = 1;
	int r;

	if (dry_run && !scratch)
		return error_memory(error);
	/* In a stream, this is the first that is known of it. */
	r = check_system_size(install, payload, error);
	if (r == 0)
		r = expect_tree(install, error);
	if (r < 0)
		return r;
	context_begin_phase(context, "system", payload->size);
	while (got > 0) {
		if (context_cancelled(context))
			return error_failed(error, ECANCELED, "interrupted");
		r = pass_on(install, scratch, &got, error);
		if (r == 0)
			r = target_check_size(install->target, done += got, error);
		if (r < 0)
			return r;
		context->progress.fetched = fetcher_received(install->fetcher);
		context->progress.written = target_written(install->target);
		context_progress(context, done);
	}
	install->result->system_size = done;
	r = dry_run ? 0 : target_finish(install->target, error);
	context->progress.written = target_written(install->target);
	return r;
}

static int read_boot(
	struct install *install, const struct bundle_payload *payload, struct error *error)
{
	bool remove_first;
	int r;

	r = bootfile_read(
		install->context, install->fetcher, payload, install->slot, &install->boot, error);
	if (r < 0)
		return r;
	install->result->boot_size = install->boot.bytes.size;
	/* In a stream its size was not known before. */
	return bootfile_check_space(
		install->context, install->slot, install->boot.bytes.size, &remove_first, error);
}

/* A dry run looks at the boot file only, unless the bundle is a stream: then there is no other way.
 */
static int read_payloads(struct install *install, struct error *error)
{
	bool boot_only = install->options->dry_run && fetcher_is_seekable(install->fetcher);
	struct bundle_payload payload;
	int r;

	while ((r = fetcher_next(install->fetcher, &payload, error)) > 0) {
		r = payload.role == BUNDLE_ROLE_BOOT ? read_boot(install, &payload, error)
						     : read_system(install, &payload, error);
		if (r < 0 || boot_only)
			return r;
	}
	return r;
}

/* The tree that the image is checked against, if the UKI names a root hash. */
static bool find_tree(struct install *install, struct verify_tree *ret)
{
	const struct cmdline_verity *named = &install->boot.verity;
	const struct report *report = &install->context->observer.report;
	const struct image *image = target_image(install->target);

	if (!named->root_hash[0] || image->tree_checked)
		return false;
	ret->start = image->tree;
	ret->verity = image->verity;
	if (!image->has_verity
		&& (!verify_tree_of_table(named, ret) || ret->start >= image->size)) {
		report_note(report,
			"The UKI names a root hash, but the image carries no hash tree: what was "
			"written is checked by its SHA-256 only");
		return false;
	}
	if (verify_tree_set_root(ret, named))
		return true;
	report_note(report, "The image's hash tree uses %s and is not verified here",
		ret->verity.algorithm);
	return false;
}

static int verify(struct install *install, struct error *error)
{
	struct verify_tree tree;
	int r;

	r = verify_image(install->context, target_partition(install->target),
		target_image(install->target), find_tree(install, &tree) ? &tree : NULL, error);
	if (r < 0)
		error_prefix(error, "slot %c, %s", slot_letter(install->slot),
			target_device(install->target));
	return r;
}

static int write_boot(struct install *install, struct error *error)
{
	bool present;
	int r;

	r = bootfile_is_present(install->context, install->slot, &install->boot, &present, error);
	if (r < 0 || present)
		return r;
	r = begin(install, error);
	if (r == 0)
		r = bootfile_write(install->context, install->slot, &install->boot, error);
	if (r == 0)
		install->result->written += install->boot.bytes.size;
	return r;
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
		return 0;
	/* What was found as it should be may be left of an install that broke off unflushed. */
	r = install->context->machine->ops->partition_flush(
		install->context->machine, target_partition(install->target), error);
	if (r == 0)
		r = fresh_record(install, record, error);
	if (r < 0)
		return r;
	state->complete = true;
	state->installed = install->context->machine->ops->now(install->context->machine);
	state->payloads[0] = install->boot.payload;
	strcpy(state->payloads[1].role, "system");
	state->payloads[1].size = target_size(install->target);
	memcpy(state->payloads[1].sha256, target_image(install->target)->sha256, SHA256_SIZE);
	state->payload_count = 2;
	state->boot_file = install->boot.bound;
	state->has_boot_file = true;
	return record_write(install->context, install->slot, record, error);
}

static int finish(struct install *install, struct error *error)
{
	struct context *context = install->context;
	struct record *record = &install->records.of[install->slot];
	int r;

	install->result->fetched = fetcher_received(install->fetcher);
	install->result->written = target_written(install->target);
	install->result->system_size = target_size(install->target);
	r = verify(install, error);
	if (r == 0)
		r = write_boot(install, error);
	if (r == 0)
		r = complete(install, error);
	if (r == 0)
		r = prepare(install, error);
	if (r == 0)
		r = context->boot->ops->enable(context->boot, install->slot, error);
	/* The partition is released before anything starts it. */
	target_close(TAKE(install->target));
	if (r == 0)
		r = activate_slot(context, install->slot, record, install->options->activation,
			&install->boot.uki, install->result, error);
	return r;
}

static int run(struct install *install, struct error *error)
{
	struct context *context = install->context;
	struct esp_location place;
	int r;

	r = choose_slot(install, error);
	/* A dry run writes nothing: no lock file's folder either. */
	if (r == 0)
		r = install->options->dry_run ? context_open(context, true, NULL, error)
					      : context_begin(context, false, error);
	/* New boot entries need its place: told now rather than halfway. */
	if (r == 0)
		r = context->machine->ops->esp_location(
			context->machine, context->esp, &place, error);
	if (r == 0)
		context->boot->force = install->options->force;
	if (r == 0)
		r = records_read(context, &install->records, error);
	if (r == 0)
		r = check_policy(install, error);
	if (r == 0)
		r = target_open(context, install->slot, begin, install, &install->target, error);
	if (r == 0)
		r = open_bundle(install, error);
	if (r == 0)
		r = check_sizes(install, error);
	if (r < 0)
		return r;
	install->result->slot = slot_letter(install->slot);
	install->result->unsigned_bundle = true;
	install->result->dry_run = install->options->dry_run;
	if (install->options->dry_run)
		install->result->activation = install->options->activation
							      == BISTABLE_ACTIVATE_DEFAULT
						      ? context->config.activation
						      : install->options->activation;
	if (!install->options->dry_run)
		refresh_removable(install);
	r = read_payloads(install, error);
	if (r == 0 && !install->options->dry_run)
		r = finish(install, error);
	return r < 0 ? r : set_text(&install->result->version, install->boot.version, error);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int install_run(struct context *context, const struct bistable_install_options *options,
	struct bistable_result *result, struct error *error)
{
	/* The lock is released last. */
	AUTO_CONTEXT_CLOSE struct context *open = context;
	AUTO_INSTALL struct install install = {
		.context = context,
		.options = options,
		.result = result,
		.running = SLOT_NONE,
		.slot = SLOT_NONE,
	};
	double start = seconds();
	int r;

	(void)open;
	r = run(&install, error);
	if (install.fetcher)
		result->fetched = fetcher_received(install.fetcher);
	result->seconds = seconds() - start;
	return r;
}
