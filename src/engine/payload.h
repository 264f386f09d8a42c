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
struct oldfiles;

/** A boot file larger than this (bytes) is refused: it is held in memory. */
#define PAYLOAD_MEMORY_MAX (256u << 20)

/** A payload on its way into memory. All is borrowed. */
struct payload_source {
	struct fetcher *fetcher;
	const struct fetcher_entry *entry; /* which the fetcher is at */
	const struct manifest_payload *payload;
	const struct chunkmap *map;
	struct oldfiles *olds; /* looked through */
};

/** Bytes of a payload by how they came; `frames` is of the bundle. */
struct payload_counts {
	uint64_t kept, copied, frames;
};

/**
 * Puts a whole payload together in memory: chunks that old files hold are copied, the rest is
 * fetched. Each chunk is checked by its SHA-256, as is the whole. `out` is empty. -EBADMSG: not as
 * signed; those of the fetcher.
 */
int payload_get(struct context *context, const struct payload_source *source, struct buffer *out,
	struct payload_counts *ret, struct error *error);

/** Whether a boot file can be held in memory. -EFBIG. */
int payload_check_size(
	const struct fetcher *fetcher, const struct manifest_payload *payload, struct error *error);

/** Whether the ZIP's entry is what manifest and chunk map say. -EBADMSG. */
int payload_check_entry(const struct fetcher *fetcher, const struct fetcher_entry *entry,
	const struct manifest_payload *payload, const struct chunkmap *map, struct error *error);
