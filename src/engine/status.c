/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "boot/boot.h"
#include "crypto/sha256.h"
#include "engine/activate.h"
#include "engine/coldboot.h"
#include "engine/confirm.h"
#include "engine/context.h"
#include "engine/espfile.h"
#include "engine/records.h"
#include "format/manifest.h"
#include "machine/machine.h"

DEFINE_CLEANUP(status_freep, struct bistable_status *, bistable_status_free)

static int duplicate(const char *text, char **ret, struct error *error)
{
	if (!text || !*text)
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : error_memory(error);
}

/* `list` becomes notes of the status; its strings move. */
static int add_notes(
	struct bistable_status *status, const struct text_list *list, struct error *error)
{
	struct text_list notes = { status->notes, status->note_count };
	int r = 0;

	for (size_t i = 0; r == 0 && i < list->count; i++)
		r = text_list_add(&notes, error, "%s", list->items[i]);
	status->notes = notes.items;
	status->note_count = notes.count;
	return r;
}

static int add_note(struct bistable_status *status, const char *text, struct error *error)
{
	char *items[] = { (char *)text, NULL };
	struct text_list one = { items, 1 };

	return add_notes(status, &one, error);
}

static const char *const attempt_ends[] = {
	[ATTEMPT_PENDING] = "pending",
	[ATTEMPT_RUNNING] = "running",
	[ATTEMPT_CONFIRMED] = "confirmed",
	[ATTEMPT_FAILED] = "failed",
	[ATTEMPT_NOT_STARTED] = "not-started",
};

/** What is known when the slots are looked at. */
struct looking {
	struct context *context;
	struct bistable_status *status;
	enum slot running;
	char boot_id[37];
	struct boot_view view;
	struct records records;
	bool records_known; /* both were read */
};

static void looking_done(struct looking *looking)
{
	boot_view_done(&looking->view);
	records_done(&looking->records);
}

static bool is_chosen_next(const struct looking *looking, enum slot slot)
{
	return looking->view.readable && looking->view.next_set && looking->view.next_slot == slot;
}

/* A start that is on trial may have come another way than it was asked for. */
static const char *how_of(
	struct looking *looking, const struct state_attempt *attempt, enum attempt_end end)
{
	struct machine *machine = looking->context->machine;
	bool kexec = end == ATTEMPT_RUNNING ? machine->ops->kexec_booted(machine)
					    : strcmp(attempt->how, "kexec") == 0;

	return kexec ? "kexec" : "reboot";
}

static int fill_attempts(struct looking *looking, enum slot which, struct error *error)
{
	struct bistable_slot *slot = &looking->status->slots[which];
	const struct record *record = &looking->records.of[which];
	const struct state *state = &record->state;

	slot->attempts = calloc(state->attempt_count + 1, sizeof(*slot->attempts));
	if (!slot->attempts)
		return error_memory(error);
	slot->attempt_count = state->attempt_count;
	for (size_t i = 0; i < state->attempt_count; i++) {
		const struct state_attempt *attempt = &state->attempts[i];
		enum attempt_end end = record_attempt_end(record, i, which == looking->running,
			is_chosen_next(looking, which), looking->boot_id);

		slot->attempts[i] = (struct bistable_attempt){
			.how = how_of(looking, attempt, end),
			.time = attempt->time,
			.outcome = attempt_ends[end],
		};
		slot->tried_unconfirmed = end == ATTEMPT_FAILED;
	}
	return 0;
}

static int fill_factory_slot(
	struct context *context, enum slot which, struct bistable_slot *slot, struct error *error)
{
	AUTO_ESPFILE struct espfile file = { 0 };
	int r;

	r = espfile_look(context, context->config.boot_file[which], &file, error);
	if (r < 0)
		return r;
	slot->version = TAKE(file.version);
	if (file.size > 0)
		text_hex(file.sha256, SHA256_SIZE, slot->boot_file_sha256);
	return file.verity.count == 0
		       ? 0
		       : duplicate(file.verity.trees[0].root_hash, &slot->root_hash, error);
}

static void fill_recorded(const struct state *state, bool recorded, struct bistable_slot *slot)
{
	memcpy(slot->signer_sha256, state->signer_sha256, sizeof(slot->signer_sha256));
	slot->epoch = recorded && state->payload_count > 0 ? state->epoch : -1;
	slot->installed = state->installed;
	if (state->has_boot_file)
		text_hex(state->boot_file.sha256, SHA256_SIZE, slot->boot_file_sha256);
	for (size_t i = 0; i < state->payload_count; i++)
		if (strcmp(state->payloads[i].role, MANIFEST_ROLE_SYSTEM) == 0)
			text_hex(state->payloads[i].sha256, SHA256_SIZE, slot->image_sha256);
}

static int fill_slot(struct looking *looking, enum slot which, struct error *error)
{
	const struct record *record = &looking->records.of[which];
	struct bistable_status *status = looking->status;
	struct bistable_slot *slot = &status->slots[which];
	int r;

	slot->state_known = record->readable;
	slot->complete = record_complete(record);
	slot->confirmed = slot->complete && record->state.confirmed;
	slot->bad = record->state.bad;
	slot->cold_boot_proven = slot->complete && record->state.cold_booted;
	r = duplicate(record->state.version, &slot->version, error);
	if (r == 0)
		r = duplicate(record->state.source, &slot->source, error);
	if (r == 0)
		r = duplicate(record->state.root_hash, &slot->root_hash, error);
	if (r == 0)
		r = duplicate(record->state.signer, &slot->signer, error);
	fill_recorded(&record->state, record->exists && record->readable, slot);
	/* Nothing was recorded yet: the boot file tells. */
	if (r == 0 && !record->exists && record->has_boot_file)
		r = fill_factory_slot(looking->context, which, slot, error);
	if (r == 0)
		r = fill_attempts(looking, which, error);
	if (r == 0 && record->why)
		r = add_note(status, record->why, error);
	return r;
}

static int note_clash(struct context *context, struct bistable_status *status, struct error *error)
{
	AUTO_FREE char *clash = NULL, *note = NULL;
	int r;

	r = context->machine->ops->esp_clash(
		context->machine, context->esp, context->config.folder, &clash, error);
	if (r < 0 || !clash)
		return r;
	note = text_format(MACHINE_CLASH, clash);
	return note ? add_note(status, note, error) : error_memory(error);
}

static int fill_esp(struct looking *looking, struct error *error)
{
	struct context *context = looking->context;
	struct bistable_status *status = looking->status;
	struct esp_space space;
	struct error why = { 0 };
	int r = 0;

	if (!context->esp)
		return 0;
	if (context->machine->ops->esp_space(context->machine, context->esp, &space, NULL) == 0) {
		status->esp_known = true;
		status->esp_free = space.free;
		status->esp_size = space.size;
	}
	for (enum slot slot = SLOT_A; r == 0 && slot < SLOT_COUNT; slot++) {
		r = record_read(context, slot, &looking->records.of[slot], &why);
		if (r == 0)
			r = fill_slot(looking, slot, &why);
	}
	looking->records_known = r == 0;
	if (r == 0)
		r = note_clash(context, status, &why);
	if (r == -ENOMEM)
		return error_memory(error);
	return r < 0 ? add_note(status, why.text, error) : 0;
}

static char letter_or_0(enum slot slot)
{
	return slot == SLOT_NONE ? 0 : slot_letter(slot);
}

/* The slot whose last attempt was asked for by this very boot, by kexec: the staged one. */
static char staged_slot(const struct bistable_status *status)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		const struct bistable_slot *s = &status->slots[slot];
		const struct bistable_attempt *last = s->attempt_count > 0
							      ? &s->attempts[s->attempt_count - 1]
							      : NULL;

		if (last && strcmp(last->how, "kexec") == 0
			&& strcmp(last->outcome, "pending") == 0)
			return slot_letter(slot);
	}
	return 0;
}

static int fill_boot(struct looking *looking, struct error *error)
{
	struct machine *machine = looking->context->machine;
	struct bistable_status *status = looking->status;
	const struct boot_view *view = &looking->view;
	bool staged = false;

	for (enum slot slot = SLOT_A; view->readable && slot < SLOT_COUNT; slot++) {
		status->slots[slot].entry_known = true;
		status->slots[slot].entry_present = view->slots[slot].present;
		status->slots[slot].entry_number = view->slots[slot].number;
		status->slots[slot].entry_active = view->slots[slot].active;
	}
	if (view->readable)
		status->default_slot = letter_or_0(view->default_slot);
	status->next_how = "default";
	status->next_slot = status->default_slot;
	if (view->readable && view->next_set) {
		status->next_how = "reboot";
		status->next_slot = letter_or_0(view->next_slot);
	}
	if (machine->ops->kexec_staged(machine, &staged, NULL) == 0 && staged) {
		status->next_how = "kexec";
		status->next_slot = staged_slot(status);
	}
	return add_notes(status, &view->notes, error);
}

static int fill_boot_loader(struct looking *looking, struct error *error)
{
	AUTO_BOOT_LOADER struct boot_loader loader = { 0 };
	int r = boot_loader_look(looking->context, &looking->view, &loader, error);

	looking->status->boot_loader = TAKE(loader.name);
	return r;
}

/* What the firmware does not start, although it was confirmed last. */
static int note_passed_over(struct looking *looking, struct error *error)
{
	enum slot running = looking->running;
	AUTO_FREE char *note = NULL;
	char wanted;

	if (running == SLOT_NONE || !looking->records_known
		|| !confirm_passed_over(&looking->records, running, looking->boot_id))
		return 0;
	wanted = slot_letter(slot_other(running));
	note = text_format("slot %c was confirmed last, but the firmware started slot %c; "
			   "'bistable activate' starts slot %c, 'bistable mark-good' says more",
		wanted, slot_letter(running), wanted);
	return note ? add_note(looking->status, note, error) : error_memory(error);
}

static int fill_secure_boot(
	struct context *context, struct bistable_status *status, struct error *error)
{
	AUTO_BUFFER struct buffer value = { 0 };
	struct machine *machine = context->machine;
	AUTO_FREE char *note = NULL;
	struct error why = { 0 };
	uint32_t attributes;
	int r;

	status->secure_boot_known = !status->efi;
	if (!status->efi)
		return 0;
	r = machine->ops->variable_read(machine, "SecureBoot", &attributes, &value, &why);
	status->secure_boot = r == 0 && value.size == 1 && value.data[0] == 1;
	status->secure_boot_known = r == 0 || r == -ENOENT;
	if (r == 0 || r == -ENOENT)
		return 0;
	note = text_format("whether Secure Boot is on cannot be told: %s", why.text);
	return note ? add_note(status, note, error) : error_memory(error);
}

static int fill_kexec(struct context *context, struct bistable_status *status, struct error *error)
{
	int r;

	status->kexec_booted = context->machine->ops->kexec_booted(context->machine);
	r = activate_look_at_kexec(context, &status->kexec_known, &status->kexec_reason, error);
	if (r < 0 || !context->config.kexec || !status->kexec_known
		|| !context_locked_down(context))
		return r;
	/* Not a reason by itself: a kernel whose signature this system trusts is still accepted. */
	return add_note(status,
		"kernel lockdown is on: kexec takes only kernels whose signature this system "
		"trusts",
		error);
}

int status_read(struct context *context, struct bistable_status **ret, struct error *error)
{
	CLEANUP(status_freep) struct bistable_status *status = calloc(1, sizeof(*status));
	AUTO_CONTEXT_CLOSE struct context *open = context;
	CLEANUP(looking_done)
	struct looking looking = { .context = context, .status = status, .running = SLOT_NONE };
	AUTO_FREE char *no_esp = NULL;
	struct error why = { 0 };
	int r;

	(void)open;
	if (!status)
		return error_memory(error);
	status->slots[SLOT_A].epoch = status->slots[SLOT_B].epoch = -1;
	status->efi = context->machine->ops->efi_available(context->machine);
	status->compatible = context->config.compatible;
	r = context_open(context, false, &no_esp, error);
	if (r == 0 && context_require_slot(context, &looking.running, &why) < 0)
		r = add_note(status, why.text, error);
	if (r == 0 && no_esp)
		r = add_note(status, no_esp, error);
	if (r < 0)
		return r;
	status->running = letter_or_0(looking.running);
	context_boot_id(context, looking.boot_id);
	r = fill_secure_boot(context, status, error);
	if (r == 0)
		r = context->boot->ops->view(context->boot, &looking.view, error);
	if (r == 0)
		r = fill_esp(&looking, error);
	if (r == 0)
		r = fill_boot(&looking, error);
	if (r == 0)
		r = fill_boot_loader(&looking, error);
	if (r == 0)
		r = note_passed_over(&looking, error);
	if (r == 0)
		r = fill_kexec(context, status, error);
	if (r < 0)
		return r;
	*ret = TAKE(status);
	return 0;
}

void bistable_status_free(struct bistable_status *status)
{
	if (!status)
		return;
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		free(status->slots[slot].version);
		free(status->slots[slot].source);
		free(status->slots[slot].root_hash);
		free(status->slots[slot].signer);
		free(status->slots[slot].attempts);
	}
	for (size_t i = 0; i < status->note_count; i++)
		free(status->notes[i]);
	free(status->notes);
	free(status->kexec_reason);
	free(status->boot_loader);
	free(status);
}
