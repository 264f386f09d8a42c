/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk map behind the size (8 bytes) and the chunk size (4) that a manifest would name. */
#include "format/chunkmap.h"
#include "fuzz.h"

#define HEADER 12

/* Put together from what was read, it is the same bytes again. */
static void check_again(const struct chunkmap *map, struct span bytes)
{
	AUTO_CHUNKMAP_WRITER struct chunkmap_writer writer = { 0 };

	must(chunkmap_writer_init(&writer, map->size, map->chunk_size, NULL) == 0);
	must(writer.chunk_count == map->chunk_count && writer.block_count == map->block_count);
	for (uint64_t i = 0; i < map->chunk_count; i++)
		chunkmap_put_chunk(&writer, i, chunkmap_length(map, i), chunkmap_sha256(map, i));
	for (uint64_t i = 0; i < map->block_count; i++)
		chunkmap_put_hint(&writer, i, chunkmap_hint(map, i));
	must(span_equal(span_of(&writer.bytes), bytes));
}

static void check_map(const struct chunkmap *map)
{
	uint64_t plain = 0, compressed = 0;

	for (uint64_t i = 0; i < map->chunk_count; i++) {
		uint32_t bytes = chunkmap_chunk_bytes(map, i);

		must(bytes > 0 && bytes <= map->chunk_size);
		must(chunkmap_length(map, i) > 0);
		must(chunkmap_length(map, i) <= chunkmap_length_max(bytes));
		plain += bytes;
		compressed += chunkmap_length(map, i);
	}
	must(plain == map->size && compressed == map->compressed_size);
	must((map->block_count - 1) * CHUNKMAP_BLOCK_SIZE < map->size);
	must(map->block_count * CHUNKMAP_BLOCK_SIZE >= map->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error error = { 0 };
	struct chunkmap map;
	struct span bytes;
	uint64_t wanted;

	if (size < HEADER)
		return 0;
	bytes = (struct span){ data + HEADER, size - HEADER };
	if (!succeeded(chunkmap_parse(bytes, le64(data), le32(data + 8), &map, &error), &error))
		return 0;
	must(chunkmap_bytes(map.size, map.chunk_size, &wanted, NULL) == 0);
	must(wanted == bytes.size);
	check_map(&map);
	check_again(&map, bytes);
	return 0;
}
