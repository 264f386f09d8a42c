/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a process that is locked in can do no more. Each try is made in a process of its own, with
 * root's rights if the test has them.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <linux/landlock.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "fetch/sandbox.h"

static char folder[] = "/tmp/bistable-sandbox-XXXXXX"; /* with a file and a socket */
static char file[64], efi_variable[80];
static struct sockaddr_un listener_path;
static struct sockaddr_in listener_tcp;
static pid_t tester;

#define FAILED(call) ((call) < 0 ? errno : 0)

/* What it tries: 0 when that works, else errno. */

static int read_a_file(void)
{
	return FAILED(open(file, O_RDONLY | O_CLOEXEC));
}

static int write_a_file(void)
{
	return FAILED(open(file, O_WRONLY | O_CLOEXEC));
}

static int open_by_another_call(void)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = { .flags = O_RDONLY };

	return FAILED(syscall(SYS_openat2, AT_FDCWD, file, &how, sizeof(how)));
}

static int create_a_file(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/new", folder);
	return FAILED(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static int write_a_variable(void)
{
	return FAILED(open(efi_variable, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int open_a_device(void)
{
	return FAILED(open("/dev/null", O_RDWR | O_CLOEXEC));
}

static int look_into_itself(void)
{
	return FAILED(open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
}

static int look_at_a_file(void)
{
	struct stat status;

	return FAILED(stat(file, &status));
}

static int list_a_folder(void)
{
	return FAILED(open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int remove_a_file(void)
{
	return FAILED(unlink(file));
}

static int rename_a_file(void)
{
	return FAILED(rename(file, folder));
}

static int shorten_a_file(void)
{
	return FAILED(truncate(file, 0));
}

static int make_a_folder(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/folder", folder);
	return FAILED(mkdir(path, 0700));
}

static int start_a_program(void)
{
	char name[] = "true", *const arguments[] = { name, NULL };

	return FAILED(execve("/bin/true", arguments, arguments + 1));
}

static int start_a_process(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return FAILED(pid);
}

static int signal_its_parent(void)
{
	return FAILED(kill(tester, 0));
}

static int trace_its_parent(void)
{
	return FAILED(ptrace(PTRACE_SEIZE, tester, NULL, NULL));
}

static int read_its_parents_memory(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { file, 1 };

	return FAILED(process_vm_readv(tester, &here, 1, &there, 1, 0));
}

static int connect_to_a_service(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0)
		return errno;
	return FAILED(connect(fd, (struct sockaddr *)&listener_path, sizeof(listener_path)));
}

/* A pair that one half of could be connected elsewhere. */
static int connect_a_pair_to_a_service(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) < 0)
		return errno;
	return FAILED(connect(fds[0], (struct sockaddr *)&listener_path, sizeof(listener_path)));
}

static int talk_to_the_kernel(void)
{
	return FAILED(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int send_raw_packets(void)
{
	return FAILED(socket(AF_PACKET, SOCK_RAW, 0));
}

static int run_made_up_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
			       == MAP_FAILED
		       ? errno
		       : 0;
}

static int make_memory_executable(void)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return FAILED(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int mount_something(void)
{
	return FAILED(mount("tmpfs", folder, "tmpfs", 0, NULL));
}

static int load_a_kernel(void)
{
	return FAILED(syscall(SYS_kexec_file_load, -1, -1, 1, "", 0));
}

/* Only what is harmless if it works: Ctrl-Alt-Delete signals init. */
static int restart(void)
{
	return FAILED(reboot(RB_DISABLE_CAD));
}

static int become_root(void)
{
	return FAILED(setresuid(0, 0, 0));
}

static int make_a_namespace(void)
{
	return FAILED(syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */));
}

static int watch_files(void)
{
	return FAILED(syscall(SYS_inotify_init1, 0));
}

static int use_a_ring(void)
{
	char parameters[128] = { 0 };

	return FAILED(syscall(SYS_io_uring_setup, 1, parameters));
}

static int load_a_filter(void)
{
	return FAILED(syscall(SYS_bpf, 0, NULL, 0));
}

static int raise_its_limits(void)
{
	struct {
		uint64_t soft, hard;
	} limit = { 1u << 20, 1u << 20 };

	return FAILED(syscall(SYS_prlimit64, 0, 1 /* RLIMIT_FSIZE */, &limit, NULL));
}

static int control_a_device(void)
{
	return FAILED(syscall(SYS_ioctl, 0, 0x5401 /* TCGETS */, NULL));
}

static const struct forbidden {
	const char *name;
	int (*attempt)(void);
	bool look_up_may; /* the resolver may */
} forbidden[] = {
	{ "read a file", read_a_file, true },
	{ "write a file", write_a_file, false },
	{ "open by another call", open_by_another_call, false },
	{ "create a file", create_a_file, false },
	{ "write a variable", write_a_variable, false },
	{ "open a device", open_a_device, false },
	{ "look into itself", look_into_itself, true },
	{ "look at a file", look_at_a_file, true },
	{ "list a folder", list_a_folder, true },
	{ "remove a file", remove_a_file, false },
	{ "rename a file", rename_a_file, false },
	{ "shorten a file", shorten_a_file, false },
	{ "make a folder", make_a_folder, false },
	{ "start a program", start_a_program, false },
	{ "start a process", start_a_process, false },
	{ "signal its parent", signal_its_parent, false },
	{ "trace its parent", trace_its_parent, false },
	{ "read its parent's memory", read_its_parents_memory, false },
	{ "connect to a service", connect_to_a_service, true },
	{ "connect a pair to a service", connect_a_pair_to_a_service, false },
	{ "talk to the kernel", talk_to_the_kernel, true },
	{ "send raw packets", send_raw_packets, false },
	{ "run made-up code", run_made_up_code, true },
	{ "make memory executable", make_memory_executable, true },
	{ "mount something", mount_something, false },
	{ "load a kernel", load_a_kernel, false },
	{ "restart", restart, false },
	{ "become root", become_root, false },
	{ "make a namespace", make_a_namespace, false },
	{ "watch files", watch_files, false },
	{ "use a ring", use_a_ring, false },
	{ "load a filter", load_a_filter, false },
	{ "raise its limits", raise_its_limits, false },
	{ "control a device", control_a_device, false },
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define NOT_LOCKED  200

/* The attempt's answer, from a process that is locked in. */
static int in_sandbox(const struct sandbox *sandbox, int (*attempt)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(sandbox_enter(sandbox, NULL) < 0 ? NOT_LOCKED : attempt());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("killed by signal %d", WTERMSIG(status));
	assert_int_not_equal(WEXITSTATUS(status), NOT_LOCKED);
	return WEXITSTATUS(status);
}

static bool is_refusal(int number)
{
	return number == EPERM || number == EACCES;
}

static void test_forbidden(void **unused)
{
	const struct sandbox alone = { .file_count = 0 }, network = { .network = true };
	const struct sandbox look_up = { .network = true, .look_up = true };

	(void)unused;
	for (size_t i = 0; i < COUNT(forbidden); i++) {
		const struct forbidden *row = &forbidden[i];
		int r = in_sandbox(&alone, row->attempt);

		if (!is_refusal(r))
			fail_msg("it can %s (%d)", row->name, r);
		r = in_sandbox(&network, row->attempt);
		if (!is_refusal(r))
			fail_msg("with a network it can %s (%d)", row->name, r);
		r = in_sandbox(&look_up, row->attempt);
		if (is_refusal(r) == row->look_up_may)
			fail_msg("to look up names it %s %s (%d)",
				row->look_up_may ? "cannot" : "can", row->name, r);
	}
}

/* Without seccomp's list: the second wall. */
static int restrict_only(int (*attempt)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(sandbox_restrict_files(false, NULL) < 0 ? NOT_LOCKED : attempt());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_landlock(void **unused)
{
	int (*const attempts[])(void) = { read_a_file, write_a_file, open_by_another_call,
		create_a_file, write_a_variable, open_a_device, look_into_itself, list_a_folder,
		remove_a_file, make_a_folder };

	(void)unused;
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0) {
		print_message("# SKIPPED: this kernel has no Landlock\n");
		skip();
	}
	for (size_t i = 0; i < COUNT(attempts); i++)
		assert_int_equal(restrict_only(attempts[i]), EACCES);
}

static int connect_by_tcp(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	return FAILED(connect(fd, (struct sockaddr *)&listener_tcp, sizeof(listener_tcp)));
}

static void test_network(void **unused)
{
	(void)unused;
	assert_int_equal(in_sandbox(&(struct sandbox){ .network = true }, connect_by_tcp), 0);
	assert_true(is_refusal(in_sandbox(&(struct sandbox){ .network = false }, connect_by_tcp)));
}

static void *add_one(void *opaque)
{
	++*(int *)opaque;
	return NULL;
}

/* What it is for still works: memory, threads (which are locked in as well), time, a kept file. */
static int work(void)
{
	pthread_t thread;
	int count = 0;
	char *memory = malloc(32u << 20), bytes[6] = "";

	if (!memory)
		return 1;
	memset(memory, 1, 32u << 20);
	free(memory);
	if (pthread_create(&thread, NULL, add_one, &count) != 0)
		return 2;
	pthread_join(thread, NULL);
	if (count != 1 || usleep(1000) < 0)
		return 3;
	/* The kept file has number 3 or more: see the caller. */
	for (int fd = 3; fd < 64; fd++)
		if (pread(fd, bytes, 5, 0) == 5)
			return strcmp(bytes, "hello") == 0 ? 0 : 4;
	return 5;
}

static void test_work(void **unused)
{
	AUTO_CLOSE int kept = open(file, O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int other = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	const struct sandbox sandbox = { .files = { kept }, .file_count = 1 };

	(void)unused;
	assert_true(kept > 2 && other > 2);
	assert_int_equal(in_sandbox(&sandbox, work), 0);
	assert_int_equal(in_sandbox(&(struct sandbox){ .file_count = 0 }, work), 5);
}

static long status_value(const char *text, const char *name, int base)
{
	const char *line = strstr(text, name);

	assert_non_null(line);
	return strtol(line + strlen(name), NULL, base);
}

static size_t count_files(pid_t pid)
{
	size_t count = 0;

	for (int fd = 0; fd < 1024; fd++) {
		char path[64], target[256];

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		count += readlink(path, target, sizeof(target)) >= 0;
	}
	return count;
}

/* As everybody else sees the process. */
static void test_from_outside(void **unused)
{
	int ready[2], go[2];
	char path[64], text[8192] = "", byte;
	AUTO_CLOSE int status = -1;
	pid_t pid;

	(void)unused;
	if (geteuid() != 0) {
		print_message("# SKIPPED: needs root\n");
		skip();
	}
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		const struct sandbox sandbox = { .files = { ready[1], go[0] }, .file_count = 2 };

		if (sandbox_enter(&sandbox, NULL) == 0 && write(ready[1], "", 1) == 1)
			(void)!read(go[0], &byte, 1);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	status = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(read(status, text, sizeof(text) - 1) > 0);
	assert_int_equal(status_value(text, "\nUid:", 10), 65534);
	assert_int_equal(status_value(text, "\nGid:", 10), 65534);
	assert_int_equal(status_value(text, "\nCapEff:", 16), 0);
	assert_int_equal(status_value(text, "\nCapPrm:", 16), 0);
	assert_int_equal(status_value(text, "\nCapInh:", 16), 0);
	assert_int_equal(status_value(text, "\nCapBnd:", 16), 0);
	assert_int_equal(status_value(text, "\nNoNewPrivs:", 10), 1);
	assert_int_equal(status_value(text, "\nSeccomp:", 10), 2);
	assert_int_equal(count_files(pid), 3 + 2);
	close(go[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(ready[0]);
	close(go[0]);
}

/* Its parent's end is its own. */
static void test_dies_with_its_parent(void **unused)
{
	int alive[2], locked[2];
	pid_t pid;
	char byte;

	(void)unused;
	assert_int_equal(pipe2(alive, O_CLOEXEC), 0);
	assert_int_equal(pipe2(locked, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (fork() == 0) {
			const struct sandbox sandbox = {
				.files = { alive[1], locked[1] },
				.file_count = 2,
			};

			if (sandbox_enter(&sandbox, NULL) == 0)
				(void)!write(locked[1], "", 1);
			for (;;)
				usleep(100000);
		}
		for (;;)
			pause();
	}
	close(alive[1]);
	close(locked[1]);
	assert_int_equal(read(locked[0], &byte, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	/* Ends when the last writer is gone. */
	assert_int_equal(read(alive[0], &byte, 1), 0);
	close(alive[0]);
	close(locked[0]);
}

static int set_up(void **unused)
{
	int fd, unix_listener, tcp_listener;
	socklen_t size = sizeof(listener_tcp);

	(void)unused;
	tester = getpid();
	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/file", folder);
	snprintf(efi_variable, sizeof(efi_variable),
		"%s/BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c", folder);
	/* Anybody could, by its mode. */
	assert_int_equal(chmod(folder, 0777), 0);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
	assert_int_equal(write(fd, "hello", 5), 5);
	assert_int_equal(fchmod(fd, 0666), 0);
	close(fd);
	listener_path.sun_family = AF_UNIX;
	snprintf(listener_path.sun_path, sizeof(listener_path.sun_path), "%s/socket", folder);
	unix_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
		bind(unix_listener, (struct sockaddr *)&listener_path, sizeof(listener_path)), 0);
	assert_int_equal(chmod(listener_path.sun_path, 0777), 0);
	assert_int_equal(listen(unix_listener, 64), 0);
	tcp_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	listener_tcp.sin_family = AF_INET;
	listener_tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(
		bind(tcp_listener, (struct sockaddr *)&listener_tcp, sizeof(listener_tcp)), 0);
	assert_int_equal(listen(tcp_listener, 64), 0);
	assert_int_equal(getsockname(tcp_listener, (struct sockaddr *)&listener_tcp, &size), 0);
	return 0;
}

static int tear_down(void **unused)
{
	(void)unused;
	unlink(file);
	unlink(listener_path.sun_path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_landlock),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_work),
		cmocka_unit_test(test_from_outside),
		cmocka_unit_test(test_dies_with_its_parent),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
