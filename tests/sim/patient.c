/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/context.h"
#include "engine/doctor.h"
#include "patient.h"

DEFINE_CLEANUP(context_freep, struct context *, context_free)

static const struct bistable_install_options by_reboot = { .activation = BISTABLE_ACTIVATE_REBOOT };

struct bistable_report *examine(struct patient *patient)
{
	static const struct observer silent;
	CLEANUP(context_freep) struct context *context = NULL;
	struct bistable_report *report = NULL;
	struct sim *sim = patient->sim;
	struct error error = { 0 };
	struct machine *machine = sim_machine(sim);

	machine->ops = &patient->ops;
	sim_set_fault(sim, SIM_NO_FAULT, 0);
	sim->locked = true; /* it takes no lock */
	world_ok(context_new(machine, NULL, &silent, &context, &error), &error);
	world_ok(doctor_run(context, &report, &error), &error);
	sim->locked = false;
	assert_int_equal(sim->operations, 0); /* and changes nothing */
	return report;
}

const struct bistable_check *find_check(const struct bistable_report *report, const char *name)
{
	for (size_t i = 0; i < report->check_count; i++)
		if (strcmp(report->checks[i].name, name) == 0)
			return &report->checks[i];
	fail_msg("no check '%s'", name);
	return NULL;
}

void print_report(const struct bistable_report *report)
{
	for (size_t i = 0; i < report->check_count; i++)
		if (report->checks[i].level != BISTABLE_LEVEL_OK)
			print_error("%s %s: %s\n", bistable_level_name(report->checks[i].level),
				report->checks[i].name, report->checks[i].what);
}

/* Slot B runs, confirmed; slot A is the complete fallback; `next` waits. */
void settle(struct sim *sim, const struct system *y)
{
	world_must_mark_good(sim);
	world_must_install(sim, y, &by_reboot);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
	world_must_mark_good(sim);
}

uint16_t number_of(struct patient *patient, enum slot slot)
{
	struct bistable_status *status = world_status(patient->sim);
	uint16_t number = status->slots[slot].entry_number;

	assert_true(status->slots[slot].entry_present);
	bistable_status_free(status);
	return number;
}

struct buffer *entry_of(struct patient *patient, enum slot slot, char name[16])
{
	snprintf(name, 16, "Boot%04X", number_of(patient, slot));
	return sim_variable(patient->sim, name);
}

void put_number(struct patient *patient, const char *variable, uint16_t number)
{
	uint8_t bytes[2];

	put_le16(bytes, number);
	sim_put_variable(patient->sim, variable, (struct span){ bytes, 2 });
}

void remove_entry(struct patient *patient, enum slot slot)
{
	char name[16];

	entry_of(patient, slot, name);
	sim_remove_variable(patient->sim, name);
}

void set_active(struct patient *patient, enum slot slot, uint8_t attributes)
{
	char name[16];

	entry_of(patient, slot, name)->data[0] = attributes;
}

void copy_file(struct patient *patient, const char *from, const char *to)
{
	AUTO_BUFFER struct buffer copy = { 0 };
	struct buffer *file = sim_file(patient->sim, from);

	assert_int_equal(buffer_append(&copy, file->data, file->size, NULL), 0);
	sim_put_file(patient->sim, to, span_of(&copy));
}

void remove_file(struct patient *patient, const char *path)
{
	struct machine *machine = sim_machine(patient->sim);

	assert_int_equal(machine->ops->esp_remove(machine, NULL, path, NULL), 0);
}

/* The configuration of the next case. */
static const char *config;
static int (*usual_read_text)(struct machine *, const char *, char **, struct error *);

static int read_config(struct machine *machine, const char *path, char **ret, struct error *error)
{
	if (strcmp(path, "/etc/bistable/bistable.conf") != 0)
		return usual_read_text(machine, path, ret, error);
	*ret = strdup(config);
	return 0;
}

void configure(struct patient *patient, const char *text)
{
	config = text;
	usual_read_text = patient->ops.read_text;
	patient->ops.read_text = read_config;
}

void nothing(struct patient *patient)
{
	(void)patient;
}

void other_bad(struct patient *patient)
{
	struct error error = { 0 };

	world_ok(world_mark_bad(patient->sim, SLOT_A, &error), &error);
}

void never_installed(struct patient *patient)
{
	remove_file(patient, BOOT_A);
	remove_file(patient, "/EFI/metropolis/boot-a.state");
}

void installed(struct patient *patient)
{
	world_must_install(patient->sim, patient->next, &by_reboot);
}

void trial(struct patient *patient)
{
	installed(patient);
	assert_int_equal(sim_power_cycle(patient->sim), SLOT_A);
}

void interrupted_install(struct patient *patient)
{
	struct error error = { 0 };

	sim_set_fault(patient->sim, SIM_FAILS, 5);
	assert_true(world_install(patient->sim, patient->next, &by_reboot, NULL, &error) < 0);
}

static int esp_absent(struct machine *machine, const struct esp_settings *settings,
	struct esp **ret, struct error *error)
{
	(void)machine, (void)settings, (void)ret;
	return error_failed(error, ENODEV, "there is no ESP");
}

void no_esp(struct patient *patient)
{
	patient->ops.esp_open = esp_absent;
}

static void check_case(const struct patient_case *wanted, const struct system *x,
	const struct system *y, const struct system *z)
{
	AUTO_SIM struct sim *sim = world_new(x);
	AUTO_REPORT struct bistable_report *report = NULL;
	struct patient patient = { .sim = sim, .next = z };
	const struct bistable_check *check;

	settle(sim, y);
	patient.ops = *sim_machine(sim)->ops;
	wanted->happen(&patient);
	report = examine(&patient);
	check = find_check(report, wanted->check);
	if (check->level != wanted->level || !strstr(check->what, wanted->says)) {
		print_report(report);
		fail_msg("%s: %s, '%s' instead of '%s'", wanted->check,
			bistable_level_name(check->level), check->what, wanted->says);
	}
	assert_true(report->worst >= check->level);
	assert_true((check->level == OK) == (check->advice == NULL));
}

void check_cases(const struct patient_case *cases, size_t count)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL),
				  z = system_new("Z", 3, NULL);

	for (size_t i = 0; i < count; i++)
		check_case(&cases[i], &x, &y, &z);
}
