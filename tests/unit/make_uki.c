/* SPDX-License-Identifier: Apache-2.0 */
#include "make_uki.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/pe.h"

#define OPTIONAL_HEADER_SIZE 112u
#define DIRECTORIES          16u
#define SECTION_HEADER_SIZE  40u
#define KERNEL_TEXT          0x400u /* boot sector and one setup sector */

static uint32_t chosen(uint32_t value, uint32_t good)
{
	return value == MAKE_ZERO ? 0 : value ? value : good;
}

static uint32_t round_up(uint32_t value, uint32_t alignment)
{
	return (value + alignment - 1) / alignment * alignment;
}

/* Makes the buffer at least `size` bytes long, with zeroes. */
static void grow(struct buffer *buffer, size_t size)
{
	if (size > buffer->size && buffer_append(buffer, NULL, size - buffer->size, NULL) < 0)
		abort();
}

static void put_bytes(struct buffer *buffer, size_t offset, const void *data, size_t size)
{
	grow(buffer, offset + size);
	if (size > 0)
		memcpy(buffer->data + offset, data, size);
}

struct buffer make_pattern(size_t size, uint8_t seed)
{
	struct buffer pattern = { 0 };
	uint32_t state = 0x9e3779b9u * (seed + 1u);

	grow(&pattern, size);
	for (size_t i = 0; i < size; i++) {
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		pattern.data[i] = (uint8_t)(state >> 24);
	}
	return pattern;
}

static uint32_t count_sections(const struct make_pe *pe)
{
	uint32_t count = 0;

	while (pe->sections && pe->sections[count].name)
		count++;
	return count;
}

/* Writes DOS, COFF and optional header; returns where the section headers go. */
static uint32_t put_headers(struct buffer *file, const struct make_pe *pe)
{
	uint32_t offset = chosen(pe->pe_offset, MAKE_PE_OFFSET), optional = offset + 24;
	uint32_t optional_size = chosen(pe->optional_size, OPTIONAL_HEADER_SIZE + 8 * DIRECTORIES);
	uint8_t *p;

	grow(file, optional + OPTIONAL_HEADER_SIZE + 8 * DIRECTORIES);
	p = file->data;
	memcpy(p, "MZ", 2);
	put_le32(p + 0x3c, offset);
	memcpy(p + offset, "PE\0\0", 4);
	put_le16(p + offset + 4, (uint16_t)chosen(pe->machine, PE_MACHINE_NATIVE));
	put_le16(p + offset + 6, (uint16_t)chosen(pe->section_count, count_sections(pe)));
	put_le16(p + offset + 20, (uint16_t)optional_size);
	put_le16(p + offset + 22, 0x206); /* executable, no line numbers, no debug data */
	put_le16(p + optional, (uint16_t)chosen(pe->magic, 0x20b));
	put_le32(p + optional + 32, MAKE_SECTION_ALIGNMENT);
	put_le32(p + optional + 36, MAKE_FILE_ALIGNMENT);
	put_le16(p + optional + 44, (uint16_t)pe->major_image_version);
	put_le16(p + optional + 68, (uint16_t)chosen(pe->subsystem, MAKE_SUBSYSTEM));
	put_le32(p + optional + 108, chosen(pe->directories, DIRECTORIES));
	return optional + optional_size;
}

struct place {
	uint32_t raw_end;       /* of the file so far */
	uint32_t virtual_end;   /* of the image in memory so far */
	uint32_t size_of_image; /* the same, the highest */
	uint32_t entry_point;   /* the first section with bytes */
	uint32_t relocations, relocations_size;
};

/* The first section with bytes is code, and where the program begins. */
static uint32_t flags_of(const struct make_section *section, uint32_t address, struct place *place)
{
	uint32_t good = section->size > 0 ? 0x40000040 : 0x40000080;

	if (strcmp(section->name, ".reloc") == 0) {
		place->relocations = address;
		place->relocations_size = section->size;
	} else if (section->size > 0 && !place->entry_point) {
		place->entry_point = address;
		good = 0x60000020;
	}
	return chosen(section->flags, good);
}

static void put_section(struct buffer *file, uint32_t header, const struct make_section *section,
	struct place *place)
{
	uint32_t virtual_size = chosen(section->virtual_size, section->size);
	uint32_t raw_size = chosen(section->raw_size, round_up(section->size, MAKE_FILE_ALIGNMENT));
	uint32_t raw_offset = chosen(
		section->raw_offset, round_up(place->raw_end, MAKE_FILE_ALIGNMENT));
	uint32_t address = chosen(
		section->virtual_address, round_up(place->virtual_end, MAKE_SECTION_ALIGNMENT));
	struct buffer data = { 0 };

	memcpy(file->data + header, section->name, strnlen(section->name, 8));
	put_le32(file->data + header + 8, virtual_size);
	put_le32(file->data + header + 12, address);
	put_le32(file->data + header + 16, raw_size);
	put_le32(file->data + header + 20, raw_offset);
	put_le32(file->data + header + 36, flags_of(section, address, place));
	if (!section->data)
		data = make_pattern(section->size, 0);
	/* Wild offsets are stated only. */
	if (raw_offset < 0x10000000 && raw_size < 0x10000000) {
		put_bytes(
			file, raw_offset, section->data ? section->data : data.data, section->size);
		grow(file, raw_offset + raw_size);
		place->raw_end = (uint32_t)file->size;
	}
	place->virtual_end = address + (virtual_size ? virtual_size : raw_size);
	if (place->virtual_end > place->size_of_image)
		place->size_of_image = place->virtual_end;
	buffer_done(&data);
}

static void put_sizes(uint8_t *optional, const struct make_pe *pe, uint32_t size_of_headers,
	const struct place *place)
{
	uint32_t size_of_image = place->size_of_image > size_of_headers ? place->size_of_image
									: size_of_headers + 1;

	put_le32(optional + 16, chosen(pe->entry_point, place->entry_point));
	put_le32(optional + 56,
		chosen(pe->size_of_image, round_up(size_of_image, MAKE_SECTION_ALIGNMENT)));
	put_le32(optional + 60, chosen(pe->size_of_headers, size_of_headers));
	put_le32(optional + OPTIONAL_HEADER_SIZE + 5 * 8, place->relocations);
	put_le32(optional + OPTIONAL_HEADER_SIZE + 5 * 8 + 4, place->relocations_size);
}

static void put_certificate(struct buffer *file, const struct make_pe *pe, uint32_t directory)
{
	uint32_t offset = round_up((uint32_t)file->size, 8);

	grow(file, offset + pe->certificate_size);
	memset(file->data + offset, 0xce, pe->certificate_size);
	put_le32(file->data + directory, chosen(pe->certificate_offset, offset));
	put_le32(file->data + directory + 4, pe->certificate_size);
}

struct buffer make_pe(const struct make_pe *pe)
{
	struct buffer file = { 0 };
	uint32_t count = count_sections(pe), headers = put_headers(&file, pe);
	uint32_t optional = chosen(pe->pe_offset, MAKE_PE_OFFSET) + 24;
	uint32_t size_of_headers = round_up(
		headers + count * SECTION_HEADER_SIZE, MAKE_FILE_ALIGNMENT);
	struct place place = { .raw_end = size_of_headers, .virtual_end = size_of_headers };

	grow(&file, size_of_headers);
	for (uint32_t i = 0; i < count; i++)
		put_section(&file, headers + i * SECTION_HEADER_SIZE, &pe->sections[i], &place);
	put_sizes(file.data + optional, pe, size_of_headers, &place);
	grow(&file, file.size + pe->symbol_table_size);
	if (pe->certificate_size > 0)
		put_certificate(&file, pe, optional + OPTIONAL_HEADER_SIZE + 4 * 8);
	return file;
}

struct buffer make_kernel(const struct make_kernel *kernel)
{
	struct buffer text = make_pattern(kernel->size - KERNEL_TEXT, kernel->seed);
	const struct make_section sections[] = {
		{ .name = ".text",
			.data = text.data,
			.size = (uint32_t)text.size,
			.raw_offset = KERNEL_TEXT,
			.raw_size = (uint32_t)text.size },
		{ 0 },
	};
	struct buffer file = make_pe(&(struct make_pe){ .sections = sections,
		.certificate_size = kernel->certificate_size,
		.major_image_version = 1 });

	buffer_done(&text);
	file.data[0x1f1] = 1; /* setup_sects */
	put_le32(file.data + 0x1f4, (kernel->size - KERNEL_TEXT) / 16);
	put_le16(file.data + 0x1fe, 0xaa55);
	memcpy(file.data + 0x202, "HdrS", 4);
	put_le16(file.data + 0x206, (uint16_t)chosen(kernel->protocol, 0x20f));
	file.data[0x211] = 1;              /* LOADED_HIGH */
	file.data[0x234] = 1;              /* relocatable_kernel */
	put_le16(file.data + 0x236, 0x3f); /* XLF_KERNEL_64 and all others */
	put_le32(file.data + 0x238, chosen(kernel->cmdline_size, 2047));
	return file;
}

struct buffer make_uki(const char *cmdline, const char *version, uint8_t seed)
{
	struct buffer kernel = make_kernel(&(struct make_kernel){ .size = 16384, .seed = seed });
	struct buffer initrd = make_pattern(5000, (uint8_t)(seed + 1));
	char osrel[128];
	int osrel_size = snprintf(
		osrel, sizeof(osrel), "ID=test\nIMAGE_VERSION=%s\n", version ? version : "");
	const struct make_section sections[] = {
		{ .name = ".text", .size = 3000 },
		{ .name = ".sdmagic",
			.data = "#### LoaderInfo: systemd-stub 252 ####",
			.size = 38 },
		{ .name = ".cmdline", .data = cmdline, .size = (uint32_t)strlen(cmdline) },
		{ .name = ".initrd", .data = initrd.data, .size = (uint32_t)initrd.size },
		{ .name = ".linux", .data = kernel.data, .size = (uint32_t)kernel.size },
		{ .name = version ? ".osrel" : NULL, .data = osrel, .size = (uint32_t)osrel_size },
		{ 0 },
	};
	struct buffer file = make_pe(&(struct make_pe){ .sections = sections });

	buffer_done(&kernel);
	buffer_done(&initrd);
	return file;
}

struct buffer make_large_uki(const char *cmdline, const char *version, uint32_t osrel)
{
	struct buffer kernel = make_kernel(&(struct make_kernel){ .size = 64 << 10, .seed = 7 });
	struct buffer initrd = make_pattern((384 << 10) + 700, 8), text = { 0 };
	char release[128];

	grow(&text, osrel);
	memset(text.data, '#', osrel);
	snprintf(release, sizeof(release), "IMAGE_VERSION=%s\n", version);
	memcpy(text.data, release, strlen(release));
	text.data[osrel - 1] = '\n';
	const struct make_section sections[] = {
		{ .name = ".text", .size = 9000 },
		{ .name = ".osrel", .data = text.data, .size = osrel },
		{ .name = ".cmdline", .data = cmdline, .size = (uint32_t)strlen(cmdline) },
		{ .name = ".linux", .data = kernel.data, .size = (uint32_t)kernel.size },
		{ .name = ".initrd", .data = initrd.data, .size = (uint32_t)initrd.size },
		{ 0 },
	};
	struct buffer file = make_pe(&(struct make_pe){ .sections = sections });

	buffer_done(&kernel);
	buffer_done(&initrd);
	buffer_done(&text);
	return file;
}
