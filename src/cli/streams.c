/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* What is opened next must not become standard output, or a partition may be written to. */
static void occupy(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			/* The wrong way round: using it is still an error. */
			open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/* Of fopencookie(3): fewer bytes than `size` mean an error, which is left in errno. */
static ssize_t write_all(void *cookie, const char *bytes, size_t size)
{
	const int fd = (int)(intptr_t)cookie;
	size_t done = 0;

	while (done < size) {
		struct pollfd room = { .fd = fd, .events = POLLOUT };
		ssize_t n = write(fd, bytes + done, size - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno != EAGAIN || poll(&room, 1, -1) < 0)
			break;
	}
	return (ssize_t)done;
}

static void open_patiently(FILE **stream, int fd, int buffering)
{
	const cookie_io_functions_t functions = { .write = write_all };
	FILE *patient = fopencookie((void *)(intptr_t)fd, "w", functions);

	if (!patient)
		return;
	setvbuf(patient, NULL, buffering, BUFSIZ);
	*stream = patient;
}

void streams_open(void)
{
	occupy();
	open_patiently(&stdout, STDOUT_FILENO, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF);
	open_patiently(&stderr, STDERR_FILENO, _IONBF);
}

int streams_fd(const FILE *stream)
{
	return stream == stderr ? STDERR_FILENO : STDOUT_FILENO;
}
