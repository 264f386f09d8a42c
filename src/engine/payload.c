/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/payload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "engine/chunkfetch.h"
#include "engine/chunks.h"
#include "engine/context.h"
#include "engine/oldfiles.h"
#include "fetch/fetcher.h"
#include "format/manifest.h"
#include "format/zip.h"

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

struct getting {
	struct context *context;
	const struct payload_source *source;
	struct chunkfetch fetch;
	struct buffer *out;
	struct payload_counts counts;
	uint64_t done; /* bytes of the payload */
};

static int copy_chunks(struct getting *getting, struct error *error)
{
	const struct chunkmap *map = getting->source->map;
	struct oldfiles *olds = getting->source->olds;
	int r = 0;

	for (uint64_t chunk = 0; r == 0 && chunk < map->chunk_count; chunk++) {
		bool copied = false;

		if (context_cancelled(getting->context))
			return error_failed(error, ECANCELED, "interrupted");
		if (oldfiles_have(olds, chunk))
			r = oldfiles_copy(olds, chunk,
				getting->out->data + chunk_offset(map, chunk), &copied, error);
		if (!copied) {
			getting->counts.frames += chunkmap_length(map, chunk);
			continue;
		}
		getting->fetch.state[chunk] = CHUNK_DONE;
		getting->counts.copied += chunkmap_chunk_bytes(map, chunk);
		context_progress(getting->context, getting->counts.copied);
	}
	getting->done = getting->counts.copied;
	getting->context->progress.copied = getting->counts.copied;
	return r;
}

static int check_chunk(const struct getting *getting, uint64_t chunk, struct error *error)
{
	const struct chunkmap *map = getting->source->map;
	uint8_t digest[SHA256_SIZE];
	int r;

	r = sha256_of(getting->out->data + chunk_offset(map, chunk),
		chunkmap_chunk_bytes(map, chunk), digest, error);
	if (r < 0 || memcmp(digest, chunkmap_sha256(map, chunk), SHA256_SIZE) == 0)
		return r;
	return chunkfetch_wrong(&getting->fetch, chunk, error);
}

/* What counts is the copy that nobody else can reach. */
static int take_in(void *opaque, const struct fetcher_chunks *chunks, struct error *error)
{
	struct getting *getting = opaque;
	int r = 0;

	memcpy(getting->out->data + chunk_offset(getting->source->map, chunks->first), chunks->data,
		chunks->size);
	fetcher_free(getting->source->fetcher, chunks->slot);
	for (uint64_t i = 0; r == 0 && i < chunks->count; i++)
		r = check_chunk(getting, chunks->first + i, error);
	getting->done += chunks->size;
	return r;
}

static int look_around(void *opaque, struct error *error)
{
	struct getting *getting = opaque;

	(void)error;
	context_count_fetched(getting->context, getting->source->fetcher);
	context_progress(getting->context, getting->done);
	return 0;
}

static int check_whole(const struct getting *getting, struct error *error)
{
	const struct manifest_payload *payload = getting->source->payload;
	uint8_t digest[SHA256_SIZE];
	int r = sha256_of(getting->out->data, getting->out->size, digest, error);

	if (r < 0 || memcmp(digest, payload->sha256, SHA256_SIZE) == 0)
		return r;
	return error_failed(error, EBADMSG,
		"'%s': %s does not have the SHA-256 that the manifest gives for it",
		fetcher_name(getting->source->fetcher), payload->name);
}

int payload_check_size(
	const struct fetcher *fetcher, const struct manifest_payload *payload, struct error *error)
{
	if (payload->size <= PAYLOAD_MEMORY_MAX)
		return 0;
	return error_failed(error, EFBIG,
		"'%s': %s has %" PRIu64 " bytes: boot files over %u bytes are refused",
		fetcher_name(fetcher), payload->name, payload->size, PAYLOAD_MEMORY_MAX);
}

int payload_get(struct context *context, const struct payload_source *source, struct buffer *out,
	struct payload_counts *ret, struct error *error)
{
	AUTO_FREE uint8_t *state = calloc(source->map->chunk_count, 1);
	struct getting getting = {
		.context = context,
		.source = source,
		.fetch = {
			.fetcher = source->fetcher,
			.entry = source->entry,
			.map = source->map,
			.name = source->payload->name,
			.state = state,
			.take = take_in,
			.look_around = look_around,
			.opaque = &getting,
		},
		.out = out,
	};
	int r;

	if (!state)
		return error_memory(error);
	r = buffer_reserve(out, (size_t)source->payload->size, error);
	if (r < 0)
		return r;
	context_begin_phase(context, source->payload->role, source->payload->size);
	r = copy_chunks(&getting, error);
	if (r == 0)
		r = chunkfetch_all(&getting.fetch, error);
	if (r < 0)
		return r;
	out->size = (size_t)source->payload->size;
	*ret = getting.counts;
	return check_whole(&getting, error);
}
