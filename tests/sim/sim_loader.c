/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the simulated firmware's loader takes, after EDK2's: each field is read where it lies, and
 * nothing of the product is used, so that a product that accepts too much is found out.
 */
#include "sim_loader.h"

#include <string.h>

#define HEADERS 264 /* signature, COFF header, and an optional header of 16 directories */

/* A field of `size` bytes; what lies outside of the file reads as a number that fits nowhere. */
static uint64_t field(struct span file, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	if (offset > file.size || size > file.size - offset)
		return UINT32_MAX;
	while (size-- > 0)
		value = value << 8 | file.data[offset + size];
	return value;
}

struct image {
	struct span file;
	uint64_t header, sections;              /* offsets */
	uint64_t count, size, headers, machine; /* of the image; bytes */
};

static bool read_image(struct span file, struct image *image)
{
	uint64_t header = field(file, 0x3c, 4), optional = header + 24;

	if (field(file, 0, 2) != 0x5a4d || header < 64 || file.size < HEADERS
		|| header > file.size - HEADERS || field(file, header, 4) != 0x4550)
		return false;
	*image = (struct image){
		.file = file,
		.header = header,
		.sections = optional + field(file, header + 20, 2),
		.count = field(file, header + 6, 2),
		.size = field(file, optional + 56, 4),
		.headers = field(file, optional + 60, 4),
		.machine = field(file, header + 4, 2),
	};
	return field(file, optional, 2) == 0x20b;
}

static bool headers_fit(const struct image *image)
{
	uint64_t optional = image->header + 24, directories = field(image->file, optional + 108, 4);
	uint64_t alignment = field(image->file, optional + 32, 4);

	return directories <= 16 && image->sections == optional + 112 + 8 * directories
	       && image->headers > image->sections
	       && (image->headers - image->sections) / 40 >= image->count
	       && image->headers < image->size && image->headers <= image->file.size
	       && (image->size - image->sections) / 40 > image->count && alignment != 0
	       && image->size + alignment <= UINT64_C(1) << 30          /* the machine's memory */
	       && field(image->file, optional + 68, 2) == 10            /* an application */
	       && (field(image->file, image->header + 22, 2) & 1) == 0; /* relocatable */
}

static bool sections_fit(const struct image *image)
{
	for (uint64_t i = 0; i < image->count; i++) {
		uint64_t header = image->sections + 40 * i;
		uint64_t in_memory = field(image->file, header + 8, 4);
		uint64_t address = field(image->file, header + 12, 4);
		uint64_t raw = field(image->file, header + 16, 4);
		uint64_t offset = field(image->file, header + 20, 4);

		if (raw > 0
			&& (address < image->headers || offset < image->headers
				|| offset + raw > image->file.size))
			return false;
		if (address + (in_memory ? in_memory : raw) > image->size)
			return false;
	}
	return true;
}

/* The place in the file of what is loaded at an address; 0: none. */
static uint64_t place_of(const struct image *image, uint64_t address)
{
	for (uint64_t i = 0; i < image->count; i++) {
		uint64_t header = image->sections + 40 * i;
		uint64_t begin = field(image->file, header + 12, 4);
		uint64_t raw = field(image->file, header + 16, 4);

		if (address >= begin && address < begin + raw)
			return field(image->file, header + 20, 4) + address - begin;
	}
	return 0;
}

static bool relocations_fit(const struct image *image)
{
	uint64_t directory = image->header + 24 + 112 + 5 * 8;
	uint64_t address = field(image->file, directory, 4);
	uint64_t left = field(image->file, directory + 4, 4), place;

	if (field(image->file, image->header + 24 + 108, 4) <= 5 || left == 0)
		return true;
	place = place_of(image, address);
	if (place == 0 || address + left > image->size)
		return false;
	while (left > 1) {
		uint64_t page = field(image->file, place, 4);
		uint64_t size = field(image->file, place + 4, 4);

		if (size < 8 || size > left || page >= image->size)
			return false;
		for (uint64_t at = 8; at + 1 < size; at += 2) {
			uint64_t entry = field(image->file, place + at, 2), type = entry >> 12;

			if (page + (entry & 0xfff) >= image->size || (type > 3 && type != 10))
				return false;
		}
		place += size;
		left -= size;
	}
	return true;
}

bool sim_loads(struct span file)
{
	struct image image;

	return read_image(file, &image) && image.machine == SIM_MACHINE && headers_fit(&image)
	       && sections_fit(&image) && relocations_fit(&image)
	       && place_of(&image, field(file, image.header + 24 + 16, 4)) != 0;
}

struct span sim_section(struct span file, const char *name)
{
	struct span none = { (const uint8_t *)"", 0 };
	struct image image;

	if (!read_image(file, &image))
		return none;
	for (uint64_t i = 0; i < image.count; i++) {
		uint64_t header = image.sections + 40 * i;
		uint64_t size = field(file, header + 8, 4), raw = field(file, header + 16, 4);
		uint64_t offset = field(file, header + 20, 4);

		if (size > raw)
			size = raw;
		if (header + 40 <= file.size
			&& strncmp((const char *)file.data + header, name, 8) == 0
			&& offset + size <= file.size)
			return (struct span){ file.data + offset, size };
	}
	return none;
}
