/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/limits.h"

#define WAIT_STEP_NS 10000000L
#define WAIT_STEPS   100

static void ignore_signals(void)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };

	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		signal(ends[i], SIG_IGN);
}

int process_start(void (*run)(void *opaque, int socket), void *opaque, int socket,
	struct process *ret, struct error *error)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	char text[LIMITS_ERROR_MAX];
	int number;

	if (pid == 0) {
		ignore_signals();
		/* It ends with its parent, which may have ended before it could say so. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && getppid() == parent)
			run(opaque, socket);
		_exit(0);
	}
	number = errno;
	close(socket);
	if (pid < 0)
		return error_failed(error, number, "cannot start another process: %s",
			limits_strerror(number, text));
	*ret = (struct process){ .pid = pid };
	return 0;
}

/* Whether it has ended; somebody else may have waited for it, too. */
static bool has_ended(struct process *process, int options, int *ret_status)
{
	pid_t pid;

	do
		pid = waitpid(process->pid, ret_status, options);
	while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return false;
	process->pid = 0;
	return true;
}

bool process_wait(struct process *process, int *ret_status)
{
	const struct timespec step = { .tv_nsec = WAIT_STEP_NS };

	*ret_status = 0;
	for (int i = 0; process->pid && i < WAIT_STEPS; i++) {
		if (has_ended(process, WNOHANG, ret_status))
			return true;
		nanosleep(&step, NULL);
	}
	return !process->pid;
}

void process_end(struct process *process)
{
	int status;

	if (!process->pid)
		return;
	kill(process->pid, SIGKILL);
	has_ended(process, 0, &status);
}
