/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A fetching process that does what it should up to some point, and then what it likes: it stands
 * in the place of fetch/child.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "fetch/channel.h"
#include "fetch/fetcher.h"

/** What it is asked for when it begins to misbehave. */
enum hostile_phase {
	HOSTILE_OPENING,
	HOSTILE_NEXT, /* a plain bundle's payload */
	HOSTILE_READ, /* the bytes of one */
	HOSTILE_ENTRY,
	HOSTILE_ENTRY_BYTES, /* HOSTILE_ENTRY_SIZE of them */
	HOSTILE_CHECK,
	HOSTILE_CHUNKS, /* HOSTILE_CHUNK_COUNT of hostile_chunk_size bytes */
	HOSTILE_PHASES,
};

#define HOSTILE_ENTRY_SIZE  100u
#define HOSTILE_CHUNK_COUNT 1000u
#define HOSTILE_NAME        "https://example.org/evil.zip"

extern const char *const hostile_phases[HOSTILE_PHASES];

/** The process, as it sees itself. */
struct hostile {
	int socket;
	uint8_t *pool; /* which it can write */
};

struct hostile_play {
	enum hostile_phase phase;
	/** What it does then; afterwards it waits to be killed. */
	void (*act)(const struct hostile *hostile, const void *what);
	const void *what;
	uint32_t chunk_size; /* 0: 4096 */
	const char *spec;    /* NULL: a path */
	unsigned total_timeout;
	/**
	 * The question about cancellation that is answered by yes, counted from the phase on, for
	 * how often it is asked before is a matter of how long the process takes; 0: none.
	 */
	unsigned cancel_at;
	/** Called in the place of what the phase asks for; NULL: that. */
	int (*use)(struct fetcher *fetcher, struct error *error);

	/* What the parent saw and heard. */
	bool reached; /* the phase */
	unsigned questions, notes;
	char note[ERROR_TEXT_MAX]; /* the last one */
};

/**
 * Opens the bundle, asks for what the phase says, and closes it. What is more than 0, or 0, or the
 * first error; -errno. Fails the test when a process or a descriptor is left, and ends it when that
 * takes longer than a few seconds.
 */
int hostile_play(struct hostile_play *play, struct error *error);

/** A message of the process, well-formed but for what it says. */
void hostile_say(const struct hostile *hostile, const struct channel_message *head,
	const void *data, size_t size);
/** One of few bytes, which may be no message at all. */
void hostile_say_bytes(const struct hostile *hostile, const void *bytes, size_t size);
/** A message that is said once: `what` is a struct hostile_said. */
struct hostile_said {
	struct channel_message head;
	const void *data;
	size_t size;
};

void hostile_say_it(const struct hostile *hostile, const void *what);
/** CHANNEL_FAILED with this text, well-formed. */
void hostile_say_failed(const struct hostile *hostile, const char *text);

/** Fails the test unless the error is this one, in one sentence of which `says` is a part. */
void hostile_check_error(const char *name, const struct error *error, enum error_kind kind,
	int number, const char *says);
