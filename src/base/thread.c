/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/limits.h"

/*
 * Enough for what threads do (the largest frames, libcurl and TLS take less than 200 KiB), whatever
 * the limit of the first thread's stack is: that would count for each of them.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_SIZE (2u << 20)
#else
#define STACK_SIZE (512u << 10)
#endif

/* pthread_create() says EAGAIN whatever is missing. */
static int start_failed(int number, struct error *error)
{
	void *stack = mmap(
		NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char text[LIMITS_ERROR_MAX];

	if (stack == MAP_FAILED)
		number = ENOMEM;
	else
		munmap(stack, STACK_SIZE);
	return error_failed(
		error, number, "cannot start a thread: %s", limits_strerror(number, text));
}

int thread_start(pthread_t *ret, void *(*run)(void *opaque), void *opaque, struct error *error)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, &attributes, run, opaque);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return r == 0 ? 0 : start_failed(r, error);
}
