/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct error;

/** Another process of ours. Zero-initialised: none. */
struct process {
	pid_t pid;
	void *opaque; /* for who puts something else in the place of these functions */
};

/**
 * Forks: the new process calls run(opaque, socket) and ends. Signals that end a program are
 * ignored there: they are for its parent, who ends it with process_end(); without its parent it is
 * killed. `socket` is closed in the calling process.
 */
int process_start(void (*run)(void *opaque, int socket), void *opaque, int socket,
	struct process *ret, struct error *error);

/** Waits a moment for it to end by itself; *ret_status as by waitpid(). False: it runs on. */
bool process_wait(struct process *process, int *ret_status);

/** Ends it, whatever it does. One that has ended, or none, is fine. */
void process_end(struct process *process);
