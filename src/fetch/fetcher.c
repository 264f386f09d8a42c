/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/fetcher.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "fetch/channel.h"
#include "fetch/child.h"
#include "fetch/process.h"
#include "source/source.h"

#define POLL_MS      200 /* how late a cancellation may be noticed */
#define SEND_SECONDS 10  /* how long the process may leave its messages alone */
#define LATE_SECONDS 5   /* how late it may tell that its time is over */

struct fetcher {
	const struct source_options *options;
	const char *spec; /* only while it opens: it is the caller's */
	bool is_url;
	struct process process;
	int socket;
	uint8_t *slots; /* of the pool, only to be read */
	char *name;
	bool plain, seekable;
	uint64_t received, requests;
	int wake;           /* eventfd */
	uint32_t slot_size; /* of the runs that were asked for */
	_Atomic bool taken[CHANNEL_SLOTS];
	_Atomic bool deaf; /* it left its messages alone */

	/* Of a plain bundle. */
	bool known;
	uint64_t sizes[BUNDLE_ROLE_COUNT];
	bool reading; /* a payload, whose pieces come */
	bool held;    /* `piece` has bytes that were not read */
	bool seen[BUNDLE_ROLE_COUNT];
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

int fetcher_nonsense(const struct fetcher *fetcher, struct error *error)
{
	return error_failed(error, EPROTO,
		"the process that fetches '%s' does not behave as it should: what came from there "
		"may have taken it over. Nothing of it was believed",
		fetcher->name ? fetcher->name : "the bundle");
}

/* --- messages --- */

/* Whether it should have told by now that its time is over. What writes to a pipe has no time. */
static bool is_overdue(const struct fetcher *fetcher, uint64_t since)
{
	uint64_t seconds = fetcher->options->total_timeout ?: SOURCE_TOTAL_TIMEOUT;

	return fetcher->is_url && clock_ms() - since > (seconds + LATE_SECONDS) * 1000;
}

/* 1: there is a message; 0: somebody woke us. */
static int wait_for_message(struct fetcher *fetcher, struct error *error)
{
	uint64_t since = clock_ms();
	const struct source_options *options = fetcher->options;
	struct pollfd fds[2] = {
		{ .fd = fetcher->socket, .events = POLLIN },
		{ .fd = fetcher->wake, .events = POLLIN },
	};
	uint64_t count;
	int r;

	do {
		if (options->cancelled && options->cancelled(options->context))
			return error_failed(error, ECANCELED, "cancelled while fetching '%s'",
				fetcher->name ? fetcher->name : "the bundle");
		if (is_overdue(fetcher, since))
			return fetcher_nonsense(fetcher, error);
		r = poll(fds, 2, POLL_MS);
	} while (r == 0 || (r < 0 && errno == EINTR));
	if (r < 0)
		return error_failed(error, errno, "poll() fails: %s", strerror(errno));
	if (fds[1].revents && read(fetcher->wake, &count, sizeof(count)) > 0)
		return 0;
	return 1;
}

/* What could drive a terminal, or pass for another line, becomes '?'. */
static void make_harmless(char *text)
{
	for (uint8_t *p = (uint8_t *)text; *p; p++) {
		if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) /* U+0080 to U+009F */
			*p++ = '?';
		else if (*p >= 0x20 && *p != 0x7f)
			continue;
		*p = '?';
	}
}

static void pass_note(struct fetcher *fetcher, const struct channel_message *message, size_t size)
{
	const struct source_options *options = fetcher->options;
	char text[ERROR_TEXT_MAX];

	if (size > sizeof(text) - 1)
		size = sizeof(text) - 1;
	memcpy(text, message->data, size);
	text[size] = '\0';
	make_harmless(text);
	if (options->note)
		options->note(options->context, text);
}

static int pass_error(struct fetcher *fetcher, const struct channel_message *message, size_t size,
	struct error *error)
{
	struct channel_failed failed;

	if (size != sizeof(failed))
		return fetcher_nonsense(fetcher, error);
	memcpy(&failed, message->data, sizeof(failed));
	if (failed.kind < ERROR_FAILED || failed.kind > ERROR_REFUSED || failed.number == 0
		|| failed.number > 4095 || !*failed.text)
		return fetcher_nonsense(fetcher, error);
	failed.text[sizeof(failed.text) - 1] = '\0';
	make_harmless(failed.text);
	return error_set(
		error, (enum error_kind)failed.kind, (int)failed.number, "%s", failed.text);
}

/*
 * The next message that is neither a note nor an error. 1; *ret_size: bytes of its data. 0:
 * somebody woke us.
 */
static int receive(
	struct fetcher *fetcher, struct channel_message *ret, size_t *ret_size, struct error *error)
{
	for (;;) {
		int r = wait_for_message(fetcher, error);

		if (r <= 0)
			return r;
		r = channel_receive(fetcher->socket, ret, ret_size);
		if (r == -EPIPE)
			return died(fetcher, error);
		if (r < 0)
			return fetcher_nonsense(fetcher, error);
		if (ret->received > fetcher->received)
			fetcher->received = ret->received;
		if (ret->requests > fetcher->requests)
			fetcher->requests = ret->requests;
		if (ret->kind == CHANNEL_FAILED)
			return pass_error(fetcher, ret, *ret_size, error);
		if (ret->kind != CHANNEL_NOTE)
			return 1;
		pass_note(fetcher, ret, *ret_size);
	}
}

/* The answer to the last request: nobody wakes us meanwhile. */
static int receive_answer(
	struct fetcher *fetcher, struct channel_message *ret, size_t *ret_size, struct error *error)
{
	int r;

	do
		r = receive(fetcher, ret, ret_size, error);
	while (r == 0);
	return r < 0 ? r : 0;
}

static int request(struct fetcher *fetcher, const struct channel_message *message, size_t size,
	struct error *error)
{
	int r = channel_send(fetcher->socket, message, size);

	/* What it had to say before it died is the better error. */
	if (r == 0 || r == -EPIPE)
		return 0;
	if (r == -EAGAIN)
		return fetcher_nonsense(fetcher, error);
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

	r = receive_answer(fetcher, &message, &size, error);
	if (r < 0)
		return r;
	if (message.kind != CHANNEL_OPENED || size <= offsetof(struct channel_opened, name))
		return fetcher_nonsense(fetcher, error);
	message.data[size - 1] = '\0';
	fetcher->plain = opened->format == 0;
	fetcher->name = strdup(opened->name);
	if (!fetcher->name)
		return error_memory(error);
	if (strcmp(fetcher->name, fetcher->spec) != 0)
		make_harmless(fetcher->name);
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
	const struct timeval patience = { .tv_sec = SEND_SECONDS };
	int sockets[2];

	fetcher->slots = channel_pool_new();
	if (!fetcher->slots)
		return error_memory(error);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_failed(error, errno, "socketpair() fails: %s", strerror(errno));
	fetcher->socket = sockets[0];
	/* One who does not listen must not keep us. */
	setsockopt(fetcher->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
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
	fetcher->is_url = source_is_url(spec);
	fetcher->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fetcher->wake < 0)
		return error_failed(error, errno, "eventfd() fails: %s", strerror(errno));
	r = start(fetcher, error);
	if (r == 0)
		r = take_opened(fetcher, error);
	if (r < 0)
		return r;
	fetcher->spec = NULL;
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

bool fetcher_is_plain(const struct fetcher *fetcher)
{
	return fetcher->plain;
}

uint64_t fetcher_requests(const struct fetcher *fetcher)
{
	return fetcher->requests;
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
	if (fetcher->wake >= 0)
		close(fetcher->wake);
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

	r = receive_answer(fetcher, piece, &size, error);
	if (r < 0)
		return r;
	if (piece->kind != CHANNEL_PIECE || piece->slot >= CHANNEL_SLOTS
		|| piece->size > CHANNEL_SLOT_SIZE)
		return fetcher_nonsense(fetcher, error);
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
		r = receive_answer(fetcher, &message, &size, error);
	if (r < 0 || message.kind == CHANNEL_END)
		return r;
	memcpy(&payload, message.data, sizeof(payload));
	if (message.kind != CHANNEL_PAYLOAD || size != sizeof(payload)
		|| payload.role >= BUNDLE_ROLE_COUNT || fetcher->seen[payload.role])
		return fetcher_nonsense(fetcher, error);
	fetcher->seen[payload.role] = true;
	fetcher->reading = true;
	*ret = (struct bundle_payload){
		.role = (enum bundle_role)payload.role,
		.name = bundle_role_name((int)payload.role),
		.size = payload.size,
	};
	return 1;
}

/* --- a bundle of format 1 --- */

int fetcher_entry(struct fetcher *fetcher, uint64_t wanted_end, struct fetcher_entry *ret,
	struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_ENTRY };
	const struct channel_wanted wanted = { .end = wanted_end };
	const struct channel_is *is = (const struct channel_is *)message.data;
	size_t size;
	int r;

	memcpy(message.data, &wanted, sizeof(wanted));
	r = request(fetcher, &message, sizeof(wanted), error);
	if (r == 0)
		r = receive_answer(fetcher, &message, &size, error);
	if (r < 0 || message.kind == CHANNEL_END)
		return r;
	if (message.kind != CHANNEL_IS || size <= offsetof(struct channel_is, name))
		return fetcher_nonsense(fetcher, error);
	message.data[size - 1] = '\0';
	*ret = (struct fetcher_entry){
		.data = is->data,
		.compressed = is->compressed,
		.size = is->size,
		.method = (uint16_t)is->method,
		.crc = is->crc,
	};
	snprintf(ret->name, sizeof(ret->name), "%s", is->name);
	make_harmless(ret->name);
	return 1;
}

int fetcher_read_entry(
	struct fetcher *fetcher, uint64_t size, struct buffer *out, struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_READ };
	uint64_t left = size;
	int r;

	r = request(fetcher, &message, 0, error);
	fetcher->reading = true;
	while (r == 0 && fetcher->reading) {
		r = next_piece(fetcher, error);
		if (r < 0 || !fetcher->reading)
			break;
		if (fetcher->piece.size > left)
			return fetcher_nonsense(fetcher, error);
		/* Memory grows with what has really come. */
		r = buffer_append(out, fetcher->slots + fetcher->piece.slot * CHANNEL_SLOT_SIZE,
			fetcher->piece.size, error);
		left -= fetcher->piece.size;
		if (r == 0)
			r = give_back(fetcher, error);
	}
	return r == 0 && left > 0 ? fetcher_nonsense(fetcher, error) : r;
}

int fetcher_check(struct fetcher *fetcher, struct error *error)
{
	struct channel_message message = { .kind = CHANNEL_CHECK };
	size_t size;
	int r;

	r = request(fetcher, &message, 0, error);
	if (r == 0)
		r = receive_answer(fetcher, &message, &size, error);
	if (r == 0 && message.kind != CHANNEL_CHECKED)
		return fetcher_nonsense(fetcher, error);
	return r;
}

int fetcher_ask(struct fetcher *fetcher, const struct channel_run *run, struct error *error)
{
	size_t size = offsetof(struct channel_run, lengths) + run->count * sizeof(*run->lengths);
	struct channel_message message = { .kind = CHANNEL_RUN };

	fetcher->slot_size = channel_slot_size(run->chunk_size);
	memcpy(message.data, run, size);
	return request(fetcher, &message, size, error);
}

int fetcher_wait(struct fetcher *fetcher, struct fetcher_chunks *ret, struct error *error)
{
	struct channel_message message;
	struct channel_chunks chunks;
	size_t size;
	int r;

	if (fetcher->deaf)
		return fetcher_nonsense(fetcher, error);
	r = receive(fetcher, &message, &size, error);
	if (r <= 0)
		return r;
	memcpy(&chunks, message.data, sizeof(chunks));
	if (message.kind != CHANNEL_CHUNKS || size != sizeof(chunks)
		|| message.slot >= CHANNEL_POOL_SIZE / fetcher->slot_size
		|| message.size > fetcher->slot_size || fetcher->taken[message.slot])
		return fetcher_nonsense(fetcher, error);
	fetcher->taken[message.slot] = true;
	*ret = (struct fetcher_chunks){
		.first = chunks.first,
		.count = chunks.count,
		.data = fetcher->slots + (size_t)message.slot * fetcher->slot_size,
		.size = message.size,
		.slot = message.slot,
	};
	return 1;
}

void fetcher_free(struct fetcher *fetcher, uint32_t slot)
{
	struct channel_message message = { .kind = CHANNEL_FREE, .slot = slot };

	fetcher->taken[slot] = false;
	/* If nobody is there any more, the next message that is waited for tells. */
	if (!fetcher->deaf && channel_send(fetcher->socket, &message, 0) == -EAGAIN)
		fetcher->deaf = true;
}

void fetcher_wake(struct fetcher *fetcher)
{
	const uint64_t one = 1;

	(void)!write(fetcher->wake, &one, sizeof(one));
}
