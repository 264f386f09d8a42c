/* SPDX-License-Identifier: Apache-2.0 */

/* Locking in where the limits are small already, and where there is no close_range(). */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <seccomp.h>

#include "base/error.h"
#include "fetch/sandbox.h"

#define KEPT 50 /* a descriptor that the sandbox keeps */

enum { GOOD, BAD_SET_UP = 10, BAD_SANDBOX, BAD_KEPT, BAD_OPEN, BAD_LIMIT };

/* Runs a test in a process of its own; its exit code. */
static int outcome(int (*run)(int number), int number)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run(number));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static bool forbid_close_range(int number)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	bool done = filter
		    && seccomp_rule_add(
			       filter, SCMP_ACT_ERRNO((uint16_t)number), SCMP_SYS(close_range), 0)
			       == 0
		    && seccomp_load(filter) == 0;

	seccomp_release(filter);
	return done;
}

static int close_without(int number)
{
	static const int opened[] = { 3, KEPT, KEPT + 1, 99, 250 };
	const struct sandbox sandbox = { .files = { KEPT }, .file_count = 1 };

	for (size_t i = 0; i < sizeof(opened) / sizeof(opened[0]); i++)
		if (dup2(STDIN_FILENO, opened[i]) < 0)
			return BAD_SET_UP;
	if (!forbid_close_range(number))
		return BAD_SET_UP;
	if (sandbox_enter(&sandbox, NULL) < 0)
		return BAD_SANDBOX;
	if (!is_open(KEPT))
		return BAD_KEPT;
	for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
		if (fd != KEPT && is_open(fd))
			return BAD_OPEN;
	return GOOD;
}

static char root[] = "/tmp/bistable-narrow-XXXXXX";

/* A root without /proc; its /dev/null is a file. */
static int close_without_proc(int number)
{
	int r, fd;

	if (chroot(root) < 0 || chdir("/") < 0 || mkdir("/dev", 0755) < 0)
		return BAD_SET_UP;
	fd = open("/dev/null", O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
	if (fd < 0)
		return BAD_SET_UP;
	close(fd);
	r = outcome(close_without, number);
	unlink("/dev/null");
	rmdir("/dev");
	return r;
}

static void test_without_close_range(void **unused)
{
	(void)unused;
	assert_int_equal(outcome(close_without, ENOSYS), GOOD);
	assert_int_equal(outcome(close_without, EPERM), GOOD);
}

static void test_without_close_range_and_proc(void **unused)
{
	(void)unused;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(root));
	assert_int_equal(outcome(close_without_proc, ENOSYS), GOOD);
	assert_int_equal(rmdir(root), 0);
}

static bool is_limited(int resource, rlim_t value)
{
	struct rlimit now;

	return getrlimit(resource, &now) == 0 && now.rlim_cur == value && now.rlim_max == value;
}

/* Hard limits below those that it would set. */
static int lower_limits(int files)
{
	const struct sandbox sandbox = { 0 };
	const struct rlimit limit = { (rlim_t)files / 2, (rlim_t)files };

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return BAD_SET_UP;
	if (sandbox_enter(&sandbox, NULL) < 0)
		return BAD_SANDBOX;
	return is_limited(RLIMIT_NOFILE, files < 256 ? (rlim_t)files : 256)
			       && is_limited(RLIMIT_FSIZE, 0) && is_limited(RLIMIT_CORE, 0)
		       ? GOOD
		       : BAD_LIMIT;
}

static void test_small_limits(void **unused)
{
	(void)unused;
	assert_int_equal(outcome(lower_limits, 16), GOOD);
	assert_int_equal(outcome(lower_limits, 255), GOOD);
	assert_int_equal(outcome(lower_limits, 1000), GOOD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_close_range),
		cmocka_unit_test(test_without_close_range_and_proc),
		cmocka_unit_test(test_small_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
