/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "machine/linux_systemd.h"

#define LOGIND         "org.freedesktop.login1"
#define LOGIND_PATH    "/org/freedesktop/login1"
#define LOGIND_MANAGER "org.freedesktop.login1.Manager"

/* org.freedesktop.login1(5), RebootWithFlags() */
#define CHECK_INHIBITORS UINT64_C(1) /* although the caller is root */
#define VIA_KEXEC        UINT64_C(2)
#define SKIP_INHIBITORS  UINT64_C(16) /* since version 257, which else checks them always */

DEFINE_CLEANUP(message_unrefp, sd_bus_message *, sd_bus_message_unref)

#define AUTO_MESSAGE CLEANUP(message_unrefp)

/* Whether it was logind that answered: there are many ways in which it may not be there. */
static bool is_its_answer(const sd_bus_error *told)
{
	static const char *const names[] = {
		SD_BUS_ERROR_ACCESS_DENIED,
		SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
		SD_BUS_ERROR_INVALID_ARGS,
		SD_BUS_ERROR_NO_REPLY,
		SD_BUS_ERROR_TIMEOUT,
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (sd_bus_error_has_name(told, names[i]))
			return true;
	return told->name && text_starts_with(told->name, "org.freedesktop.login1.");
}

static int tell(const char *what, const sd_bus_error *told, int r, struct error *error)
{
	const char *text = told->message ? told->message : strerror(-r);

	if (!is_its_answer(told))
		return error_failed(error, ENXIO, "there is no logind (%s)", text);
	return error_failed(error, -r, "logind does not %s: %s", what, text);
}

/* Of a list like "shutdown:sleep". */
static bool is_for_shutdown(const char *what)
{
	const char *found = strstr(what, "shutdown");
	size_t length = strlen("shutdown");

	return found && (found == what || found[-1] == ':')
	       && (!found[length] || found[length] == ':');
}

int logind_blockers(sd_bus *bus, struct text_list *ret, struct error *error)
{
	CLEANUP(sd_bus_error_free) sd_bus_error told = SD_BUS_ERROR_NULL;
	AUTO_MESSAGE sd_bus_message *reply = NULL;
	const char *what, *who, *why, *mode;
	uint32_t uid, pid;
	int r;

	r = sd_bus_call_method(
		bus, LOGIND, LOGIND_PATH, LOGIND_MANAGER, "ListInhibitors", &told, &reply, "");
	if (r < 0)
		return tell("list inhibitors", &told, r, error);
	r = sd_bus_message_enter_container(reply, 'a', "(ssssuu)");
	while (r >= 0
		&& (r = sd_bus_message_read(
			    reply, "(ssssuu)", &what, &who, &why, &mode, &uid, &pid))
			   > 0) {
		if (strcmp(mode, "block") != 0 || !is_for_shutdown(what))
			continue;
		if (text_list_add(ret, error, "%s (PID %" PRIu32 "): %s", who, pid, why) < 0)
			return -ENOMEM;
	}
	return r < 0 ? tell("list inhibitors", &told, r, error) : 0;
}

static int reboot_with_flags(sd_bus *bus, uint64_t flags, sd_bus_error *told)
{
	return sd_bus_call_method(bus, LOGIND, LOGIND_PATH, LOGIND_MANAGER, "RebootWithFlags", told,
		NULL, "t", flags);
}

int logind_restart(sd_bus *bus, enum machine_restart how, bool force, struct error *error)
{
	CLEANUP(sd_bus_error_free) sd_bus_error told = SD_BUS_ERROR_NULL;
	uint64_t flags = how == MACHINE_KEXEC ? VIA_KEXEC : 0;
	int r;

	r = reboot_with_flags(bus, flags | (force ? SKIP_INHIBITORS : CHECK_INHIBITORS), &told);
	/* An older one neither knows the flag nor checks without being asked to. */
	if (r < 0 && force && sd_bus_error_has_name(&told, SD_BUS_ERROR_INVALID_ARGS)) {
		sd_bus_error_free(&told);
		r = reboot_with_flags(bus, flags, &told);
	}
	return r < 0 ? tell("restart the machine", &told, r, error) : 0;
}
