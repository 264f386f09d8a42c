/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/frame.h"

#include <errno.h>
#include <stdlib.h>

#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/zip.h"

#define RAW_DEFLATE     (-15) /* window bits: 32 KiB, without zlib's framing */
#define DEFLATE_MEMORY  9
#define DEFLATE_LEVEL   6
#define DEFLATE_MOST    9
#define ZSTD_LEVEL      15 /* made once, fetched by many: docs/performance.md */
#define ZSTD_WITH_SIZE  1
#define FULL_FLUSH_SIZE 16 /* an empty stored block, aligned; zlib wants more than it needs */

struct framer {
	uint16_t method;
	ZSTD_CCtx *zstd;
	z_stream deflate;
	bool deflating;
};

DEFINE_CLEANUP(framer_freep, struct framer *, framer_free)

static int no_level(int level, int least, int most, struct error *error)
{
	return error_set(error, ERROR_USAGE, EINVAL,
		"there is no compression level %d: it is %d to %d", level, least, most);
}

static int zstd_begin(struct framer *framer, int level, struct error *error)
{
	if (level == FRAME_LEVEL_DEFAULT)
		level = ZSTD_LEVEL;
	if (level < 1 || level > ZSTD_maxCLevel())
		return no_level(level, 1, ZSTD_maxCLevel(), error);
	framer->zstd = ZSTD_createCCtx();
	if (!framer->zstd)
		return error_memory(error);
	if (ZSTD_isError(ZSTD_CCtx_setParameter(framer->zstd, ZSTD_c_compressionLevel, level))
		|| ZSTD_isError(ZSTD_CCtx_setParameter(
			framer->zstd, ZSTD_c_contentSizeFlag, ZSTD_WITH_SIZE))
		|| ZSTD_isError(ZSTD_CCtx_setParameter(framer->zstd, ZSTD_c_checksumFlag, 0)))
		return error_failed(error, EINVAL, "libzstd refuses level %d", level);
	return 0;
}

static int deflate_begin(struct framer *framer, int level, struct error *error)
{
	if (level == FRAME_LEVEL_DEFAULT)
		level = DEFLATE_LEVEL;
	if (level < 1 || level > DEFLATE_MOST)
		return no_level(level, 1, DEFLATE_MOST, error);
	if (deflateInit2(&framer->deflate, level, Z_DEFLATED, RAW_DEFLATE, DEFLATE_MEMORY,
		    Z_DEFAULT_STRATEGY)
		!= Z_OK)
		return error_memory(error);
	framer->deflating = true;
	return 0;
}

int framer_new(uint16_t method, int level, struct framer **ret, struct error *error)
{
	CLEANUP(framer_freep) struct framer *framer = calloc(1, sizeof(*framer));
	int r = 0;

	if (!framer)
		return error_memory(error);
	framer->method = method;
	if (method == ZIP_METHOD_ZSTD)
		r = zstd_begin(framer, level, error);
	else if (method == ZIP_METHOD_DEFLATE)
		r = deflate_begin(framer, level, error);
	else if (method != ZIP_METHOD_STORED)
		r = error_set(error, ERROR_USAGE, EINVAL, "ZIP method %u cannot be made", method);
	else if (level != FRAME_LEVEL_DEFAULT)
		r = error_set(error, ERROR_USAGE, EINVAL,
			"a level of %d cannot be without compression: leave it out", level);
	if (r < 0)
		return r;
	*ret = TAKE(framer);
	return 0;
}

size_t framer_bound(const struct framer *framer, size_t size)
{
	if (framer->method == ZIP_METHOD_ZSTD)
		return ZSTD_compressBound(size);
	if (framer->method == ZIP_METHOD_DEFLATE)
		return deflateBound((z_stream *)&framer->deflate, size) + FULL_FLUSH_SIZE;
	return size;
}

static int deflate_pack(struct framer *framer, struct span chunk, bool last, uint8_t *out,
	size_t capacity, size_t *ret_size, struct error *error)
{
	z_stream *stream = &framer->deflate;
	int r;

	deflateReset(stream);
	stream->next_in = (Bytef *)chunk.data; /* zlib only reads it */
	stream->avail_in = (uInt)chunk.size;
	stream->next_out = out;
	stream->avail_out = (uInt)capacity;
	r = deflate(stream, last ? Z_FINISH : Z_FULL_FLUSH);
	if (r != (last ? Z_STREAM_END : Z_OK) || stream->avail_in > 0 || stream->avail_out == 0)
		return error_failed(error, EIO, "zlib cannot deflate a chunk (%d)", r);
	*ret_size = capacity - stream->avail_out;
	return 0;
}

int framer_pack(struct framer *framer, struct span chunk, bool last, uint8_t *out, size_t capacity,
	size_t *ret_size, struct error *error)
{
	size_t size;

	if (framer->method == ZIP_METHOD_DEFLATE)
		return deflate_pack(framer, chunk, last, out, capacity, ret_size, error);
	if (framer->method == ZIP_METHOD_STORED) {
		memcpy(out, chunk.data, chunk.size);
		*ret_size = chunk.size;
		return 0;
	}
	size = ZSTD_compress2(framer->zstd, out, capacity, chunk.data, chunk.size);
	if (ZSTD_isError(size))
		return error_failed(
			error, EIO, "libzstd cannot compress a chunk: %s", ZSTD_getErrorName(size));
	*ret_size = size;
	return 0;
}

void framer_free(struct framer *framer)
{
	if (!framer)
		return;
	ZSTD_freeCCtx(framer->zstd);
	if (framer->deflating)
		deflateEnd(&framer->deflate);
	free(framer);
}
