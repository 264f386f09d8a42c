/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <seccomp.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"

#define NOBODY     65534 /* what systemd and Debian call nobody */
#define FILES_MAX  256   /* open at once */
#define MEMORY_MAX (512ul << 20)

#define DESCRIPTORS_MAX (1u << 20) /* that one process may have: fs.nr_open's default */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* it needs much address space, and somewhere to report to */
#else
#define SANITIZED 0
#endif

static int failed(const char *what, struct error *error)
{
	return error_failed(error, errno,
		"the process that fetches the bundle cannot be locked in: %s: %s", what,
		strerror(errno));
}

/* --- descriptors --- */

static bool is_kept(const struct sandbox *sandbox, int fd)
{
	for (size_t i = 0; i < sandbox->file_count; i++)
		if (sandbox->files[i] == fd)
			return true;
	return SANITIZED && fd == STDERR_FILENO;
}

/* Those that /proc lists; *ret_listed false: there is no /proc. */
static int close_listed(int first, bool *ret_listed)
{
	DIR *folder = opendir("/proc/self/fd");
	const struct dirent *entry;
	uint64_t fd;

	*ret_listed = folder != NULL;
	while (folder && (entry = readdir(folder)))
		if (text_to_u64(entry->d_name, INT_MAX, &fd) && (int)fd >= first
			&& (int)fd != dirfd(folder))
			close((int)fd);
	return folder ? closedir(folder) : 0;
}

/* Linux before 5.9 has no close_range(), and some containers forbid it. */
static int close_from(int first, struct error *error)
{
	struct rlimit files;
	bool listed;

	if (close_range((unsigned)first, ~0u, 0) == 0)
		return 0;
	if (close_listed(first, &listed) < 0)
		return failed("closing files", error);
	if (listed)
		return 0;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return failed("getrlimit()", error);
	for (rlim_t fd = (rlim_t)first; fd < files.rlim_max && fd < DESCRIPTORS_MAX; fd++)
		close((int)fd);
	return 0;
}

/* Nothing that comes later may take the place of the standard streams. */
static int close_files(const struct sandbox *sandbox, struct error *error)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int last = STDERR_FILENO;

	if (null < 0)
		return failed("opening /dev/null", error);
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (!is_kept(sandbox, fd) && fd != null && dup2(null, fd) < 0)
			return failed("closing standard streams", error);
	for (size_t i = 0; i < sandbox->file_count; i++)
		if (sandbox->files[i] > last)
			last = sandbox->files[i];
	for (int fd = STDERR_FILENO + 1; fd <= last; fd++)
		if (!is_kept(sandbox, fd))
			close(fd);
	return close_from(last + 1, error);
}

/* --- who it is --- */

/* At most `value`: less, where the hard limit is less, which nobody may raise. */
static int limit(int resource, rlim_t value)
{
	struct rlimit now;

	if (getrlimit(resource, &now) < 0)
		return -1;
	if (now.rlim_max < value)
		value = now.rlim_max;
	return setrlimit(resource, &(struct rlimit){ value, value });
}

static int drop_limits(struct error *error)
{
	if (limit(RLIMIT_CORE, 0) < 0 || limit(RLIMIT_FSIZE, 0) < 0
		|| limit(RLIMIT_NOFILE, FILES_MAX) < 0
		|| (!SANITIZED && limit(RLIMIT_DATA, MEMORY_MAX) < 0))
		return failed("setrlimit()", error);
	return 0;
}

/* What no program that it starts could get back: needs a capability that goes with the user. */
static void drop_bounding_set(void)
{
	for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
		prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

static int drop_user(struct error *error)
{
	if (geteuid() != 0)
		return 0;
	drop_bounding_set();
	/* A user namespace may have no such user: without capabilities root is nobody special. */
	if (setgroups(0, NULL) < 0 && errno != EPERM && errno != EINVAL)
		return failed("setgroups()", error);
	if (setresgid(NOBODY, NOBODY, NOBODY) < 0 && errno != EINVAL)
		return failed("setresgid()", error);
	if (setresuid(NOBODY, NOBODY, NOBODY) < 0 && errno != EINVAL)
		return failed("setresuid()", error);
	return 0;
}

static int drop_privileges(struct error *error)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
	pid_t parent = getppid(); /* or this process is being killed: process_start() */
	int r;

	r = drop_limits(error);
	if (r == 0)
		r = drop_user(error);
	if (r < 0)
		return r;
	if (syscall(SYS_capset, &header, none) < 0)
		return failed("capset()", error);
	/* A change of the user undoes the last of these. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0
		|| prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return failed("prctl()", error);
	/* It may have died before. */
	if (getppid() != parent)
		return error_failed(error, ECANCELED, "the parent process has ended");
	return 0;
}

/* --- Landlock (Documentation/userspace-api/landlock.rst) --- */

#define LANDLOCK_ACCESS_FS_TRUNCATE_  (1ull << 14) /* ABI 3 */
#define LANDLOCK_ACCESS_FS_IOCTL_DEV_ (1ull << 15) /* ABI 5 */

static uint64_t all_access(long abi)
{
	uint64_t access = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (abi >= 2)
		access |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		access |= LANDLOCK_ACCESS_FS_TRUNCATE_;
	if (abi >= 5)
		access |= LANDLOCK_ACCESS_FS_IOCTL_DEV_;
	return access;
}

/* Reading, anywhere. */
static int allow_reading(int rules)
{
	AUTO_CLOSE int top = open("/", O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {
		.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
		.parent_fd = top,
	};

	if (top < 0)
		return -1;
	return (int)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

int sandbox_restrict_files(bool look_up, struct error *error)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr rules = { .handled_access_fs = all_access(abi) };
	AUTO_CLOSE int fd = -1;

	if (abi < 0) /* an old kernel, or switched off at its start */
		return 0;
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);
	if (fd < 0)
		return failed("landlock_create_ruleset()", error);
	if (look_up && allow_reading(fd) < 0)
		return failed("landlock_add_rule()", error);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
		|| syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return failed("landlock_restrict_self()", error);
	return 0;
}

/* --- seccomp --- */

/* What memory, threads, time and open descriptors need. */
static const int always[] = {
	SCMP_SYS(brk),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(close),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(futex),
	SCMP_SYS(getcpu),
	SCMP_SYS(getegid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getpid),
	SCMP_SYS(getrandom),
	SCMP_SYS(gettid),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(getuid),
	SCMP_SYS(lseek),
	SCMP_SYS(madvise),
	SCMP_SYS(membarrier),
	SCMP_SYS(mremap),
	SCMP_SYS(munmap),
	SCMP_SYS(nanosleep),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(pread64),
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(rseq),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigpending),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(sysinfo),
	SCMP_SYS(time),
	SCMP_SYS(uname),
	SCMP_SYS(write),
	SCMP_SYS(writev),
};

static const int for_network[] = {
	SCMP_SYS(connect),
	SCMP_SYS(eventfd2),
	SCMP_SYS(getpeername),
	SCMP_SYS(getsockname),
	SCMP_SYS(getsockopt),
	SCMP_SYS(pipe2),
	SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown),
};

/* What getaddrinfo() and the modules of the name service switch do. */
static const int for_look_up[] = {
	SCMP_SYS(access),
	SCMP_SYS(bind),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(fstat),
	SCMP_SYS(fstatfs),
	SCMP_SYS(getdents64),
	SCMP_SYS(lstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(socket),
	SCMP_SYS(stat),
	SCMP_SYS(statfs),
	SCMP_SYS(statx),
};

static void allow_list(scmp_filter_ctx filter, const int *calls, size_t count, int *r)
{
	for (size_t i = 0; i < count && *r == 0; i++)
		*r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
}

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* Allows a call when the argument's bits under `mask` are `value`. */
static void allow_masked(
	scmp_filter_ctx filter, int call, unsigned argument, uint64_t mask, uint64_t value, int *r)
{
	if (*r == 0)
		*r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
			SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, mask, value));
}

static void allow_equal(scmp_filter_ctx filter, int call, unsigned argument, uint64_t value, int *r)
{
	allow_masked(filter, call, argument, UINT64_MAX, value, r);
}

/* Memory is never executable, and new processes are threads. */
static void allow_memory(scmp_filter_ctx filter, bool executable, int *r)
{
	if (executable) {
		allow_list(filter, (const int[]){ SCMP_SYS(mmap), SCMP_SYS(mprotect) }, 2, r);
	} else {
		allow_masked(filter, SCMP_SYS(mmap), 2, PROT_EXEC, 0, r);
		allow_masked(filter, SCMP_SYS(mprotect), 2, PROT_EXEC, 0, r);
	}
	allow_masked(filter, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD, r);
	/* Its flags lie in memory, where no filter sees them: glibc goes on with clone(). */
	if (*r == 0)
		*r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	allow_equal(filter, SCMP_SYS(tgkill), 0, (uint64_t)getpid(), r);
	allow_equal(filter, SCMP_SYS(prlimit64), 2, 0, r); /* only to look */
	allow_equal(filter, SCMP_SYS(prctl), 0, PR_SET_NAME, r);
	allow_equal(filter, SCMP_SYS(prctl), 0, PR_SET_VMA, r);
}

static void allow_descriptors(scmp_filter_ctx filter, int *r)
{
	static const int commands[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC };

	for (size_t i = 0; i < COUNT(commands); i++)
		allow_equal(filter, SCMP_SYS(fcntl), 1, (uint64_t)commands[i], r);
	allow_equal(filter, SCMP_SYS(ioctl), 1, FIONBIO, r);
	allow_equal(filter, SCMP_SYS(ioctl), 1, FIONREAD, r);
}

static void allow_sockets(scmp_filter_ctx filter, int *r)
{
	allow_list(filter, for_network, COUNT(for_network), r);
	allow_equal(filter, SCMP_SYS(socket), 0, AF_INET, r);
	allow_equal(filter, SCMP_SYS(socket), 0, AF_INET6, r);
	/* libcurl wakes itself with one. A datagram socket could be connected elsewhere. */
	allow_masked(filter, SCMP_SYS(socketpair), 1, 0xf, SOCK_STREAM, r);
}

/* Only to read: everything that would create or write wants a flag. */
static void allow_reading_files(scmp_filter_ctx filter, int *r)
{
	const uint64_t changes = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;

	allow_list(filter, for_look_up, COUNT(for_look_up), r);
	allow_masked(filter, SCMP_SYS(open), 1, changes, 0, r);
	allow_masked(filter, SCMP_SYS(openat), 2, changes, 0, r);
}

static int restrict_calls(const struct sandbox *sandbox, struct error *error)
{
	/* Libraries go on without what they are refused; what matters fails by itself. */
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = 0;

	if (!filter)
		return error_memory(error);
	allow_list(filter, always, COUNT(always), &r);
	allow_memory(filter, sandbox->look_up, &r);
	allow_descriptors(filter, &r);
	if (sandbox->network)
		allow_sockets(filter, &r);
	if (sandbox->look_up)
		allow_reading_files(filter, &r);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r == 0)
		return 0;
	errno = r == -EINVAL ? ENOSYS : -r;
	return failed("seccomp (CONFIG_SECCOMP_FILTER of the kernel)", error);
}

int sandbox_enter(const struct sandbox *sandbox, struct error *error)
{
	int r;

	r = close_files(sandbox, error);
	if (r == 0)
		r = drop_privileges(error);
	if (r == 0)
		r = sandbox_restrict_files(sandbox->look_up, error);
	return r < 0 ? r : restrict_calls(sandbox, error);
}
