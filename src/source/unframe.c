/* SPDX-License-Identifier: Apache-2.0 */
#include "source/unframe.h"

#include <errno.h>
#include <stdlib.h>

#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/zip.h"

#define RAW_DEFLATE (-15) /* window bits: 32 KiB, without zlib's framing */

struct unframer {
	uint16_t method;
	ZSTD_DCtx *zstd;
	z_stream inflate;
	bool inflating;
};

int unframer_new(uint16_t method, struct unframer **ret, struct error *error)
{
	AUTO_UNFRAMER struct unframer *unframer = calloc(1, sizeof(*unframer));

	if (!unframer)
		return error_memory(error);
	unframer->method = method;
	if (method == ZIP_METHOD_ZSTD) {
		unframer->zstd = ZSTD_createDCtx();
		if (!unframer->zstd)
			return error_memory(error);
	} else if (method == ZIP_METHOD_DEFLATE) {
		unframer->inflating = inflateInit2(&unframer->inflate, RAW_DEFLATE) == Z_OK;
		if (!unframer->inflating)
			return error_memory(error);
	} else if (method != ZIP_METHOD_STORED) {
		return error_failed(error, EOPNOTSUPP,
			"ZIP method %u, only 93 (zstd), 8 (deflate) and 0 (stored) are supported",
			method);
	}
	*ret = TAKE(unframer);
	return 0;
}

static int damaged(const char *how, struct error *error)
{
	return error_failed(error, EBADMSG, "%s", how);
}

static int zstd_unpack(struct unframer *unframer, struct span frame, uint8_t *out, size_t size,
	struct error *error)
{
	size_t end = ZSTD_findFrameCompressedSize(frame.data, frame.size), got;

	if (ZSTD_isError(end))
		return damaged("it is no whole zstd frame", error);
	if (end < frame.size)
		return error_failed(error, EBADMSG, "%zu bytes follow the end of its zstd frame",
			frame.size - end);
	if (ZSTD_getFrameContentSize(frame.data, frame.size) != size)
		return damaged("its zstd frame does not state the chunk's size", error);
	got = ZSTD_decompressDCtx(unframer->zstd, out, size, frame.data, frame.size);
	if (ZSTD_isError(got))
		return error_failed(
			error, EBADMSG, "its zstd frame is damaged: %s", ZSTD_getErrorName(got));
	return got == size ? 0 : damaged("its zstd frame is shorter than the chunk", error);
}

/* Whether inflate() has stopped behind a block that is not the last one and ends at a byte. */
static bool at_byte_boundary(const z_stream *stream)
{
	const int behind_block = 128, bits_left = 7, last_block = 64;

	return (stream->data_type & (behind_block | bits_left | last_block)) == behind_block;
}

/* Goes on to the end of the frame: the flush behind the data gives no more bytes. */
static int inflate_rest(z_stream *stream, struct error *error)
{
	uint8_t excess;
	int r;

	stream->next_out = &excess;
	stream->avail_out = 1;
	r = inflate(stream, Z_SYNC_FLUSH);
	if (stream->avail_out == 0)
		return damaged("its deflate data has more bytes than the chunk", error);
	return r == Z_BUF_ERROR ? Z_OK : r;
}

static int inflate_unpack(struct unframer *unframer, struct span frame, bool last, uint8_t *out,
	size_t size, struct error *error)
{
	z_stream *stream = &unframer->inflate;
	int r;

	inflateReset(stream);
	stream->next_in = (Bytef *)frame.data; /* zlib only reads it */
	stream->avail_in = (uInt)frame.size;
	stream->next_out = out;
	stream->avail_out = (uInt)size;
	r = inflate(stream, Z_SYNC_FLUSH);
	/* Behind a flush, another call would forget where it stands. */
	if (r == Z_OK && stream->avail_out == 0
		&& (stream->avail_in > 0 || !at_byte_boundary(stream)))
		r = inflate_rest(stream, error);
	if (r == -EBADMSG)
		return r;
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		return damaged("its deflate data is damaged, or needs the chunk before", error);
	if (stream->total_out != size)
		return damaged("its deflate data has fewer bytes than the chunk", error);
	if (stream->avail_in > 0)
		return error_failed(error, EBADMSG, "%u bytes follow the end of its deflate data",
			stream->avail_in);
	if (last ? r != Z_STREAM_END : r == Z_STREAM_END || !at_byte_boundary(stream))
		return damaged(last ? "its deflate stream does not end there"
				    : "its deflate data does not end with a full flush",
			error);
	return 0;
}

int unframer_unpack(struct unframer *unframer, struct span frame, bool last, uint8_t *out,
	size_t size, struct error *error)
{
	if (unframer->method == ZIP_METHOD_ZSTD)
		return zstd_unpack(unframer, frame, out, size, error);
	if (unframer->method == ZIP_METHOD_DEFLATE)
		return inflate_unpack(unframer, frame, last, out, size, error);
	if (frame.size != size)
		return damaged("its stored bytes are not as many as the chunk has", error);
	memcpy(out, frame.data, size);
	return 0;
}

void unframer_free(struct unframer *unframer)
{
	if (!unframer)
		return;
	ZSTD_freeDCtx(unframer->zstd);
	if (unframer->inflating)
		inflateEnd(&unframer->inflate);
	free(unframer);
}
