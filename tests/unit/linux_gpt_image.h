/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A GPT as libblkid accepts it (UEFI 2.10 §5.3). */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/guid.h"

#define GPT_ENTRIES     128u
#define GPT_ENTRY_SIZE  128u
#define GPT_HEADER_SIZE 92u

struct gpt_partition {
	uint32_t number;
	uint64_t start, size; /* sectors */
	const char *type, *uuid, *label;
};

static inline uint32_t gpt_crc32(const uint8_t *data, size_t size)
{
	uint32_t crc = 0xffffffff;

	while (size--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

static inline void gpt_entry(uint8_t *entry, const struct gpt_partition *partition)
{
	struct guid guid;

	if (!guid_from_text(partition->type, &guid))
		abort();
	memcpy(entry, guid.bytes, 16);
	if (!guid_from_text(partition->uuid, &guid))
		abort();
	memcpy(entry + 16, guid.bytes, 16);
	put_le64(entry + 32, partition->start);
	put_le64(entry + 40, partition->start + partition->size - 1);
	for (size_t i = 0; i < 36 && partition->label[i]; i++)
		put_le16(entry + 56 + 2 * i, (uint8_t)partition->label[i]);
}

/** Writes the protective MBR and both copies of the table. `size`: of the disk, bytes. */
static inline void gpt_write(int fd, uint64_t size, uint32_t sector,
	const struct gpt_partition *partitions, size_t count)
{
	static uint8_t entries[GPT_ENTRIES * GPT_ENTRY_SIZE];
	uint64_t last = size / sector - 1, table = sizeof(entries) / sector;
	uint8_t *block = calloc(1, sector);

	memset(entries, 0, sizeof(entries));
	for (size_t i = 0; i < count; i++)
		gpt_entry(entries + (partitions[i].number - 1) * GPT_ENTRY_SIZE, &partitions[i]);
	block[446 + 4] = 0xee;
	put_le32(block + 446 + 8, 1);
	put_le32(block + 446 + 12, (uint32_t)last);
	put_le16(block + 510, 0xaa55);
	if (!block || ftruncate(fd, (off_t)size) < 0
		|| pwrite(fd, block, sector, 0) != (ssize_t)sector)
		abort();

	for (int backup = 0; backup < 2; backup++) {
		uint64_t at = backup ? last : 1, entries_at = backup ? last - table : 2;

		memset(block, 0, sector);
		memcpy(block, "EFI PART", 8);
		put_le32(block + 8, 0x10000);
		put_le32(block + 12, GPT_HEADER_SIZE);
		put_le64(block + 24, at);
		put_le64(block + 32, backup ? 1 : last);
		put_le64(block + 40, 2 + table);
		put_le64(block + 48, last - table - 1);
		block[56] = 0x42; /* the disk's GUID */
		put_le64(block + 72, entries_at);
		put_le32(block + 80, GPT_ENTRIES);
		put_le32(block + 84, GPT_ENTRY_SIZE);
		put_le32(block + 88, gpt_crc32(entries, sizeof(entries)));
		put_le32(block + 16, gpt_crc32(block, GPT_HEADER_SIZE));
		if (pwrite(fd, block, sector, (off_t)(at * sector)) != (ssize_t)sector
			|| pwrite(fd, entries, sizeof(entries), (off_t)(entries_at * sector))
				   != (ssize_t)sizeof(entries))
			abort();
	}
	free(block);
}
