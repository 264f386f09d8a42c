/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/espfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "format/pe.h"
#include "format/uki.h"
#include "machine/machine.h"

static int fail_to_load(struct espfile *file, const struct error *why, struct error *error)
{
	file->loads = false;
	file->why = strdup(why->text);
	return file->why ? 0 : error_memory(error);
}

static int cannot_read(
	struct espfile *file, int number, const struct error *why, struct error *error)
{
	file->present = number != -ENOENT && number != -ENODEV;
	file->unread = file->present ? number : 0;
	return fail_to_load(file, why, error);
}

/* What the firmware checks of every program. */
static int check_program(struct span bytes, struct error *error)
{
	struct pe pe;
	int r = pe_parse(bytes, &pe, error);

	if (r == 0 && pe.machine != PE_MACHINE_NATIVE)
		return error_failed(error, EBADMSG, "it is for machine type 0x%04x", pe.machine);
	if (r == 0 && pe.subsystem != PE_SUBSYSTEM_EFI_APPLICATION)
		return error_failed(error, EBADMSG, "it is no EFI application");
	return r;
}

static int read_cmdline(
	struct context *context, const struct uki *uki, struct espfile *file, struct error *error)
{
	int r = uki_cmdline(uki, &file->cmdline, error);

	if (r == 0)
		r = cmdline_slot(file->cmdline, context->config.cmdline_match, &file->slot, error);
	return r < 0 ? r : cmdline_verity(file->cmdline, &file->verity, error);
}

/* The kernel has to start, and to be told one root file system. */
static int check_uki(
	struct context *context, struct span bytes, struct espfile *file, struct error *error)
{
	struct uki uki;
	int r;

	r = uki_parse(bytes, &uki, error);
	if (r == 0)
		r = uki_check_kernel(&uki, error);
	if (r == 0)
		r = read_cmdline(context, &uki, file, error);
	return r < 0 ? r : uki_version(&uki, &file->version, error);
}

static int examine(
	struct context *context, struct span bytes, struct espfile *file, struct error *error)
{
	struct error why = { 0 };
	int r;

	r = sha256_of(bytes.data, bytes.size, file->sha256, error);
	if (r < 0)
		return r;
	file->present = true;
	file->size = bytes.size;
	file->kind = filekind_of(bytes);
	r = file->kind == FILEKIND_UKI ? check_uki(context, bytes, file, &why)
				       : check_program(bytes, &why);
	if (r == -ENOMEM)
		return error_memory(error);
	file->loads = true;
	return r < 0 ? fail_to_load(file, &why, error) : 0;
}

/* --- what was looked at --- */

struct espfile_seen {
	char *path;
	struct espfile file;
	struct espfile_seen *next;
};

static void seen_free(struct espfile_seen *seen)
{
	if (!seen)
		return;
	espfile_done(&seen->file);
	free(seen->path);
	free(seen);
}

static void seen_freep(struct espfile_seen **seen)
{
	seen_free(*seen);
}

static bool copy_text(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return *ret || !text;
}

static int copy(const struct espfile *file, struct espfile *ret, struct error *error)
{
	AUTO_ESPFILE struct espfile made = *file;

	made.why = made.cmdline = made.version = NULL;
	if (!copy_text(file->why, &made.why) || !copy_text(file->cmdline, &made.cmdline)
		|| !copy_text(file->version, &made.version))
		return error_memory(error);
	*ret = made;
	made = (struct espfile){ 0 };
	return 0;
}

static int remember(
	struct context *context, const char *path, const struct espfile *file, struct error *error)
{
	CLEANUP(seen_freep) struct espfile_seen *seen = calloc(1, sizeof(*seen));
	int r;

	if (!seen || !copy_text(path, &seen->path))
		return error_memory(error);
	r = copy(file, &seen->file, error);
	if (r < 0)
		return r;
	seen->next = context->seen;
	context->seen = TAKE(seen);
	return 0;
}

static const struct espfile *find(const struct context *context, const char *path)
{
	for (const struct espfile_seen *seen = context->seen; seen; seen = seen->next)
		if (strcmp(seen->path, path) == 0)
			return &seen->file;
	return NULL;
}

void espfile_forget(struct context *context)
{
	while (context->seen) {
		struct espfile_seen *next = context->seen->next;

		seen_free(context->seen);
		context->seen = next;
	}
}

int espfile_look(
	struct context *context, const char *path, struct espfile *ret, struct error *error)
{
	AUTO_ESPFILE struct espfile file = { .slot = SLOT_NONE };
	const struct espfile *found = find(context, path);
	struct machine *machine = context->machine;
	AUTO_BUFFER struct buffer bytes = { 0 };
	struct error why = { 0 };
	int r;

	if (found)
		return copy(found, ret, error);
	r = context->esp ? machine->ops->esp_read(
		    machine, context->esp, path, BOOT_FILE_MAX, &bytes, &why)
			 : error_failed(&why, ENODEV, "the ESP is not reachable");
	if (r == 0)
		r = examine(context, span_of(&bytes), &file, error);
	else if (r == -ENOMEM)
		return error_memory(error);
	else
		r = cannot_read(&file, r, &why, error);
	if (r == 0 && file.present && !file.unread)
		r = remember(context, path, &file, error);
	if (r < 0)
		return r;
	*ret = file;
	file = (struct espfile){ 0 };
	return 0;
}

int espfile_digest(
	struct context *context, const char *path, uint8_t ret_sha256[32], struct error *error)
{
	AUTO_ESPFILE struct espfile file = { 0 };
	int r = espfile_look(context, path, &file, error);

	if (r < 0)
		return r;
	/* What could not be read tells why. */
	if (!file.present || file.unread)
		return context->machine->ops->esp_digest(
			context->machine, context->esp, path, ret_sha256, NULL, error);
	memcpy(ret_sha256, file.sha256, sizeof(file.sha256));
	return 0;
}

void espfile_done(struct espfile *file)
{
	free(file->why);
	free(file->cmdline);
	free(file->version);
	*file = (struct espfile){ 0 };
}
