/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "format/verity.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* As `veritysetup format --salt=0011` writes it for 300 blocks. */
static void good_superblock(uint8_t block[VERITY_SUPERBLOCK_SIZE])
{
	memset(block, 0, VERITY_SUPERBLOCK_SIZE);
	memcpy(block, "verity\0\0", 8);
	put_le32(block + 8, 1);
	put_le32(block + 12, 1);
	memset(block + 16, 0xab, 16); /* UUID */
	memcpy(block + 32, "sha256", 6);
	put_le32(block + 64, 4096);
	put_le32(block + 68, 1024);
	put_le64(block + 72, 300);
	put_le16(block + 80, 2);
	block[88] = 0x00;
	block[89] = 0x11;
}

static void test_parse(void **state)
{
	uint8_t block[VERITY_SUPERBLOCK_SIZE];
	struct verity verity;

	(void)state;
	good_superblock(block);
	assert_true(verity_is_superblock(block));
	assert_int_equal(verity_parse((struct span){ block, sizeof(block) }, &verity, NULL), 0);
	assert_int_equal(verity.data_block_size, 4096);
	assert_int_equal(verity.hash_block_size, 1024);
	assert_int_equal(verity.data_blocks, 300);
	assert_string_equal(verity.algorithm, "sha256");
	assert_int_equal(verity.salt_size, 2);
	assert_memory_equal(verity.salt, "\x00\x11", 2);
}

static void test_parse_bad(void **state)
{
	static const struct {
		size_t offset;
		uint32_t value;
		int result;
	} rows[] = {
		{ 0, 0x6972656b, -EBADMSG },
		{ 4, 0x01007974, -EBADMSG },
		{ 8, 0, -EOPNOTSUPP },
		{ 8, 2, -EOPNOTSUPP },
		{ 12, 0, -EOPNOTSUPP },
		{ 12, 2, -EOPNOTSUPP },
		{ 32, 0, -EBADMSG },          /* no algorithm */
		{ 32, 0x1b616873, -EBADMSG }, /* an escape character in it */
		{ 64, 0, -EBADMSG },
		{ 64, 256, -EBADMSG },
		{ 64, 4097, -EBADMSG },
		{ 64, 2u << 20, -EBADMSG },
		{ 68, 0, -EBADMSG },
		{ 68, 3072, -EBADMSG },
		{ 68, 0x80000000, -EBADMSG },
		{ 72, 0, -EBADMSG },
		{ 76, 0x100000, -EBADMSG }, /* 2^52 blocks of 4 KiB */
		{ 80, 257, -EBADMSG },
		{ 80, 0xffff, -EBADMSG },
		{ 64, 512, 0 },
		{ 64, 1u << 20, 0 },
		{ 76, 0xfffff, 0 },
		{ 80, 256, 0 },
		{ 80, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t block[VERITY_SUPERBLOCK_SIZE];
		struct verity verity;
		int r;

		good_superblock(block);
		put_le32(block + rows[i].offset, rows[i].value);
		r = verity_parse((struct span){ block, sizeof(block) }, &verity, NULL);
		if (r != rows[i].result)
			fail_msg("row %zu: %d", i, r);
	}
}

static void test_parse_unterminated_algorithm(void **state)
{
	uint8_t block[VERITY_SUPERBLOCK_SIZE];
	struct verity verity;

	(void)state;
	good_superblock(block);
	memset(block + 32, 'a', 32);
	assert_int_equal(
		verity_parse((struct span){ block, sizeof(block) }, &verity, NULL), -EBADMSG);
	block[63] = '\0';
	assert_int_equal(verity_parse((struct span){ block, sizeof(block) }, &verity, NULL), 0);
}

static void test_parse_truncated(void **state)
{
	uint8_t block[VERITY_SUPERBLOCK_SIZE];
	struct verity verity;

	(void)state;
	good_superblock(block);
	for (size_t size = 0; size < sizeof(block); size++) {
		AUTO_BUFFER struct buffer cut = { 0 };

		assert_int_equal(buffer_append(&cut, block, size, NULL), 0);
		assert_int_equal(verity_parse(span_of(&cut), &verity, NULL), -EBADMSG);
	}
}

/* The sizes of the trees were checked against what veritysetup makes. */
static void test_lay_out(void **state)
{
	static const struct {
		uint64_t data_blocks;
		uint32_t hash_block_size;
		size_t digest_size;
		uint32_t hashes_per_block;
		uint64_t total;
		size_t levels;
		uint64_t start[4], blocks[4]; /* level 0 first */
	} rows[] = {
		{ 1, 4096, 32, 128, 0, 0, { 0 }, { 0 } }, { 2, 4096, 32, 128, 1, 1, { 0 }, { 1 } },
		{ 128, 4096, 32, 128, 1, 1, { 0 }, { 1 } },
		{ 129, 4096, 32, 128, 3, 2, { 1, 0 }, { 2, 1 } },
		{ 16384, 4096, 32, 128, 129, 2, { 1, 0 }, { 128, 1 } },
		{ 16385, 4096, 32, 128, 132, 3, { 3, 1, 0 }, { 129, 2, 1 } },
		{ 1000, 512, 64, 8, 144, 4, { 19, 3, 1, 0 }, { 125, 16, 2, 1 } },
		{ 300, 4096, 20, 128, 4, 2, { 1, 0 }, { 3, 1 } }, /* SHA-1 takes 32 bytes */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct verity verity = { .data_block_size = 1024,
			.hash_block_size = rows[i].hash_block_size,
			.data_blocks = rows[i].data_blocks };
		struct verity_layout layout;

		assert_int_equal(verity_lay_out(&verity, rows[i].digest_size, &layout, NULL), 0);
		assert_int_equal(layout.hashes_per_block, rows[i].hashes_per_block);
		assert_int_equal(layout.total_blocks, rows[i].total);
		assert_int_equal(layout.level_count, rows[i].levels);
		assert_memory_equal(layout.level_start, rows[i].start, sizeof(rows[i].start));
		assert_memory_equal(layout.level_blocks, rows[i].blocks, sizeof(rows[i].blocks));
	}
}

static void test_lay_out_largest(void **state)
{
	struct verity verity = {
		.data_block_size = 512, .hash_block_size = 512, .data_blocks = UINT64_MAX / 512
	};
	struct verity_layout layout;

	(void)state;
	assert_int_equal(verity_lay_out(&verity, 64, &layout, NULL), 0);
	assert_int_equal(layout.level_count, 19); /* 55 bits, 3 a level */
	assert_true(layout.level_blocks[0] == ((uint64_t)1 << 52));
	assert_int_equal(layout.level_blocks[18], 1);
	assert_int_equal(layout.level_start[18], 0);
}

static void test_lay_out_bad(void **state)
{
	static const struct {
		uint32_t data_block_size, hash_block_size;
		uint64_t data_blocks;
		size_t digest_size;
	} rows[] = {
		{ 4096, 4096, 0, 32 },
		{ 4096, 4096, 10, 0 },
		{ 4096, 4096, 10, 65 },
		{ 4096, 0, 10, 32 },
		{ 4096, 16, 10, 32 },
		{ 3000, 4096, 10, 32 },
		{ 4096, 4096, UINT64_MAX, 32 },
		{ 512, 1u << 20, UINT64_MAX / 256, 64 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct verity verity = { .data_block_size = rows[i].data_block_size,
			.hash_block_size = rows[i].hash_block_size,
			.data_blocks = rows[i].data_blocks };
		struct verity_layout layout;
		struct error error = { 0 };

		if (verity_lay_out(&verity, rows[i].digest_size, &layout, &error) != -EBADMSG)
			fail_msg("row %zu was accepted", i);
		assert_true(error.text[0] != '\0');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_bad),
		cmocka_unit_test(test_parse_unterminated_algorithm),
		cmocka_unit_test(test_parse_truncated),
		cmocka_unit_test(test_lay_out),
		cmocka_unit_test(test_lay_out_largest),
		cmocka_unit_test(test_lay_out_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
