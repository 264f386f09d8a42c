/* SPDX-License-Identifier: Apache-2.0 */
#include "hostile.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "fetch/child.h"
#include "linux_tree.h"
#include "source/source.h"

#define SECONDS_MAX 30 /* on a busy machine */
#define HEAD_SIZE   offsetof(struct channel_message, data)

const char *const hostile_phases[HOSTILE_PHASES] = {
	[HOSTILE_OPENING] = "opening",
	[HOSTILE_NEXT] = "next payload",
	[HOSTILE_READ] = "payload",
	[HOSTILE_ENTRY] = "next entry",
	[HOSTILE_ENTRY_BYTES] = "entry",
	[HOSTILE_CHECK] = "check",
	[HOSTILE_CHUNKS] = "chunks",
};

/* --- the process --- */

void hostile_say_bytes(const struct hostile *hostile, const void *bytes, size_t size)
{
	if (send(hostile->socket, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		_exit(0);
}

void hostile_say(const struct hostile *hostile, const struct channel_message *head,
	const void *data, size_t size)
{
	struct channel_message message = *head;

	if (size > 0)
		memcpy(message.data, data, size);
	hostile_say_bytes(hostile, &message, HEAD_SIZE + size);
}

void hostile_say_it(const struct hostile *hostile, const void *what)
{
	const struct hostile_said *said = what;

	hostile_say(hostile, &said->head, said->data, said->size);
}

void hostile_say_failed(const struct hostile *hostile, const char *text)
{
	struct channel_failed failed = { .kind = ERROR_FAILED, .number = ENOENT };

	snprintf(failed.text, sizeof(failed.text), "%s", text);
	hostile_say(hostile, &(struct channel_message){ .kind = CHANNEL_FAILED }, &failed,
		sizeof(failed));
}

static void hear(const struct hostile *hostile, uint32_t kind)
{
	struct channel_message message;
	size_t size;

	if (channel_receive(hostile->socket, &message, &size) < 0 || message.kind != kind)
		_exit(0);
}

static void open_bundle(const struct hostile *hostile, bool plain)
{
	uint8_t bytes[offsetof(struct channel_opened, name) + sizeof(HOSTILE_NAME)];
	struct channel_opened opened = { .size = 1000, .seekable = 1, .format = plain ? 0 : 1 };

	memcpy(bytes, &opened, offsetof(struct channel_opened, name));
	memcpy(bytes + offsetof(struct channel_opened, name), HOSTILE_NAME, sizeof(HOSTILE_NAME));
	hostile_say(
		hostile, &(struct channel_message){ .kind = CHANNEL_OPENED }, bytes, sizeof(bytes));
}

/* Does what it should until the phase begins. */
static void reach(const struct hostile *hostile, enum hostile_phase phase)
{
	static const uint32_t asked[] = {
		[HOSTILE_NEXT] = CHANNEL_NEXT,
		[HOSTILE_READ] = CHANNEL_NEXT,
		[HOSTILE_ENTRY] = CHANNEL_ENTRY,
		[HOSTILE_ENTRY_BYTES] = CHANNEL_READ,
		[HOSTILE_CHECK] = CHANNEL_CHECK,
		[HOSTILE_CHUNKS] = CHANNEL_RUN,
	};
	const struct channel_payload payload = { .role = BUNDLE_ROLE_SYSTEM, .size = 1000 };

	if (phase == HOSTILE_OPENING)
		return;
	open_bundle(hostile, phase == HOSTILE_NEXT || phase == HOSTILE_READ);
	hear(hostile, asked[phase]);
	if (phase == HOSTILE_READ)
		hostile_say(hostile, &(struct channel_message){ .kind = CHANNEL_PAYLOAD }, &payload,
			sizeof(payload));
}

void child_run(int socket, uint8_t *pool, const char *spec, const struct source_options *options)
{
	const struct hostile_play *play = options->context;
	struct hostile hostile = { socket, channel_pool_open(pool) };

	(void)spec;
	alarm(0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	reach(&hostile, play->phase);
	play->act(&hostile, play->what);
	for (;;)
		pause();
}

/* --- its parent --- */

static bool on_cancelled(void *context)
{
	struct hostile_play *play = context;

	return play->reached && ++play->questions == play->cancel_at;
}

static void on_note(void *context, const char *text)
{
	struct hostile_play *play = context;

	play->notes++;
	assert_true(strlen(text) < sizeof(play->note));
	strcpy(play->note, text);
}

static int next_payload(struct fetcher *fetcher, struct error *error)
{
	struct bundle_payload payload;

	return fetcher_next(fetcher, &payload, error);
}

static int read_payload(struct fetcher *fetcher, struct error *error)
{
	uint8_t data[5000];
	size_t got = 1;
	int r;

	r = next_payload(fetcher, error);
	while (r >= 0 && got > 0)
		r = fetcher_read(fetcher, data, sizeof(data), &got, error);
	return r;
}

static int next_entry(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_entry entry;

	return fetcher_entry(fetcher, 0, &entry, error);
}

static int read_entry(struct fetcher *fetcher, struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };

	return fetcher_read_entry(fetcher, HOSTILE_ENTRY_SIZE, &bytes, error);
}

/* Takes chunks as long as they come. */
static int take_chunks(struct fetcher *fetcher, struct error *error)
{
	struct fetcher_chunks chunks;
	int r;

	do
		r = fetcher_wait(fetcher, &chunks, error);
	while (r > 0);
	return r;
}

static int ask_for_chunks(struct fetcher *fetcher, uint32_t chunk_size, struct error *error)
{
	const struct channel_run run = {
		.count = HOSTILE_CHUNK_COUNT,
		.chunk_size = chunk_size ? chunk_size : 4096,
		.last_size = 1,
	};

	return fetcher_ask(fetcher, &run, error);
}

static int use(const struct hostile_play *play, struct fetcher *fetcher, struct error *error)
{
	static int (*const uses[])(struct fetcher * fetcher, struct error * error) = {
		[HOSTILE_NEXT] = next_payload,
		[HOSTILE_READ] = read_payload,
		[HOSTILE_ENTRY] = next_entry,
		[HOSTILE_ENTRY_BYTES] = read_entry,
		[HOSTILE_CHECK] = fetcher_check,
		[HOSTILE_CHUNKS] = take_chunks,
	};

	if (play->phase == HOSTILE_CHUNKS)
		assert_int_equal(ask_for_chunks(fetcher, play->chunk_size, error), 0);
	if (play->use)
		return play->use(fetcher, error);
	return play->phase == HOSTILE_OPENING ? 0 : uses[play->phase](fetcher, error);
}

static int open_and_use(struct hostile_play *play, struct error *error)
{
	const struct source_options options = {
		.note = on_note,
		.cancelled = on_cancelled,
		.context = play,
		.total_timeout = play->total_timeout,
	};
	AUTO_FETCHER struct fetcher *fetcher = NULL;
	int r;

	play->reached = play->phase == HOSTILE_OPENING;
	r = fetcher_open(play->spec ? play->spec : "nowhere", &options, &fetcher, error);
	if (r < 0) {
		assert_null(fetcher);
		return r;
	}
	play->reached = true;
	return use(play, fetcher, error);
}

int hostile_play(struct hostile_play *play, struct error *error)
{
	int before = count_fds(), r;

	play->questions = play->notes = 0;
	*error = (struct error){ 0 };
	alarm(SECONDS_MAX);
	r = open_and_use(play, error);
	alarm(0);
	assert_int_equal(count_fds(), before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(error->number, r < 0 ? -r : 0);
	return r;
}

void hostile_check_error(const char *name, const struct error *error, enum error_kind kind,
	int number, const char *says)
{
	size_t length = strnlen(error->text, sizeof(error->text));

	if (error->kind != kind || error->number != number)
		fail_msg("%s: kind %d, number %d, '%s'", name, (int)error->kind, error->number,
			error->text);
	assert_true(length < sizeof(error->text));
	if (!strstr(error->text, says) || !strchr(error->text, ' '))
		fail_msg("%s: '%s' does not say '%s'", name, error->text, says);
	for (size_t i = 0; i < length; i++)
		if ((uint8_t)error->text[i] < 0x20 || error->text[i] == 0x7f)
			fail_msg("%s: byte %zu of '%s' drives a terminal", name, i, error->text);
}
