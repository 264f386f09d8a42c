/* SPDX-License-Identifier: Apache-2.0 */
#include "format/verity.h"

#include <errno.h>
#include <inttypes.h>

#include "base/error.h"

/* Offsets in the superblock (cryptsetup lib/verity/verity.c). */
#define VERSION         8
#define HASH_TYPE       12
#define ALGORITHM       32
#define DATA_BLOCK_SIZE 64
#define HASH_BLOCK_SIZE 68
#define DATA_BLOCKS     72
#define SALT_SIZE       80
#define SALT            88

#define BLOCK_SIZE_LEAST 512
#define BLOCK_SIZE_MOST  (1u << 20)

static bool is_block_size(uint32_t size)
{
	return size >= BLOCK_SIZE_LEAST && size <= BLOCK_SIZE_MOST && (size & (size - 1)) == 0;
}

static bool is_algorithm(const char *name, size_t size)
{
	size_t length = strnlen(name, size);

	if (length == 0 || length == size)
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_()") == length;
}

static int check_numbers(const struct verity *verity, struct error *error)
{
	uint64_t bytes;

	if (!is_block_size(verity->data_block_size) || !is_block_size(verity->hash_block_size))
		return error_failed(error, EBADMSG,
			"verity superblock: block sizes %u and %u (offset %d), both must be "
			"powers of two from 512 to 1 MiB",
			verity->data_block_size, verity->hash_block_size, DATA_BLOCK_SIZE);
	if (verity->data_blocks == 0
		|| __builtin_mul_overflow(verity->data_blocks, verity->data_block_size, &bytes))
		return error_failed(error, EBADMSG,
			"verity superblock: %" PRIu64 " data blocks (offset %d)",
			verity->data_blocks, DATA_BLOCKS);
	return 0;
}

int verity_parse(struct span bytes, struct verity *ret, struct error *error)
{
	struct verity verity = { 0 };
	const uint8_t *block = bytes.data;
	int r;

	if (bytes.size < VERITY_SUPERBLOCK_SIZE || !verity_is_superblock(block))
		return error_failed(
			error, EBADMSG, "not a verity superblock: no 'verity' at its start");
	if (le32(block + VERSION) != 1 || le32(block + HASH_TYPE) != 1)
		return error_failed(error, EOPNOTSUPP,
			"verity superblock of version %u, hash type %u: only 1 and 1 are supported",
			le32(block + VERSION), le32(block + HASH_TYPE));

	memcpy(verity.algorithm, block + ALGORITHM, sizeof(verity.algorithm));
	if (!is_algorithm(verity.algorithm, sizeof(verity.algorithm)))
		return error_failed(error, EBADMSG,
			"verity superblock: no hash algorithm at offset %d", ALGORITHM);
	verity.data_block_size = le32(block + DATA_BLOCK_SIZE);
	verity.hash_block_size = le32(block + HASH_BLOCK_SIZE);
	verity.data_blocks = le64(block + DATA_BLOCKS);
	r = check_numbers(&verity, error);
	if (r < 0)
		return r;
	verity.salt_size = le16(block + SALT_SIZE);
	if (verity.salt_size > VERITY_SALT_MAX)
		return error_failed(error, EBADMSG,
			"verity superblock: a salt of %zu bytes (offset %d), at most %d fit",
			verity.salt_size, SALT_SIZE, VERITY_SALT_MAX);
	memcpy(verity.salt, block + SALT, verity.salt_size);
	*ret = verity;
	return 0;
}

bool verity_tree_start(const struct verity *verity, uint64_t superblock, uint64_t *ret)
{
	uint64_t end;

	if (__builtin_add_overflow(
		    superblock, VERITY_SUPERBLOCK_SIZE + verity->hash_block_size - 1, &end))
		return false;
	*ret = end - end % verity->hash_block_size;
	return true;
}

/* How often 2 fits: floor(log2(value)). */
static unsigned log2_of(uint64_t value)
{
	return 63u - (unsigned)__builtin_clzll(value);
}

int verity_lay_out(const struct verity *verity, size_t digest_size, struct verity_layout *ret,
	struct error *error)
{
	struct verity_layout layout = { 0 };
	uint64_t bytes;
	unsigned bits;
	int r;

	r = check_numbers(verity, error);
	if (r < 0)
		return r;
	if (digest_size == 0 || digest_size > VERITY_DIGEST_MAX)
		return error_failed(error, EBADMSG,
			"verity: a digest of %zu bytes, at most %d are supported", digest_size,
			VERITY_DIGEST_MAX);

	/* Hash format 1 pads digests to a power of two. */
	bits = log2_of(verity->hash_block_size / digest_size);
	layout.hashes_per_block = 1u << bits;
	for (uint64_t below = verity->data_blocks; below > 1; layout.level_count++) {
		below = ((below - 1) >> bits) + 1;
		layout.level_blocks[layout.level_count] = below;
	}
	/* The top lies first: a reader goes down the tree and forward on the disk. */
	for (size_t i = layout.level_count; i-- > 0;) {
		layout.level_start[i] = layout.total_blocks;
		layout.total_blocks += layout.level_blocks[i];
	}
	if (__builtin_mul_overflow(layout.total_blocks, verity->hash_block_size, &bytes))
		return error_failed(error, EBADMSG, "verity: the hash tree is too large");
	*ret = layout;
	return 0;
}
