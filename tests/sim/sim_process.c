/* SPDX-License-Identifier: Apache-2.0 */

/*
 * In the place of fetch/process.c and fetch/sandbox.c: the fetching process is a thread of the
 * test, since the sanitizers make forking slow, and the simulation installs thousands of times. The
 * real ones are tested in tests/unit, tests/cli and tests/vm.
 */

#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "fetch/process.h"
#include "fetch/sandbox.h"

struct stand_in {
	void (*run)(void *opaque, int socket);
	void *opaque;
	int socket;
	pthread_t thread;
};

static void *run(void *opaque)
{
	struct stand_in *stand_in = opaque;

	stand_in->run(stand_in->opaque, stand_in->socket);
	return NULL;
}

int process_start(void (*function)(void *opaque, int socket), void *opaque, int socket,
	struct process *ret, struct error *error)
{
	struct stand_in *stand_in = malloc(sizeof(*stand_in));

	if (!stand_in)
		return error_memory(error);
	*stand_in = (struct stand_in){ .run = function, .opaque = opaque, .socket = socket };
	if (pthread_create(&stand_in->thread, NULL, run, stand_in) != 0)
		abort();
	*ret = (struct process){ .pid = 1, .opaque = stand_in };
	return 0;
}

bool process_wait(struct process *process, int *ret_status)
{
	*ret_status = 0;
	return process->pid == 0;
}

void process_end(struct process *process)
{
	struct stand_in *stand_in = process->opaque;

	if (!stand_in)
		return;
	/* Its socket is closed already. */
	pthread_join(stand_in->thread, NULL);
	free(stand_in);
	*process = (struct process){ 0 };
}

int sandbox_enter(const struct sandbox *sandbox, struct error *error)
{
	(void)sandbox, (void)error;
	return 0;
}
