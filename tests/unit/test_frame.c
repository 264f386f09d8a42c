/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/chunkmap.h"
#include "format/zip.h"
#include "maker/frame.h"
#include "source/unframe.h"

#define SIZE 40000u

DEFINE_CLEANUP(framer_freep, struct framer *, framer_free)

static const uint16_t methods[] = { ZIP_METHOD_STORED, ZIP_METHOD_DEFLATE, ZIP_METHOD_ZSTD };

#define METHODS (sizeof(methods) / sizeof(methods[0]))

/* A text that compresses, or (noise) bytes that do not. */
static void make_plain(uint8_t *out, size_t size, bool noise)
{
	uint32_t x = 1;

	for (size_t i = 0; i < size; i++) {
		x = x * 1664525 + 1013904223;
		out[i] = noise ? (uint8_t)(x >> 24) : "the quick brown fox "[(i + (x >> 30)) % 20];
	}
}

static size_t pack(uint16_t method, struct span plain, bool last, uint8_t *out, size_t capacity)
{
	CLEANUP(framer_freep) struct framer *framer = NULL;
	size_t size;

	assert_int_equal(framer_new(method, FRAME_LEVEL_DEFAULT, &framer, NULL), 0);
	assert_true(framer_bound(framer, plain.size) <= capacity);
	assert_int_equal(framer_pack(framer, plain, last, out, capacity, &size, NULL), 0);
	return size;
}

static int unpack(uint16_t method, struct span frame, bool last, uint8_t *out, size_t size,
	struct error *error)
{
	AUTO_UNFRAMER struct unframer *unframer = NULL;

	assert_int_equal(unframer_new(method, &unframer, NULL), 0);
	return unframer_unpack(unframer, frame, last, out, size, error);
}

static void test_what_is_packed_is_unpacked(void **state)
{
	static const size_t sizes[] = { 1, 4095, 4096, 32768, SIZE };
	static uint8_t plain[SIZE], frame[2 * SIZE], again[SIZE + 1];

	(void)state;
	for (size_t i = 0; i < METHODS * 2 * 2 * 5; i++) {
		uint16_t method = methods[i % METHODS];
		bool noise = i / METHODS % 2, last = i / METHODS / 2 % 2;
		size_t size = sizes[i / METHODS / 4], length;

		make_plain(plain, size, noise);
		memset(again, 0, sizeof(again));
		length = pack(method, (struct span){ plain, size }, last, frame, sizeof(frame));
		assert_true(length <= chunkmap_length_max((uint32_t)size));
		if (!noise && size >= 4095 && method != ZIP_METHOD_STORED)
			assert_true(length < size / 2);
		assert_int_equal(
			unpack(method, (struct span){ frame, length }, last, again, size, NULL), 0);
		assert_memory_equal(plain, again, size);
	}
}

/* All frames of a payload behind each other are what any tool decompresses as one. */
static void test_pieces_make_one_deflate_stream(void **state)
{
	static uint8_t plain[SIZE], frames[2 * SIZE], again[SIZE + 1];
	z_stream stream = { .next_in = frames, .next_out = again, .avail_out = sizeof(again) };
	size_t size = 0;

	(void)state;
	make_plain(plain, SIZE, false);
	for (size_t at = 0; at < SIZE; at += 10000)
		size += pack(ZIP_METHOD_DEFLATE, (struct span){ plain + at, 10000 },
			at + 10000 == SIZE, frames + size, sizeof(frames) - size);
	assert_int_equal(inflateInit2(&stream, -15), Z_OK);
	stream.avail_in = (uInt)size;
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.avail_in, 0);
	assert_int_equal(stream.total_out, SIZE);
	assert_memory_equal(plain, again, SIZE);
	inflateEnd(&stream);
}

/* A framer has no memory: what came before does not change a frame. */
static void test_frames_do_not_depend_on_what_came_before(void **state)
{
	static uint8_t plain[SIZE], alone[2 * SIZE], after[2 * SIZE];

	(void)state;
	make_plain(plain, SIZE, false);
	for (size_t i = 0; i < METHODS; i++) {
		CLEANUP(framer_freep) struct framer *framer = NULL;
		struct span first = { plain, 20000 }, second = { plain + 20000, 20000 };
		size_t size, alone_size;

		alone_size = pack(methods[i], second, false, alone, sizeof(alone));
		assert_int_equal(framer_new(methods[i], FRAME_LEVEL_DEFAULT, &framer, NULL), 0);
		assert_int_equal(
			framer_pack(framer, first, true, after, sizeof(after), &size, NULL), 0);
		assert_int_equal(
			framer_pack(framer, second, false, after, sizeof(after), &size, NULL), 0);
		assert_int_equal(size, alone_size);
		assert_memory_equal(alone, after, size);
	}
}

static void refused(uint16_t method, struct span frame, bool last, size_t size, const char *says)
{
	static uint8_t out[2 * SIZE];
	struct error error = { 0 };
	int r = unpack(method, frame, last, out, size, &error);

	if (r != -EBADMSG || !strstr(error.text, says))
		fail_msg("method %u: %d '%s', not '%s'", method, r, error.text, says);
}

static void test_zstd_frames_that_are_wrong(void **state)
{
	static uint8_t plain[SIZE], frame[2 * SIZE];
	const uint16_t m = ZIP_METHOD_ZSTD;
	ZSTD_CCtx *context = ZSTD_createCCtx();
	size_t n;

	(void)state;
	make_plain(plain, SIZE, false);
	n = pack(m, (struct span){ plain, SIZE }, false, frame, sizeof(frame));
	refused(m, (struct span){ frame, n }, false, SIZE + 1, "does not state the chunk's size");
	refused(m, (struct span){ frame, n }, false, SIZE - 1, "does not state the chunk's size");
	refused(m, (struct span){ frame, n - 1 }, false, SIZE, "no whole zstd frame");
	frame[n] = 'x';
	refused(m, (struct span){ frame, n + 1 }, false, SIZE, "1 bytes follow the end");
	memcpy(frame + n, frame, n);
	refused(m, (struct span){ frame, 2 * n }, false, SIZE, "bytes follow the end");
	refused(m, (struct span){ frame + 1, n }, false, SIZE, "no whole zstd frame");
	memcpy(frame, "\x50\x2a\x4d\x18\x04\0\0\0abcd", 12); /* a skippable frame */
	refused(m, (struct span){ frame, 12 }, false, 4, "does not state");
	/* One that states no size could expand without end. */
	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
	n = ZSTD_compress2(context, frame, sizeof(frame), plain, SIZE);
	refused(m, (struct span){ frame, n }, false, SIZE, "does not state the chunk's size");
	ZSTD_freeCCtx(context);
}

/* Headers that lie about the size of what follows. */
static void test_zstd_frames_that_lie(void **state)
{
	static uint8_t plain[SIZE], frame[2 * SIZE];
	size_t n;

	(void)state;
	make_plain(plain, SIZE, false);
	n = pack(ZIP_METHOD_ZSTD, (struct span){ plain, SIZE }, false, frame, sizeof(frame));
	/* Single segment, content size in two bytes, 256 less than it is. */
	assert_int_equal(frame[4] >> 5, 3);
	for (int step = -1; step <= 1; step += 2) {
		size_t said = (size_t)((int)SIZE + step);

		put_le16(frame + 5, (uint16_t)(said - 256));
		refused(ZIP_METHOD_ZSTD, (struct span){ frame, n }, false, said, "zstd frame");
	}
}

static void test_deflate_data_that_is_wrong(void **state)
{
	static uint8_t plain[SIZE], frame[2 * SIZE], last[2 * SIZE];
	const uint16_t m = ZIP_METHOD_DEFLATE;
	z_stream stream = { 0 };
	size_t n, end;

	(void)state;
	make_plain(plain, SIZE, false);
	n = pack(m, (struct span){ plain, SIZE }, false, frame, sizeof(frame));
	end = pack(m, (struct span){ plain, SIZE }, true, last, sizeof(last));
	refused(m, (struct span){ frame, n }, false, SIZE + 1, "fewer bytes than the chunk");
	refused(m, (struct span){ frame, n }, false, SIZE - 1, "more bytes than the chunk");
	refused(m, (struct span){ frame, n - 1 }, false, SIZE, "full flush");
	refused(m, (struct span){ frame, n / 2 }, false, SIZE, "fewer bytes than the chunk");
	refused(m, (struct span){ frame, n }, true, SIZE, "does not end there");
	refused(m, (struct span){ last, end }, false, SIZE, "full flush");
	last[end] = 0;
	refused(m, (struct span){ last, end + 1 }, true, SIZE, "1 bytes follow the end");
	refused(m, (struct span){ (const uint8_t *)"\7", 1 }, true, 1, "damaged");
	/* A second chunk that reaches back into the first. */
	assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
	stream.next_in = plain;
	stream.avail_in = SIZE / 2;
	stream.next_out = frame;
	stream.avail_out = sizeof(frame);
	assert_int_equal(deflate(&stream, Z_SYNC_FLUSH), Z_OK);
	n = stream.total_out;
	stream.next_in = plain;
	stream.avail_in = SIZE / 2;
	assert_int_equal(deflate(&stream, Z_SYNC_FLUSH), Z_OK);
	refused(m, (struct span){ frame + n, stream.total_out - n }, false, SIZE / 2,
		"needs the chunk before");
	deflateEnd(&stream);
}

static void test_stored_chunks_have_their_size(void **state)
{
	(void)state;
	refused(ZIP_METHOD_STORED, (struct span){ (const uint8_t *)"abc", 3 }, true, 2, "stored");
	refused(ZIP_METHOD_STORED, (struct span){ (const uint8_t *)"abc", 3 }, true, 4, "stored");
}

static void test_levels_and_methods(void **state)
{
	static const struct {
		uint16_t method;
		int level, r;
	} cases[] = {
		{ ZIP_METHOD_ZSTD, 1, 0 },
		{ ZIP_METHOD_ZSTD, 22, 0 },
		{ ZIP_METHOD_ZSTD, 23, -EINVAL },
		{ ZIP_METHOD_ZSTD, 0, -EINVAL },
		{ ZIP_METHOD_DEFLATE, 9, 0 },
		{ ZIP_METHOD_DEFLATE, 10, -EINVAL },
		{ ZIP_METHOD_DEFLATE, 0, -EINVAL },
		{ 12, FRAME_LEVEL_DEFAULT, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CLEANUP(framer_freep) struct framer *framer = NULL;
		struct error error = { 0 };

		assert_int_equal(
			framer_new(cases[i].method, cases[i].level, &framer, &error), cases[i].r);
		assert_int_equal(error.kind, cases[i].r ? ERROR_USAGE : ERROR_NONE);
	}
	for (uint16_t method = 0; method < 100; method++) {
		AUTO_UNFRAMER struct unframer *unframer = NULL;
		bool known = method == 0 || method == 8 || method == 93;

		assert_int_equal(unframer_new(method, &unframer, NULL), known ? 0 : -EOPNOTSUPP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_packed_is_unpacked),
		cmocka_unit_test(test_pieces_make_one_deflate_stream),
		cmocka_unit_test(test_frames_do_not_depend_on_what_came_before),
		cmocka_unit_test(test_zstd_frames_that_are_wrong),
		cmocka_unit_test(test_zstd_frames_that_lie),
		cmocka_unit_test(test_deflate_data_that_is_wrong),
		cmocka_unit_test(test_stored_chunks_have_their_size),
		cmocka_unit_test(test_levels_and_methods),
	};

	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
