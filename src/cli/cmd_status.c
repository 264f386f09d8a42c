/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/terminal.h"

static json_t *attempts_json(const struct bistable_slot *slot)
{
	json_t *array = json_array();

	for (size_t i = 0; i < slot->attempt_count; i++) {
		const struct bistable_attempt *attempt = &slot->attempts[i];
		json_t *item = json_pack("{s:o, s:I, s:o}", "how", json_text(attempt->how), "time",
			(json_int_t)attempt->time, "outcome", json_text(attempt->outcome));

		if (json_array_append_new(array, item) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *known_json(bool known, bool value)
{
	return known ? json_boolean(value) : json_null();
}

static json_t *digest_json(const char *hex)
{
	return json_text(*hex ? hex : NULL);
}

static json_t *signer_json(const struct bistable_slot *slot)
{
	if (!slot->signer)
		return json_null();
	return json_pack(
		"{s:o, s:s}", "subject", json_text(slot->signer), "sha256", slot->signer_sha256);
}

/* What was installed, as the record has it. */
static json_t *content_json(const struct bistable_slot *slot)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version",
		json_text(slot->version), "epoch",
		slot->epoch < 0 ? json_null() : json_integer((json_int_t)slot->epoch), "source",
		json_text(slot->source), "installed",
		slot->installed ? json_integer((json_int_t)slot->installed) : json_null(), "signer",
		signer_json(slot), "root_hash", json_text(slot->root_hash), "image_sha256",
		digest_json(slot->image_sha256), "boot_file_sha256",
		digest_json(slot->boot_file_sha256));
}

static json_t *slot_json(const struct bistable_slot *slot)
{
	bool entry = slot->entry_known && slot->entry_present, known = slot->state_known;
	json_t *object = content_json(slot), *more;
	char number[8];

	snprintf(number, sizeof(number), "%04X", slot->entry_number);
	more = json_pack("{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "state_known", known,
		"complete", known_json(known, slot->complete), "entry",
		json_text(entry ? number : NULL), "entry_active",
		known_json(entry, slot->entry_active), "attempts", attempts_json(slot),
		"tried_unconfirmed", known_json(known, slot->tried_unconfirmed), "confirmed",
		known_json(known, slot->confirmed), "bad", known_json(known, slot->bad),
		"cold_boot_proven", known_json(known, slot->cold_boot_proven));
	json_object_update(object, more);
	json_decref(more);
	return object;
}

static json_t *esp_json(const struct bistable_status *status)
{
	if (!status->esp_known)
		return json_null();
	return json_pack("{s:o, s:o}", "free", json_size(status->esp_free), "size",
		json_size(status->esp_size));
}

static json_t *status_json(const struct bistable_status *status)
{
	json_t *kexec = json_pack("{s:o, s:o}", "possible",
		known_json(status->kexec_known, status->kexec_reason == NULL), "reason",
		json_text(status->kexec_reason));
	json_t *slots = json_pack(
		"{s:o, s:o}", "A", slot_json(&status->slots[0]), "B", slot_json(&status->slots[1]));

	return json_pack(
		"{s:i, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}",
		"schema", JSON_SCHEMA, "version", bistable_version(), "compatible",
		json_text(status->compatible), "efi", status->efi, "running",
		json_slot(status->running), "default", json_slot(status->default_slot), "next",
		json_slot(status->next_slot), "next_how", json_text(status->next_how),
		"kexec_booted", status->kexec_booted, "boot_loader", json_text(status->boot_loader),
		"secure_boot", known_json(status->secure_boot_known, status->secure_boot), "kexec",
		kexec, "esp", esp_json(status), "slots", slots, "notes",
		json_texts(status->notes, status->note_count));
}

static void print_label(const char *label)
{
	printf("%-13s", label);
}

static void print_slot_choice(const char *label, char slot, const char *explanation)
{
	print_label(label);
	if (slot)
		terminal_print(stdout, PAINT_BOLD, "slot %c", slot);
	else
		terminal_print(stdout, PAINT_DOUBT, "unknown");
	printf("%s\n", explanation);
}

static const char *next_explanation(const struct bistable_status *status)
{
	if (!status->next_how)
		return "";
	if (strcmp(status->next_how, "kexec") == 0)
		return ", by kexec; a power cycle starts the default";
	if (strcmp(status->next_how, "reboot") == 0)
		return ", once, by the firmware (BootNext)";
	return "";
}

static const char *running_explanation(const struct bistable_status *status)
{
	if (status->kexec_booted)
		return ", started by kexec";
	return status->efi ? ", started by the firmware" : "";
}

static void print_state(const struct bistable_slot *slot)
{
	print_label("  State");
	if (!slot->state_known) {
		terminal_print(stdout, PAINT_DOUBT, "unknown: its record cannot be read\n");
		return;
	}
	if (slot->complete)
		terminal_print(stdout, PAINT_GOOD, "complete");
	else
		terminal_print(stdout, PAINT_BAD, "incomplete");
	if (slot->confirmed)
		terminal_print(stdout, PAINT_GOOD, ", confirmed");
	else if (slot->complete)
		terminal_print(stdout, PAINT_DOUBT, ", not confirmed");
	if (slot->bad)
		terminal_print(stdout, PAINT_BAD, ", marked bad");
	if (slot->tried_unconfirmed)
		terminal_print(stdout, PAINT_DOUBT, ", tried and not confirmed");
	putchar('\n');
}

static void print_entry(const struct bistable_slot *slot)
{
	print_label("  Entry");
	if (!slot->entry_known)
		terminal_print(stdout, PAINT_DOUBT, "cannot be read\n");
	else if (!slot->entry_present)
		terminal_print(stdout, PAINT_BAD, "missing\n");
	else
		terminal_print(stdout, slot->entry_active ? PAINT_GOOD : PAINT_BAD, "Boot%04X %s\n",
			slot->entry_number, slot->entry_active ? "active" : "inactive");
}

static void print_attempts(const struct bistable_slot *slot)
{
	char when[32];

	for (size_t i = 0; i < slot->attempt_count; i++) {
		const struct bistable_attempt *attempt = &slot->attempts[i];

		print_label(i == 0 ? "  Attempts" : "");
		terminal_time(attempt->time, when);
		terminal_print(stdout, PAINT_NONE, "%s  %-6s  ", when, attempt->how);
		terminal_print(stdout,
			strcmp(attempt->outcome, "failed") == 0 ? PAINT_BAD : PAINT_NONE, "%s\n",
			attempt->outcome);
	}
}

static void print_signer(const struct bistable_slot *slot)
{
	char when[32];

	if (slot->installed) {
		print_label("  Installed");
		terminal_time(slot->installed, when);
		terminal_print(stdout, PAINT_NONE, "%s\n", when);
	}
	if (slot->signer) {
		print_label("  Signer");
		terminal_print(stdout, PAINT_NONE, "%s\n", slot->signer);
	}
}

static void print_slot(const struct bistable_status *status, size_t index)
{
	const struct bistable_slot *slot = &status->slots[index];
	char letter = (char)('A' + index);

	putchar('\n');
	terminal_print(stdout, PAINT_BOLD, "Slot %c", letter);
	printf("%s%s\n", status->running == letter ? ", running" : "",
		status->default_slot == letter ? ", default" : "");
	print_label("  Version");
	terminal_print(stdout, PAINT_NONE, "%s\n", slot->version ? slot->version : "unknown");
	if (slot->source) {
		print_label("  Source");
		terminal_print(stdout, PAINT_NONE, "%s\n", slot->source);
	}
	print_signer(slot);
	print_state(slot);
	print_entry(slot);
	print_label("  Cold boot");
	if (!slot->state_known)
		terminal_print(stdout, PAINT_DOUBT, "unknown\n");
	else if (slot->cold_boot_proven)
		terminal_print(stdout, PAINT_GOOD, "proven\n");
	else
		terminal_print(stdout, PAINT_DOUBT, "unproven\n");
	print_attempts(slot);
}

static void print_machine(const struct bistable_status *status)
{
	char free_text[16], size_text[16];

	if (!status->efi) {
		print_label("Firmware");
		terminal_print(stdout, PAINT_DOUBT,
			"no EFI variables: not started by UEFI, or efivarfs is not mounted\n");
	}
	if (status->boot_loader) {
		print_label("Loader");
		terminal_print(stdout, PAINT_DOUBT, "%s\n", status->boot_loader);
	}
	print_label("Secure Boot");
	if (status->secure_boot_known)
		puts(status->secure_boot ? "on" : "off");
	else
		terminal_print(stdout, PAINT_DOUBT, "unknown\n");
	print_label("kexec");
	if (!status->kexec_known)
		terminal_print(stdout, PAINT_DOUBT, "unknown: %s\n", status->kexec_reason);
	else if (status->kexec_reason)
		terminal_print(stdout, PAINT_DOUBT, "not possible: %s\n", status->kexec_reason);
	else
		terminal_print(stdout, PAINT_GOOD, "possible\n");
	print_label("ESP");
	if (status->esp_known) {
		terminal_size(status->esp_free, free_text);
		terminal_size(status->esp_size, size_text);
		printf("%s free of %s\n", free_text, size_text);
	} else {
		terminal_print(stdout, PAINT_DOUBT, "not reachable\n");
	}
}

static void print_status(const struct bistable_status *status)
{
	print_slot_choice("Running", status->running, running_explanation(status));
	print_slot_choice("Default", status->default_slot, "");
	print_slot_choice("Next", status->next_slot, next_explanation(status));
	print_machine(status);
	print_slot(status, 0);
	print_slot(status, 1);
	if (status->note_count > 0)
		terminal_print(stdout, PAINT_BOLD, "\nNotes\n");
	for (size_t i = 0; i < status->note_count; i++)
		terminal_print(stdout, PAINT_NONE, "  - %s\n", status->notes[i]);
}

int cmd_status(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	struct bistable_status *status = NULL;
	int r;

	r = bistable_status(bistable, &status, error);
	if (r < 0)
		return r;
	progress_finish(&cli->progress);
	if (cli->json)
		r = json_write_document(status_json(status), error);
	else
		print_status(status);
	bistable_status_free(status);
	return r;
}
