/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/efivars.h"
#include "machine/kexec.h"
#include "machine/linux_private.h"

#define EFIVARS "/sys/firmware/efi/efivars"

static const struct root_dir *root_of(struct machine *machine)
{
	return &linux_machine_of(machine)->root;
}

static int access_failed(
	const struct root_dir *root, const char *path, int number, struct error *error)
{
	return error_failed(error, number, "cannot read %s%s%s: %s%s", root->text,
		path[0] == '/' ? "" : "/", path, strerror(number),
		number == EACCES ? "; run as root" : "");
}

static int linux_read_text(
	struct machine *machine, const char *path, char **ret, struct error *error)
{
	int r = root_read_text(root_of(machine), path, ret);

	return r < 0 ? access_failed(root_of(machine), path, -r, error) : 0;
}

static int linux_list(
	struct machine *machine, const char *path, struct text_list *ret, struct error *error)
{
	int r = root_list(root_of(machine), path, ret);

	return r < 0 ? access_failed(root_of(machine), path, -r, error) : 0;
}

static int64_t linux_now(struct machine *machine)
{
	(void)machine;
	return (int64_t)time(NULL);
}

/* The fd or -errno. */
static int open_efivars(const struct root_dir *root)
{
	AUTO_CLOSE int fd = root_open(root, EFIVARS, O_RDONLY | O_DIRECTORY, 0);
	struct statfs status;

	if (fd < 0)
		return fd;
	/* Under --root it is a plain folder; else the empty mount point is no good. */
	if (!root->confined && (fstatfs(fd, &status) < 0 || status.f_type != EFIVARFS_MAGIC))
		return -ENODEV;
	return take_fd(&fd);
}

static int use_efivars(const struct root_dir *root, int *ret_fd, struct error *error)
{
	int fd = open_efivars(root);
	AUTO_CLOSE int efi = -1;

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd == -EACCES)
		return access_failed(root, EFIVARS, EACCES, error);
	efi = root_open(root, "/sys/firmware/efi", O_PATH | O_DIRECTORY, 0);
	if (efi < 0)
		return error_failed(error, EOPNOTSUPP,
			"this system has no EFI variables (%s/sys/firmware/efi is missing): it "
			"was not started by UEFI firmware",
			root->text);
	return error_failed(error, EOPNOTSUPP,
		"no EFI variables in %s" EFIVARS ": mount efivarfs there (mount -t efivarfs "
		"efivarfs " EFIVARS ")",
		root->text);
}

static bool linux_efi_available(struct machine *machine)
{
	AUTO_CLOSE int fd = open_efivars(root_of(machine));

	/* Closed to this user they are there all the same: using them says so. */
	return fd >= 0 || fd == -EACCES;
}

static bool linux_variables_volatile(struct machine *machine)
{
	AUTO_CLOSE int directory = -1;

	return use_efivars(root_of(machine), &directory, NULL) == 0 && efivars_volatile(directory);
}

static int linux_variable_list(struct machine *machine, struct text_list *ret, struct error *error)
{
	AUTO_CLOSE int directory = -1;
	int r = use_efivars(root_of(machine), &directory, error);

	return r < 0 ? r : efivars_list(directory, ret, error);
}

static int linux_variable_read(struct machine *machine, const char *name, uint32_t *ret_attributes,
	struct buffer *ret, struct error *error)
{
	AUTO_CLOSE int directory = -1;
	int r = use_efivars(root_of(machine), &directory, error);

	return r < 0 ? r : efivars_read(directory, name, ret_attributes, ret, error);
}

static int linux_variable_write(
	struct machine *machine, const char *name, struct span data, struct error *error)
{
	AUTO_CLOSE int directory = -1;
	int r = use_efivars(root_of(machine), &directory, error);

	return r < 0 ? r : efivars_write(directory, name, EFI_BOOT_ATTRIBUTES, data, true, error);
}

static int linux_variable_delete(struct machine *machine, const char *name, struct error *error)
{
	AUTO_CLOSE int directory = -1;
	int r = use_efivars(root_of(machine), &directory, error);

	return r < 0 ? r : efivars_delete(directory, name, error);
}

static int linux_kexec_preflight(struct machine *machine, char **ret_reason, struct error *error)
{
	const struct root_dir *root = root_of(machine);
	char *reason;

	if (!root->confined)
		return kexec_preflight(root->fd, ret_reason, error);
	reason = strdup("kexec is never carried out under --root");
	if (!reason)
		return error_memory(error);
	*ret_reason = reason;
	return 0;
}

static int linux_kexec_stage(struct machine *machine, struct span kernel, struct span initrd,
	const char *cmdline, struct error *error)
{
	if (root_of(machine)->confined)
		return error_failed(error, EOPNOTSUPP, "kexec is never carried out under --root");
	return kexec_stage(kernel, initrd, cmdline, error);
}

static int linux_kexec_unstage(struct machine *machine, struct error *error)
{
	return root_of(machine)->confined ? 0 : kexec_unstage(error);
}

static int linux_kexec_staged(struct machine *machine, bool *ret, struct error *error)
{
	const struct root_dir *root = root_of(machine);
	AUTO_FREE char *text = NULL;

	if (!root->confined)
		return kexec_staged(root->fd, ret, error);
	*ret = root_read_text(root, "/sys/kernel/kexec_loaded", &text) == 0 && text[0] == '1';
	return 0;
}

static bool linux_kexec_booted(struct machine *machine)
{
	return kexec_booted(root_of(machine)->fd);
}

static void linux_free(struct machine *machine)
{
	struct linux_machine *linux_machine = linux_machine_of(machine);

	if (linux_machine->root.fd >= 0)
		close(linux_machine->root.fd);
	free(linux_machine->text);
	free(linux_machine);
}

static const struct machine_ops linux_ops = {
	.read_text = linux_read_text,
	.list = linux_list,
	.file_read = linux_file_read,
	.file_replace = linux_file_replace,
	.file_remove = linux_file_remove,
	.now = linux_now,
	.partition_open = linux_partition_open,
	.partition_size = linux_partition_size,
	.partition_read = linux_partition_read,
	.partition_write = linux_partition_write,
	.partition_flush = linux_partition_flush,
	.partition_close = linux_partition_close,
	.partition_holds_root = linux_partition_holds_root,
	.esp_open = linux_esp_open,
	.esp_read = linux_esp_read,
	.esp_read_at = linux_esp_read_at,
	.esp_digest = linux_esp_digest,
	.esp_replace = linux_esp_replace,
	.esp_remove = linux_esp_remove,
	.esp_list = linux_esp_list,
	.esp_space = linux_esp_space,
	.esp_location = linux_esp_location,
	.esp_twin = linux_esp_twin,
	.esp_survey = linux_esp_survey,
	.esp_clash = linux_esp_clash,
	.esp_close = linux_esp_close,
	.lock = linux_lock,
	.unlock = linux_unlock,
	.efi_available = linux_efi_available,
	.variables_volatile = linux_variables_volatile,
	.variable_list = linux_variable_list,
	.variable_read = linux_variable_read,
	.variable_write = linux_variable_write,
	.variable_delete = linux_variable_delete,
	.kexec_preflight = linux_kexec_preflight,
	.kexec_stage = linux_kexec_stage,
	.kexec_unstage = linux_kexec_unstage,
	.kexec_staged = linux_kexec_staged,
	.kexec_booted = linux_kexec_booted,
	.init = linux_init,
	.failed_units = linux_failed_units,
	.restart_blockers = linux_restart_blockers,
	.restart = linux_restart,
	.free = linux_free,
};

int machine_linux_new(const char *root, struct machine **ret, struct error *error)
{
	AUTO_FREE struct linux_machine *made = calloc(1, sizeof(*made));
	bool confined = root && root[strspn(root, "/")];
	AUTO_FREE char *text = strdup(confined ? root : "");
	int fd;

	if (!made || !text)
		return error_memory(error);
	fd = open(confined ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_set(error, ERROR_USAGE, errno, "cannot open the root %s: %s",
			confined ? root : "/", strerror(errno));
	made->machine.ops = &linux_ops;
	made->text = TAKE(text);
	made->root = (struct root_dir){ fd, confined, made->text };
	*ret = &TAKE(made)->machine;
	return 0;
}
