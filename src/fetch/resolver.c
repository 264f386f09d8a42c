/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "fetch/process.h"
#include "fetch/sandbox.h"

#define HOST_MAX      256
#define ADDRESSES_MAX 16
#define ANSWER_MAX    2048

/* An answer: the host, NUL, and FOUND and the addresses or NOT_FOUND and why. */
enum { FOUND = '+', NOT_FOUND = '-' };

/* Appends an address to addresses, `size` bytes in all. False: there is no room. */
static bool append(char *addresses, size_t size, const struct addrinfo *info)
{
	bool bracket = info->ai_family == AF_INET6;
	size_t length = strlen(addresses);
	char text[NI_MAXHOST];
	int n;

	if (getnameinfo(
		    info->ai_addr, info->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST)
		!= 0)
		return true;
	/* libcurl takes no scope there, and would refuse all of them. */
	if (strchr(text, '%'))
		return true;
	n = snprintf(addresses + length, size - length, "%s%s%s%s", length > 0 ? "," : "",
		bracket ? "[" : "", text, bracket ? "]" : "");
	return n > 0 && length + (size_t)n < size;
}

/* Bytes of the answer. */
static size_t look_up(const char *host, char answer[ANSWER_MAX])
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	size_t length = strlen(host) + 1, size = ANSWER_MAX - length - 1, count = 0;
	char *verdict = answer + length, *text = verdict + 1;
	struct addrinfo *list = NULL;
	int r;

	memcpy(answer, host, length);
	*verdict = FOUND;
	*text = '\0';
	r = getaddrinfo(host, NULL, &hints, &list);
	for (const struct addrinfo *info = list; r == 0 && info && count < ADDRESSES_MAX;
		info = info->ai_next, count++)
		if (!append(text, size, info))
			break;
	if (list)
		freeaddrinfo(list);
	if (*text)
		return length + 1 + strlen(text);
	*verdict = NOT_FOUND;
	snprintf(text, size, "%s",
		r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r ? r : EAI_NONAME));
	return length + 1 + strlen(text);
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
		if (send(socket, answer, look_up(host, answer), MSG_NOSIGNAL) < 0)
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

/* Waits until `deadline` for something to receive. */
static bool wait_for_answer(int socket, int64_t deadline)
{
	struct pollfd fd = { .fd = socket, .events = POLLIN };
	int64_t left;
	int r;

	do {
		left = deadline - (int64_t)clock_ms();
		r = poll(&fd, 1, left > 0 ? (int)left : 0);
	} while (r < 0 && errno == EINTR);
	return r > 0;
}

static int has_ended(const char *host, struct error *error)
{
	return error_failed(error, EPIPE,
		"the host '%s' cannot be looked up: the process that does it has ended", host);
}

int resolver_ask(int socket, const char *host, unsigned timeout_ms, char **ret, struct error *error)
{
	int64_t deadline = (int64_t)clock_ms() + timeout_ms;
	size_t length = strlen(host) + 1;
	char answer[ANSWER_MAX];
	ssize_t n;

	if (length > HOST_MAX)
		return error_failed(error, EAGAIN, "the host name is too long");
	/* With so many questions in the queue that there is no room it does not answer. */
	if (send(socket, host, length - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
		return has_ended(host, error);
	do {
		if (!wait_for_answer(socket, deadline))
			return error_failed(error, EAGAIN,
				"the host '%s' cannot be looked up: there is no answer", host);
		n = recv(socket, answer, sizeof(answer) - 1, 0);
		if (n <= 0)
			return has_ended(host, error);
		answer[n] = '\0';
		/* An answer that came too late may be to another question. */
	} while ((size_t)n <= length || memcmp(answer, host, length) != 0);
	if (answer[length] != FOUND)
		return error_failed(error, EAGAIN, "the host '%s' cannot be looked up: %s", host,
			answer + length + 1);
	*ret = strdup(answer + length + 1);
	return *ret ? 0 : error_memory(error);
}
