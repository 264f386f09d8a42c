/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/fetcher.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "fetch/channel.h"
#include "fetch/child.h"
#include "fetch/process.h"
#include "source/source.h"

#define POLL_MS 200 /* how late a cancellation may be noticed */

struct fetcher {
	const struct source_options *options;
	const char *spec;
	struct process process;
	int socket;
	uint8_t *slots; /* of the pool, only to be read */
	char *name;
	bool seekable, known;
	uint64_t sizes[BUNDLE_ROLE_COUNT];
	uint64_t received;
	bool reading; /* a payload, whose pieces come */
	bool held;    /* `piece` has bytes that were not read */
	struct channel_message piece;
	size_t used; /* bytes of the piece that were read */
};

/* --- the process --- */

/* It hung up without a word. */
static int died(struct fetcher *fetcher, struct error *error)
{
	int status;

	if (process_wait(&fetcher->process, &status) && WIFSIGNALED(status))
		return error_failed(error, EIO,
			"the process that fetches the bundle was killed by signal %d (%s)",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	return error_failed(
		error, EIO, "the process that fetches the bundle has ended unexpectedly");
}

static int nonsense(const struct fetcher *fetcher, struct error *error)
{
	return error_failed(error, EPROTO,
		"the process that fetches '%s' does not behave as it should: what came from there "
		"may have taken it over. Nothing of it was believed",
		fetcher->name ? fetcher->name : "the bundle");
}

/* --- messages --- */

static int wait_for_message(struct fetcher *fetcher, struct error *error)
{
	const struct source_options *options = fetcher->options;
	struct pollfd fd = { .fd = fetcher->socket, .events = POLLIN };
	int r;

	do {
		if (options->cancelled && options->cancelled(options->context))
			return error_failed(error, ECANCELED, "cancelled while fetching '%s'",
				fetcher->name ? fetcher->name : "the bundle");
		r = poll(&fd, 1, POLL_MS);
	} while (r == 0 || (r < 0 && errno == EINTR));
	return r < 0 ? error_failed(error, errno, "poll() fails: %s", strerror(errno)) : 0;
}

static void pass_note(struct fetcher *fetcher, const struct channel_message *message, size_t size)
{
	const struct source_options *options = fetcher->options;
	char text[ERROR_TEXT_MAX];

	if (size > sizeof(text) - 1)
		size = sizeof(text) - 1;
	memcpy(text, message->data, size);
	text[size] = '\0';
	if (options->note)
		options->note(options->context, text);
}

static int pass_error(struct fetcher *fetcher, const struct channel_message *message, size_t size,
	struct error *error)
{
	struct channel_failed failed;

	if (size != sizeof(failed))
		return nonsense(fetcher, error);
	memcpy(&failed, message->data, sizeof(failed));
	if (failed.kind < ERROR_FAILED || failed.kind > ERROR_REFUSED || failed.number == 0
		|| failed.number > 4095)
		return nonsense(fetcher, error);
	failed.text[sizeof(failed.text) - 1] = '\0';
	return error_set(
		error, (enum error_kind)failed.kind, (int)failed.number, "%s", failed.text);
}

/* The next message that is neither a note nor an error. *ret_size: bytes of its data. */
static int receive(
	struct fetcher *fetcher, struct channel_message *ret, size_t *ret_size, struct error *error)
{
	for (;;) {
		int r = wait_for_message(fetcher, error);

		if (r < 0)
			return r;
		r = channel_receive(fetcher->socket, ret, ret_size);
		if (r == -EPIPE)
			return died(fetcher, error);
		if (r < 0)
			return nonsense(fetcher, error);
		if (ret->received > fetcher->received)
			fetcher->received = ret->received;
		if (ret->kind == CHANNEL_FAILED)
			return pass_error(fetcher, ret, *ret_size, error);
		if (ret->kind != CHANNEL_NOTE)
			return 0;
		pass_note(fetcher, ret, *ret_size);
	}
}

static int request(struct fetcher *fetcher, const struct channel_message *message, size_t size,
	struct error *error)
{
	int r = channel_send(fetcher->socket, message, size);

	/* What it had to say before it died is the better error. */
	if (r == 0 || r == -EPIPE)
		return 0;
	return error_failed(
		error, -r, "the process that fetches the bundle cannot be told: %s", strerror(-r));
}

/* --- opening --- */

static int take_opened(struct fetcher *fetcher, struct error *error)
{
	struct channel_message message;
	const struct channel_opened *opened = (const struct channel_opened *)message.data;
	size_t size;
	int r;

	r = receive(fetcher, &message, &size, error);
	if (r < 0)
		return r;
	if (message.kind != CHANNEL_OPENED || size < sizeof(*opened) + 1)
		return nonsense(fetcher, error);
	message.data[size - 1] = '\0';
	fetcher->name = strdup(opened->name);
	if (!fetcher->name)
		return error_memory(error);
	fetcher->seekable = opened->seekable;
	fetcher->known = opened->known;
	memcpy(fetcher->sizes, opened->payloads, sizeof(fetcher->sizes));
	return 0;
}

/* In the new process. */
static void run(void *opaque, int socket)
{
	struct fetcher *fetcher = opaque;

	child_run(socket, fetcher->slots, fetcher->spec, fetcher->options);
}

static int start(struct fetcher *fetcher, struct error *error)
{
	int sockets[2];

	fetcher->slots = channel_pool_new();
	if (!fetcher->slots)
		return error_memory(error);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_failed(error, errno, "socketpair() fails: %s", strerror(errno));
	fetcher->socket = sockets[0];
	return process_start(run, fetcher, sockets[1], &fetcher->process, error);
}

int fetcher_open(const char *spec, const struct source_options *options, struct fetcher **ret,
	struct error *error)
{
	AUTO_FETCHER struct fetcher *fetcher = calloc(1, sizeof(*fetcher));
	int r;

	if (!fetcher)
		return error_memory(error);
	fetcher->options = options;
	fetcher->socket = -1;
	fetcher->spec = spec;
	r = start(fetcher, error);
	if (r == 0)
		r = take_opened(fetcher, error);
	if (r < 0)
		return r;
	*ret = TAKE(fetcher);
	return 0;
}

const char *fetcher_name(const struct fetcher *fetcher)
{
	return fetcher->name;
}

bool fetcher_is_seekable(const struct fetcher *fetcher)
{
	return fetcher->seekable;
}

uint64_t fetcher_received(const struct fetcher *fetcher)
{
	return fetcher->received;
}

void fetcher_close(struct fetcher *fetcher)
{
	if (!fetcher)
		return;
	if (fetcher->socket >= 0)
		close(fetcher->socket);
	process_end(&fetcher->process);
	channel_unmap(fetcher->slots);
	free(fetcher->name);
	free(fetcher);
}

/* --- payloads of a plain bundle --- */

bool fetcher_payload(
	const struct fetcher *fetcher, enum bundle_role role, struct bundle_payload *ret)
{
	if (!fetcher->known)
		return false;
	*ret = (struct bundle_payload){
		.role = role,
		.name = bundle_role_name((int)role),
		.size = fetcher->sizes[role],
	};
	return true;
}

/* Waits for the next piece; none has no bytes. */
static int next_piece(struct fetcher *fetcher, struct error *error)
{
	struct channel_message *piece = &fetcher->piece;
	size_t size;
	int r;

	r = receive(fetcher, piece, &size, error);
	if (r < 0)
		return r;
	if (piece->kind != CHANNEL_PIECE || piece->slot >= CHANNEL_SLOTS
		|| piece->size > CHANNEL_SLOT_SIZE)
		return nonsense(fetcher, error);
	fetcher->used = 0;
	fetcher->held = piece->size > 0;
	fetcher->reading = piece->size > 0;
	return 0;
}

static int give_back(struct fetcher *fetcher, struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_FREE, .slot = fetcher->piece.slot };

	fetcher->held = false;
	return request(fetcher, &message, 0, error);
}

int fetcher_read(
	struct fetcher *fetcher, void *data, size_t size, size_t *ret_got, struct error *error)
{
	const uint8_t *slot;
	int r = 0;

	*ret_got = 0;
	if (fetcher->reading && !fetcher->held)
		r = next_piece(fetcher, error);
	if (r < 0 || !fetcher->held)
		return r;
	slot = fetcher->slots + fetcher->piece.slot * CHANNEL_SLOT_SIZE;
	if (size > fetcher->piece.size - fetcher->used)
		size = fetcher->piece.size - fetcher->used;
	memcpy(data, slot + fetcher->used, size);
	fetcher->used += size;
	*ret_got = size;
	return fetcher->used == fetcher->piece.size ? give_back(fetcher, error) : 0;
}

/* The rest of a payload that is not wanted. */
static int drain(struct fetcher *fetcher, struct error *error)
{
	int r = 0;

	while (r == 0 && fetcher->reading) {
		if (fetcher->held)
			r = give_back(fetcher, error);
		if (r == 0)
			r = next_piece(fetcher, error);
	}
	return r;
}

int fetcher_next(struct fetcher *fetcher, struct bundle_payload *ret, struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_NEXT };
	struct channel_payload payload;
	size_t size;
	int r;

	r = drain(fetcher, error);
	if (r == 0)
		r = request(fetcher, &message, 0, error);
	if (r == 0)
		r = receive(fetcher, &message, &size, error);
	if (r < 0 || message.kind == CHANNEL_END)
		return r;
	memcpy(&payload, message.data, sizeof(payload));
	if (message.kind != CHANNEL_PAYLOAD || size != sizeof(payload)
		|| payload.role >= BUNDLE_ROLE_COUNT)
		return nonsense(fetcher, error);
	fetcher->reading = true;
	*ret = (struct bundle_payload){
		.role = (enum bundle_role)payload.role,
		.name = bundle_role_name((int)payload.role),
		.size = payload.size,
	};
	return 1;
}
