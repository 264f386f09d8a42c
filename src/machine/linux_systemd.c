/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/linux_systemd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

/* systemd's own socket: works without a bus daemon, for root. */
#define PRIVATE_BUS "unix:path=/run/systemd/private"

#define SYSTEMD         "org.freedesktop.systemd1"
#define SYSTEMD_PATH    "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER "org.freedesktop.systemd1.Manager"
#define SYSTEMD_UNIT    "org.freedesktop.systemd1.Unit"

#define DEPTH_MAX 4 /* of requirements of requirements */

DEFINE_CLEANUP(message_unrefp, sd_bus_message *, sd_bus_message_unref)

#define AUTO_MESSAGE CLEANUP(message_unrefp)

static int connect_privately(sd_bus **ret)
{
	AUTO_BUS sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);

	if (r >= 0)
		r = sd_bus_set_address(bus, PRIVATE_BUS);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		*ret = TAKE(bus);
	return r;
}

int systemd_connect(sd_bus **ret, struct error *error)
{
	int r = sd_bus_open_system(ret);

	if (r < 0)
		r = connect_privately(ret);
	if (r < 0)
		return error_failed(error, -r, "cannot reach systemd over D-Bus: %s", strerror(-r));
	return 0;
}

unsigned systemd_version(sd_bus *bus)
{
	AUTO_FREE char *text = NULL;

	/* "252.39-1~deb12u1", "v257.9" */
	if (sd_bus_get_property_string(
		    bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "Version", NULL, &text)
		< 0)
		return 0;
	return (unsigned)strtoul(text + (text[0] == 'v'), NULL, 10);
}

int systemd_start_unit(sd_bus *bus, const char *unit, struct error *error)
{
	CLEANUP(sd_bus_error_free) sd_bus_error told = SD_BUS_ERROR_NULL;
	int r;

	r = sd_bus_call_method(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "StartUnit", &told,
		NULL, "ss", unit, "replace-irreversibly");
	if (r < 0)
		return error_failed(error, -r, "systemd refuses to start %s: %s", unit,
			told.message ? told.message : strerror(-r));
	return 0;
}

static void free_names(char ***names)
{
	for (char **name = *names; name && *name; name++)
		free(*name);
	free(*names);
}

/* The object of a unit, loaded if need be. */
static int load_unit(sd_bus *bus, const char *unit, char **ret)
{
	AUTO_MESSAGE sd_bus_message *reply = NULL;
	const char *path;
	int r;

	r = sd_bus_call_method(
		bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "LoadUnit", NULL, &reply, "s", unit);
	if (r >= 0)
		r = sd_bus_message_read(reply, "o", &path);
	if (r < 0)
		return r;
	*ret = strdup(path);
	return *ret ? 0 : -ENOMEM;
}

static int look(
	sd_bus *bus, const char *unit, unsigned depth, struct text_list *ret, struct error *error)
{
	CLEANUP(free_names) char **names = NULL;
	AUTO_FREE char *path = NULL, *state = NULL;
	int r;

	r = load_unit(bus, unit, &path);
	if (r >= 0)
		r = sd_bus_get_property_string(
			bus, SYSTEMD, path, SYSTEMD_UNIT, "ActiveState", NULL, &state);
	if (r >= 0 && strcmp(state, "failed") == 0 && !text_list_contains(ret, unit))
		return text_list_add(ret, error, "%s", unit);
	/* What waits for something that failed is not failed itself. */
	if (r < 0 || strcmp(state, "active") == 0 || depth == 0)
		return r < 0 ? r : 0;
	r = sd_bus_get_property_strv(bus, SYSTEMD, path, SYSTEMD_UNIT, "Requires", NULL, &names);
	for (char **name = names; r >= 0 && name && *name; name++)
		r = look(bus, *name, depth - 1, ret, error);
	return r < 0 ? r : 0;
}

int systemd_failed_requirements(
	sd_bus *bus, const char *unit, struct text_list *ret, struct error *error)
{
	int r = look(bus, unit, DEPTH_MAX, ret, error);

	return r < 0 && r != -ENOMEM ? error_failed(
		       error, -r, "systemd does not tell of %s: %s", unit, strerror(-r))
				     : r;
}
