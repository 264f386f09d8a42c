/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/bundle.h"

struct buffer;
struct channel_run;
struct error;
struct source_options;

#define FETCHER_NAME_SIZE 128

/**
 * A bundle that a process of its own fetches and decompresses. That process has no privileges and
 * can open nothing (fetch/sandbox.h): whoever takes it over through what a server sends can give us
 * wrong bytes, no more. For one thread at a time.
 */
struct fetcher;

/**
 * Starts the process and opens the bundle at `spec` as source_open() and bundle_open() do, with
 * their errors. `options` is borrowed; its functions are called here, by the caller's thread.
 * Forks: no thread of the caller's may hold locks of libraries meanwhile. *ret belongs to the
 * caller (fetcher_close).
 */
int fetcher_open(const char *spec, const struct source_options *options, struct fetcher **ret,
	struct error *error);

/** The source's name, for messages; borrowed. */
const char *fetcher_name(const struct fetcher *fetcher);
/** Whether payloads can be had in any order. */
bool fetcher_is_seekable(const struct fetcher *fetcher);

/** Whether it is a plain bundle; else it is one of format 1. */
bool fetcher_is_plain(const struct fetcher *fetcher);
/** Bytes of the bundle that came so far, and HTTP requests that were sent. */
uint64_t fetcher_received(const struct fetcher *fetcher);
uint64_t fetcher_requests(const struct fetcher *fetcher);

/* --- a plain bundle --- */

/** As bundle_payload(), bundle_next() and bundle_read(). */
bool fetcher_payload(
	const struct fetcher *fetcher, enum bundle_role role, struct bundle_payload *ret);
int fetcher_next(struct fetcher *fetcher, struct bundle_payload *ret, struct error *error);
int fetcher_read(
	struct fetcher *fetcher, void *data, size_t size, size_t *ret_got, struct error *error);

/* --- a bundle of format 1 --- */

/** An entry of the ZIP. Nothing of it was checked but against the rest of the ZIP. */
struct fetcher_entry {
	char name[FETCHER_NAME_SIZE]; /* a longer one is cut */
	uint64_t data;                /* where its data begin in the bundle */
	uint64_t compressed, size;
	uint16_t method;
	uint32_t crc;
};

/**
 * Goes to the next entry, past what the last one has left. `wanted_end`: what lies before this byte
 * of the bundle will be wanted soon; 0: unknown. 1 and *ret; 0: that was the last one.
 */
int fetcher_entry(struct fetcher *fetcher, uint64_t wanted_end, struct fetcher_entry *ret,
	struct error *error);

/** Appends the `size` bytes of the entry it went to, as they lie in the bundle. */
int fetcher_read_entry(
	struct fetcher *fetcher, uint64_t size, struct buffer *out, struct error *error);

/** Compares what went by, and from now on what comes, with the central directory, if it can. */
int fetcher_check(struct fetcher *fetcher, struct error *error);

/**
 * Asks for a run of chunks. At most CHANNEL_RUNS may be asked for and not come yet; all of them
 * have one chunk size. Of a stream, runs go forward.
 */
int fetcher_ask(struct fetcher *fetcher, const struct channel_run *run, struct error *error);

/** Chunks that have come: `size` bytes that the other process may change at any time. */
struct fetcher_chunks {
	uint64_t first; /* by what it says; not checked */
	uint64_t count;
	const uint8_t *data;
	uint32_t size;
	uint32_t slot;
};

/**
 * Waits for chunks, from any of the runs. 1 and *ret, which fetcher_free() gives back; 0:
 * fetcher_wake() was called.
 */
int fetcher_wait(struct fetcher *fetcher, struct fetcher_chunks *ret, struct error *error);

/** -EPROTO: what came cannot be right, whatever the bundle holds. */
int fetcher_nonsense(const struct fetcher *fetcher, struct error *error);

/** Gives a slot back; any thread. */
void fetcher_free(struct fetcher *fetcher, uint32_t slot);
/** Ends a fetcher_wait(); any thread. */
void fetcher_wake(struct fetcher *fetcher);

/** Ends the process, whatever it does. NULL is fine. */
void fetcher_close(struct fetcher *fetcher);

static inline void fetcher_closep(struct fetcher **fetcher)
{
	fetcher_close(*fetcher);
}

#define AUTO_FETCHER __attribute__((cleanup(fetcher_closep)))
