/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/coldboot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "engine/context.h"
#include "engine/removable.h"
#include "format/devicepath.h"
#include "machine/machine.h"

/* Boot Loader Interface: what a boot loader says of itself, in UTF-16. */
#define LOADER_INFO "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

#define LOADER_SIZE_MAX (16u << 20) /* bytes */

/* One program that a cold boot may start. */
struct program {
	const char *path; /* on the ESP */
	enum slot slot;   /* that it starts; SLOT_NONE: something else */
	bool starts;
	struct espfile file;
};

static void program_done(struct program *program)
{
	espfile_done(&program->file);
}

#define AUTO_PROGRAM CLEANUP(program_done)

static bool same_system(const struct espfile *a, const struct espfile *b)
{
	return a->verity.count == 0 || b->verity.count == 0
	       || cmdline_verity_equal(&a->verity, &b->verity);
}

/* Of the pair, what a UKI that lies anywhere starts: as it names, else as one it is equal to. */
static enum slot slot_of(const struct coldboot *coldboot, const struct espfile *file)
{
	if (file->kind != FILEKIND_UKI || !file->loads)
		return SLOT_NONE;
	if (file->slot != SLOT_NONE)
		/* Of another root hash it is a stale one, whose system is gone. */
		return same_system(file, &coldboot->own[file->slot]) ? file->slot : SLOT_NONE;
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		const struct espfile *own = &coldboot->own[slot];

		if (own->loads && memcmp(own->sha256, file->sha256, sizeof(own->sha256)) == 0)
			return slot;
	}
	return SLOT_NONE;
}

/* Without a file of its own, an entry stands for a whole disk, of which the removable path is
 * started. */
static const char *path_of(const struct coldboot *coldboot, const struct boot_choice *choice)
{
	if (choice->path || !coldboot->view.current.name)
		return choice->path;
	return choice->number == coldboot->view.current.number ? REMOVABLE_PATH : NULL;
}

static int look_at(struct context *context, struct coldboot *coldboot, const char *path,
	struct program *ret, struct error *error)
{
	int r;

	ret->path = path;
	r = espfile_look(context, path, &ret->file, error);
	if (r < 0)
		return r;
	if (ret->file.unread && !coldboot->unread && !coldboot->what) {
		coldboot->unread = TAKE(ret->file.why);
		coldboot->unread_number = ret->file.unread;
	}
	ret->starts = ret->file.loads;
	ret->slot = slot_of(coldboot, &ret->file);
	/* A boot file that names neither slot starts the one it lies there for. */
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		if (ret->starts && ret->file.slot == SLOT_NONE && ret->file.kind == FILEKIND_UKI
			&& devicepath_same_file(path, context->config.boot_file[slot]))
			ret->slot = slot;
	return 0;
}

static int note_first(struct coldboot *coldboot, const char *name, const struct program *program,
	struct error *error)
{
	if (coldboot->what)
		return 0;
	coldboot->slot = program->slot;
	coldboot->what = name ? text_format("%s (%s)", name, program->path) : strdup(program->path);
	return coldboot->what ? 0 : error_memory(error);
}

static int try_choices(
	struct context *context, enum slot wanted, struct coldboot *coldboot, struct error *error)
{
	const struct boot_view *view = &coldboot->view;
	int r = 0;

	coldboot->rivals = calloc(view->choice_count + 1, sizeof(*coldboot->rivals));
	if (!coldboot->rivals)
		return error_memory(error);
	for (size_t i = 0; r == 0 && i < view->choice_count; i++) {
		const struct boot_choice *choice = &view->choices[i];
		const char *path = path_of(coldboot, choice);
		AUTO_PROGRAM struct program program = { 0 };

		if (!path)
			continue;
		r = look_at(context, coldboot, path, &program, error);
		if (r < 0 || !program.starts)
			continue;
		if (choice->slot == SLOT_NONE && wanted != SLOT_NONE && program.slot != wanted)
			coldboot->rivals[coldboot->rival_count++] = choice->number;
		r = note_first(coldboot, choice->name, &program, error);
	}
	return r;
}

static int try_removable(struct context *context, struct coldboot *coldboot, struct error *error)
{
	AUTO_PROGRAM struct program program = { 0 };
	int r;

	if (coldboot->what)
		return 0;
	r = look_at(context, coldboot, REMOVABLE_PATH, &program, error);
	return r < 0 || !program.starts ? r : note_first(coldboot, NULL, &program, error);
}

int coldboot_look(
	struct context *context, enum slot wanted, struct coldboot *ret, struct error *error)
{
	AUTO_COLDBOOT struct coldboot coldboot = { .slot = SLOT_NONE };
	int r;

	r = context->boot->ops->view(context->boot, &coldboot.view, error);
	for (enum slot slot = SLOT_A; r == 0 && slot < SLOT_COUNT; slot++)
		r = espfile_look(
			context, context->config.boot_file[slot], &coldboot.own[slot], error);
	coldboot.known = coldboot.view.readable && context->esp;
	if (r == 0 && coldboot.known)
		r = try_choices(context, wanted, &coldboot, error);
	if (r == 0 && coldboot.known)
		r = try_removable(context, &coldboot, error);
	if (r < 0)
		return r;
	*ret = coldboot;
	coldboot = (struct coldboot){ 0 };
	return 0;
}

void coldboot_done(struct coldboot *coldboot)
{
	boot_view_done(&coldboot->view);
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		espfile_done(&coldboot->own[slot]);
	free(coldboot->what);
	free(coldboot->unread);
	free(coldboot->rivals);
	*coldboot = (struct coldboot){ 0 };
}

int coldboot_require(struct context *context, enum slot slot, struct error *error)
{
	AUTO_COLDBOOT struct coldboot coldboot = { 0 };
	int r;

	r = coldboot_look(context, slot, &coldboot, error);
	if (r < 0 || !coldboot.known || coldboot.slot == slot)
		return r;
	if (coldboot.unread)
		return error_failed(error, -coldboot.unread_number, "%s", coldboot.unread);
	return error_set(error, ERROR_REFUSED, EPERM,
		"a power cycle would not start slot %c, but %s: look at BootOrder and at the files "
		"that its entries name ('bistable doctor')",
		slot_letter(slot), coldboot.what ? coldboot.what : "nothing");
}

/* --- boot loaders --- */

static int name_loader(
	struct boot_loader *loader, const char *name, const char *path, struct error *error)
{
	loader->name = path ? text_format("%s (%s)", name, path) : strdup(name);
	return loader->name ? 0 : error_memory(error);
}

/* A stub says so there as well, if no loader did before it. */
static int look_at_info(struct context *context, struct boot_loader *loader, struct error *error)
{
	static const struct {
		const char *begins;
		enum filekind kind;
	} loaders[] = {
		{ "systemd-boot", FILEKIND_SYSTEMD_BOOT },
		{ "GRUB", FILEKIND_GRUB },
	};
	struct machine *machine = context->machine;
	AUTO_BUFFER struct buffer bytes = { 0 };
	AUTO_FREE char *info = NULL;
	uint32_t attributes;

	if (machine->ops->variable_read(machine, LOADER_INFO, &attributes, &bytes, NULL) < 0
		|| text_from_utf16(bytes.data, bytes.size, &info, NULL) < 0)
		return 0;
	for (size_t i = 0; i < sizeof(loaders) / sizeof(loaders[0]); i++) {
		if (!text_starts_with(info, loaders[i].begins))
			continue;
		loader->kind = loaders[i].kind;
		return name_loader(loader, info, NULL, error);
	}
	return 0;
}

/* Large files are not read for it: a UKI is one, and no loader is. */
static bool may_be_loader(struct context *context, const char *path)
{
	struct machine *machine = context->machine;
	uint64_t size;

	return machine->ops->esp_digest(machine, context->esp, path, NULL, &size, NULL) == 0
	       && size <= LOADER_SIZE_MAX;
}

int boot_loader_look(struct context *context, const struct boot_view *view, struct boot_loader *ret,
	struct error *error)
{
	const char *path = view->current.path ? view->current.path : REMOVABLE_PATH;
	AUTO_BOOT_LOADER struct boot_loader loader = { 0 };
	AUTO_ESPFILE struct espfile file = { 0 };
	bool known = view->current.name && context->esp;
	int r = 0;

	if (!context->machine->ops->efi_available(context->machine))
		return 0;
	if (known && may_be_loader(context, path))
		r = espfile_look(context, path, &file, error);
	if (r == 0 && file.loads && file.kind != FILEKIND_UKI) {
		loader.kind = file.kind;
		r = name_loader(&loader, filekind_name(file.kind), path, error);
	} else if (r == 0 && !known) {
		r = look_at_info(context, &loader, error);
	}
	if (r < 0)
		return r;
	*ret = loader;
	loader = (struct boot_loader){ 0 };
	return 0;
}

void boot_loader_done(struct boot_loader *loader)
{
	free(loader->name);
	*loader = (struct boot_loader){ 0 };
}
