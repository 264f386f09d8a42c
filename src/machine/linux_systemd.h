/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* systemd and logind over D-Bus. Every call takes an open bus, so that tests can stand in. */

#include <stdbool.h>

#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "machine/machine.h"

struct error;
struct text_list;

DEFINE_CLEANUP(systemd_bus_freep, sd_bus *, sd_bus_flush_close_unref)

#define AUTO_BUS CLEANUP(systemd_bus_freep)

/** The system bus, else (root) systemd's own socket, which works without a bus. 0 or -errno. */
int systemd_connect(sd_bus **ret, struct error *error);

/** The version of the running systemd; 0: unknown. */
unsigned systemd_version(sd_bus *bus);

/**
 * Appends the names of failed units among those that `unit` requires, and those that these require
 * in turn. 0 or -errno.
 */
int systemd_failed_requirements(
	sd_bus *bus, const char *unit, struct text_list *ret, struct error *error);

/** As `systemctl start --job-mode=replace-irreversibly --no-block UNIT`. */
int systemd_start_unit(sd_bus *bus, const char *unit, struct error *error);

/**
 * Appends who forbids a restart, in words: "dnf (PID 123), which is installing packages".
 * Inhibitors that only delay one are none. 0; -ENXIO: there is no logind; -errno.
 */
int logind_blockers(sd_bus *bus, struct text_list *ret, struct error *error);

/**
 * Asks logind for an orderly restart: it tells who is logged in, and waits for inhibitors that
 * delay. `force`: whatever forbids it. 0; -ENXIO: there is no logind, or one that cannot do that;
 * ERROR_REFUSED; -errno.
 */
int logind_restart(sd_bus *bus, enum machine_restart how, bool force, struct error *error);
