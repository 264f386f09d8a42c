/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

struct error;

/**
 * Starts a process that looks up host names for one that is locked in: it has no privileges either,
 * and may read files, which the name service needs, but not write any. *ret_socket, to ask it by,
 * belongs to the caller. The process ends when that is closed, or when the caller ends.
 */
int resolver_start(int *ret_socket, struct error *error);

/**
 * The addresses of a host, separated by commas, IPv6 in brackets, in the order in which they are to
 * be tried; owned by the caller. -EAGAIN: it cannot be looked up (now), or there was no answer
 * within `timeout_ms`; -EPIPE: the resolver has died; -ENOMEM. For one thread at a time.
 */
int resolver_ask(
	int socket, const char *host, unsigned timeout_ms, char **ret, struct error *error);
