/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/payload.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "fetch/channel.h"
#include "fetch/fetcher.h"
#include "format/chunkmap.h"
#include "format/manifest.h"
#include "format/zip.h"

#define RUN_CHUNKS 64u /* that are asked for at once */

int payload_check_entry(const struct fetcher *fetcher, const struct fetcher_entry *entry,
	const struct manifest_payload *payload, const struct chunkmap *map, struct error *error)
{
	if (entry->size != payload->size || entry->compressed != map->compressed_size)
		return error_failed(error, EBADMSG,
			"'%s': '%s' has %" PRIu64 " bytes (%" PRIu64
			" compressed); manifest and chunk map say %" PRIu64 " (%" PRIu64 ")",
			fetcher_name(fetcher), payload->name, entry->size, entry->compressed,
			payload->size, map->compressed_size);
	if (entry->method != ZIP_METHOD_ZSTD && entry->method != ZIP_METHOD_DEFLATE
		&& entry->method != ZIP_METHOD_STORED)
		return error_failed(error, EOPNOTSUPP,
			"'%s': '%s' is compressed with ZIP method %u; only 93 (zstd), 8 (deflate) "
			"and 0 (stored) are supported",
			fetcher_name(fetcher), payload->name, entry->method);
	return 0;
}

/** A payload on its way into memory. */
struct fetching {
	struct context *context;
	struct fetcher *fetcher;
	const struct fetcher_entry *entry;
	const struct manifest_payload *payload;
	const struct chunkmap *map;
	struct buffer *out;
	uint64_t asked; /* chunks */
	uint64_t place; /* of the next one's frame */
	uint64_t left;  /* chunks that were asked for and did not come */
	uint8_t *came;  /* a byte for each chunk: it may come but once */
};

static int ask(struct fetching *fetching, struct error *error)
{
	const struct chunkmap *map = fetching->map;
	uint64_t left = map->chunk_count - fetching->asked, last;
	struct channel_run run = {
		.data = fetching->place,
		.first = fetching->asked,
		.count = left < RUN_CHUNKS ? (uint32_t)left : RUN_CHUNKS,
		.chunk_size = map->chunk_size,
		.method = fetching->entry->method,
	};

	last = run.first + run.count - 1;
	run.last_size = chunkmap_chunk_bytes(map, last);
	run.ends = last + 1 == map->chunk_count;
	for (uint32_t i = 0; i < run.count; i++) {
		run.lengths[i] = chunkmap_length(map, run.first + i);
		fetching->place += run.lengths[i];
	}
	fetching->asked += run.count;
	fetching->left += run.count;
	return fetcher_ask(fetching->fetcher, &run, error);
}

static int check_chunk(const struct fetching *fetching, uint64_t chunk, struct error *error)
{
	const struct chunkmap *map = fetching->map;
	uint8_t digest[SHA256_SIZE];
	int r;

	r = sha256_of(fetching->out->data + chunk * map->chunk_size,
		chunkmap_chunk_bytes(map, chunk), digest, error);
	if (r < 0 || memcmp(digest, chunkmap_sha256(map, chunk), SHA256_SIZE) == 0)
		return r;
	return error_failed(error, EBADMSG,
		"'%s': chunk %" PRIu64
		" of %s does not have the SHA-256 that its chunk map gives: the bundle is "
		"damaged or was changed; get it again",
		fetcher_name(fetching->fetcher), chunk, fetching->payload->name);
}

static int take_in(
	struct fetching *fetching, const struct fetcher_chunks *chunks, struct error *error)
{
	const struct chunkmap *map = fetching->map;
	uint64_t end, size = 0;
	int r = 0;

	if (chunks->count == 0 || __builtin_add_overflow(chunks->first, chunks->count, &end)
		|| end > fetching->asked || chunks->count > fetching->left)
		return fetcher_nonsense(fetching->fetcher, error);
	for (uint64_t chunk = chunks->first; chunk < end; chunk++) {
		if (fetching->came[chunk])
			return fetcher_nonsense(fetching->fetcher, error);
		fetching->came[chunk] = 1;
		size += chunkmap_chunk_bytes(map, chunk);
	}
	if (size != chunks->size)
		return fetcher_nonsense(fetching->fetcher, error);
	memcpy(fetching->out->data + chunks->first * map->chunk_size, chunks->data, chunks->size);
	fetcher_free(fetching->fetcher, chunks->slot);
	for (uint64_t chunk = chunks->first; r == 0 && chunk < end; chunk++)
		r = check_chunk(fetching, chunk, error);
	fetching->left -= chunks->count;
	fetching->out->size += chunks->size;
	return r;
}

static int run(struct fetching *fetching, struct error *error)
{
	struct context *context = fetching->context;
	struct fetcher_chunks chunks;
	int r = 0;

	while (r == 0 && (fetching->asked < fetching->map->chunk_count || fetching->left > 0)) {
		/* The next run is under way while this one is looked at. */
		if (fetching->asked < fetching->map->chunk_count && fetching->left <= RUN_CHUNKS)
			r = ask(fetching, error);
		if (r == 0)
			r = fetcher_wait(fetching->fetcher, &chunks, error);
		if (r > 0)
			r = take_in(fetching, &chunks, error);
		context_count_fetched(context, fetching->fetcher);
		context_progress(context, fetching->out->size);
	}
	return r;
}

int payload_fetch(struct context *context, struct fetcher *fetcher,
	const struct fetcher_entry *entry, const struct manifest_payload *payload,
	const struct chunkmap *map, struct buffer *out, struct error *error)
{
	AUTO_BUFFER struct buffer came = { 0 };
	struct fetching fetching = {
		.context = context,
		.fetcher = fetcher,
		.entry = entry,
		.payload = payload,
		.map = map,
		.out = out,
		.place = entry->data,
	};
	uint8_t digest[SHA256_SIZE];
	int r;

	if (payload->size > PAYLOAD_MEMORY_MAX)
		return error_failed(error, EFBIG,
			"'%s': %s has %" PRIu64 " bytes: boot files over %u bytes are refused",
			fetcher_name(fetcher), payload->name, payload->size, PAYLOAD_MEMORY_MAX);
	r = buffer_reserve(out, (size_t)payload->size, error);
	if (r == 0)
		r = buffer_append(&came, NULL, map->chunk_count, error);
	if (r < 0)
		return r;
	fetching.came = came.data;
	context_begin_phase(context, payload->role, payload->size);
	r = run(&fetching, error);
	if (r == 0)
		r = sha256_of(out->data, out->size, digest, error);
	if (r == 0 && memcmp(digest, payload->sha256, SHA256_SIZE) != 0)
		return error_failed(error, EBADMSG,
			"'%s': %s does not have the SHA-256 that the manifest gives for it",
			fetcher_name(fetcher), payload->name);
	return r;
}
