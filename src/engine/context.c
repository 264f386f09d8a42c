/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "boot/boot.h"
#include "engine/espfile.h"
#include "fetch/fetcher.h"
#include "format/cmdline.h"
#include "machine/machine.h"

DEFINE_CLEANUP(context_freep, struct context *, context_free)

int context_new(struct machine *machine, const char *config_file, const struct observer *observer,
	struct context **ret, struct error *error)
{
	CLEANUP(context_freep) struct context *context = calloc(1, sizeof(*context));
	int r;

	if (!context) {
		machine_free(machine);
		return error_memory(error);
	}
	context->machine = machine;
	context->observer = *observer;
	r = config_load(machine, config_file, &context->config, error);
	if (r < 0)
		return r;
	*ret = TAKE(context);
	return 0;
}

void context_free(struct context *context)
{
	if (!context)
		return;
	context_close(context);
	config_done(&context->config);
	machine_free(context->machine);
	free(context);
}

static int open_esp(struct context *context, struct error *error)
{
	const struct config *config = &context->config;
	struct esp_settings settings = {
		.mount = config->esp_mount,
		.remount = config->esp_remount,
		.has_location = config->has_esp_location,
		.location = config->esp_location,
		.beside = config->system_device[SLOT_A],
	};

	return context->machine->ops->esp_open(context->machine, &settings, &context->esp, error);
}

int context_open(struct context *context, bool required, char **ret_why, struct error *error)
{
	const struct config *config = &context->config;
	struct boot_settings settings = {
		.machine = context->machine,
		.report = &context->observer.report,
	};
	struct error why = { 0 };
	int r;

	r = open_esp(context, &why);
	if (r < 0 && (required || r == -ENOMEM)) {
		if (error)
			*error = why;
		return r;
	}
	if (r < 0 && ret_why) {
		*ret_why = strdup(why.text);
		if (!*ret_why)
			return error_memory(error);
	}
	settings.esp = context->esp;
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		settings.boot_files[slot] = config->boot_file[slot];
		settings.descriptions[slot] = config->description[slot];
	}
	return boot_firmware_new(&settings, &context->boot, error);
}

static int open_and_lock(struct context *context, bool wait, bool make, struct error *error)
{
	struct machine *machine = context->machine;
	AUTO_FREE char *clash = NULL;
	int r;

	r = context_open(context, true, NULL, error);
	if (r == 0)
		r = machine->ops->esp_clash(
			machine, context->esp, context->config.folder, &clash, error);
	if (r == 0 && clash)
		r = error_set(error, ERROR_REFUSED, ENOTUNIQ, MACHINE_CLASH, clash);
	return r < 0 ? r
		     : machine->ops->lock(machine, context->esp, context->config.folder, wait, make,
			     &context->lock, error);
}

int context_begin(struct context *context, bool wait, struct error *error)
{
	return open_and_lock(context, wait, true, error);
}

int context_rehearse(struct context *context, struct error *error)
{
	return open_and_lock(context, false, false, error);
}

void context_close(struct context *context)
{
	if (!context)
		return;
	espfile_forget(context);
	boot_free(TAKE(context->boot));
	/* It may make the ESP read-only again: nobody else is to be writing by then. */
	context->machine->ops->esp_close(context->machine, TAKE(context->esp));
	context->machine->ops->unlock(context->machine, TAKE(context->lock));
}

int context_running_slot(struct context *context, enum slot *ret, struct error *error)
{
	struct machine *machine = context->machine;
	AUTO_FREE char *cmdline = NULL;
	enum slot slot = SLOT_NONE;
	int r;

	r = machine->ops->read_text(machine, "/proc/cmdline", &cmdline, error);
	if (r < 0)
		return r;
	r = cmdline_slot(cmdline, context->config.cmdline_match, &slot, error);
	if (r < 0) {
		error_prefix(error, "/proc/cmdline");
		return r;
	}
	for (enum slot s = SLOT_A; slot == SLOT_NONE && s < SLOT_COUNT; s++) {
		bool holds = false;

		/* A device that cannot be found holds nothing. */
		if (machine->ops->partition_holds_root(
			    machine, context->config.system_device[s], &holds, NULL)
				== 0
			&& holds)
			slot = s;
	}
	*ret = slot;
	return 0;
}

int context_require_slot(struct context *context, enum slot *ret, struct error *error)
{
	enum slot slot;
	int r;

	r = context_running_slot(context, &slot, error);
	if (r < 0)
		return r;
	if (slot == SLOT_NONE)
		return error_failed(error, ENOENT,
			"cannot tell which slot is running: /proc/cmdline has neither "
			"bistable.slot=A|B nor '%s', and the root file system lies on neither "
			"slot's partition; check [slots] cmdline-match",
			context->config.cmdline_match);
	*ret = slot;
	return 0;
}

void context_boot_id(struct context *context, char ret[37])
{
	struct machine *machine = context->machine;
	AUTO_FREE char *text = NULL;

	ret[0] = '\0';
	if (machine->ops->read_text(machine, "/proc/sys/kernel/random/boot_id", &text, NULL) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	if (strlen(text) == 36)
		strcpy(ret, text);
}

void context_begin_phase(struct context *context, const char *phase, uint64_t total)
{
	context->progress.phase = phase;
	context->progress.total = total;
	context_progress(context, 0);
}

void context_count_fetched(struct context *context, const struct fetcher *fetcher)
{
	context->progress.fetched = fetcher_received(fetcher);
	context->progress.requests = fetcher_requests(fetcher);
}

void context_progress(struct context *context, uint64_t done)
{
	context->progress.done = done;
	if (context->observer.progress)
		context->observer.progress(context->observer.context, &context->progress);
}

bool context_cancelled(const struct context *context)
{
	return context->observer.cancelled
	       && context->observer.cancelled(context->observer.context);
}

bool context_locked_down(struct context *context)
{
	struct machine *machine = context->machine;
	AUTO_FREE char *text = NULL;

	/* "[none] integrity confidentiality": the mode that holds is in brackets. */
	return machine->ops->read_text(machine, "/sys/kernel/security/lockdown", &text, NULL) == 0
	       && strchr(text, '[') && !strstr(text, "[none]");
}

int context_secure_boot(struct context *context, bool *ret, struct error *error)
{
	struct machine *machine = context->machine;
	AUTO_BUFFER struct buffer value = { 0 };
	struct error why = { 0 };
	uint32_t attributes;
	int r = -ENOENT;

	if (machine->ops->efi_available(machine))
		r = machine->ops->variable_read(machine, "SecureBoot", &attributes, &value, &why);
	if (r == 0 && value.size != 1)
		r = error_failed(&why, EBADMSG, "its variable does not hold one byte");
	/* Firmware without it has no such variable. */
	if (r < 0 && r != -ENOENT)
		return error_pass(error, &why);
	*ret = r == 0 && value.data[0] == 1;
	return 0;
}

static void note_source(void *opaque, const char *text)
{
	struct context *context = opaque;

	report_note(&context->observer.report, "%s", text);
}

static bool source_cancelled(void *opaque)
{
	return context_cancelled(opaque);
}

struct source_options context_source_options(
	struct context *context, const struct text_list *headers)
{
	const struct config *config = &context->config;

	return (struct source_options){
		.connect_timeout = config->connect_timeout,
		.stall_timeout = config->stall_timeout,
		.total_timeout = config->total_timeout,
		.ca_file = config->ca_file,
		.client_cert = config->client_cert,
		.client_key = config->client_key,
		.headers = headers,
		.note = note_source,
		.cancelled = source_cancelled,
		.context = context,
	};
}
