/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "format/chunkmap.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Three chunks, the last of 8193 bytes; 19 blocks, the last of one byte. */
#define SIZE  (2 * 32768u + 8193)
#define CHUNK 32768u

static void digest_of(uint64_t chunk, uint8_t ret[32])
{
	memset(ret, (int)(0xa0 + chunk), 32);
}

static struct buffer make_map(void)
{
	struct chunkmap_writer writer = { 0 };
	uint8_t digest[32];

	assert_int_equal(chunkmap_writer_init(&writer, SIZE, CHUNK, NULL), 0);
	assert_int_equal(writer.chunk_count, 3);
	assert_int_equal(writer.block_count, 19);
	/* Backwards: the order is free. */
	for (uint64_t i = writer.chunk_count; i-- > 0;) {
		digest_of(i, digest);
		chunkmap_put_chunk(&writer, i, (uint32_t)(1000 + i), digest);
	}
	for (uint64_t i = writer.block_count; i-- > 0;)
		chunkmap_put_hint(&writer, i, UINT64_C(0x1122334455667700) + i);
	return writer.bytes;
}

static void test_bytes(void **state)
{
	static const struct {
		uint64_t size;
		uint32_t chunk_size;
		uint64_t wanted; /* 0: refused */
	} rows[] = {
		{ 1, 4096, 40 + 36 + 8 },
		{ 4096, 4096, 40 + 36 + 8 },
		{ 4097, 4096, 40 + 2 * 36 + 2 * 8 },
		{ 4097, 32768, 40 + 36 + 2 * 8 },
		{ 503713792, 32768, 40 + 15373 * 36 + 122977 * 8 },
		{ UINT64_C(1) << 40, 4096, 40 + (UINT64_C(1) << 28) * 44 },
		{ UINT64_C(1) << 40, 1 << 20,
			40 + (UINT64_C(1) << 20) * 36 + (UINT64_C(1) << 28) * 8 },
		{ (UINT64_C(1) << 40) + 1, 32768, 0 },
		{ UINT64_MAX, 32768, 0 },
		{ 0, 32768, 0 },
		{ 1, 0, 0 },
		{ 1, 1, 0 },
		{ 1, 2048, 0 },
		{ 1, 4095, 0 },
		{ 1, 12288, 0 },
		{ 1, 32769, 0 },
		{ 1, 2 << 20, 0 },
		{ 1, UINT32_C(1) << 31, 0 },
		{ 1, UINT32_MAX, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct error error = { 0 };
		uint64_t bytes = 7;
		int r = chunkmap_bytes(rows[i].size, rows[i].chunk_size, &bytes, &error);

		assert_int_equal(r, rows[i].wanted ? 0 : -EINVAL);
		assert_int_equal(bytes, rows[i].wanted ? rows[i].wanted : 7);
		assert_int_equal(error.kind, rows[i].wanted ? ERROR_NONE : ERROR_FAILED);
	}
}

static void test_good(void **state)
{
	AUTO_BUFFER struct buffer bytes = make_map();
	struct chunkmap map;
	uint8_t digest[32];

	(void)state;
	assert_int_equal(bytes.size, 40 + 3 * 36 + 19 * 8);
	assert_int_equal(chunkmap_parse(span_of(&bytes), SIZE, CHUNK, &map, NULL), 0);
	assert_int_equal(map.size, SIZE);
	assert_int_equal(map.chunk_size, CHUNK);
	assert_int_equal(map.chunk_count, 3);
	assert_int_equal(map.block_count, 19);
	assert_int_equal(map.compressed_size, 3003);
	for (uint64_t i = 0; i < 3; i++) {
		digest_of(i, digest);
		assert_int_equal(chunkmap_length(&map, i), 1000 + i);
		assert_memory_equal(chunkmap_sha256(&map, i), digest, 32);
		assert_int_equal(chunkmap_chunk_bytes(&map, i), i < 2 ? CHUNK : 8193);
	}
	for (uint64_t i = 0; i < 19; i++)
		assert_int_equal(chunkmap_hint(&map, i), UINT64_C(0x1122334455667700) + i);
}

/* The layout itself, so that it does not change on both sides at once. */
static void test_layout(void **state)
{
	static const uint8_t header[40] = "bistchnk\1\0\0\0\x28\0\0\0\0\x80\0\0\0\x10\0\0"
					  "\1\x20\1\0\0\0\0\0\0\0\0\0\0\0\0";
	AUTO_BUFFER struct buffer bytes = make_map();

	(void)state;
	assert_memory_equal(bytes.data, header, sizeof(header));
	assert_memory_equal(bytes.data + 40, "\xe8\x03\0\0\xa0", 5);
	assert_memory_equal(bytes.data + 76, "\xe9\x03\0\0\xa1", 5);
	assert_memory_equal(bytes.data + 40 + 108, "\x00\x77\x66\x55\x44\x33\x22\x11\x01", 9);
}

static void test_last_chunk(void **state)
{
	static const struct {
		uint64_t size;
		uint32_t last;
	} rows[] = { { 1, 1 }, { 32767, 32767 }, { 32768, 32768 }, { 32769, 1 }, { 65536, 32768 } };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct chunkmap map = { .size = rows[i].size, .chunk_size = 32768 };

		map.chunk_count = (rows[i].size + 32767) / 32768;
		assert_int_equal(chunkmap_chunk_bytes(&map, map.chunk_count - 1), rows[i].last);
	}
}

/* Every single byte of the header counts. */
static void test_header(void **state)
{
	AUTO_BUFFER struct buffer bytes = make_map();

	(void)state;
	for (size_t i = 0; i < CHUNKMAP_HEADER_SIZE; i++) {
		struct error error = { 0 };
		struct chunkmap map;
		int version = i >= 8 && i < 12;

		bytes.data[i] ^= 0x40;
		assert_int_equal(chunkmap_parse(span_of(&bytes), SIZE, CHUNK, &map, &error),
			version ? -EOPNOTSUPP : -EBADMSG);
		assert_int_equal(error.kind, version ? ERROR_REFUSED : ERROR_FAILED);
		bytes.data[i] ^= 0x40;
	}
}

static void test_length(void **state)
{
	AUTO_BUFFER struct buffer bytes = make_map();
	struct chunkmap map;

	(void)state;
	for (size_t size = 0; size < bytes.size; size++) {
		/* A copy of just this size, so that reading on is seen. */
		AUTO_BUFFER struct buffer cut = { 0 };

		assert_int_equal(buffer_append(&cut, bytes.data, size, NULL), 0);
		assert_int_equal(chunkmap_parse(span_of(&cut), SIZE, CHUNK, &map, NULL), -EBADMSG);
	}
	assert_int_equal(buffer_append(&bytes, "", 1, NULL), 0);
	assert_int_equal(chunkmap_parse(span_of(&bytes), SIZE, CHUNK, &map, NULL), -EBADMSG);
}

/* The map of another payload, or of the same one cut otherwise. */
static void test_sizes(void **state)
{
	static const struct {
		uint64_t size;
		uint32_t chunk_size;
		int result;
	} rows[] = {
		{ SIZE, CHUNK, 0 },
		{ SIZE - 1, CHUNK, -EBADMSG }, /* one block less */
		{ SIZE + 1, CHUNK, -EBADMSG }, /* the same counts */
		{ SIZE + 32768, CHUNK, -EBADMSG },
		{ SIZE, CHUNK * 2, -EBADMSG },
		{ SIZE, CHUNK / 2, -EBADMSG },
		{ 0, CHUNK, -EINVAL },
		{ UINT64_MAX, CHUNK, -EINVAL },
		{ SIZE, 0, -EINVAL },
		{ SIZE, CHUNK + 1, -EINVAL },
	};
	AUTO_BUFFER struct buffer bytes = make_map();

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct chunkmap map;

		assert_int_equal(chunkmap_parse(span_of(&bytes), rows[i].size, rows[i].chunk_size,
					 &map, NULL),
			rows[i].result);
	}
}

static void test_lengths(void **state)
{
	static const struct {
		size_t chunk;
		uint32_t length;
		int result;
	} rows[] = {
		{ 0, 0, -EBADMSG },
		{ 1, 0, -EBADMSG },
		{ 2, 0, -EBADMSG },
		{ 0, 1, 0 },
		{ 0, 32768, 0 },
		{ 0, 32768 + 128 + 64, 0 },
		{ 0, 32768 + 128 + 65, -EBADMSG },
		{ 1, UINT32_MAX, -EBADMSG },
		{ 2, 8193 + 32 + 64, 0 }, /* the last one is shorter */
		{ 2, 8193 + 32 + 65, -EBADMSG },
		{ 2, 32768, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer bytes = make_map();
		struct chunkmap map;

		put_le32(bytes.data + 40 + rows[i].chunk * 36, rows[i].length);
		assert_int_equal(
			chunkmap_parse(span_of(&bytes), SIZE, CHUNK, &map, NULL), rows[i].result);
	}
}

/*
 * The cap holds what zstd's documentation gives as the most it makes (ZSTD_COMPRESSBOUND), and what
 * deflate needs at most: 5 bytes per stored block of 16 KiB or more, and of the flush behind them.
 */
static void test_length_max(void **state)
{
	(void)state;
	for (uint32_t plain = 1; plain <= CHUNKMAP_CHUNK_MAX; plain = plain * 3 / 2 + 1) {
		uint32_t small = plain < 128u << 10 ? ((128u << 10) - plain) >> 11 : 0;

		assert_true(chunkmap_length_max(plain) >= plain + (plain >> 8) + small);
		assert_true(chunkmap_length_max(plain) >= plain + (plain / 16383 + 1) * 5 + 5);
	}
	assert_int_equal(chunkmap_length_max(CHUNKMAP_CHUNK_MAX), (1 << 20) + 4096 + 64);
}

/* Computed with the shared library of xxHash: a wrong seed or variant would find nothing. */
static void test_hint(void **state)
{
	uint8_t block[4096] = { 0 };

	(void)state;
	assert_int_equal(chunkmap_hint_of("", 0), UINT64_C(0x2d06800538d394c2));
	assert_int_equal(chunkmap_hint_of(block, sizeof(block)), UINT64_C(0x93d76fe148c689ba));
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 7 + (i >> 8));
	assert_int_equal(chunkmap_hint_of(block, sizeof(block)), UINT64_C(0x5c722d9ceb6f9064));
	assert_int_equal(chunkmap_hint_of(block, 100), UINT64_C(0x6dbb812cf19d012e));
}

static void test_writer_refuses(void **state)
{
	struct chunkmap_writer writer = { 0 };

	(void)state;
	assert_int_equal(chunkmap_writer_init(&writer, 0, CHUNK, NULL), -EINVAL);
	assert_int_equal(chunkmap_writer_init(&writer, 1, 5000, NULL), -EINVAL);
	assert_null(writer.bytes.data);
	assert_int_equal(chunkmap_writer_init(&writer, 1, CHUNK, NULL), 0);
	chunkmap_writer_done(&writer);
	assert_null(writer.bytes.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_last_chunk),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_length_max),
		cmocka_unit_test(test_hint),
		cmocka_unit_test(test_writer_refuses),
	};

	return cmocka_run_group_tests_name("chunkmap", tests, NULL, NULL);
}
