/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "fetch/process.h"
#include "fetch/sandbox.h"

#define HOST_MAX      256
#define ADDRESSES_MAX 16
#define ANSWER_MAX    2048

/* An answer: FOUND and the addresses, or NOT_FOUND and why. */
enum { FOUND = '+', NOT_FOUND = '-' };

/* Appends an address. False: there is no room. */
static bool append(char *answer, const struct addrinfo *info)
{
	bool bracket = info->ai_family == AF_INET6;
	size_t length = strlen(answer);
	char text[NI_MAXHOST];
	int n;

	if (getnameinfo(
		    info->ai_addr, info->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST)
		!= 0)
		return true;
	n = snprintf(answer + length, ANSWER_MAX - length, "%s%s%s%s", length > 1 ? "," : "",
		bracket ? "[" : "", text, bracket ? "]" : "");
	return n > 0 && length + (size_t)n < ANSWER_MAX;
}

static void look_up(const char *host, char answer[ANSWER_MAX])
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	size_t count = 0;
	int r;

	answer[0] = FOUND;
	answer[1] = '\0';
	r = getaddrinfo(host, NULL, &hints, &list);
	for (const struct addrinfo *info = list; r == 0 && info && count < ADDRESSES_MAX;
		info = info->ai_next, count++)
		if (!append(answer, info))
			break;
	if (list)
		freeaddrinfo(list);
	if (!answer[1])
		snprintf(answer, ANSWER_MAX, "%c%s", NOT_FOUND,
			r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r ? r : EAI_NONAME));
}

static void serve(int socket)
{
	char host[HOST_MAX], answer[ANSWER_MAX];
	ssize_t n;

	for (;;) {
		n = recv(socket, host, sizeof(host) - 1, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		host[n] = '\0';
		look_up(host, answer);
		if (send(socket, answer, strlen(answer), MSG_NOSIGNAL) < 0)
			return;
	}
}

static void run(void *unused, int socket)
{
	const struct sandbox sandbox = {
		.files = { socket },
		.file_count = 1,
		.network = true,
		.look_up = true,
	};

	(void)unused;
	if (sandbox_enter(&sandbox, NULL) == 0)
		serve(socket);
}

int resolver_start(int *ret_socket, struct error *error)
{
	struct process process;
	int sockets[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_failed(error, errno, "socketpair() fails: %s", strerror(errno));
	/* It dies with its parent, this process; nobody needs to wait for it. */
	r = process_start(run, NULL, sockets[1], &process, error);
	if (r < 0)
		close(sockets[0]);
	else
		*ret_socket = sockets[0];
	return r;
}

int resolver_ask(int socket, const char *host, char **ret, struct error *error)
{
	char answer[ANSWER_MAX];
	ssize_t n;

	if (strlen(host) >= HOST_MAX)
		return error_failed(error, EAGAIN, "the host name is too long");
	if (send(socket, host, strlen(host), MSG_NOSIGNAL) < 0)
		return error_failed(error, EPIPE, "the process that looks up names has ended");
	do
		n = recv(socket, answer, sizeof(answer) - 1, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return error_failed(error, EPIPE, "the process that looks up names has ended");
	answer[n] = '\0';
	if (answer[0] != FOUND)
		return error_failed(
			error, EAGAIN, "the host '%s' cannot be looked up: %s", host, answer + 1);
	*ret = strdup(answer + 1);
	return *ret ? 0 : error_memory(error);
}
