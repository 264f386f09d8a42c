/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "failing_disk.h"
#include "sim.h"

static struct sim *sim_of(struct machine *machine)
{
	return (struct sim *)machine;
}

static int dead(struct error *error)
{
	return error_failed(error, EIO, "simulated power cut");
}

static uint32_t next_random(struct sim *sim)
{
	sim->seed = sim->seed * 1664525u + 1013904223u;
	return sim->seed >> 8;
}

/* What the medium holds after a cut: of the unflushed blocks none, all, or any. */
static void cut_power(struct sim *sim, enum sim_fault how)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		struct sim_partition *partition = &sim->partitions[slot];

		for (size_t i = 0; i < partition->used; i += 512)
			if (how == SIM_CUT_AFTER || (how == SIM_CUT_TORN && next_random(sim) % 2))
				memcpy(partition->medium + i, partition->now + i, 512);
	}
	sim->dead = true;
}

/*
 * Counts one changing operation. 0: go on; 1: go on, then power fails (call after_change); else the
 * error to return. A torn single write counts as one that happened or not.
 */
static int before_change(struct sim *sim, struct error *error)
{
	if (sim->dead)
		return dead(error);
	sim->operations++;
	if (sim->fault == SIM_NO_FAULT || sim->fault == SIM_VARIABLE_FAILS
		|| sim->operations != sim->fault_at)
		return 0;
	if (sim->fault == SIM_FAILS) {
		sim->fault = SIM_NO_FAULT;
		return error_failed(error, EIO, "simulated I/O error");
	}
	if (sim->fault == SIM_CUT_AFTER || (sim->fault == SIM_CUT_TORN && next_random(sim) % 2))
		return 1;
	cut_power(sim, sim->fault);
	return dead(error);
}

static int after_change(struct sim *sim, int r, struct error *error)
{
	if (r == 0)
		return 0;
	cut_power(sim, sim->fault);
	return dead(error);
}

static int sim_read_text(struct machine *machine, const char *path, char **ret, struct error *error)
{
	struct sim *sim = sim_of(machine);

	if (strcmp(path, "/proc/cmdline") == 0)
		*ret = text_format("%s\n", sim->cmdline);
	else if (strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		*ret = text_format("00000000-0000-4000-8000-%012u\n", sim->boots);
	else if (strcmp(path, "/etc/bistable/bistable.conf") == 0)
		*ret = strdup("[system]\nallow-unsigned = yes\n");
	else
		return error_failed(error, ENOENT, "%s does not exist", path);
	return *ret ? 0 : error_memory(error);
}

static int sim_list(
	struct machine *machine, const char *path, struct text_list *ret, struct error *error)
{
	(void)machine, (void)ret;
	return error_failed(error, ENOENT, "%s does not exist", path);
}

/* Files that do not lie on the ESP. */
static char *on_disk(const char *path, char out[128])
{
	snprintf(out, 128, SIM_DISK "%s", path);
	return out;
}

static int sim_file_read(struct machine *machine, const char *path, size_t max, struct buffer *ret,
	struct error *error)
{
	char name[128];
	struct buffer *file = sim_file(sim_of(machine), on_disk(path, name));

	if (sim_of(machine)->dead)
		return dead(error);
	if (!file)
		return error_failed(error, ENOENT, "%s does not exist", path);
	if (file->size > max)
		return error_failed(error, EFBIG, "%s is too large", path);
	return buffer_append(ret, file->data, file->size, error);
}

static int sim_file_replace(struct machine *machine, const char *path, struct span content,
	bool secret, struct error *error)
{
	struct sim *sim = sim_of(machine);
	char name[128];
	int r = before_change(sim, error);

	(void)secret;
	if (r < 0)
		return r;
	sim_put_file(sim, on_disk(path, name), content);
	return after_change(sim, r, error);
}

static int sim_file_remove(struct machine *machine, const char *path, struct error *error)
{
	struct sim *sim = sim_of(machine);
	char name[128];
	int r;

	if (!sim_file(sim, on_disk(path, name)))
		return sim->dead ? dead(error) : 0;
	r = before_change(sim, error);
	if (r < 0)
		return r;
	sim_remove_file(sim, name);
	return after_change(sim, r, error);
}

static int64_t sim_now(struct machine *machine)
{
	return sim_of(machine)->clock++;
}

static struct sim_partition *partition_of(struct sim *sim, const char *device)
{
	if (strcmp(device, "PARTLABEL=METROPOLIS-SYSTEM-A") == 0)
		return &sim->partitions[SLOT_A];
	if (strcmp(device, "PARTLABEL=METROPOLIS-SYSTEM-B") == 0)
		return &sim->partitions[SLOT_B];
	return NULL;
}

static int sim_partition_open(struct machine *machine, const char *device, enum partition_mode mode,
	struct partition **ret, struct error *error)
{
	struct sim *sim = sim_of(machine);
	struct sim_partition *partition = partition_of(sim, device);

	if (sim->dead)
		return dead(error);
	if (!partition && strcmp(device, "PARTUUID=" SIM_CLONE) == 0 && !sim->clone_gone)
		return error_failed(error, EACCES, "partition %s is somebody else's", device);
	if (!partition)
		return error_failed(error, ENODEV, "no partition %s", device);
	if (mode == PARTITION_WRITE
		&& (partition->held || partition->open
			|| (sim->running != SLOT_NONE
				&& partition == &sim->partitions[sim->running])))
		return error_failed(error, EBUSY, "partition %s is in use", device);
	partition->open = true;
	*ret = (struct partition *)partition;
	return 0;
}

static uint64_t sim_partition_size(struct machine *machine, struct partition *partition)
{
	(void)machine, (void)partition;
	return SIM_PARTITION_SIZE;
}

static int sim_partition_read(struct machine *machine, struct partition *handle, uint64_t offset,
	void *data, size_t size, struct error *error)
{
	struct sim_partition *partition = (struct sim_partition *)handle;

	if (sim_of(machine)->dead)
		return dead(error);
	if (offset > SIM_PARTITION_SIZE || size > SIM_PARTITION_SIZE - offset)
		return error_failed(error, EIO, "read beyond the end");
	memcpy(data, partition->now + offset, size);
	return 0;
}

static int sim_partition_write(struct machine *machine, struct partition *handle, uint64_t offset,
	const void *data, size_t size, struct error *error)
{
	struct sim_partition *partition = (struct sim_partition *)handle;
	struct sim *sim = sim_of(machine);
	int r;

	if (offset > SIM_PARTITION_SIZE || size > SIM_PARTITION_SIZE - offset)
		return error_failed(error, ENOSPC, "write beyond the end");
	/* Written first: a torn cut may keep any of it. */
	if (!sim->dead && !(sim->fault == SIM_FAILS && sim->operations + 1 == sim->fault_at)) {
		memcpy(partition->now + offset, data, size);
		if (partition->used < offset + size)
			partition->used = offset + size;
		partition->now[offset + size / 2] ^= sim->corrupts_writes;
	}
	r = before_change(sim, error);
	return r < 0 ? r : after_change(sim, r, error);
}

static int sim_partition_flush(
	struct machine *machine, struct partition *handle, struct error *error)
{
	struct sim_partition *partition = (struct sim_partition *)handle;
	struct sim *sim = sim_of(machine);
	int r = before_change(sim, error);

	if (r < 0)
		return r;
	memcpy(partition->medium, partition->now, partition->used);
	return after_change(sim, r, error);
}

static void sim_partition_close(struct machine *machine, struct partition *partition)
{
	(void)machine;
	if (partition)
		((struct sim_partition *)partition)->open = false;
}

static int sim_partition_holds_root(
	struct machine *machine, const char *device, bool *ret, struct error *error)
{
	(void)machine, (void)device, (void)error;
	*ret = false;
	return 0;
}

static int sim_esp_open(struct machine *machine, const struct esp_settings *settings,
	struct esp **ret, struct error *error)
{
	(void)settings;
	if (sim_of(machine)->dead)
		return dead(error);
	*ret = (struct esp *)machine;
	return 0;
}

static int find_file(
	struct machine *machine, const char *path, struct buffer **ret, struct error *error)
{
	if (sim_of(machine)->dead)
		return dead(error);
	*ret = sim_file(sim_of(machine), path);
	return *ret ? 0 : error_failed(error, ENOENT, "%s does not exist on the ESP", path);
}

static int sim_esp_read(struct machine *machine, struct esp *esp, const char *path, size_t max,
	struct buffer *ret, struct error *error)
{
	struct buffer *file = NULL;
	int r = find_file(machine, path, &file, error);

	(void)esp;
	if (r < 0)
		return r;
	if (file->size > max)
		return error_failed(error, EFBIG, "%s is too large", path);
	return buffer_append(ret, file->data, file->size, error);
}

static int sim_esp_read_at(struct machine *machine, struct esp *esp, const char *path,
	uint64_t offset, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct buffer *file = NULL;
	size_t left;
	int r = find_file(machine, path, &file, error);

	(void)esp;
	if (r < 0)
		return r;
	left = offset < file->size ? file->size - (size_t)offset : 0;
	*ret_got = size < left ? size : left;
	if (*ret_got > 0)
		memcpy(data, file->data + offset, *ret_got);
	return 0;
}

static int sim_esp_digest(struct machine *machine, struct esp *esp, const char *path,
	uint8_t *ret_sha256, uint64_t *ret_size, struct error *error)
{
	struct buffer *file = NULL;
	int r = find_file(machine, path, &file, error);

	(void)esp;
	if (r == 0 && ret_sha256)
		r = sha256_of(file->data, file->size, ret_sha256, error);
	if (r == 0 && ret_size)
		*ret_size = file->size;
	return r;
}

static uint64_t esp_used(const struct sim *sim)
{
	uint64_t used = 0;

	for (size_t i = 0; i < SIM_FILES_MAX; i++)
		if (sim->files[i].used && strncmp(sim->files[i].path, SIM_DISK, strlen(SIM_DISK)))
			used += sim->files[i].data.size;
	return used;
}

/* Old and new lie beside each other for a moment, as on vfat; a leftover is written over. */
static int sim_esp_replace(struct machine *machine, struct esp *esp, const char *path,
	struct span content, struct error *error)
{
	struct sim *sim = sim_of(machine);
	char leftover[160];
	int r;

	(void)esp;
	snprintf(leftover, sizeof(leftover), "%s" MACHINE_NEW_SUFFIX, path);
	r = before_change(sim, error);
	if (r < 0)
		return r;
	sim_remove_file(sim, leftover);
	if (esp_used(sim) + content.size > sim->esp_capacity)
		return error_failed(error, ENOSPC, "the ESP is full");
	sim_put_file(sim, path, content);
	return after_change(sim, r, error);
}

static int sim_esp_remove(
	struct machine *machine, struct esp *esp, const char *path, struct error *error)
{
	struct sim *sim = sim_of(machine);
	int r = before_change(sim, error);

	(void)esp;
	if (r < 0)
		return r;
	sim_remove_file(sim, path);
	return after_change(sim, r, error);
}

static int sim_esp_list(struct machine *machine, struct esp *esp, const char *path,
	struct text_list *ret, struct error *error)
{
	struct sim *sim = sim_of(machine);
	size_t length = strlen(path);
	bool exists = false;

	(void)esp;
	if (sim->dead)
		return dead(error);
	for (size_t i = 0; i < SIM_FILES_MAX; i++) {
		const char *name = sim->files[i].path;

		if (!sim->files[i].used || strncmp(name, path, length) != 0 || name[length] != '/')
			continue;
		exists = true;
		if (!strchr(name + length + 1, '/')
			&& text_list_add(ret, error, "%s", name + length + 1) < 0)
			return -ENOMEM;
	}
	text_list_sort(ret);
	return exists ? 0 : error_failed(error, ENOENT, "%s does not exist on the ESP", path);
}

static int sim_esp_space(
	struct machine *machine, struct esp *esp, struct esp_space *ret, struct error *error)
{
	struct sim *sim = sim_of(machine);

	(void)esp, (void)error;
	ret->read_only = sim->esp_read_only;
	ret->size = sim->esp_capacity;
	ret->free = esp_used(sim) < sim->esp_capacity ? sim->esp_capacity - esp_used(sim) : 0;
	return 0;
}

static int sim_esp_location(
	struct machine *machine, struct esp *esp, struct esp_location *ret, struct error *error)
{
	(void)machine, (void)esp, (void)error;
	*ret = (struct esp_location){ .partition_number = 1, .start = 2048, .size = 204800 };
	guid_from_text("11111111-2222-3333-4444-555555555555", &ret->partuuid);
	return 0;
}

static int sim_esp_twin(struct machine *machine, struct esp *esp, char **ret, struct error *error)
{
	const char *twin = sim_of(machine)->esp_twin;

	(void)esp;
	*ret = twin ? strdup(twin) : NULL;
	return twin && !*ret ? error_memory(error) : 0;
}

static int sim_esp_survey(
	struct machine *machine, struct esp *esp, struct esp_survey *ret, struct error *error)
{
	const struct sim *sim = sim_of(machine);

	(void)esp, (void)error;
	ret->device = strdup("/dev/vda1");
	ret->misplaced = sim->esp_misplaced ? strdup(sim->esp_misplaced) : NULL;
	ret->degraded = sim->esp_degraded ? strdup(sim->esp_degraded) : NULL;
	return 0;
}

/* Files here are found in any case: there is none but what a test says. */
static int sim_esp_clash(
	struct machine *machine, struct esp *esp, const char *path, char **ret, struct error *error)
{
	const char *clash = sim_of(machine)->esp_clash;
	bool here = clash && strcmp(path, "/EFI/metropolis") == 0;

	(void)esp;
	*ret = here ? strdup(clash) : NULL;
	return here && !*ret ? error_memory(error) : 0;
}

static void sim_esp_close(struct machine *machine, struct esp *esp)
{
	(void)machine, (void)esp;
}

static int sim_lock(struct machine *machine, struct esp *esp, const char *folder, bool wait,
	bool make, struct machine_lock **ret, struct error *error)
{
	struct sim *sim = sim_of(machine);

	(void)esp, (void)folder, (void)wait, (void)make;
	if (sim->locked)
		return error_set(error, ERROR_BUSY, EWOULDBLOCK, "locked");
	sim->locked = true;
	*ret = (struct machine_lock *)sim;
	return 0;
}

static void sim_unlock(struct machine *machine, struct machine_lock *lock)
{
	if (lock)
		sim_of(machine)->locked = false;
}

static bool sim_efi_available(struct machine *machine)
{
	(void)machine;
	return true;
}

static bool sim_variables_volatile(struct machine *machine)
{
	return sim_of(machine)->volatile_variables;
}

/* Counts one call of a variable operation, reading or not. 0, or the error to return. */
static int before_variable(struct sim *sim, struct error *error)
{
	if (sim->dead)
		return dead(error);
	sim->variable_calls++;
	if (sim->fault != SIM_VARIABLE_FAILS || sim->variable_calls < sim->fault_at
		|| sim->variable_calls >= sim->fault_at + sim->fault_count)
		return 0;
	return error_failed(error, sim->fault_errno, "simulated firmware error");
}

/* As the machine says when it reads back what it wrote. */
static int write_refused(struct sim *sim, const char *name, struct error *error)
{
	if (sim->refuses_write) {
		sim->refuses_write = false;
		return error_failed(error, EINVAL,
			"cannot write firmware variable %s: the firmware refuses it", name);
	}
	if (sim->nvram_full && sim->variable_writes > sim->nvram_room)
		return error_failed(error, ENOSPC,
			"cannot write firmware variable %s: its store is full", name);
	if (sim->quirks & SIM_QUIRK_ORDER_IGNORED && strcmp(name, "BootOrder") == 0)
		return error_failed(error, ESTALE,
			"the firmware accepted a write to %s but does not hold what was written",
			name);
	return 0;
}

static int sim_variable_list(struct machine *machine, struct text_list *ret, struct error *error)
{
	struct sim *sim = sim_of(machine);
	int r = before_variable(sim, error);

	if (r < 0)
		return r;
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++)
		if (sim->variables[i].used && !sim_hides(sim, sim->variables[i].name)
			&& text_list_add(ret, error, "%s", sim->variables[i].name) < 0)
			return -ENOMEM;
	text_list_sort(ret);
	return 0;
}

static int sim_variable_read(struct machine *machine, const char *name, uint32_t *ret_attributes,
	struct buffer *ret, struct error *error)
{
	struct sim *sim = sim_of(machine);
	struct buffer *data = sim_variable(sim, name);
	int r = before_variable(sim, error);

	if (r < 0)
		return r;
	if ((sim->order_unreadable && strcmp(name, "BootOrder") == 0)
		|| (sim->quirks & SIM_QUIRK_INVALID_ENTRIES && strcasecmp(name, "Boot007B") == 0))
		return error_failed(error, EIO,
			"cannot read firmware variable %s: the firmware refuses it", name);
	if (!data || sim_hides(sim, name))
		return error_failed(error, ENOENT, "no variable %s", name);
	*ret_attributes = EFI_BOOT_ATTRIBUTES;
	return buffer_append(ret, data->data, data->size, error);
}

static int sim_variable_write(
	struct machine *machine, const char *name, struct span data, struct error *error)
{
	struct sim *sim = sim_of(machine);
	struct buffer *present = sim_variable(sim, name);
	int r = before_variable(sim, error), refused;

	if (r < 0)
		return r;
	if (sim->order_unreadable && strcmp(name, "BootOrder") == 0)
		return error_failed(error, EIO, "cannot read what %s holds", name);
	if (present && span_equal(span_of(present), data))
		return 0;
	r = before_change(sim, error);
	if (r < 0)
		return r;
	sim->variable_writes++;
	refused = write_refused(sim, name, error);
	if (refused < 0)
		return refused;
	sim_put_variable(sim, name, data);
	return after_change(sim, r, error);
}

static int sim_variable_delete(struct machine *machine, const char *name, struct error *error)
{
	struct sim *sim = sim_of(machine);
	int r = before_variable(sim, error);

	if (r < 0)
		return r;
	if (!sim_variable(sim, name))
		return 0;
	r = before_change(sim, error);
	if (r < 0)
		return r;
	sim->variable_writes++;
	if (strcmp(name, "BootOrder") == 0)
		sim->order_unreadable = false;
	sim_remove_variable(sim, name);
	return after_change(sim, r, error);
}

static int sim_kexec_preflight(struct machine *machine, char **ret_reason, struct error *error)
{
	(void)machine, (void)error;
	*ret_reason = NULL;
	return 0;
}

static int sim_kexec_stage(struct machine *machine, struct span kernel, struct span initrd,
	const char *cmdline, struct error *error)
{
	struct sim *sim = sim_of(machine);

	if (sim->dead)
		return dead(error);
	if (sim->kexec_refused || kernel.size == 0 || initrd.size == 0)
		return error_failed(error, EKEYREJECTED, "the kernel refuses to load it");
	snprintf(sim->staged_cmdline, sizeof(sim->staged_cmdline), "%s", cmdline);
	sim->kexec_staged = true;
	return 0;
}

static int sim_kexec_unstage(struct machine *machine, struct error *error)
{
	struct sim *sim = sim_of(machine);

	if (sim->unstage_refused)
		return error_failed(error, EPERM, "kexec_load_disabled");
	sim->kexec_staged = false;
	return 0;
}

static int sim_kexec_staged(struct machine *machine, bool *ret, struct error *error)
{
	(void)error;
	*ret = sim_of(machine)->kexec_staged;
	return 0;
}

static bool sim_kexec_booted(struct machine *machine)
{
	return sim_of(machine)->by_kexec;
}

static void sim_init(struct machine *machine, struct machine_init *ret)
{
	*ret = sim_of(machine)->init;
}

static int sim_failed_units(struct machine *machine, struct text_list *ret, struct error *error)
{
	const char *unit = sim_of(machine)->failed_unit;

	return unit ? text_list_add(ret, error, "%s", unit) : 0;
}

static int sim_restart_blockers(struct machine *machine, struct text_list *ret, struct error *error)
{
	(void)machine, (void)ret, (void)error;
	return 0;
}

static int sim_restart(
	struct machine *machine, enum machine_restart how, bool force, struct error *error)
{
	(void)machine, (void)how, (void)force;
	return error_failed(error, EOPNOTSUPP, "tests restart the simulated machine themselves");
}

static void sim_release(struct machine *machine)
{
	(void)machine;
}

static const struct machine_ops ops = {
	.read_text = sim_read_text,
	.list = sim_list,
	.file_read = sim_file_read,
	.file_replace = sim_file_replace,
	.file_remove = sim_file_remove,
	.now = sim_now,
	.partition_open = sim_partition_open,
	.partition_size = sim_partition_size,
	.partition_read = sim_partition_read,
	.partition_write = sim_partition_write,
	.partition_flush = sim_partition_flush,
	.partition_close = sim_partition_close,
	.partition_holds_root = sim_partition_holds_root,
	.esp_open = sim_esp_open,
	.esp_read = sim_esp_read,
	.esp_read_at = sim_esp_read_at,
	.esp_digest = sim_esp_digest,
	.esp_replace = sim_esp_replace,
	.esp_remove = sim_esp_remove,
	.esp_list = sim_esp_list,
	.esp_space = sim_esp_space,
	.esp_location = sim_esp_location,
	.esp_twin = sim_esp_twin,
	.esp_survey = sim_esp_survey,
	.esp_clash = sim_esp_clash,
	.esp_close = sim_esp_close,
	.lock = sim_lock,
	.unlock = sim_unlock,
	.efi_available = sim_efi_available,
	.variables_volatile = sim_variables_volatile,
	.variable_list = sim_variable_list,
	.variable_read = sim_variable_read,
	.variable_write = sim_variable_write,
	.variable_delete = sim_variable_delete,
	.kexec_preflight = sim_kexec_preflight,
	.kexec_stage = sim_kexec_stage,
	.kexec_unstage = sim_kexec_unstage,
	.kexec_staged = sim_kexec_staged,
	.kexec_booted = sim_kexec_booted,
	.init = sim_init,
	.failed_units = sim_failed_units,
	.restart_blockers = sim_restart_blockers,
	.restart = sim_restart,
	.free = sim_release,
};

struct machine *sim_machine(struct sim *sim)
{
	sim->machine.ops = sim->disk ? &sim->disk->ops : &ops;
	return &sim->machine;
}
