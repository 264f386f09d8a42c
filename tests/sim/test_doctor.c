/* SPDX-License-Identifier: Apache-2.0 */

/* What the doctor finds in machine and firmware. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/loadopt.h"
#include "patient.h"

static bool no(struct machine *machine)
{
	(void)machine;
	return false;
}

static void no_slot_named(struct patient *patient)
{
	strcpy(patient->sim->cmdline, "quiet");
}

static void both_slots_named(struct patient *patient)
{
	strcpy(patient->sim->cmdline,
		"a=PARTLABEL=METROPOLIS-SYSTEM-A b=PARTLABEL=METROPOLIS-SYSTEM-B");
}

static void secure_boot_on(struct patient *patient)
{
	sim_put_variable(patient->sim, "SecureBoot", TEXT("\1"));
}

static void secure_boot_odd(struct patient *patient)
{
	sim_put_variable(patient->sim, "SecureBoot", TEXT("\1\1"));
}

static int denied_variable(struct machine *machine, const char *name, uint32_t *attributes,
	struct buffer *ret, struct error *error)
{
	(void)machine, (void)attributes, (void)ret;
	return error_failed(error, EACCES, "%s cannot be read: Permission denied", name);
}

static void variables_denied(struct patient *patient)
{
	patient->ops.variable_read = denied_variable;
}

static int kexec_impossible(struct machine *machine, char **ret, struct error *error)
{
	(void)machine, (void)error;
	*ret = strdup("the kernel has no kexec_file_load");
	return 0;
}

static void no_kexec(struct patient *patient)
{
	patient->ops.kexec_preflight = kexec_impossible;
}

static void only_kexec(struct patient *patient)
{
	no_kexec(patient);
	configure(patient, "[activate]\ndefault=kexec-only\n");
}

static void kexec_forbidden(struct patient *patient)
{
	no_kexec(patient);
	configure(patient, "[activate]\nkexec=no\n");
}

static void only_forbidden_kexec(struct patient *patient)
{
	configure(patient, "[activate]\nkexec=no\ndefault=kexec-only\n");
}

static void no_efi(struct patient *patient)
{
	patient->ops.efi_available = no;
}

static void forgetful(struct patient *patient)
{
	patient->sim->volatile_variables = true;
}

static void odd_entry(struct patient *patient)
{
	sim_put_variable(patient->sim, "Boot0099", TEXT("?"));
}

static void odd_order(struct patient *patient)
{
	sim_put_variable(patient->sim, "BootOrder", TEXT("odd"));
}

static void running_entry_gone(struct patient *patient)
{
	remove_entry(patient, SLOT_B);
}

static void other_entry_gone(struct patient *patient)
{
	remove_entry(patient, SLOT_A);
}

static void running_inactive(struct patient *patient)
{
	set_active(patient, SLOT_B, 0);
}

static void other_inactive(struct patient *patient)
{
	set_active(patient, SLOT_A, 0);
}

static void unlisted(struct patient *patient)
{
	put_number(patient, "BootOrder", number_of(patient, SLOT_B));
}

static void bad_but_active(struct patient *patient)
{
	other_bad(patient);
	set_active(patient, SLOT_A, LOADOPT_ACTIVE);
}

static void duplicate(struct patient *patient)
{
	world_add_entry(
		patient->sim, 0x30, "Metropolis Slot B", "\\EFI\\METROPOLIS\\boot-b.efi", true);
}

static void foreign_first(struct patient *patient)
{
	sim_put_file(patient->sim, "/EFI/other.efi", TEXT("not a program"));
	world_add_entry(patient->sim, 0x30, "Other OS", "\\EFI\\other.efi", true);
}

static void foreign_gone(struct patient *patient)
{
	world_add_entry(patient->sim, 0x30, "Other OS", "\\EFI\\other.efi", true);
}

static void foreign_inactive(struct patient *patient)
{
	world_add_entry(patient->sim, 0x30, "Other OS", "\\EFI\\other.efi", false);
}

static void none_listed(struct patient *patient)
{
	put_number(patient, "BootOrder", 3);
}

static void order_swapped(struct patient *patient)
{
	uint8_t bytes[4];

	put_le16(bytes, number_of(patient, SLOT_A));
	put_le16(bytes + 2, number_of(patient, SLOT_B));
	sim_put_variable(patient->sim, "BootOrder", (struct span){ bytes, 4 });
}

static void swapped_and_incomplete(struct patient *patient)
{
	order_swapped(patient);
	sim_put_file(patient->sim, "/EFI/metropolis/boot-a.state",
		TEXT("{\"format\":1,\"complete\":false}"));
}

static void swapped_and_unconfirmed(struct patient *patient)
{
	order_swapped(patient);
	sim_put_file(patient->sim, "/EFI/metropolis/boot-a.state",
		TEXT("{\"format\":1,\"complete\":true}"));
}

static void next_dangling(struct patient *patient)
{
	put_number(patient, "BootNext", 0x77);
}

static void next_odd(struct patient *patient)
{
	sim_put_variable(patient->sim, "BootNext", TEXT("odd"));
}

static void next_foreign(struct patient *patient)
{
	put_number(patient, "BootNext", 3);
}

static void next_left_over(struct patient *patient)
{
	put_number(patient, "BootNext", number_of(patient, SLOT_A));
}

static void next_bad(struct patient *patient)
{
	other_bad(patient);
	next_left_over(patient);
}

static const struct patient_case cases[] = {
	{ nothing, "running-slot", OK, "Slot B runs" },
	{ no_slot_named, "running-slot", PROBLEM, "PARTLABEL=METROPOLIS-SYSTEM-%s" },
	{ both_slots_named, "running-slot", PROBLEM, "/proc/cmdline" },
	{ nothing, "secure-boot", OK, "no Secure Boot" },
	{ secure_boot_on, "secure-boot", OK, "is on" },
	{ secure_boot_odd, "secure-boot", WARNING, "one byte" },
	{ variables_denied, "secure-boot", WARNING, "Permission denied" },
	{ nothing, "kexec", OK, "possible" },
	{ kexec_forbidden, "kexec", OK, "forbids" },
	{ no_kexec, "kexec", WARNING, "no kexec_file_load" },
	{ only_kexec, "kexec", PROBLEM, "no kexec_file_load" },
	{ only_forbidden_kexec, "kexec", PROBLEM, "forbids" },

	{ nothing, "variables", OK, "can be read" },
	{ odd_entry, "variables", WARNING, "Boot0099" },
	{ variables_denied, "variables", WARNING, "Permission denied" },
	{ no_efi, "variables", PROBLEM, "efivarfs" },
	{ forgetful, "variables", PROBLEM, "RTStorageVolatile" },
	{ odd_order, "variables", PROBLEM, "BootOrder" },
	{ nothing, "entry-a", OK, "starts slot A" },
	{ no_efi, "entry-a", WARNING, "cannot be read" },
	{ other_entry_gone, "entry-a", WARNING, "no boot entry for slot A" },
	{ other_inactive, "entry-a", WARNING, "no fallback" },
	{ unlisted, "entry-a", WARNING, "not in BootOrder" },
	{ never_installed, "entry-a", WARNING, "no boot file" },
	{ other_bad, "entry-a", OK, "inactive" },
	{ interrupted_install, "entry-a", OK, "inactive" },
	{ bad_but_active, "entry-a", PROBLEM, "marked bad" },
	{ running_entry_gone, "entry-b", PROBLEM, "no boot entry for slot B" },
	{ running_inactive, "entry-b", PROBLEM, "inactive" },
	{ nothing, "duplicates", OK, "twice" },
	{ duplicate, "duplicates", WARNING,
		"0 more boot entries bear the description of slot A and "
		"1" },
	{ nothing, "boot-order", OK, "starts slot B" },
	{ foreign_first, "boot-order", WARNING, "Boot0030 'Other OS'" },
	{ foreign_gone, "boot-order", OK, "starts slot B" },
	{ foreign_inactive, "boot-order", OK, "starts slot B" },
	{ trial, "boot-order", OK, "starts slot B" },
	{ swapped_and_unconfirmed, "boot-order", WARNING, "starts slot A" },
	{ order_swapped, "boot-order", PROBLEM, "fell back" },
	{ swapped_and_incomplete, "boot-order", PROBLEM, "not complete" },
	{ none_listed, "boot-order", PROBLEM, "neither" },
	{ nothing, "boot-next", OK, "Nothing" },
	{ installed, "boot-next", OK, "Slot A starts next" },
	{ next_dangling, "boot-next", WARNING, "names no boot entry" },
	{ next_odd, "boot-next", WARNING, "names no boot entry" },
	{ next_foreign, "boot-next", WARNING, "neither slot" },
	{ next_left_over, "boot-next", WARNING, "did not choose" },
	{ next_bad, "boot-next", PROBLEM, "marked bad" },
};

static void test_each_check(void **unused)
{
	(void)unused;
	check_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

/* A machine that was updated, and one as it comes from the factory. */
static void test_healthy(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL), y = system_new("Y", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct patient patient = { .sim = sim, .ops = *sim_machine(sim)->ops };

	(void)unused;
	for (int i = 0; i < 2; i++) {
		AUTO_REPORT struct bistable_report *report = NULL;

		if (i == 0)
			world_must_mark_good(sim);
		else
			settle(sim, &y);
		report = examine(&patient);
		print_report(report);
		assert_int_equal(report->worst, OK);
		assert_true(report->check_count > 20);
	}
}

/* The same checks in the same order, whatever is wrong, and no name twice. */
static void test_order_is_stable(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct patient patient = { .sim = sim, .ops = *sim_machine(sim)->ops };
	AUTO_REPORT struct bistable_report *well = examine(&patient), *ill = NULL;

	(void)unused;
	no_esp(&patient);
	no_efi(&patient);
	no_slot_named(&patient);
	ill = examine(&patient);
	assert_int_equal(ill->worst, PROBLEM);
	assert_int_equal(well->check_count, ill->check_count);
	for (size_t i = 0; i < well->check_count; i++) {
		assert_string_equal(well->checks[i].name, ill->checks[i].name);
		assert_string_equal(well->checks[i].group, ill->checks[i].group);
		assert_ptr_equal(find_check(well, well->checks[i].name), &well->checks[i]);
	}
}

/* What comes back after it was removed is the firmware's doing: another advice. */
static void test_duplicates_that_come_back(void **unused)
{
	AUTO_SYSTEM struct system x = system_new("X", 1, NULL);
	AUTO_SIM struct sim *sim = world_new(&x);
	struct patient patient = { .sim = sim, .ops = *sim_machine(sim)->ops };
	AUTO_REPORT struct bistable_report *before = NULL, *after = NULL;

	(void)unused;
	world_must_mark_good(sim);
	duplicate(&patient);
	before = examine(&patient);
	world_must_mark_good(sim);
	/* The first one now stands for the slot. */
	world_add_entry(sim, 0x31, "Metropolis Slot B", BOOT_B, true);
	after = examine(&patient);
	assert_non_null(strstr(find_check(before, "duplicates")->advice, "mark-good' removes"));
	assert_non_null(strstr(find_check(after, "duplicates")->advice, "came back"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_healthy),
		cmocka_unit_test(test_each_check),
		cmocka_unit_test(test_order_is_stable),
		cmocka_unit_test(test_duplicates_that_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
