/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <signal.h>
#include <string.h>

#include "base/error.h"

int thread_start(pthread_t *ret, void *(*run)(void *opaque), void *opaque, struct error *error)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, NULL, run, opaque);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r == 0 ? 0
		      : error_failed(error, r,
			      "cannot start a thread: %s; too many processes, or too "
			      "little memory",
			      strerror(r));
}
