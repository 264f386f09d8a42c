/* SPDX-License-Identifier: Apache-2.0 */

/* What the doctor finds on the EFI System Partition, and in what it says of the slots. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "patient.h"

static const struct bistable_install_options by_kexec = { .activation = BISTABLE_ACTIVATE_KEXEC };

static void unhealthy_trial(struct patient *patient)
{
	trial(patient);
	patient->sim->failed_unit = "acme-check.service";
}

static void failed_trial(struct patient *patient)
{
	trial(patient);
	assert_int_equal(sim_power_cycle(patient->sim), SLOT_B);
}

static void kexec_confirmed(struct patient *patient)
{
	world_must_install(patient->sim, patient->next, &by_kexec);
	assert_int_equal(sim_kexec(patient->sim), SLOT_A);
	world_must_mark_good(patient->sim);
}

static int esp_denied(struct machine *machine, const struct esp_settings *settings,
	struct esp **ret, struct error *error)
{
	(void)machine, (void)settings, (void)ret;
	return error_failed(error, EACCES, "the ESP is not readable for this user");
}

static void no_access_to_esp(struct patient *patient)
{
	patient->ops.esp_open = esp_denied;
}

static void cloned(struct patient *patient)
{
	patient->sim->esp_twin = "/dev/sdb1";
}

static void read_only(struct patient *patient)
{
	patient->sim->esp_read_only = true;
}

static void read_only_for_good(struct patient *patient)
{
	read_only(patient);
	configure(patient, "[esp]\nremount=no\n");
}

/* `free` bytes are left. */
static void fill_esp(struct patient *patient, uint64_t bytes)
{
	struct esp_space space;
	struct machine *machine = sim_machine(patient->sim);

	assert_int_equal(machine->ops->esp_space(machine, NULL, &space, NULL), 0);
	patient->sim->esp_capacity -= space.free - bytes;
}

static void little_space(struct patient *patient)
{
	fill_esp(patient, 256 << 10);
}

static void no_space(struct patient *patient)
{
	fill_esp(patient, 0);
}

static void leftover(struct patient *patient)
{
	sim_put_file(patient->sim, BOOT_A ".new", TEXT("half"));
}

static void lost(struct patient *patient)
{
	leftover(patient);
	sim_put_file(patient->sim, BOOTX ".new.lost3", TEXT("half"));
}

static void misplaced(struct patient *patient)
{
	patient->sim->esp_misplaced = "[esp] partuuid = 1 is /dev/vdb1";
}

static void degraded(struct patient *patient)
{
	patient->sim->esp_degraded = "/dev/md0";
}

static int nowhere(
	struct machine *machine, struct esp *esp, struct esp_location *ret, struct error *error)
{
	(void)machine, (void)esp, (void)ret;
	return error_failed(error, ENODATA, "cannot tell which partition");
}

static void location_unknown(struct patient *patient)
{
	patient->ops.esp_location = nowhere;
}

static void clash(struct patient *patient)
{
	patient->sim->esp_clash = "\"METROPOLIS\" and \"metropolis\" in /EFI";
}

static void harmless_name(struct patient *patient)
{
	sim_put_file(patient->sim, "/EFI/metropolis/read.news", TEXT("text"));
}

static void removable_absent(struct patient *patient)
{
	remove_file(patient, BOOTX);
}

static void removable_foreign(struct patient *patient)
{
	sim_put_file(patient->sim, BOOTX, TEXT("MZ somebody's shim"));
}

static void removable_left_alone(struct patient *patient)
{
	removable_foreign(patient);
	configure(patient, "[boot]\nremovable-path=no\n");
}

static void removable_other(struct patient *patient)
{
	copy_file(patient, BOOT_A, BOOTX);
}

static void no_slot_and_removable_other(struct patient *patient)
{
	removable_other(patient);
	strcpy(patient->sim->cmdline, "quiet");
}

static void nothing_is_told(struct patient *patient)
{
	strcpy(patient->sim->cmdline, "quiet");
	sim_put_variable(patient->sim, "BootOrder", TEXT("odd"));
}

static void removable_stale(struct patient *patient)
{
	removable_other(patient);
	sim_put_file(patient->sim, BOOT_A, TEXT("another kernel"));
}

static void removable_bad(struct patient *patient)
{
	other_bad(patient);
	removable_other(patient);
}

static void running_record_damaged(struct patient *patient)
{
	sim_put_file(patient->sim, "/EFI/metropolis/boot-b.state", TEXT("{ nonsense"));
}

static void other_record_damaged(struct patient *patient)
{
	sim_put_file(patient->sim, "/EFI/metropolis/boot-a.state", TEXT("{ nonsense"));
}

static int denied_read(struct machine *machine, struct esp *esp, const char *path, size_t max,
	struct buffer *ret, struct error *error)
{
	(void)machine, (void)esp, (void)max, (void)ret;
	return error_failed(error, EACCES, "%s cannot be read: Permission denied", path);
}

static void records_denied(struct patient *patient)
{
	patient->ops.esp_read = denied_read;
}

static int denied_list(struct machine *machine, struct esp *esp, const char *path,
	struct text_list *ret, struct error *error)
{
	(void)machine, (void)esp, (void)ret;
	return error_failed(error, EACCES, "%s cannot be listed: Permission denied", path);
}

static void folders_denied(struct patient *patient)
{
	patient->ops.esp_list = denied_list;
}

static int program_error;
static int (*usual_read)(struct machine *machine, struct esp *esp, const char *path, size_t max,
	struct buffer *ret, struct error *error);

static int failing_digest(struct machine *machine, struct esp *esp, const char *path,
	uint8_t *ret_sha256, uint64_t *ret_size, struct error *error)
{
	(void)machine, (void)esp, (void)ret_sha256, (void)ret_size;
	return error_failed(error, program_error, "%s: it does not work", path);
}

static int failing_read(struct machine *machine, struct esp *esp, const char *path, size_t max,
	struct buffer *ret, struct error *error)
{
	if (text_ends_with_nocase(path, ".efi"))
		return error_failed(error, program_error, "%s: it does not work", path);
	return usual_read(machine, esp, path, max, ret, error);
}

static void programs_fail(struct patient *patient, int number)
{
	program_error = number;
	usual_read = patient->ops.esp_read;
	patient->ops.esp_read = failing_read;
	patient->ops.esp_digest = failing_digest;
}

static void files_denied(struct patient *patient)
{
	programs_fail(patient, EACCES);
}

static void files_broken(struct patient *patient)
{
	programs_fail(patient, EIO);
}

static void running_bad(struct patient *patient)
{
	struct error error = { 0 };

	world_ok(world_mark_bad(patient->sim, SLOT_B, &error), &error);
}

static void running_incomplete(struct patient *patient)
{
	sim_put_file(patient->sim, "/EFI/metropolis/boot-b.state",
		TEXT("{\"format\":1,\"complete\":false}"));
}

static void running_unconfirmed(struct patient *patient)
{
	sim_put_file(patient->sim, "/EFI/metropolis/boot-b.state",
		TEXT("{\"format\":1,\"complete\":true}"));
}

static void other_file_changed(struct patient *patient)
{
	sim_file(patient->sim, BOOT_A)->data[100] ^= 1;
}

static void running_file_changed(struct patient *patient)
{
	sim_file(patient->sim, BOOT_B)->data[100] ^= 1;
}

static void other_file_gone(struct patient *patient)
{
	remove_file(patient, BOOT_A);
}

static void running_file_gone(struct patient *patient)
{
	remove_file(patient, BOOT_B);
}

static int no_partition(struct machine *machine, const char *device, enum partition_mode mode,
	struct partition **ret, struct error *error)
{
	(void)machine, (void)mode, (void)ret;
	return error_failed(error, ENODEV, "no partition is %s", device);
}

static void partitions_gone(struct patient *patient)
{
	patient->ops.partition_open = no_partition;
}

static int denied_partition(struct machine *machine, const char *device, enum partition_mode mode,
	struct partition **ret, struct error *error)
{
	(void)machine, (void)mode, (void)ret;
	return error_failed(error, EACCES, "cannot open %s: Permission denied", device);
}

static void partitions_denied(struct patient *patient)
{
	patient->ops.partition_open = denied_partition;
}

static uint64_t one_mebibyte(struct machine *machine, struct partition *partition)
{
	(void)machine, (void)partition;
	return 1u << 20;
}

static void partitions_small(struct patient *patient)
{
	patient->ops.partition_size = one_mebibyte;
}

static void small_and_incomplete(struct patient *patient)
{
	partitions_small(patient);
	running_incomplete(patient);
}

static int on_slot_a(struct machine *machine, const char *device, bool *ret, struct error *error)
{
	(void)machine, (void)error;
	*ret = strcmp(device, "PARTLABEL=METROPOLIS-SYSTEM-A") == 0;
	return 0;
}

static void root_on_the_other(struct patient *patient)
{
	patient->ops.partition_holds_root = on_slot_a;
}

static const struct patient_case cases[] = {
	{ nothing, "esp", OK, "can be reached" },
	{ cloned, "esp", WARNING, "/dev/sdb1 has the same partition GUID" },
	{ no_access_to_esp, "esp", WARNING, "not readable" },
	{ no_access_to_esp, "slot-a", WARNING, "without the EFI System Partition" },
	{ no_access_to_esp, "entry-b", OK, "starts slot B" },
	{ no_esp, "esp", PROBLEM, "no ESP" },
	{ nothing, "esp-location", OK, "partition 1, in use as /dev/vda1" },
	{ misplaced, "esp-location", PROBLEM, "[esp] partuuid = 1 is /dev/vdb1" },
	{ degraded, "esp-location", WARNING, "/dev/md0 lacks a member" },
	{ location_unknown, "esp-location", PROBLEM, "cannot tell which partition" },
	{ no_esp, "esp-location", WARNING, "without the EFI System Partition" },
	{ nothing, "esp-writable", OK, "written to" },
	{ read_only, "esp-writable", OK, "remounted" },
	{ read_only_for_good, "esp-writable", PROBLEM, "read-only" },
	{ nothing, "esp-space", OK, "room" },
	{ little_space, "esp-space", WARNING, "only once that of slot A is gone" },
	{ no_space, "esp-space", PROBLEM, "no room" },
	{ files_denied, "esp-space", WARNING, "cannot be read" },
	{ nothing, "esp-names", OK, "find the same files" },
	{ clash, "esp-names", PROBLEM, "\"METROPOLIS\" and \"metropolis\" in /EFI" },
	{ no_esp, "esp-names", WARNING, "without the EFI System Partition" },
	{ nothing, "esp-leftovers", OK, "left anything" },
	{ harmless_name, "esp-leftovers", OK, "left anything" },
	{ leftover, "esp-leftovers", WARNING, "boot-a.efi.new" },
	{ folders_denied, "esp-leftovers", WARNING, "Permission denied" },
	{ lost, "esp-leftovers", PROBLEM, "on /dev/vda1" },
	{ lost, "esp-leftovers", PROBLEM, "/EFI/BOOT/BOOTX64.EFI.new.lost3" },
	{ nothing, "removable-path", OK, "starts slot B" },
	{ trial, "removable-path", OK, "starts slot B" },
	{ removable_left_alone, "removable-path", OK, "leaves it alone" },
	{ removable_absent, "removable-path", WARNING, "absent" },
	{ removable_foreign, "removable-path", WARNING, "somebody else" },
	{ removable_other, "removable-path", WARNING, "starts slot A" },
	{ files_denied, "removable-path", WARNING, "cannot be read" },
	{ no_slot_and_removable_other, "removable-path", WARNING, "starts slot A" },
	{ nothing_is_told, "removable-path", OK, "starts slot B" },
	{ removable_stale, "removable-path", PROBLEM, "is gone" },
	{ removable_bad, "removable-path", PROBLEM, "is gone" },

	{ nothing, "slot-a", OK, "complete and confirmed" },
	{ installed, "slot-a", OK, "complete" },
	{ never_installed, "slot-a", OK, "Nothing was installed" },
	{ interrupted_install, "slot-a", WARNING, "did not finish" },
	{ other_bad, "slot-a", WARNING, "marked bad" },
	{ failed_trial, "slot-a", WARNING, "by reboot, failed" },
	{ trial, "slot-a", WARNING, "not confirmed" },
	{ unhealthy_trial, "slot-a", PROBLEM, "a health check failed: acme-check.service" },
	{ kexec_confirmed, "slot-a", WARNING, "only ever been started by kexec" },
	{ records_denied, "entry-a", OK, "starts slot A" },
	{ folders_denied, "entry-a", OK, "starts slot A" },
	{ other_file_gone, "slot-a", OK, "complete" },
	{ records_denied, "slot-a", WARNING, "Permission denied" },
	{ folders_denied, "slot-a", WARNING, "Permission denied" },
	{ other_record_damaged, "slot-a", PROBLEM, "boot-a.state" },
	{ running_record_damaged, "slot-b", PROBLEM, "boot-b.state" },
	{ running_unconfirmed, "slot-b", WARNING, "not confirmed" },
	{ running_bad, "slot-b", PROBLEM, "marked bad" },
	{ running_incomplete, "slot-b", PROBLEM, "did not finish" },
	{ nothing, "boot-file-a", OK, "what was installed" },
	{ never_installed, "boot-file-a", OK, "no boot file" },
	{ other_record_damaged, "boot-file-a", OK, "nothing vouches" },
	{ interrupted_install, "boot-file-a", OK, "nothing vouches" },
	{ files_denied, "boot-file-a", WARNING, "cannot be read" },
	{ files_broken, "boot-file-a", PROBLEM, "cannot be read" },
	{ other_file_changed, "boot-file-a", PROBLEM, "digest differs" },
	{ other_file_gone, "boot-file-a", PROBLEM, "is gone" },
	{ running_file_changed, "boot-file-b", PROBLEM, "digest differs" },
	{ running_file_gone, "boot-file-b", PROBLEM, "is gone" },
	{ nothing, "partition-a", OK, "SYSTEM-A has 1.5 MiB" },
	{ nothing, "partition-b", OK, "SYSTEM-B has 1.5 MiB" },
	{ partitions_gone, "partition-a", PROBLEM, "no partition is PARTLABEL=" },
	{ partitions_denied, "partition-a", WARNING, "Permission denied" },
	{ partitions_small, "partition-b", PROBLEM, "has 1.0 MiB, but the record of slot B" },
	{ small_and_incomplete, "partition-b", OK, "has 1.0 MiB" },
	{ records_denied, "partition-b", OK, "has 1.5 MiB" },
	{ no_esp, "partition-b", OK, "has 1.5 MiB" },
	{ root_on_the_other, "partition-a", PROBLEM, "command line names slot B" },
	{ root_on_the_other, "partition-b", OK, "has 1.5 MiB" },
};

static void test_each_check(void **unused)
{
	(void)unused;
	check_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
