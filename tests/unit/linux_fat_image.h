/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A file system of which only the boot sector and the FAT exist: all that linux_fat.c reads. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define FAT_IMAGE_SECTOR 512u

struct fat_image {
	int fd;
	unsigned int bits;
	uint32_t clusters, cluster_sectors, table_sectors, first_data;
};

static inline void fat_image_make(struct fat_image *image)
{
	uint8_t boot[FAT_IMAGE_SECTOR] = { 0 };
	uint32_t root_entries = image->bits == 32 ? 0 : 16, sectors;

	image->table_sectors = ((image->clusters + 2) * image->bits / 8 + FAT_IMAGE_SECTOR)
			       / FAT_IMAGE_SECTOR;
	image->first_data = 1 + 2 * image->table_sectors + (root_entries ? 1 : 0);
	sectors = image->first_data + image->clusters * image->cluster_sectors;
	put_le16(boot + 11, FAT_IMAGE_SECTOR);
	boot[13] = (uint8_t)image->cluster_sectors;
	put_le16(boot + 14, 1);
	boot[16] = 2;
	put_le16(boot + 17, (uint16_t)root_entries);
	if (sectors < 65536)
		put_le16(boot + 19, (uint16_t)sectors);
	else
		put_le32(boot + 32, sectors);
	if (image->bits == 32)
		put_le32(boot + 36, image->table_sectors);
	else
		put_le16(boot + 22, (uint16_t)image->table_sectors);
	put_le16(boot + 510, 0xaa55);
	if (pwrite(image->fd, boot, sizeof(boot), 0) != sizeof(boot)
		|| ftruncate(image->fd, (off_t)sectors * FAT_IMAGE_SECTOR) < 0)
		abort();
}

/** Says in the FAT that `next` follows `cluster`. */
static inline void fat_image_set(struct fat_image *image, uint32_t cluster, uint32_t next)
{
	off_t offset = (off_t)(FAT_IMAGE_SECTOR + (uint64_t)cluster * image->bits / 8);
	uint8_t entry[4];
	size_t size = image->bits == 32 ? 4 : 2;

	if (pread(image->fd, entry, size, offset) != (ssize_t)size)
		abort();
	if (image->bits == 32)
		put_le32(entry, next | 0xf0000000); /* the upper 4 bits mean nothing */
	else if (image->bits == 16)
		put_le16(entry, (uint16_t)next);
	else if (cluster & 1)
		put_le16(entry, (uint16_t)((le16(entry) & 0xf) | next << 4));
	else
		put_le16(entry, (uint16_t)((le16(entry) & 0xf000) | (next & 0xfff)));
	if (pwrite(image->fd, entry, size, offset) != (ssize_t)size)
		abort();
}

/** A chain given as clusters up to a 0, ended if `ended`. */
static inline void fat_image_chain(struct fat_image *image, const uint32_t *chain, int ended)
{
	for (; *chain; chain++) {
		if (chain[1])
			fat_image_set(image, chain[0], chain[1]);
		else if (ended)
			fat_image_set(image, chain[0],
				0x0fffffff >> (image->bits == 32   ? 0
					       : image->bits == 16 ? 12
								   : 16));
	}
}

static inline uint32_t fat_image_sector(const struct fat_image *image, uint32_t cluster)
{
	return cluster ? image->first_data + (cluster - 2) * image->cluster_sectors : 0;
}
