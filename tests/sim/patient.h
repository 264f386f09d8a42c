/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A simulated machine that something happens to, and the doctor who looks at it. */

#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/slot.h"
#include "bistable/bistable.h"
#include "world.h"

#define BOOT_A "/EFI/metropolis/boot-a.efi"
#define BOOT_B "/EFI/metropolis/boot-b.efi"
#define BOOTX  "/EFI/BOOT/BOOTX64.EFI"

#define TEXT(s) ((struct span){ (const uint8_t *)(s), strlen(s) })

#define OK      BISTABLE_LEVEL_OK
#define WARNING BISTABLE_LEVEL_WARNING
#define PROBLEM BISTABLE_LEVEL_PROBLEM

/** The machine as the doctor sees it: the simulated one, but for what a case replaces. */
struct patient {
	struct sim *sim;
	struct machine_ops ops;
	const struct system *next; /* one that was not installed yet */
};

/** What happens to the machine, and what the check has to find then. */
struct patient_case {
	void (*happen)(struct patient *patient);
	const char *check;
	enum bistable_level level;
	const char *says;
};

DEFINE_CLEANUP(report_freep, struct bistable_report *, bistable_report_free)

#define AUTO_REPORT CLEANUP(report_freep)

/** Runs each case on a machine of its own: slot B runs, confirmed; A is the complete fallback. */
void check_cases(const struct patient_case *cases, size_t count);

/** The report; fails the test if the doctor changes anything or waits for the lock. */
struct bistable_report *examine(struct patient *patient);
/** The check of that name; fails the test when there is none. */
const struct bistable_check *find_check(const struct bistable_report *report, const char *name);
/** Shows what is not ok. */
void print_report(const struct bistable_report *report);
/** Confirms A, installs `y` into B, starts and confirms it. */
void settle(struct sim *sim, const struct system *y);

/** The number, and the variable and its name, of a slot's boot entry. */
uint16_t number_of(struct patient *patient, enum slot slot);
struct buffer *entry_of(struct patient *patient, enum slot slot, char name[16]);
void remove_entry(struct patient *patient, enum slot slot);
void set_active(struct patient *patient, enum slot slot, uint8_t attributes);
/** Sets a variable to one entry number. */
void put_number(struct patient *patient, const char *variable, uint16_t number);
void copy_file(struct patient *patient, const char *from, const char *to);
void remove_file(struct patient *patient, const char *path);
/** The configuration file of this case; `text` has to last. */
void configure(struct patient *patient, const char *text);

/* What both kinds of cases know. */
void nothing(struct patient *patient);
void other_bad(struct patient *patient);
void never_installed(struct patient *patient);
void installed(struct patient *patient);
void trial(struct patient *patient);
void interrupted_install(struct patient *patient);
void no_esp(struct patient *patient);
