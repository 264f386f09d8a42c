/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

struct chunkmap;
struct error;
struct fetcher;
struct fetcher_chunks;
struct fetcher_entry;

/** Chunks of a payload that are fetched. All is borrowed. */
struct chunkfetch {
	struct fetcher *fetcher;
	const struct fetcher_entry *entry; /* the payload's, which the fetcher is at */
	const struct chunkmap *map;
	const char *name; /* of the payload, for messages */
	uint8_t *state;   /* enum chunk_state of each chunk (engine/chunks.h) */
	/**
	 * Takes what came: chunks that were asked for, of the right size; their bytes may still
	 * change, and are not looked at yet. Gives the slot back (fetcher_free()). What it returns
	 * below 0 ends the fetching.
	 */
	int (*take)(void *opaque, const struct fetcher_chunks *chunks, struct error *error);
	/** Called after each wait, for progress. What it returns below 0 ends the fetching. */
	int (*look_around)(void *opaque, struct error *error);
	void *opaque;
};

/**
 * Fetches all chunks that are CHUNK_FETCH; each is CHUNK_DONE before it is handed to `take`, on
 * this thread. Frames that follow each other come in one request, of at most 2 MiB, and frames that
 * nobody wants are taken along where that is less than another request costs. -EPROTO: what came
 * was not asked for; those of the fetcher and of the functions above.
 */
int chunkfetch_all(const struct chunkfetch *fetch, struct error *error);

/** -EBADMSG: what came for this chunk is not what its chunk map says. */
int chunkfetch_wrong(const struct chunkfetch *fetch, uint64_t chunk, struct error *error);
