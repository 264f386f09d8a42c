/* SPDX-License-Identifier: Apache-2.0 */

/* What is asked of systemd and logind, and what their answers mean: a peer on a socket answers as
 * they do. That the real ones understand it is for the virtual machines. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "machine/linux_systemd.h"

struct inhibitor {
	const char *what, *who, *why, *mode;
};

struct unit {
	const char *name, *state;
	const char *requires[3];
};

/* The peer. */
struct manager {
	int socket;
	sd_id128_t id;
	pthread_t thread;
	const struct inhibitor *inhibitors; /* ends without `what`; NULL: there is no logind */
	const struct unit *units;           /* ends without name */
	const char *version;
	uint64_t known; /* flags of RebootWithFlags() */
	bool refuses;   /* although nothing was listed */
	uint64_t flags; /* that came last */
	unsigned reboots;
	char started[64];
};

static int list_inhibitors(sd_bus_message *call, void *opaque, sd_bus_error *error)
{
	const struct manager *manager = opaque;
	sd_bus_message *reply = NULL;
	int r;

	(void)error;
	sd_bus_message_new_method_return(call, &reply);
	sd_bus_message_open_container(reply, 'a', "(ssssuu)");
	for (const struct inhibitor *i = manager->inhibitors; i->what; i++)
		sd_bus_message_append(reply, "(ssssuu)", i->what, i->who, i->why, i->mode, 0, 42);
	sd_bus_message_close_container(reply);
	r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	return r;
}

static int reboot_with_flags(sd_bus_message *call, void *opaque, sd_bus_error *error)
{
	struct manager *manager = opaque;

	sd_bus_message_read(call, "t", &manager->flags);
	if (manager->flags & ~manager->known)
		return sd_bus_error_set(
			error, SD_BUS_ERROR_INVALID_ARGS, "Invalid flags parameter");
	if (manager->refuses && !(manager->flags & 16))
		return sd_bus_error_set(error, "org.freedesktop.login1.OperationInhibited",
			"Operation denied due to active block inhibitor");
	manager->reboots++;
	return sd_bus_reply_method_return(call, "");
}

static int start_unit(sd_bus_message *call, void *opaque, sd_bus_error *error)
{
	struct manager *manager = opaque;
	const char *unit, *mode;

	(void)error;
	sd_bus_message_read(call, "ss", &unit, &mode);
	assert(strcmp(mode, "replace-irreversibly") == 0);
	strcpy(manager->started, unit);
	return sd_bus_reply_method_return(call, "o", "/job/1");
}

static int load_unit(sd_bus_message *call, void *opaque, sd_bus_error *error)
{
	const struct manager *manager = opaque;
	const char *name;
	char path[32];
	int i = 0;

	(void)error;
	sd_bus_message_read(call, "s", &name);
	while (manager->units[i].name && strcmp(manager->units[i].name, name) != 0)
		i++;
	if (!manager->units[i].name)
		return sd_bus_error_set(error, "org.freedesktop.systemd1.NoSuchUnit", "no");
	snprintf(path, sizeof(path), "/unit/%d", i);
	return sd_bus_reply_method_return(call, "o", path);
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *opaque, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)property, (void)error;
	return sd_bus_message_append(reply, "s", ((struct manager *)opaque)->version);
}

static const struct unit *unit_of(const struct manager *manager, const char *path)
{
	return &manager->units[path[strlen("/unit/")] - '0'];
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *opaque, sd_bus_error *error)
{
	(void)bus, (void)interface, (void)property, (void)error;
	return sd_bus_message_append(reply, "s", unit_of(opaque, path)->state);
}

static int get_requires(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *opaque, sd_bus_error *error)
{
	(void)bus, (void)interface, (void)property, (void)error;
	return sd_bus_message_append_strv(reply, (char **)unit_of(opaque, path)->requires);
}

static int find_unit(sd_bus *bus, const char *path, const char *interface, void *opaque, void **ret,
	sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)error;
	*ret = opaque;
	return 1;
}

static const sd_bus_vtable logind_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD(
		"ListInhibitors", "", "a(ssssuu)", list_inhibitors, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("RebootWithFlags", "t", "", reboot_with_flags, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable systemd_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("StartUnit", "ss", "o", start_unit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("LoadUnit", "s", "o", load_unit, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Version", "s", get_version, 0, 0),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable unit_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("ActiveState", "s", get_state, 0, 0),
	SD_BUS_PROPERTY("Requires", "as", get_requires, 0, 0),
	SD_BUS_VTABLE_END,
};

static void *serve(void *opaque)
{
	struct manager *manager = opaque;
	AUTO_BUS sd_bus *bus = NULL;
	int r;

	sd_bus_new(&bus);
	sd_bus_set_fd(bus, manager->socket, manager->socket);
	sd_bus_set_server(bus, 1, manager->id);
	sd_bus_set_anonymous(bus, 1);
	sd_bus_start(bus);
	if (manager->inhibitors)
		sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/login1",
			"org.freedesktop.login1.Manager", logind_vtable, manager);
	sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/systemd1",
		"org.freedesktop.systemd1.Manager", systemd_vtable, manager);
	sd_bus_add_fallback_vtable(bus, NULL, "/unit", "org.freedesktop.systemd1.Unit", unit_vtable,
		find_unit, manager);
	while ((r = sd_bus_process(bus, NULL)) >= 0)
		if (r == 0 && sd_bus_wait(bus, UINT64_MAX) < 0)
			break;
	return NULL;
}

/* Starts the peer and connects to it. The bus has to be closed before peer_stop(). */
static sd_bus *peer_start(struct manager *manager)
{
	int sockets[2];
	sd_bus *bus = NULL;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	manager->socket = sockets[0];
	sd_id128_randomize(&manager->id);
	assert_int_equal(pthread_create(&manager->thread, NULL, serve, manager), 0);
	assert_true(sd_bus_new(&bus) >= 0 && sd_bus_set_fd(bus, sockets[1], sockets[1]) >= 0
		    && sd_bus_set_anonymous(bus, 1) >= 0 && sd_bus_start(bus) >= 0);
	return bus;
}

static void peer_stop(struct manager *manager, sd_bus *bus)
{
	sd_bus_flush_close_unref(bus);
	pthread_join(manager->thread, NULL);
}

static const struct inhibitor nobody[] = { { 0 } };

static void test_blockers(void **unused)
{
	static const struct inhibitor some[] = {
		{ "sleep", "player", "plays", "block" },
		{ "shutdown", "NetworkManager", "closes connections", "delay" },
		{ "sleep:shutdown", "dnf", "installs packages", "block" },
		{ "handle-power-key:preshutdown", "desktop", "asks", "block" },
		{ "shutdown", "fwupd", "writes the firmware", "block" },
		{ "shutdown", "backup", "would rather not", "block-weak" },
		{ 0 },
	};
	struct manager manager = { .inhibitors = some };
	AUTO_TEXT_LIST struct text_list list = { 0 };
	sd_bus *bus = peer_start(&manager);

	(void)unused;
	assert_int_equal(logind_blockers(bus, &list, NULL), 0);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.items[0], "dnf (PID 42): installs packages");
	assert_string_equal(list.items[1], "fwupd (PID 42): writes the firmware");
	peer_stop(&manager, bus);
}

static void test_restart(void **unused)
{
	static const struct {
		uint64_t known;
		enum machine_restart how;
		bool force;
		uint64_t flags;
	} cases[] = {
		{ 3, MACHINE_REBOOT, false, 1 },
		{ 3, MACHINE_KEXEC, false, 3 },
		{ 3, MACHINE_REBOOT, true, 0 },
		{ 3, MACHINE_KEXEC, true, 2 },
		{ 31, MACHINE_KEXEC, false, 3 },
		{ 31, MACHINE_KEXEC, true, 18 },
		{ 31, MACHINE_REBOOT, true, 16 },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct manager manager = { .inhibitors = nobody, .known = cases[i].known };
		sd_bus *bus = peer_start(&manager);

		assert_int_equal(logind_restart(bus, cases[i].how, cases[i].force, NULL), 0);
		assert_int_equal(manager.flags, cases[i].flags);
		assert_int_equal(manager.reboots, 1);
		peer_stop(&manager, bus);
	}
}

/* Somebody forbids it just before it is asked for. */
static void test_restart_refused(void **unused)
{
	struct manager manager = { .inhibitors = nobody, .known = 31, .refuses = true };
	sd_bus *bus = peer_start(&manager);
	struct error error = { 0 };

	(void)unused;
	assert_true(logind_restart(bus, MACHINE_KEXEC, false, &error) < 0);
	assert_non_null(strstr(error.text, "active block inhibitor"));
	assert_int_equal(manager.reboots, 0);
	assert_int_equal(logind_restart(bus, MACHINE_KEXEC, true, NULL), 0);
	assert_int_equal(manager.reboots, 1);
	peer_stop(&manager, bus);
}

static void test_no_logind(void **unused)
{
	AUTO_TEXT_LIST struct text_list list = { 0 };
	struct manager manager = { 0 };
	sd_bus *bus = peer_start(&manager);

	(void)unused;
	assert_int_equal(logind_blockers(bus, &list, NULL), -ENXIO);
	assert_int_equal(logind_restart(bus, MACHINE_KEXEC, false, NULL), -ENXIO);
	assert_int_equal(systemd_start_unit(bus, "kexec.target", NULL), 0);
	assert_string_equal(manager.started, "kexec.target");
	peer_stop(&manager, bus);
}

static void test_version(void **unused)
{
	static const struct {
		const char *text;
		unsigned version;
	} cases[] = {
		{ "252.39-1~deb12u1", 252 },
		{ "257.9-1~deb13u1", 257 },
		{ "v253-rc1", 253 },
		{ "systemd", 0 },
		{ "", 0 },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct manager manager = { .version = cases[i].text };
		sd_bus *bus = peer_start(&manager);

		assert_int_equal(systemd_version(bus), cases[i].version);
		peer_stop(&manager, bus);
	}
}

static void test_failed_requirements(void **unused)
{
	static const struct unit units[] = {
		{ "boot-complete.target", "inactive", { "sysinit.target", "late.target", NULL } },
		{ "sysinit.target", "active", { "not-looked-at.service", NULL } },
		{ "late.target", "inactive", { "check-a.service", "check-b.service", NULL } },
		{ "check-a.service", "failed", { NULL } },
		{ "check-b.service", "active", { NULL } },
		{ "not-looked-at.service", "failed", { NULL } },
		{ "circle.target", "inactive", { "circle.target", NULL } },
		{ 0 },
	};
	AUTO_TEXT_LIST struct text_list list = { 0 };
	struct manager manager = { .units = units };
	sd_bus *bus = peer_start(&manager);
	struct error error = { 0 };

	(void)unused;
	assert_int_equal(
		systemd_failed_requirements(bus, "boot-complete.target", &list, &error), 0);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.items[0], "check-a.service");
	assert_int_equal(systemd_failed_requirements(bus, "circle.target", &list, &error), 0);
	assert_true(systemd_failed_requirements(bus, "no.target", &list, &error) < 0);
	assert_non_null(strstr(error.text, "no.target"));
	peer_stop(&manager, bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blockers),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_restart_refused),
		cmocka_unit_test(test_no_logind),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_failed_requirements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
