/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/doctor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "boot/boot.h"
#include "engine/checklist.h"
#include "engine/context.h"
#include "engine/doctor_private.h"
#include "engine/trust.h"
#include "format/manifest.h"
#include "machine/machine.h"

DEFINE_CLEANUP(report_freep, struct bistable_report *, bistable_report_free)

int doctor_ok(struct doctor *doctor, struct error *error, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = checklist_conclude(doctor->report, BISTABLE_LEVEL_OK, NULL, error, format, arguments);
	va_end(arguments);
	return r;
}

int doctor_warning(
	struct doctor *doctor, const char *advice, struct error *error, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = checklist_conclude(
		doctor->report, BISTABLE_LEVEL_WARNING, advice, error, format, arguments);
	va_end(arguments);
	return r;
}

int doctor_problem(
	struct doctor *doctor, const char *advice, struct error *error, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = checklist_conclude(
		doctor->report, BISTABLE_LEVEL_PROBLEM, advice, error, format, arguments);
	va_end(arguments);
	return r;
}

bool doctor_record_known(const struct doctor *doctor, enum slot slot)
{
	return doctor->esp_number == 0 && !doctor->no_record[slot]
	       && doctor->records.of[slot].readable;
}

bool doctor_on_trial(struct doctor *doctor, enum slot slot)
{
	return slot == doctor->running && doctor_record_known(doctor, slot)
	       && record_open_attempt(&doctor->records.of[slot], doctor->boot_id);
}

static int check_running_slot(struct doctor *doctor, enum slot unused, struct error *error)
{
	const struct context *context = doctor->context;

	(void)unused;
	if (doctor->no_slot)
		return doctor_problem(doctor,
			"The command line has to name one slot, by bistable.slot= or as [slots] "
			"cmdline-match says.",
			error, "Which slot runs cannot be told: %s.", doctor->no_slot);
	if (doctor->running == SLOT_NONE)
		return doctor_problem(doctor,
			"Check [slots] cmdline-match, or put bistable.slot=A or =B on the kernel's "
			"command line.",
			error,
			"Which slot runs cannot be told: /proc/cmdline has neither bistable.slot= "
			"nor '%s', and the root file system lies on neither slot's partition.",
			context->config.cmdline_match);
	return doctor_ok(doctor, error, "Slot %c runs.", slot_letter(doctor->running));
}

static int check_clock(struct doctor *doctor, enum slot unused, struct error *error)
{
	struct machine *machine = doctor->context->machine;
	const struct record *running = doctor->running != SLOT_NONE
					       ? &doctor->records.of[doctor->running]
					       : NULL;
	int64_t now = machine->ops->now(machine), earliest = trust_earliest(running);
	char text[21] = "?", earliest_text[21] = "?";

	(void)unused;
	manifest_time_format(now, text);
	manifest_time_format(earliest, earliest_text);
	if (now >= earliest)
		return doctor_ok(doctor, error, "The clock says %s.", text);
	return doctor_warning(doctor,
		"Set the clock, and look after its battery: until then no server's certificate is "
		"valid, and bundles are judged as of the later time.",
		error, "The clock says %s, but %s has passed.", text, earliest_text);
}

static int check_secure_boot(struct doctor *doctor, enum slot unused, struct error *error)
{
	struct machine *machine = doctor->context->machine;
	AUTO_BUFFER struct buffer value = { 0 };
	struct error why = { 0 };
	uint32_t attributes;
	int r;

	(void)unused;
	if (!machine->ops->efi_available(machine))
		return doctor_ok(doctor, error, "There is none without EFI variables.");
	r = machine->ops->variable_read(machine, "SecureBoot", &attributes, &value, &why);
	if (r == -ENOENT)
		return doctor_ok(doctor, error, "The firmware has no Secure Boot.");
	if (r == 0 && value.size == 1)
		return doctor_ok(
			doctor, error, "Secure Boot is %s.", value.data[0] == 1 ? "on" : "off");
	return doctor_warning(doctor,
		"Look at the variable SecureBoot with efivar; until it can be read, signed UKIs "
		"that hold the placeholder are refused.",
		error, "Whether Secure Boot is on cannot be told: %s.",
		r < 0 ? why.text : "its variable does not hold one byte");
}

static int no_kexec(struct doctor *doctor, const char *why, struct error *error)
{
	if (doctor->context->config.activation == BISTABLE_ACTIVATE_KEXEC_ONLY)
		return doctor_problem(doctor,
			"Set [activate] default to kexec or reboot, or remove the reason.", error,
			"Installs are to be started by kexec only, and it is not possible: %s.",
			why);
	return doctor_warning(doctor,
		"Nothing if reboots are fine ([activate] kexec=no says so); else remove the "
		"reason.",
		error, "kexec is not possible: %s.", why);
}

static int check_kexec(struct doctor *doctor, enum slot unused, struct error *error)
{
	const struct config *config = &doctor->context->config;
	struct machine *machine = doctor->context->machine;
	AUTO_FREE char *reason = NULL;
	struct error why = { 0 };
	bool staged = false;
	int r;

	(void)unused;
	if (!config->kexec && config->activation == BISTABLE_ACTIVATE_KEXEC_ONLY)
		return no_kexec(doctor, "[activate] kexec=no forbids it", error);
	if (!config->kexec)
		return doctor_ok(
			doctor, error, "The configuration forbids kexec; slots start by reboot.");
	r = machine->ops->kexec_preflight(machine, &reason, &why);
	if (r == -EPERM)
		return doctor_warning(doctor, DOCTOR_AS_ROOT, error,
			"Whether kexec is possible cannot be told: %s.", why.text);
	if (r < 0)
		return no_kexec(doctor, why.text, error);
	if (reason)
		return no_kexec(doctor, reason, error);
	if (machine->ops->kexec_staged(machine, &staged, NULL) == 0 && staged)
		return doctor_ok(doctor, error, "A kernel is staged for the next kexec.");
	return doctor_ok(doctor, error, "kexec is possible%s.",
		context_locked_down(doctor->context)
			? ", for kernels whose signature this system trusts "
			  "(kernel lockdown is on)"
			: "");
}

/* In the order in which they are reported; a name stays what it means. */
static const struct {
	const char *group, *name;
	enum slot slot;
	int (*check)(struct doctor *doctor, enum slot slot, struct error *error);
} rows[] = {
	{ "Machine", "running-slot", SLOT_NONE, check_running_slot },
	{ "Machine", "clock", SLOT_NONE, check_clock },
	{ "Machine", "secure-boot", SLOT_NONE, check_secure_boot },
	{ "Machine", "kexec", SLOT_NONE, check_kexec },
	{ "Firmware", "variables", SLOT_NONE, doctor_check_firmware },
	{ "Firmware", "entry-a", SLOT_A, doctor_check_entry },
	{ "Firmware", "entry-b", SLOT_B, doctor_check_entry },
	{ "Firmware", "duplicates", SLOT_NONE, doctor_check_duplicates },
	{ "Firmware", "lost-entries", SLOT_NONE, doctor_check_lost },
	{ "Firmware", "boot-order", SLOT_NONE, doctor_check_order },
	{ "Firmware", "boot-next", SLOT_NONE, doctor_check_next },
	{ "Firmware", "boot-loader", SLOT_NONE, doctor_check_loader },
	{ "EFI System Partition", "esp", SLOT_NONE, doctor_check_esp },
	{ "EFI System Partition", "esp-location", SLOT_NONE, doctor_check_location },
	{ "EFI System Partition", "esp-writable", SLOT_NONE, doctor_check_writable },
	{ "EFI System Partition", "esp-space", SLOT_NONE, doctor_check_space },
	{ "EFI System Partition", "esp-names", SLOT_NONE, doctor_check_names },
	{ "EFI System Partition", "esp-leftovers", SLOT_NONE, doctor_check_leftovers },
	{ "EFI System Partition", "removable-path", SLOT_NONE, doctor_check_removable },
	{ "Slots", "slot-a", SLOT_A, doctor_check_state },
	{ "Slots", "boot-file-a", SLOT_A, doctor_check_boot_file },
	{ "Slots", "partition-a", SLOT_A, doctor_check_partition },
	{ "Slots", "slot-b", SLOT_B, doctor_check_state },
	{ "Slots", "boot-file-b", SLOT_B, doctor_check_boot_file },
	{ "Slots", "partition-b", SLOT_B, doctor_check_partition },
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

/* *ret = a copy of the error's text, or NULL when r is not one. -ENOMEM stays an error. */
static int keep_reason(int r, const struct error *why, char **ret, struct error *error)
{
	if (r == 0)
		return 0;
	*ret = strdup(why->text);
	return r == -ENOMEM || !*ret ? error_memory(error) : 0;
}

static int learn_esp(struct doctor *doctor, struct error *error)
{
	struct context *context = doctor->context;
	struct error why = { 0 };
	int r;

	doctor->esp_number = context_open(context, true, NULL, &why);
	r = keep_reason(doctor->esp_number, &why, &doctor->no_esp, error);
	if (doctor->esp_number == 0)
		r = context->machine->ops->esp_survey(
			context->machine, context->esp, &doctor->survey, error);
	/* Firmware variables can be looked at all the same. */
	if (r == 0 && doctor->esp_number < 0)
		r = context_open(context, false, NULL, error);
	return r;
}

static int learn_record(struct doctor *doctor, enum slot slot, struct error *error)
{
	struct error why = { 0 };
	int r;

	r = record_read(doctor->context, slot, &doctor->records.of[slot], &why);
	return keep_reason(r, &why, &doctor->no_record[slot], error);
}

static int learn(struct doctor *doctor, struct error *error)
{
	struct context *context = doctor->context;
	struct error why = { 0 };
	int r;

	r = context_running_slot(context, &doctor->running, &why);
	r = keep_reason(r, &why, &doctor->no_slot, error);
	context_boot_id(context, doctor->boot_id);
	if (r == 0)
		r = learn_esp(doctor, error);
	for (enum slot slot = SLOT_A; r == 0 && context->esp && slot < SLOT_COUNT; slot++)
		r = learn_record(doctor, slot, error);
	if (r == 0)
		r = coldboot_look(context, SLOT_NONE, &doctor->coldboot, error);
	return r;
}

static void doctor_done(struct doctor *doctor)
{
	free(doctor->no_slot);
	free(doctor->no_esp);
	esp_survey_done(&doctor->survey);
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		free(doctor->no_record[slot]);
	coldboot_done(&doctor->coldboot);
	records_done(&doctor->records);
}

#define AUTO_DOCTOR CLEANUP(doctor_done)

int doctor_run(struct context *context, struct bistable_report **ret, struct error *error)
{
	CLEANUP(report_freep) struct bistable_report *report = calloc(1, sizeof(*report));
	AUTO_CONTEXT_CLOSE struct context *open = context;
	AUTO_DOCTOR struct doctor doctor = {
		.context = context,
		.report = report,
		.running = SLOT_NONE,
	};
	int r;

	(void)open;
	if (!report)
		return error_memory(error);
	report->checks = calloc(ROW_COUNT, sizeof(*report->checks));
	if (!report->checks)
		return error_memory(error);
	r = learn(&doctor, error);
	for (size_t i = 0; r == 0 && i < ROW_COUNT; i++) {
		report->checks[i].group = rows[i].group;
		report->checks[i].name = rows[i].name;
		r = rows[i].check(&doctor, rows[i].slot, error);
	}
	if (r < 0)
		return r;
	*ret = TAKE(report);
	return 0;
}
