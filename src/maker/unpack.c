/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/unpack.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <isa-l/crc.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "format/chunkmap.h"
#include "format/manifest.h"
#include "maker/head.h"
#include "maker/maker.h"
#include "maker/pack.h"
#include "maker/pipeline.h"
#include "source/input.h"
#include "source/unframe.h"

#define PIECE_SIZE (256u << 10) /* plain bytes that a thread takes at once, at least */

/** Some chunks in a row. */
struct piece {
	uint64_t first;  /* its first chunk */
	uint64_t end;    /* behind its last one */
	uint64_t offset; /* of its first frame in the bundle */
	size_t size;     /* plain bytes */
	uint8_t *frames;
	uint8_t *plain;
};

/** What the threads share. */
struct unpack {
	const struct unpack_settings *settings;
	size_t piece_chunks;
	/* The caller's thread's: */
	struct input *input;
	struct sha256 *hash;
	uint64_t next; /* chunk to read */
	uint64_t done; /* plain bytes that were checked */
	uint32_t crc;
};

struct unpacker {
	const struct unpack *unpack;
	struct unframer *unframer;
	struct sha256 *hash;
};

static int fill(void *context, void *opaque, struct error *error)
{
	struct unpack *unpack = context;
	const struct chunkmap *map = unpack->settings->map;
	uint64_t left = map->chunk_count - unpack->next, size = 0;
	struct piece *piece = opaque;
	int r;

	if (left == 0)
		return 0;
	piece->first = unpack->next;
	piece->end = piece->first + (left < unpack->piece_chunks ? left : unpack->piece_chunks);
	piece->offset = unpack->input->position;
	piece->size = 0;
	for (uint64_t i = piece->first; i < piece->end; i++) {
		size += chunkmap_length(map, i);
		piece->size += chunkmap_chunk_bytes(map, i);
	}
	unpack->next = piece->end;
	r = maker_check_cancelled(unpack->settings->observer, error);
	if (r == 0)
		r = input_read(unpack->input, piece->frames, size, error);
	return r < 0 ? r : 1;
}

static int check_hints(const struct unpack *unpack, uint64_t chunk, const uint8_t *plain,
	size_t size, struct error *error)
{
	const struct chunkmap *map = unpack->settings->map;
	uint64_t block = chunk * map->chunk_size / CHUNKMAP_BLOCK_SIZE;

	for (size_t at = 0; at < size; at += CHUNKMAP_BLOCK_SIZE, block++) {
		size_t left = size - at;
		uint64_t hint = chunkmap_hint_of(
			plain + at, left < CHUNKMAP_BLOCK_SIZE ? left : CHUNKMAP_BLOCK_SIZE);

		if (hint != chunkmap_hint(map, block))
			return error_failed(error, EBADMSG,
				"the chunk map's hint for block %" PRIu64 " is wrong", block);
	}
	return 0;
}

static int check_chunk(struct unpacker *unpacker, uint64_t chunk, struct span frame, uint8_t *plain,
	struct error *error)
{
	const struct unpack *unpack = unpacker->unpack;
	const struct chunkmap *map = unpack->settings->map;
	uint32_t size = chunkmap_chunk_bytes(map, chunk);
	uint8_t digest[SHA256_SIZE];
	int r;

	r = unframer_unpack(
		unpacker->unframer, frame, chunk + 1 == map->chunk_count, plain, size, error);
	if (r == 0)
		r = sha256_reset(unpacker->hash, error);
	if (r == 0)
		r = sha256_update(unpacker->hash, plain, size, error);
	if (r == 0)
		r = sha256_final(unpacker->hash, digest, error);
	if (r < 0)
		return r;
	if (memcmp(digest, chunkmap_sha256(map, chunk), SHA256_SIZE) != 0)
		return error_failed(error, EBADMSG,
			"it does not have the SHA-256 that the chunk map gives for it");
	return check_hints(unpack, chunk, plain, size, error);
}

static int work(void *worker, void *opaque, struct error *error)
{
	struct unpacker *unpacker = worker;
	const struct unpack_settings *settings = unpacker->unpack->settings;
	struct piece *piece = opaque;
	uint8_t *frame = piece->frames, *plain = piece->plain;

	for (uint64_t i = piece->first; i < piece->end; i++) {
		uint32_t length = chunkmap_length(settings->map, i);
		int r;

		r = check_chunk(unpacker, i, (struct span){ frame, length }, plain, error);
		if (r < 0) {
			error_prefix(error,
				"'%s', chunk %" PRIu64 " (%u bytes at byte %" PRIu64 ")",
				settings->payload->name, i, length,
				piece->offset + (uint64_t)(frame - piece->frames));
			return r;
		}
		frame += length;
		plain += chunkmap_chunk_bytes(settings->map, i);
	}
	return 0;
}

static int drain(void *context, void *opaque, struct error *error)
{
	struct unpack *unpack = context;
	const struct unpack_settings *settings = unpack->settings;
	const struct piece *piece = opaque;
	int r;

	unpack->crc = crc32_gzip_refl(unpack->crc, piece->plain, piece->size);
	r = sha256_update(unpack->hash, piece->plain, piece->size, error);
	if (r == 0 && settings->keep)
		r = buffer_append(settings->keep, piece->plain, piece->size, error);
	unpack->done += piece->size;
	maker_progress(
		settings->observer, settings->payload->role, unpack->done, settings->map->size);
	return r;
}

static const struct pipeline_ops ops = { fill, work, drain };

static void unpacker_free(void *opaque)
{
	struct unpacker *unpacker = opaque;

	if (!unpacker)
		return;
	unframer_free(unpacker->unframer);
	sha256_free(unpacker->hash);
	free(unpacker);
}

static void piece_free(void *opaque)
{
	struct piece *piece = opaque;

	if (!piece)
		return;
	free(piece->frames);
	free(piece->plain);
	free(piece);
}

static int add_unpacker(struct pipeline *pipeline, const struct unpack *unpack, struct error *error)
{
	struct unpacker *unpacker = calloc(1, sizeof(*unpacker));
	int r;

	if (!unpacker)
		return error_memory(error);
	pipeline->workers[pipeline->worker_count++] = unpacker;
	unpacker->unpack = unpack;
	r = sha256_new(&unpacker->hash, error);
	return r < 0 ? r : unframer_new(unpack->settings->method, &unpacker->unframer, error);
}

static int add_piece(struct pipeline *pipeline, const struct unpack *unpack, struct error *error)
{
	uint32_t chunk_size = unpack->settings->map->chunk_size;
	struct piece *piece = calloc(1, sizeof(*piece));

	if (!piece)
		return error_memory(error);
	pipeline->pieces[pipeline->piece_count++] = piece;
	piece->frames = malloc(unpack->piece_chunks * chunkmap_length_max(chunk_size));
	piece->plain = malloc(unpack->piece_chunks * chunk_size);
	return piece->frames && piece->plain ? 0 : error_memory(error);
}

static int run(struct unpack *unpack, struct error *error)
{
	struct pipeline pipeline = { .ops = &ops, .context = unpack };
	uint64_t pieces = (unpack->settings->map->chunk_count - 1) / unpack->piece_chunks + 1;
	size_t threads = pack_threads(0);
	int r = 0;

	if (pieces < threads)
		threads = (size_t)pieces;
	for (size_t i = 0; r == 0 && i < threads; i++)
		r = add_unpacker(&pipeline, unpack, error);
	for (size_t i = 0; r == 0 && i < 2 * threads; i++)
		r = add_piece(&pipeline, unpack, error);
	if (r == 0)
		r = pipeline_run(&pipeline, error);
	for (size_t i = 0; i < pipeline.piece_count; i++)
		piece_free(pipeline.pieces[i]);
	for (size_t i = 0; i < pipeline.worker_count; i++)
		unpacker_free(pipeline.workers[i]);
	return r;
}

int unpack_check(struct input *input, const struct unpack_settings *settings, struct error *error)
{
	AUTO_SHA256 struct sha256 *hash = NULL;
	struct unpack unpack = { .settings = settings, .input = input };
	const char *name = settings->payload->name;
	uint8_t digest[SHA256_SIZE];
	int r;

	unpack.piece_chunks = settings->map->chunk_size < PIECE_SIZE
				      ? PIECE_SIZE / settings->map->chunk_size
				      : 1;
	r = sha256_new(&hash, error);
	unpack.hash = hash;
	if (r == 0)
		r = run(&unpack, error);
	if (r == 0)
		r = sha256_final(hash, digest, error);
	if (r < 0)
		return r;
	if (memcmp(digest, settings->payload->sha256, SHA256_SIZE) != 0)
		return error_failed(error, EBADMSG,
			"'%s' does not have the SHA-256 that the manifest gives for it", name);
	if (unpack.crc != settings->crc)
		return error_failed(error, EBADMSG,
			"'%s' does not have the CRC-32 that the ZIP gives for it", name);
	return 0;
}
