/* SPDX-License-Identifier: Apache-2.0 */
#include "format/chunkmap.h"

#include <errno.h>
#include <inttypes.h>

#include "base/checksum.h"
#include "base/error.h"

#define VERSION 1

static const uint8_t magic[8] = { 'b', 'i', 's', 't', 'c', 'h', 'n', 'k' };

static uint64_t count_of(uint64_t size, uint32_t each)
{
	return (size - 1) / each + 1;
}

int chunkmap_bytes(uint64_t size, uint32_t chunk_size, uint64_t *ret, struct error *error)
{
	if (size == 0 || size > CHUNKMAP_PAYLOAD_MAX)
		return error_failed(error, EINVAL,
			"a payload of %" PRIu64 " bytes cannot be: give it 1 byte to 1 TiB", size);
	if (chunk_size < CHUNKMAP_CHUNK_MIN || chunk_size > CHUNKMAP_CHUNK_MAX
		|| (chunk_size & (chunk_size - 1)))
		return error_failed(error, EINVAL,
			"a chunk size of %" PRIu32
			" bytes cannot be: choose a power of two from 4 KiB to 1 MiB",
			chunk_size);
	*ret = CHUNKMAP_HEADER_SIZE + count_of(size, chunk_size) * CHUNKMAP_CHUNK_BYTES
	       + count_of(size, CHUNKMAP_BLOCK_SIZE) * CHUNKMAP_HINT_BYTES;
	return 0;
}

static void put_header(uint8_t *p, uint64_t size, uint32_t chunk_size)
{
	memcpy(p, magic, sizeof(magic));
	put_le32(p + 8, VERSION);
	put_le32(p + 12, CHUNKMAP_HEADER_SIZE);
	put_le32(p + 16, chunk_size);
	put_le32(p + 20, CHUNKMAP_BLOCK_SIZE);
	put_le64(p + 24, size);
	put_le64(p + 32, 0);
}

/* The only header that such a payload may have is known beforehand: it says nothing new. */
static int check_header(struct span bytes, uint64_t size, uint32_t chunk_size, struct error *error)
{
	uint8_t wanted[CHUNKMAP_HEADER_SIZE];

	put_header(wanted, size, chunk_size);
	if (bytes.size < sizeof(wanted) || memcmp(bytes.data, magic, sizeof(magic)) != 0)
		return error_failed(error, EBADMSG, "this is no chunk map: make the bundle again");
	if (le32(bytes.data + 8) != VERSION)
		return error_set(error, ERROR_REFUSED, EOPNOTSUPP,
			"the chunk map has version %" PRIu32
			", which this version of bistable does not know: update bistable first",
			le32(bytes.data + 8));
	for (size_t i = 0; i < sizeof(wanted); i++)
		if (bytes.data[i] != wanted[i])
			return error_failed(error, EBADMSG,
				"the chunk map is not the one of this payload (its header differs "
				"at offset %zu): make the bundle again",
				i);
	return 0;
}

static int check_lengths(struct chunkmap *map, struct error *error)
{
	uint64_t total = 0;

	for (uint64_t i = 0; i < map->chunk_count; i++) {
		uint32_t length = chunkmap_length(map, i);
		uint32_t most = chunkmap_length_max(chunkmap_chunk_bytes(map, i));

		if (length == 0 || length > most)
			return error_failed(error, EBADMSG,
				"the chunk map gives chunk %" PRIu64 " a length of %" PRIu32
				" bytes, where 1 to %" PRIu32 " can be: make the bundle again",
				i, length, most);
		total += length;
	}
	map->compressed_size = total;
	return 0;
}

int chunkmap_parse(struct span bytes, uint64_t size, uint32_t chunk_size, struct chunkmap *ret,
	struct error *error)
{
	struct chunkmap map = { .size = size, .chunk_size = chunk_size };
	uint64_t wanted;
	int r;

	r = chunkmap_bytes(size, chunk_size, &wanted, error);
	if (r == 0)
		r = check_header(bytes, size, chunk_size, error);
	if (r < 0)
		return r;
	if (bytes.size != wanted)
		return error_failed(error, EBADMSG,
			"the chunk map has %zu bytes instead of %" PRIu64 ": make the bundle again",
			bytes.size, wanted);
	map.chunk_count = count_of(size, chunk_size);
	map.block_count = count_of(size, CHUNKMAP_BLOCK_SIZE);
	map.chunks = bytes.data + CHUNKMAP_HEADER_SIZE;
	map.hints = map.chunks + map.chunk_count * CHUNKMAP_CHUNK_BYTES;
	r = check_lengths(&map, error);
	if (r == 0)
		*ret = map;
	return r;
}

uint64_t chunkmap_hint_of(const void *block, size_t size)
{
	return checksum_of(block, size);
}

int chunkmap_writer_init(
	struct chunkmap_writer *ret, uint64_t size, uint32_t chunk_size, struct error *error)
{
	struct chunkmap_writer writer = { 0 };
	uint64_t bytes;
	int r;

	r = chunkmap_bytes(size, chunk_size, &bytes, error);
	if (r < 0)
		return r;
	if (bytes > SIZE_MAX)
		return error_memory(error);
	r = buffer_append(&writer.bytes, NULL, (size_t)bytes, error);
	if (r < 0)
		return r;
	put_header(writer.bytes.data, size, chunk_size);
	writer.chunk_count = count_of(size, chunk_size);
	writer.block_count = count_of(size, CHUNKMAP_BLOCK_SIZE);
	*ret = writer;
	return 0;
}

void chunkmap_writer_done(struct chunkmap_writer *writer)
{
	buffer_done(&writer->bytes);
}
