/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/reboot.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "machine/linux_private.h"

/* systemd's own socket: works without a bus daemon, for root. */
#define PRIVATE_BUS "unix:path=/run/systemd/private"

DEFINE_CLEANUP(cleanup_bus, sd_bus *, sd_bus_flush_close_unref)

static int connect_privately(sd_bus **ret)
{
	CLEANUP(cleanup_bus) sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);

	if (r >= 0)
		r = sd_bus_set_address(bus, PRIVATE_BUS);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		*ret = TAKE(bus);
	return r;
}

/* What `systemctl reboot` and `systemctl kexec` do; a staged kexec kernel is kept. */
static int start_unit(const char *unit, struct error *error)
{
	CLEANUP(cleanup_bus) sd_bus *bus = NULL;
	CLEANUP(sd_bus_error_free) sd_bus_error told = SD_BUS_ERROR_NULL;
	int r = sd_bus_open_system(&bus);

	if (r < 0)
		r = connect_privately(&bus);
	if (r < 0)
		return error_failed(error, -r,
			"cannot reach systemd over D-Bus: %s; everything is set for the next "
			"start, restart the machine by other means",
			strerror(-r));
	r = sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
		"org.freedesktop.systemd1.Manager", "StartUnit", &told, NULL, "ss", unit,
		"replace-irreversibly");
	if (r < 0)
		return error_failed(error, -r,
			"systemd refuses to start %s: %s; everything is set for the next start",
			unit, told.message ? told.message : strerror(-r));
	return 0;
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

int linux_restart(struct machine *machine, enum machine_restart how, struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	struct stat status;

	if (root->confined)
		return error_failed(
			error, EOPNOTSUPP, "a restart is never carried out under --root");
	/* sd_booted(3) */
	if (root_stat(root, "/run/systemd/system", &status) == 0 && S_ISDIR(status.st_mode))
		return start_unit(how == MACHINE_KEXEC ? "kexec.target" : "reboot.target", error);
	return restart_at_once(how, error);
}
