/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/reboot.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "machine/linux_private.h"
#include "machine/linux_systemd.h"

#define ALL_SET "everything is set for the next start"

/* sd_booted(3) */
static bool has_systemd(struct machine *machine)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	struct stat status;

	return !root->confined && root_stat(root, "/run/systemd/system", &status) == 0
	       && S_ISDIR(status.st_mode);
}

void linux_init(struct machine *machine, struct machine_init *ret)
{
	AUTO_BUS sd_bus *bus = NULL;

	*ret = (struct machine_init){ .systemd = has_systemd(machine) };
	if (ret->systemd && systemd_connect(&bus, NULL) == 0)
		ret->version = systemd_version(bus);
}

int linux_failed_units(struct machine *machine, struct text_list *ret, struct error *error)
{
	AUTO_BUS sd_bus *bus = NULL;
	int r;

	if (!has_systemd(machine))
		return 0;
	r = systemd_connect(&bus, error);
	return r < 0 ? r : systemd_failed_requirements(bus, "boot-complete.target", ret, error);
}

int linux_restart_blockers(struct machine *machine, struct text_list *ret, struct error *error)
{
	AUTO_BUS sd_bus *bus = NULL;
	int r;

	/* Without a bus there is no logind on it. */
	if (!has_systemd(machine) || sd_bus_open_system(&bus) < 0)
		return 0;
	r = logind_blockers(bus, ret, error);
	return r == -ENXIO ? 0 : r;
}

/*
 * With logind; without it, as `systemctl kexec` does. A staged kexec kernel is kept either way.
 * Whoever blocks a restart is passed over by logind since 257 only if polkit says so, which asks
 * even of root and is not on every machine: what is forced then goes by systemd.
 */
static int restart_orderly(enum machine_restart how, bool force, struct error *error)
{
	AUTO_BUS sd_bus *bus = NULL;
	struct error why = { 0 };
	int r;

	r = systemd_connect(&bus, &why);
	if (r == 0)
		r = logind_restart(bus, how, force, &why);
	if (r == -ENXIO || (r == -EACCES && force))
		r = systemd_start_unit(
			bus, how == MACHINE_KEXEC ? "kexec.target" : "reboot.target", &why);
	return r < 0 ? error_failed(error, -r, "%s; " ALL_SET, why.text) : 0;
}

static int restart_at_once(enum machine_restart how, struct error *error)
{
	sync();
	reboot(how == MACHINE_KEXEC ? LINUX_REBOOT_CMD_KEXEC : RB_AUTOBOOT);
	/* It returns only when it failed. */
	return error_failed(error, errno, "cannot restart: %s%s", strerror(errno),
		errno == EPERM                            ? "; run as root"
		: how == MACHINE_KEXEC && errno == EINVAL ? "; no kexec kernel is staged"
							  : "");
}

int linux_restart(
	struct machine *machine, enum machine_restart how, bool force, struct error *error)
{
	if (linux_machine_of(machine)->root.confined)
		return error_failed(
			error, EOPNOTSUPP, "a restart is never carried out under --root");
	return has_systemd(machine) ? restart_orderly(how, force, error)
				    : restart_at_once(how, error);
}
