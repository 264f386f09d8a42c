/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/bytes.h"
#include "machine/linux_private.h"

#define BOOT_SECTOR_SIZE 512
#define DIRECTORY_ENTRY  32
#define FIRST_CLUSTER    2
#define CLUSTERS_MAX     0x0ffffff5u

/* Limits of the FAT types: Microsoft's FAT specification (fatgen103), "FAT Type Determination" */
static unsigned int bits_of(uint32_t clusters)
{
	return clusters < 4085 ? 12 : clusters < 65525 ? 16 : 32;
}

static bool is_power_of_two(uint32_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

int fat_open(int fd, struct fat_volume *ret)
{
	struct fat_volume volume = { .fd = fd };
	uint8_t boot[BOOT_SECTOR_SIZE];
	uint32_t reserved, tables, root_entries, root_sectors, table_sectors, sectors;
	uint64_t first_data;
	ssize_t n = pread(fd, boot, sizeof(boot), 0);

	if (n < 0)
		return -errno;
	if (n != sizeof(boot) || le16(boot + 510) != 0xaa55)
		return -EINVAL;
	volume.sector = le16(boot + 11);
	volume.cluster = boot[13];
	reserved = le16(boot + 14);
	tables = boot[16];
	root_entries = le16(boot + 17);
	sectors = le16(boot + 19) ? le16(boot + 19) : le32(boot + 32);
	table_sectors = le16(boot + 22) ? le16(boot + 22) : le32(boot + 36);
	if (!is_power_of_two(volume.sector) || volume.sector < 512 || volume.sector > 4096
		|| !is_power_of_two(volume.cluster) || reserved == 0 || tables == 0
		|| table_sectors == 0)
		return -EINVAL;

	root_sectors = (root_entries * DIRECTORY_ENTRY + volume.sector - 1) / volume.sector;
	first_data = (uint64_t)reserved + (uint64_t)tables * table_sectors + root_sectors;
	if (first_data >= sectors)
		return -EINVAL;
	volume.first_data = (uint32_t)first_data;
	volume.clusters = (sectors - volume.first_data) / volume.cluster;
	if (volume.clusters == 0 || volume.clusters > CLUSTERS_MAX)
		return -EINVAL;
	/* Linux goes by the old field as well (fs/fat/inode.c): FAT32 has none. */
	volume.bits = le16(boot + 22) ? bits_of(volume.clusters) : 32;
	volume.table = (uint64_t)reserved * volume.sector;
	*ret = volume;
	return 0;
}

uint32_t fat_cluster_of(const struct fat_volume *volume, uint32_t sector)
{
	uint32_t cluster;

	if (sector < volume->first_data)
		return 0;
	cluster = (sector - volume->first_data) / volume->cluster + FIRST_CLUSTER;
	return cluster - FIRST_CLUSTER < volume->clusters ? cluster : 0;
}

size_t fat_bitmap_size(const struct fat_volume *volume)
{
	return ((size_t)volume->clusters + FIRST_CLUSTER + 7) / 8;
}

/* What the table says follows `cluster`; 0 (which is "free") when it cannot be read. */
static uint32_t next_cluster(const struct fat_volume *volume, uint32_t cluster)
{
	uint64_t offset = volume->table + (uint64_t)cluster * volume->bits / 8;
	size_t size = volume->bits == 32 ? 4 : 2;
	uint8_t entry[4];

	if (pread(volume->fd, entry, size, (off_t)offset) != (ssize_t)size)
		return 0;
	if (volume->bits == 32)
		return le32(entry) & 0x0fffffff;
	if (volume->bits == 16)
		return le16(entry);
	return cluster & 1 ? le16(entry) >> 4 : le16(entry) & 0xfff;
}

static bool is_end(const struct fat_volume *volume, uint32_t value)
{
	uint32_t end = volume->bits == 32 ? 0x0ffffff8 : volume->bits == 16 ? 0xfff8 : 0xff8;

	return value >= end;
}

enum fat_chain fat_claim(
	const struct fat_volume *volume, uint32_t first, uint64_t size, uint8_t *claimed)
{
	uint64_t bytes = (uint64_t)volume->cluster * volume->sector;
	uint64_t wanted = size / bytes + (size % bytes != 0), count = 0;
	uint32_t cluster = first;

	if (size == 0)
		return first == 0 ? FAT_CHAIN_SOUND : FAT_CHAIN_UNSOUND;
	/* A loop ends at its first cluster met again. */
	for (; !is_end(volume, cluster); cluster = next_cluster(volume, cluster)) {
		if (cluster < FIRST_CLUSTER || cluster - FIRST_CLUSTER >= volume->clusters
			|| claimed[cluster / 8] & 1 << cluster % 8)
			return FAT_CHAIN_UNSOUND;
		claimed[cluster / 8] |= (uint8_t)(1 << cluster % 8);
		count++;
	}
	return count == wanted  ? FAT_CHAIN_SOUND
	       : count > wanted ? FAT_CHAIN_LONG
				: FAT_CHAIN_UNSOUND;
}
