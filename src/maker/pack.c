/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/pack.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include <isa-l/crc.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/chunkmap.h"
#include "maker/content.h"
#include "maker/frame.h"
#include "maker/maker.h"
#include "maker/output.h"
#include "maker/pipeline.h"
#include "maker/tree.h"
#include "maker/treebuild.h"
#include "maker/treematch.h"

#define PIECE_SIZE      (256u << 10) /* plain bytes that a thread takes at once, at least */
#define THREADS_DEFAULT 16u          /* more only when asked for: each one takes memory */

/** A whole number of chunks (but for the payload's end), and what becomes of them. */
struct piece {
	uint64_t offset; /* of the plain bytes in the payload */
	size_t size;     /* plain bytes */
	bool last;       /* it ends the payload */
	uint8_t *plain;
	uint8_t *frames;
	size_t frames_size;
	uint8_t *digests; /* of the verity data blocks in it */
	size_t digest_count;
};

/** What the threads share. */
struct pack {
	const struct content *content;
	const struct pack_settings *settings;
	const struct verity_tree *tree; /* NULL: none */
	const char *phase;
	size_t piece_size;
	size_t frames_capacity;
	struct chunkmap_writer map; /* each thread puts its own chunks */
	/* The caller's thread's: */
	struct tree_check *check;
	struct sha256 *hash;
	uint64_t offset;      /* of the next piece to fill */
	struct output output; /* the spool */
	struct packed packed;
};

/** What one thread has. */
struct packer {
	struct pack *pack;
	struct framer *framer;
	struct sha256 *hash;
};

unsigned pack_threads(unsigned wanted)
{
	cpu_set_t allowed;
	unsigned count = 1;

	if (wanted > 0)
		return wanted < PIPELINE_WORKERS_MAX ? wanted : PIPELINE_WORKERS_MAX;
	if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
		count = (unsigned)CPU_COUNT(&allowed);
	return count < THREADS_DEFAULT ? count : THREADS_DEFAULT;
}

static int fill(void *context, void *opaque, struct error *error)
{
	struct pack *pack = context;
	struct piece *piece = opaque;
	uint64_t left = pack->content->size - pack->offset;
	int r;

	if (left == 0)
		return 0;
	piece->offset = pack->offset;
	piece->size = left < pack->piece_size ? (size_t)left : pack->piece_size;
	piece->last = piece->size == left;
	r = maker_check_cancelled(pack->settings->observer, error);
	if (r == 0)
		r = content_read(pack->content, piece->offset, piece->plain, piece->size, error);
	pack->offset += piece->size;
	return r < 0 ? r : 1;
}

static int pack_chunk(
	struct packer *packer, struct piece *piece, size_t at, size_t size, struct error *error)
{
	struct pack *pack = packer->pack;
	struct span chunk = { piece->plain + at, size };
	uint8_t *out = piece->frames + piece->frames_size;
	uint8_t digest[SHA256_SIZE];
	size_t length;
	int r;

	r = sha256_reset(packer->hash, error);
	if (r == 0)
		r = sha256_update(packer->hash, chunk.data, chunk.size, error);
	if (r == 0)
		r = sha256_final(packer->hash, digest, error);
	if (r == 0)
		r = framer_pack(packer->framer, chunk, piece->last && at + size == piece->size, out,
			pack->frames_capacity - piece->frames_size, &length, error);
	if (r < 0)
		return r;
	chunkmap_put_chunk(&pack->map, (piece->offset + at) / pack->settings->chunk_size,
		(uint32_t)length, digest);
	piece->frames_size += length;
	return 0;
}

static void put_hints(struct pack *pack, const struct piece *piece)
{
	for (size_t at = 0; at < piece->size; at += CHUNKMAP_BLOCK_SIZE) {
		size_t left = piece->size - at;

		chunkmap_put_hint(&pack->map, (piece->offset + at) / CHUNKMAP_BLOCK_SIZE,
			chunkmap_hint_of(piece->plain + at,
				left < CHUNKMAP_BLOCK_SIZE ? left : CHUNKMAP_BLOCK_SIZE));
	}
}

static int hash_blocks(struct packer *packer, struct piece *piece, struct error *error)
{
	const struct verity *verity = &packer->pack->tree->verity;
	uint32_t size = verity->data_block_size;
	int r = 0;

	piece->digest_count = 0;
	for (size_t at = 0; r == 0 && at + size <= piece->size; at += size) {
		if ((piece->offset + at) / size >= verity->data_blocks)
			break;
		r = treebuild_hash(verity, packer->hash, piece->plain + at, size,
			piece->digests + piece->digest_count++ * SHA256_SIZE, error);
	}
	return r;
}

static int work(void *worker, void *opaque, struct error *error)
{
	struct packer *packer = worker;
	struct piece *piece = opaque;
	uint32_t chunk_size = packer->pack->settings->chunk_size;
	int r = 0;

	piece->frames_size = 0;
	for (size_t at = 0; r == 0 && at < piece->size; at += chunk_size) {
		size_t left = piece->size - at;

		r = pack_chunk(packer, piece, at, left < chunk_size ? left : chunk_size, error);
	}
	put_hints(packer->pack, piece);
	return r == 0 && packer->pack->tree ? hash_blocks(packer, piece, error) : r;
}

static int drain(void *context, void *opaque, struct error *error)
{
	struct pack *pack = context;
	const struct piece *piece = opaque;
	struct packed *packed = &pack->packed;
	int r;

	packed->crc = crc32_gzip_refl(packed->crc, piece->plain, piece->size);
	r = sha256_update(pack->hash, piece->plain, piece->size, error);
	if (r == 0)
		r = output_write(&pack->output, piece->frames, piece->frames_size, error);
	for (size_t i = 0; r == 0 && pack->tree && i < piece->digest_count; i++)
		r = tree_check_add(pack->check, piece->digests + i * SHA256_SIZE, error);
	if (r < 0)
		return r;
	packed->size += piece->size;
	packed->compressed += piece->frames_size;
	maker_progress(pack->settings->observer, pack->phase, packed->size, pack->content->size);
	return 0;
}

static const struct pipeline_ops ops = { fill, work, drain };

static void packer_free(void *opaque)
{
	struct packer *packer = opaque;

	if (!packer)
		return;
	framer_free(packer->framer);
	sha256_free(packer->hash);
	free(packer);
}

static void piece_free(void *opaque)
{
	struct piece *piece = opaque;

	if (!piece)
		return;
	free(piece->plain);
	free(piece->frames);
	free(piece->digests);
	free(piece);
}

static int add_packer(struct pipeline *pipeline, struct pack *pack, struct error *error)
{
	const struct pack_settings *settings = pack->settings;
	struct packer *packer = calloc(1, sizeof(*packer));
	int r;

	if (!packer)
		return error_memory(error);
	pipeline->workers[pipeline->worker_count++] = packer;
	packer->pack = pack;
	r = sha256_new(&packer->hash, error);
	if (r == 0)
		r = framer_new(settings->method, settings->level, &packer->framer, error);
	if (r == 0)
		pack->frames_capacity = pack->piece_size / settings->chunk_size
					* framer_bound(packer->framer, settings->chunk_size);
	return r;
}

static int add_piece(struct pipeline *pipeline, const struct pack *pack, struct error *error)
{
	struct piece *piece = calloc(1, sizeof(*piece));

	if (!piece)
		return error_memory(error);
	pipeline->pieces[pipeline->piece_count++] = piece;
	piece->plain = malloc(pack->piece_size);
	piece->frames = malloc(pack->frames_capacity);
	if (pack->tree)
		piece->digests = malloc(
			pack->piece_size / pack->tree->verity.data_block_size * SHA256_SIZE);
	return piece->plain && piece->frames && (piece->digests || !pack->tree)
		       ? 0
		       : error_memory(error);
}

static int run(struct pack *pack, struct error *error)
{
	struct pipeline pipeline = { .ops = &ops, .context = pack };
	uint64_t pieces = (pack->content->size - 1) / pack->piece_size + 1;
	size_t threads = pack_threads(pack->settings->threads);
	int r = 0;

	if (pieces < threads)
		threads = (size_t)pieces;
	for (size_t i = 0; r == 0 && i < threads; i++)
		r = add_packer(&pipeline, pack, error);
	for (size_t i = 0; r == 0 && i < 2 * threads; i++)
		r = add_piece(&pipeline, pack, error);
	if (r == 0)
		r = pipeline_run(&pipeline, error);
	for (size_t i = 0; i < pipeline.piece_count; i++)
		piece_free(pipeline.pieces[i]);
	for (size_t i = 0; i < pipeline.worker_count; i++)
		packer_free(pipeline.workers[i]);
	return r;
}

static void pack_done(struct pack *pack)
{
	chunkmap_writer_done(&pack->map);
	tree_check_free(pack->check);
	sha256_free(pack->hash);
	packed_done(&pack->packed);
}

static int pack_begin(struct pack *pack, struct error *error)
{
	uint32_t chunk_size = pack->settings->chunk_size;
	int r;

	pack->piece_size = chunk_size > PIECE_SIZE ? chunk_size : PIECE_SIZE;
	if (pack->tree && pack->tree->verity.data_block_size > pack->piece_size)
		pack->piece_size = pack->tree->verity.data_block_size;
	r = chunkmap_writer_init(&pack->map, pack->content->size, chunk_size, error);
	if (r < 0) {
		error_prefix(error, "'%s'", pack->content->name);
		return r;
	}
	r = sha256_new(&pack->hash, error);
	if (r == 0 && pack->tree)
		r = tree_check_new(pack->tree, pack->content, &pack->check, error);
	return r;
}

static int pack_end(struct pack *pack, struct error *error)
{
	struct packed *packed = &pack->packed;
	int r;

	r = sha256_final(pack->hash, packed->sha256, error);
	if (r == 0 && pack->tree)
		r = tree_check_end(pack->check, error);
	packed->map = buffer_take(&pack->map.bytes);
	if (r == 0)
		r = sha256_of(packed->map.data, packed->map.size, packed->map_sha256, error);
	return r;
}

int pack_content(const struct content *content, const struct pack_settings *settings,
	const struct verity_tree *tree, const char *phase, uint64_t *offset, struct packed *ret,
	struct error *error)
{
	CLEANUP(pack_done)
	struct pack pack = {
		.content = content,
		.settings = settings,
		.tree = tree,
		.phase = phase,
		.output = { .fd = settings->spool, .directory = -1, .position = *offset },
		.packed = { .offset = *offset },
	};
	char name[] = "the temporary file beside the bundle";
	int r;

	pack.output.path = name;
	r = pack_begin(&pack, error);
	if (r == 0)
		r = run(&pack, error);
	if (r == 0)
		r = pack_end(&pack, error);
	if (r < 0)
		return r;
	*offset = pack.output.position;
	*ret = pack.packed;
	pack.packed = (struct packed){ 0 };
	return 0;
}

void packed_done(struct packed *packed)
{
	buffer_done(&packed->map);
	*packed = (struct packed){ 0 };
}
