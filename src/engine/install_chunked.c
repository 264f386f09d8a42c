/* SPDX-License-Identifier: Apache-2.0 */

/* Bundles of format 1: everything is known before the first write, and the slot converges. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/context.h"
#include "engine/converge.h"
#include "engine/image.h"
#include "engine/install_private.h"
#include "engine/oldfiles.h"
#include "engine/payload.h"
#include "engine/receipt.h"
#include "engine/removable.h"
#include "engine/target.h"
#include "engine/verify.h"
#include "fetch/fetcher.h"
#include "machine/machine.h"
#include "maker/treematch.h"

/** The running slot's blocks. */
struct running {
	struct machine *machine;
	struct partition *partition; /* NULL: there are none to be had */
	uint64_t size;               /* bytes that count */
	struct buffer map_bytes;
	struct chunkmap map;
	bool has_map;
};

static void running_done(struct running *running)
{
	if (running->machine)
		running->machine->ops->partition_close(running->machine, running->partition);
	buffer_done(&running->map_bytes);
}

/* --- the boot file --- */

/* A slot may hold all of it already, bound. */
static bool find_boot(struct install *install)
{
	const struct manifest_payload *payload = install->chunked.boot.payload;
	const enum slot slots[] = { install->slot, install->running };

	for (size_t i = 0; i < 2; i++) {
		if (slots[i] == SLOT_NONE
			|| !bootfile_find(install->context, slots[i],
				&install->records.of[slots[i]], payload, &install->boot.bytes))
			continue;
		*(i == 0 ? &install->boot_counts.kept
			 : &install->boot_counts.copied) = payload->size;
		return true;
	}
	return false;
}

/* The running slot's boot file, or the removable path's in its place; the target's. */
static int look_at_old_boot_files(
	struct install *install, struct oldfiles *olds, struct error *error)
{
	const struct config *config = &install->context->config;
	/* In a dry run, what would be copied there. */
	const char *running = install->startable.source;
	bool whole = false;
	int r = 0;

	if (!running && install->running != SLOT_NONE)
		running = config->boot_file[install->running];
	if (running)
		r = oldfiles_look(olds, running, &whole, error);
	if (r == 0 && !whole)
		r = oldfiles_look(olds, REMOVABLE_PATH, &whole, error);
	if (r == 0)
		r = oldfiles_look(olds, config->boot_file[install->slot], &whole, error);
	return r;
}

static int put_together_boot(struct install *install, struct error *error)
{
	const struct chunked_payload *boot = &install->chunked.boot;
	AUTO_OLDFILES struct oldfiles *olds = NULL;
	struct payload_source source = {
		.fetcher = install->fetcher,
		.entry = &install->chunked.entry,
		.payload = boot->payload,
		.map = &boot->map,
	};
	int r;

	r = chunked_go_to(&install->chunked, install->fetcher, boot, error);
	if (r == 0)
		r = payload_check_size(install->fetcher, boot->payload, error);
	if (r == 0)
		r = oldfiles_new(install->context, &boot->map, &olds, error);
	if (r == 0)
		r = look_at_old_boot_files(install, olds, error);
	source.olds = olds;
	return r < 0 ? r
		     : payload_get(install->context, &source, &install->boot.bytes,
			     &install->boot_counts, error);
}

static int get_boot(struct install *install, struct error *error)
{
	const char *name = install->chunked.boot.payload->name;
	int r = find_boot(install) ? 0 : put_together_boot(install, error);

	if (r == 0)
		r = bootfile_check(install->context, install->slot, &install->boot, name, error);
	if (r < 0)
		return r;
	install->result->boot_size = install->boot.bytes.size;
	return treematch_check_manifest(
		&install->boot.verity, install->chunked.system.payload->root_hash, error);
}

/* --- the image --- */

static uint64_t recorded_size(const struct record *record)
{
	const struct state *state = &record->state;

	for (size_t i = 0; record->readable && i < state->payload_count; i++)
		if (strcmp(state->payloads[i].role, MANIFEST_ROLE_SYSTEM) == 0)
			return state->payloads[i].size;
	return UINT64_MAX;
}

/* A slot without a receipt, or whose map was lost, is scanned. */
static void find_map(struct install *install, struct running *running)
{
	const struct manifest_payload *payload;
	AUTO_RECEIPT struct receipt receipt = { 0 };

	if (receipt_read(install->context, install->running, &receipt, NULL) < 0)
		return;
	payload = manifest_find(&receipt.manifest, MANIFEST_ROLE_SYSTEM, install->running);
	running->has_map = payload
			   && receipt_find_map(install->context, install->running, payload,
				   &running->map_bytes, &running->map);
}

/* Without it, everything that is not kept is fetched. */
static void open_running(struct install *install, struct running *running)
{
	struct context *context = install->context;
	struct machine *machine = context->machine;
	struct error why = { 0 };
	uint64_t capacity;

	if (install->running == SLOT_NONE)
		return;
	running->machine = machine;
	if (machine->ops->partition_open(machine, context->config.system_device[install->running],
		    PARTITION_READ, &running->partition, &why)
		< 0) {
		report_note(&context->observer.report,
			"Nothing can be taken from the running slot: %s", why.text);
		return;
	}
	capacity = machine->ops->partition_size(machine, running->partition);
	running->size = recorded_size(&install->records.of[install->running]);
	if (running->size > capacity)
		running->size = capacity;
	find_map(install, running);
	if (running->has_map && running->map.size > running->size)
		running->has_map = false;
}

static void count(struct install *install, const struct converge *converge)
{
	const struct converge_counts counts = converge_counts(converge);
	const struct payload_counts *boot = &install->boot_counts;
	struct bistable_result *result = install->result;
	struct progress *progress = &install->context->progress;

	result->kept = counts.kept + boot->kept;
	result->copied = counts.copied + boot->copied;
	result->to_fetch = counts.frames + boot->frames;
	progress->kept = result->kept;
	progress->copied = result->copied;
	context_count_fetched(install->context, install->fetcher);
}

static int plan(struct install *install, struct running *running, struct converge *converge,
	struct error *error)
{
	int r;

	r = converge_look(converge, error);
	if (r == 0 && !converge_is_done(converge))
		open_running(install, running);
	if (r == 0)
		r = converge_find(converge, running->partition, running->size,
			running->has_map ? &running->map : NULL, error);
	count(install, converge);
	return r;
}

/* If anything is to be fetched. */
static int go_to_image(
	struct install *install, const struct converge *converge, struct error *error)
{
	if (converge_counts(converge).fetched == 0)
		return 0;
	return chunked_go_to(&install->chunked, install->fetcher, &install->chunked.system, error);
}

static int fetch(struct install *install, struct converge *converge, struct error *error)
{
	/* What could not be copied after all may be the first that is fetched. */
	int r = go_to_image(install, converge, error);

	if (r < 0 || converge_counts(converge).fetched == 0)
		return r;
	return converge_fetch(converge, install->fetcher, &install->chunked.entry,
		install->chunked.system.payload->name, error);
}

/* What is wrong with the image's entry shows before anything is written. */
static int begin(struct install *install, const struct converge *converge, struct error *error)
{
	int r = go_to_image(install, converge, error);

	return r < 0 ? r : target_begin(install->target, error);
}

static int write_image(struct install *install, struct converge *converge, struct error *error)
{
	int r;

	if (converge_is_done(converge))
		return 0;
	r = begin(install, converge, error);
	if (r == 0)
		r = converge_copy(converge, error);
	if (r == 0)
		r = fetch(install, converge, error);
	/* Of a stream, the end tells whether it was whole. */
	if (r == 0 && !fetcher_is_seekable(install->fetcher))
		r = chunked_go_to_end(&install->chunked, install->fetcher, error);
	if (r == 0)
		r = target_finish(install->target, error);
	count(install, converge);
	return r < 0 ? r : converge_read_back(converge, error);
}

/* The tree in the image, as far as its top: every block below has a signed digest. */
static int check_tree(struct install *install, const struct image *image, struct error *error)
{
	struct verity_tree tree;
	bool found;
	int r;

	r = verify_find_tree(install->context, install->target, image, &install->boot.verity, &tree,
		&found, error);
	if (r == -EBADMSG && error)
		error->kind = ERROR_REFUSED;
	return r;
}

static int converge_image_onto(struct install *install, struct error *error)
{
	CLEANUP(running_done) struct running running = { 0 };
	AUTO_CONVERGE struct converge *converge = NULL;
	int r;

	r = converge_new(
		install->context, install->target, &install->chunked.system.map, &converge, error);
	if (r == 0)
		r = plan(install, &running, converge, error);
	if (r < 0 || install->options->dry_run)
		return r;
	r = write_image(install, converge, error);
	if (r == 0)
		r = check_tree(install, converge_image(converge), error);
	if (r < 0)
		error_prefix(error, "slot %c, %s", slot_letter(install->slot),
			target_device(install->target));
	return r;
}

static int check_sizes(struct install *install, struct error *error)
{
	const struct chunked *chunked = &install->chunked;
	int r;

	install->result->chunked = true;
	install->result->boot_size = chunked->boot.payload->size;
	install->result->system_size = chunked->system.payload->size;
	r = install_check_size(
		install, chunked->system.payload->name, chunked->system.payload->size, error);
	return r < 0 ? r : install_check_space(install, chunked->boot.payload->size, error);
}

int install_chunked(struct install *install, struct error *error)
{
	const struct trust_settings settings = install_trust(install);
	const struct manifest_payload *system;
	int r;

	r = chunked_read_head(&install->chunked, install->context, install->fetcher, &settings,
		install->slot, error);
	if (r == 0)
		r = install_check_same(install, error);
	if (r == 0)
		r = check_sizes(install, error);
	if (r < 0)
		return r;
	r = install->options->dry_run ? 0 : install_secure_running(install, error);
	if (r < 0)
		return r;
	system = install->chunked.system.payload;
	install->system.size = system->size;
	memcpy(install->system.sha256, system->sha256, SHA256_SIZE);
	r = get_boot(install, error);
	return r < 0 ? r : converge_image_onto(install, error);
}
