/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/bundle.h"

struct error;
struct source_options;

/**
 * A bundle that a process of its own fetches and decompresses. That process has no privileges and
 * can open nothing (fetch/sandbox.h): whoever takes it over through what a server sends can give us
 * wrong bytes, no more. For one thread at a time.
 */
struct fetcher;

/**
 * Starts the process and opens the plain bundle at `spec` as source_open() and bundle_open() do,
 * with their errors. `options` is borrowed; its functions are called here, by the caller's thread.
 * Forks: no thread of the caller's may hold locks of libraries meanwhile. *ret belongs to the
 * caller (fetcher_close).
 */
int fetcher_open(const char *spec, const struct source_options *options, struct fetcher **ret,
	struct error *error);

/** The source's name, for messages; borrowed. */
const char *fetcher_name(const struct fetcher *fetcher);
/** Whether payloads can be had in any order. */
bool fetcher_is_seekable(const struct fetcher *fetcher);

/** As bundle_payload(), bundle_next(), bundle_read() and bundle_received(). */
bool fetcher_payload(
	const struct fetcher *fetcher, enum bundle_role role, struct bundle_payload *ret);
int fetcher_next(struct fetcher *fetcher, struct bundle_payload *ret, struct error *error);
int fetcher_read(
	struct fetcher *fetcher, void *data, size_t size, size_t *ret_got, struct error *error);
uint64_t fetcher_received(const struct fetcher *fetcher);

/** Ends the process, whatever it does. NULL is fine. */
void fetcher_close(struct fetcher *fetcher);

static inline void fetcher_closep(struct fetcher **fetcher)
{
	fetcher_close(*fetcher);
}

#define AUTO_FETCHER __attribute__((cleanup(fetcher_closep)))
