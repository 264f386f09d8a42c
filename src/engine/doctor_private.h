/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/slot.h"
#include "bistable/bistable.h"
#include "engine/coldboot.h"
#include "engine/records.h"
#include "machine/machine.h"

struct context;
struct error;

/** What is known when the checks begin. */
struct doctor {
	struct context *context;
	struct bistable_report *report;
	enum slot running; /* SLOT_NONE: cannot be told */
	char *no_slot;     /* why it cannot be told; NULL */
	char boot_id[37];
	int esp_number; /* 0, or the -errno of opening the ESP */
	char *no_esp;   /* why there is no ESP; NULL */
	struct esp_survey survey;
	struct coldboot coldboot; /* with what the boot entries say */
	struct records records;
	char *no_record[SLOT_COUNT]; /* why the record could not be read; NULL */
};

/**
 * The outcome of the check at hand: every check ends with one of these. 0 or -ENOMEM. `advice` has
 * to last (a constant).
 */
int doctor_ok(struct doctor *doctor, struct error *error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int doctor_warning(struct doctor *doctor, const char *advice, struct error *error,
	const char *format, ...) __attribute__((format(printf, 4, 5)));
int doctor_problem(struct doctor *doctor, const char *advice, struct error *error,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/** Whether the slot's record tells something: read, or absent as with a factory image. */
bool doctor_record_known(const struct doctor *doctor, enum slot slot);

/** The slot runs on trial: it was chosen, started, and is not confirmed yet. */
bool doctor_on_trial(struct doctor *doctor, enum slot slot);

/** What to do about what this user may not read. */
#define DOCTOR_AS_ROOT "Run it as root."

/* The checks. `slot` is SLOT_NONE where a check is not about one slot. */
int doctor_check_firmware(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_entry(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_loader(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_lost(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_duplicates(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_order(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_next(struct doctor *doctor, enum slot slot, struct error *error);

int doctor_check_esp(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_location(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_writable(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_space(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_names(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_leftovers(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_removable(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_state(struct doctor *doctor, enum slot slot, struct error *error);
int doctor_check_boot_file(struct doctor *doctor, enum slot slot, struct error *error);

int doctor_check_partition(struct doctor *doctor, enum slot slot, struct error *error);
