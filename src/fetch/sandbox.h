/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct error;

#define SANDBOX_FILES_MAX 4

/** What a process that is locked in keeps. */
struct sandbox {
	int files[SANDBOX_FILES_MAX]; /* descriptors; all others are closed */
	size_t file_count;
	bool network; /* may make IPv4 and IPv6 sockets and connect them */
	bool look_up; /* may read files, as the name service does: for the resolver alone */
};

/**
 * Locks the calling process in for good: it loses user, capabilities and all files but the named
 * ones, cannot gain privileges, and is left with the system calls of seccomp's list, none of which
 * opens a file, makes memory executable, signals or traces another process, or touches the system.
 * Landlock, where the kernel has it (5.13), forbids all access to file systems a second time.
 * Standard input, output and error become /dev/null. The process dies with its parent. It must have
 * one thread; those it makes later are locked in, too.
 * -ENOSYS when the kernel has no seccomp filters; -errno of what else cannot be done.
 */
int sandbox_enter(const struct sandbox *sandbox, struct error *error);

/** Only Landlock's part: 0, also where the kernel has none, or -errno. For tests. */
int sandbox_restrict_files(bool look_up, struct error *error);
