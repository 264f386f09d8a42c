/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

struct buffer;
struct chunkmap;
struct context;
struct error;
struct fetcher;
struct fetcher_entry;
struct manifest_payload;

/** A boot file larger than this (bytes) is refused: it is held in memory. */
#define PAYLOAD_MEMORY_MAX (256u << 20)

/**
 * Fetches a whole payload into memory, chunk by chunk, each of which is checked by its SHA-256, as
 * is the whole. `out` is empty. -EBADMSG: not as signed; those of the fetcher.
 */
int payload_fetch(struct context *context, struct fetcher *fetcher,
	const struct fetcher_entry *entry, const struct manifest_payload *payload,
	const struct chunkmap *map, struct buffer *out, struct error *error);

/** Whether the ZIP's entry is what manifest and chunk map say. -EBADMSG. */
int payload_check_entry(const struct fetcher *fetcher, const struct fetcher_entry *entry,
	const struct manifest_payload *payload, const struct chunkmap *map, struct error *error);
