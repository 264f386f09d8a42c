/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/startable.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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
#include "engine/espfile.h"
#include "engine/records.h"
#include "engine/removable.h"
#include "format/cmdline.h"
#include "format/devicepath.h"
#include "machine/machine.h"

/*
 * systemd-stub says which file the firmware started, in UTF-16: in the first since version 256, in
 * the second always, unless a boot loader was there before it. kexec leaves both as they were.
 */
#define LOADER_GUID "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
static const char *const stub_variables[] = {
	"StubImageIdentifier-" LOADER_GUID,
	"LoaderImageIdentifier-" LOADER_GUID,
};

#define STUB_VARIABLES (sizeof(stub_variables) / sizeof(stub_variables[0]))

/* Where UKIs lie that boot loaders find by themselves (UAPI.1). */
#define TYPE2_FOLDER "/EFI/Linux"

/** Looking for what starts a slot. */
struct search {
	struct context *context;
	enum slot slot, running;
	const struct record *record;
	char *cmdline;                /* of the running kernel */
	struct cmdline_verity verity; /* that it names */
	/* What the firmware started; NULL: not known, or of an earlier start. */
	char *stub_image[STUB_VARIABLES];
	struct coldboot coldboot;
	struct text_list looked_at; /* paths */
};

static void search_done(struct search *search)
{
	free(search->cmdline);
	for (size_t i = 0; i < STUB_VARIABLES; i++)
		free(search->stub_image[i]);
	coldboot_done(&search->coldboot);
	text_list_done(&search->looked_at);
}

#define AUTO_SEARCH CLEANUP(search_done)

/* "\EFI\x" -> "/EFI/x" */
static void read_stub_image(struct machine *machine, const char *variable, char **ret)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	uint32_t attributes;

	if (machine->ops->variable_read(machine, variable, &attributes, &bytes, NULL) < 0
		|| text_from_utf16(bytes.data, bytes.size, ret, NULL) < 0)
		return;
	for (char *p = *ret; *p; p++)
		if (*p == '\\')
			*p = '/';
}

static int learn(struct search *search, struct error *error)
{
	struct machine *machine = search->context->machine;
	int r;

	r = machine->ops->read_text(machine, "/proc/cmdline", &search->cmdline, error);
	if (r < 0)
		return r;
	search->cmdline[strcspn(search->cmdline, "\n")] = '\0';
	/* What the kernel cannot make sense of proves nothing. */
	cmdline_verity(search->cmdline, &search->verity, NULL);
	for (size_t i = 0; i < STUB_VARIABLES && !machine->ops->kexec_booted(machine); i++)
		read_stub_image(machine, stub_variables[i], &search->stub_image[i]);
	return coldboot_look(search->context, search->slot, &search->coldboot, error);
}

static bool is_recorded(const struct search *search, const struct espfile *file)
{
	const struct state *state = &search->record->state;

	return state->has_boot_file
	       && memcmp(state->boot_file.sha256, file->sha256, sizeof(file->sha256)) == 0;
}

static bool has_running_root(const struct search *search, const struct espfile *file)
{
	return search->slot == search->running
	       && cmdline_verity_equal(&search->verity, &file->verity);
}

static bool has_other_root(const struct search *search, const struct espfile *file)
{
	return search->slot == search->running && search->verity.count > 0 && file->verity.count > 0
	       && !has_running_root(search, file);
}

/* The firmware says so, and the command line has not been another one since. */
static bool was_started(const struct search *search, const char *path, const struct espfile *file)
{
	bool said = false;

	for (size_t i = 0; i < STUB_VARIABLES; i++)
		said = said || devicepath_same_file(search->stub_image[i], path);
	return said && search->slot == search->running
	       && strcmp(file->cmdline, search->cmdline) == 0;
}

/* Whether a file that lies anywhere is the UKI of the slot. */
static bool is_proven(const struct search *search, const char *path, const struct espfile *file)
{
	if (!file->loads || file->kind != FILEKIND_UKI || file->slot == slot_other(search->slot)
		|| strstr(file->cmdline, search->context->config.placeholder))
		return false;
	return is_recorded(search, file) || has_running_root(search, file)
	       || was_started(search, path, file);
}

__attribute__((format(printf, 3, 4))) static int unfit(
	char **ret_why, struct error *error, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = vasprintf(ret_why, format, arguments);
	va_end(arguments);
	if (r >= 0)
		return 0;
	*ret_why = NULL;
	return error_memory(error);
}

/* Why the boot file does not start its slot: *ret_why, owned; NULL: it does. */
static int judge_own(struct search *search, char **ret_why, struct error *error)
{
	const struct espfile *file = &search->coldboot.own[search->slot];
	const struct context *context = search->context;
	const char *path = context->config.boot_file[search->slot];

	if (!file->present)
		return unfit(ret_why, error, "%s is not there", path);
	if (!file->loads)
		return unfit(ret_why, error, "%s does not load: %s", path, file->why);
	if (file->kind != FILEKIND_UKI)
		return unfit(ret_why, error, "%s is %s", path, filekind_name(file->kind));
	if (file->slot == slot_other(search->slot))
		return unfit(ret_why, error, "%s starts slot %c", path, slot_letter(file->slot));
	if (has_other_root(search, file))
		return unfit(ret_why, error,
			"%s starts another system than the one that runs (root hash %s instead of "
			"%s)",
			path, file->verity.trees[0].root_hash, search->verity.trees[0].root_hash);
	if (is_recorded(search, file) || !search->record->state.has_boot_file)
		return 0;
	if (!has_running_root(search, file))
		return unfit(ret_why, error,
			"%s is not the file that was installed (its digest differs from the "
			"record)",
			path);
	report_warning(&context->observer.report,
		"%s is not the file that was installed, but starts the same root file system",
		path);
	return 0;
}

/* --- looking for the running UKI --- */

static int take(
	struct search *search, const char *path, struct startable *startable, struct error *error)
{
	AUTO_ESPFILE struct espfile file = { 0 };
	int r;

	if (startable->source || !path)
		return 0;
	for (size_t i = 0; i < search->looked_at.count; i++)
		if (devicepath_same_file(search->looked_at.items[i], path))
			return 0;
	r = text_list_add(&search->looked_at, error, "%s", path);
	if (r == 0)
		r = espfile_look(search->context, path, &file, error);
	if (r < 0 || !is_proven(search, path, &file))
		return r;
	startable->source = strdup(path);
	startable->size = file.size;
	memcpy(startable->sha256, file.sha256, sizeof(file.sha256));
	return startable->source ? 0 : error_memory(error);
}

static int take_folder(
	struct search *search, const char *folder, struct startable *startable, struct error *error)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	struct machine *machine = search->context->machine;
	int r;

	if (machine->ops->esp_list(machine, search->context->esp, folder, &names, NULL) < 0)
		return 0;
	r = 0;
	for (size_t i = 0; r == 0 && i < names.count; i++) {
		AUTO_FREE char *path = text_format("%s/%s", folder, names.items[i]);

		if (!path)
			return error_memory(error);
		if (text_ends_with_nocase(path, ".efi"))
			r = take(search, path, startable, error);
	}
	return r;
}

static int find_running(struct search *search, struct startable *startable, struct error *error)
{
	const struct boot_view *view = &search->coldboot.view;
	int r;

	r = text_list_add(
		&search->looked_at, error, "%s", search->context->config.boot_file[search->slot]);
	for (size_t i = 0; r == 0 && i < STUB_VARIABLES; i++)
		r = take(search, search->stub_image[i], startable, error);
	if (r == 0)
		r = take(search, REMOVABLE_PATH, startable, error);
	if (r == 0)
		r = take(search, view->current.path, startable, error);
	for (size_t i = 0; r == 0 && i < view->choice_count; i++)
		r = take(search, view->choices[i].path, startable, error);
	if (r == 0)
		r = take_folder(search, search->context->config.folder, startable, error);
	return r < 0 ? r : take_folder(search, TYPE2_FOLDER, startable, error);
}

static int refuse_running(
	const struct search *search, const char *why, const char *loader, struct error *error)
{
	return error_set(error, ERROR_REFUSED, EPERM,
		"a power cycle would not start slot %c, which runs: %s, and no other file on the "
		"ESP is proven to be its UKI (by its digest, or by the root hash that runs)%s%s. "
		"Copy the UKI that runs to %s (or --force)",
		slot_letter(search->slot), why, loader ? "; this machine was started by " : "",
		loader ? loader : "", search->context->config.boot_file[search->slot]);
}

static int refuse(
	const struct search *search, const char *why, const char *loader, struct error *error)
{
	const struct espfile *file = &search->coldboot.own[search->slot];
	struct context *context = search->context;
	char letter = slot_letter(search->slot);

	if (file->unread)
		return error_failed(error, -file->unread, "%s", file->why);
	if (context->boot->force) {
		report_warning(&context->observer.report, "A power cycle may not start slot %c: %s",
			letter, why);
		return 0;
	}
	if (search->slot == search->running)
		return refuse_running(search, why, loader, error);
	return error_set(error, ERROR_REFUSED, EPERM,
		"slot %c cannot be started: %s. 'bistable repair' puts it right, or install into "
		"it again (or --force)",
		letter, why);
}

/* Under Secure Boot, shim may be what makes the firmware accept a kernel at all. */
static int check_shim(
	struct context *context, const struct boot_loader *loader, struct error *error)
{
	bool secure_boot = true;

	if (loader->kind != FILEKIND_SHIM || context->boot->force)
		return 0;
	context_secure_boot(context, &secure_boot, NULL);
	if (!secure_boot)
		return 0;
	return error_set(error, ERROR_REFUSED, EPERM,
		"Secure Boot is on, and this machine was started by %s: whether the firmware "
		"itself accepts the slots' boot files cannot be told, and a slot that it refuses "
		"does not start. Enrol their certificate in the firmware (db) and start a slot "
		"from its own boot entry once (or --force)",
		loader->name);
}

int startable_look(struct context *context, enum slot slot, enum slot running,
	const struct records *records, struct startable *ret, struct error *error)
{
	AUTO_SEARCH struct search search = {
		.context = context,
		.slot = slot,
		.running = running,
		.record = &records->of[slot],
	};
	AUTO_STARTABLE struct startable startable = { .slot = slot };
	AUTO_BOOT_LOADER struct boot_loader loader = { 0 };
	AUTO_FREE char *why = NULL;
	int r;

	r = learn(&search, error);
	if (r == 0)
		r = boot_loader_look(context, &search.coldboot.view, &loader, error);
	if (r == 0)
		r = check_shim(context, &loader, error);
	if (r == 0)
		r = judge_own(&search, &why, error);
	if (r == 0 && why)
		r = find_running(&search, &startable, error);
	if (r == 0 && why && !startable.source)
		r = refuse(&search, why, loader.name, error);
	if (r < 0)
		return r;
	startable.loader = TAKE(loader.name);
	startable.rivals = TAKE(search.coldboot.rivals);
	startable.rival_count = search.coldboot.rival_count;
	*ret = startable;
	startable = (struct startable){ 0 };
	return 0;
}

int startable_make(struct context *context, struct startable *startable, struct error *error)
{
	const char *path = context->config.boot_file[startable->slot];
	struct machine *machine = context->machine;
	AUTO_BUFFER struct buffer bytes = { 0 };
	uint8_t digest[SHA256_SIZE];
	int r;

	if (!startable->source)
		return 0;
	r = machine->ops->esp_read(
		machine, context->esp, startable->source, BOOT_FILE_MAX, &bytes, error);
	if (r == 0)
		r = sha256_of(bytes.data, bytes.size, digest, error);
	if (r == 0 && memcmp(digest, startable->sha256, SHA256_SIZE) != 0)
		r = error_failed(error, EIO,
			"%s reads differently each time: the medium is failing", startable->source);
	espfile_forget(context);
	if (r == 0)
		r = machine->ops->esp_replace(machine, context->esp, path, span_of(&bytes), error);
	if (r == 0)
		report_note(&context->observer.report, "%s, which is what runs, was copied to %s",
			startable->source, path);
	return r;
}

void startable_done(struct startable *startable)
{
	free(startable->source);
	free(startable->loader);
	free(startable->rivals);
	*startable = (struct startable){ 0 };
}
