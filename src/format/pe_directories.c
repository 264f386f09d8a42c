/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>

#include "base/error.h"
#include "format/pe_private.h"

#define DIRECTORY_RESOURCES   2
#define DIRECTORY_RELOCATIONS 5
#define DIRECTORY_DEBUG       6

#define BLOCK_HEADER_SIZE 8 /* of base relocations: page address, size of the block */

#define DEBUG_ENTRY_SIZE    28
#define DEBUG_TYPE_CODEVIEW 2

#define RESOURCE_HEADER_SIZE 16
#define RESOURCE_ENTRY_SIZE  8
#define RESOURCE_FLAG        0x80000000u /* a name is a string; data is a directory */
#define RESOURCE_DEPTH       3           /* type, name, language */

/* The bytes of the file that are loaded at an address, to the end of their section. */
static bool at_address(struct span file, const struct pe *pe, uint32_t address, struct span *ret)
{
	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);
		uint64_t size = pe_memory_size(&section), into;

		if (address < section.virtual_address)
			continue;
		into = address - section.virtual_address;
		if (size > section.raw_size)
			size = section.raw_size;
		if (into < size)
			return span_slice(file, section.raw_offset + into, size - into, ret);
	}
	return false;
}

/* The bytes of a directory, which have to be one section's. */
static int find_directory(struct span file, const struct pe *pe, const char *what,
	struct pe_directory directory, struct span *ret, struct error *error)
{
	struct span rest;

	if (at_address(file, pe, directory.address, &rest)
		&& span_slice(rest, 0, directory.size, ret))
		return 0;
	return error_failed(error, EBADMSG,
		"PE directory of %s (address 0x%x, size 0x%x) lies in no section's bytes", what,
		directory.address, directory.size);
}

/* How many bytes a relocation of this type changes; -1: the loader does not know it. */
static int relocation_width(uint16_t machine, unsigned type)
{
	bool riscv = machine == 0x5064, loongarch = machine == 0x6264;

	switch (type) {
	case 0: /* IMAGE_REL_BASED_ABSOLUTE: padding */
		return 0;
	case 1: /* HIGH */
	case 2: /* LOW */
		return 2;
	case 3: /* HIGHLOW */
		return 4;
	case 10: /* DIR64 */
		return 8;
	case 5: /* RISCV_HI20 */
	case 7: /* RISCV_LOW12I */
		return riscv ? 4 : -1;
	case 8: /* RISCV_LOW12S, LOONGARCH64_MARK_LA */
		return riscv || loongarch ? 4 : -1;
	default:
		return -1;
	}
}

static int check_block(const struct pe *pe, uint32_t page, struct span entries, struct error *error)
{
	for (size_t i = 0; i + 2 <= entries.size; i += 2) {
		uint16_t entry = le16(entries.data + i);
		uint64_t address = (uint64_t)page + (entry & 0xfff);
		int width = relocation_width(pe->machine, entry >> 12);

		if (width < 0)
			return error_failed(error, EBADMSG,
				"PE base relocation at address 0x%" PRIx64
				" is of type %d, which firmware does not know",
				address, entry >> 12);
		if (address >= pe->size_of_image || (uint64_t)width > pe->size_of_image - address)
			return error_failed(error, EBADMSG,
				"PE base relocation at address 0x%" PRIx64
				" lies outside of the image, whose SizeOfImage is 0x%x",
				address, pe->size_of_image);
	}
	return 0;
}

static int check_relocations(struct span file, const struct pe *pe, struct error *error)
{
	struct pe_directory directory = pe_directory(pe, DIRECTORY_RELOCATIONS);
	struct span rest = { 0 };
	int r;

	if (directory.size == 0)
		return 0;
	r = find_directory(file, pe, "base relocations", directory, &rest, error);
	/* The loader stops before the last byte. */
	while (r == 0 && rest.size > 1) {
		uint32_t page = rest.size < BLOCK_HEADER_SIZE ? 0 : le32(rest.data);
		uint32_t size = rest.size < BLOCK_HEADER_SIZE ? 0 : le32(rest.data + 4);

		if (size < BLOCK_HEADER_SIZE || size % 2 != 0 || size > rest.size)
			return error_failed(error, EBADMSG,
				"PE base relocations (address 0x%x, size 0x%x): a block of %u "
				"bytes where %zu are left",
				directory.address, directory.size, size, rest.size);
		if (page >= pe->size_of_image)
			return error_failed(error, EBADMSG,
				"PE base relocations of page 0x%x lie outside of the image, whose "
				"SizeOfImage is 0x%x",
				page, pe->size_of_image);
		r = check_block(pe, page,
			(struct span){ rest.data + BLOCK_HEADER_SIZE, size - BLOCK_HEADER_SIZE },
			error);
		rest = (struct span){ rest.data + size, rest.size - size };
	}
	return r;
}

/* What a CodeView entry has at least, by its signature. */
static uint32_t codeview_least(struct span bytes)
{
	static const struct {
		char signature[4];
		uint32_t size;
	} rows[] = { { "NB10", 16 }, { "RSDS", 24 }, { "MTOC", 20 } };

	for (size_t i = 0; bytes.size >= 4 && i < sizeof(rows) / sizeof(rows[0]); i++)
		if (memcmp(bytes.data, rows[i].signature, 4) == 0)
			return rows[i].size;
	return 0;
}

/* Data without an address is loaded behind the last section. */
static int check_codeview(
	struct span file, const struct pe *pe, const uint8_t *entry, struct error *error)
{
	uint32_t size = le32(entry + 16), address = le32(entry + 20), offset = le32(entry + 24);
	struct span data = { 0 };
	bool inside = true;

	if (address != 0) {
		inside = address < pe->size_of_image && size <= pe->size_of_image - address;
		at_address(file, pe, address, &data);
	} else if (offset != 0) {
		inside = span_slice(file, offset, size, &data);
	}
	if (inside && size >= codeview_least(data))
		return 0;
	return error_failed(error, EBADMSG,
		"PE debug data (%u bytes at address 0x%x, offset 0x%x) is cut or lies outside of "
		"the image",
		size, address, offset);
}

/* Like the loader, which looks up the directory's place by VirtualSize and passes over one that
 * is in no section. */
static bool find_debug(const struct pe *pe, struct pe_directory directory, uint64_t *ret_offset)
{
	for (size_t i = 0; directory.size > 0 && i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);

		if (directory.address < section.virtual_address
			|| directory.address - section.virtual_address >= section.virtual_size)
			continue;
		*ret_offset = (uint64_t)section.raw_offset + directory.address
			      - section.virtual_address;
		return *ret_offset != 0;
	}
	return false;
}

static int check_debug(struct span file, const struct pe *pe, struct error *error)
{
	struct pe_directory directory = pe_directory(pe, DIRECTORY_DEBUG);
	uint64_t offset;

	if (!find_debug(pe, directory, &offset))
		return 0;
	for (uint32_t i = 0; i < directory.size; i += DEBUG_ENTRY_SIZE) {
		struct span entry;

		if (!span_slice(file, offset + i, DEBUG_ENTRY_SIZE, &entry))
			return error_failed(error, EBADMSG,
				"PE debug directory (address 0x%x, size 0x%x) reaches past the end "
				"of the file (%zu bytes)",
				directory.address, directory.size, file.size);
		if (le32(entry.data + 12) == DEBUG_TYPE_CODEVIEW)
			return check_codeview(file, pe, entry.data, error);
		if (directory.size - i < DEBUG_ENTRY_SIZE)
			break;
	}
	return 0;
}

static int bad_resources(struct pe_directory directory, struct error *error)
{
	return error_failed(error, EBADMSG,
		"PE resource directory (address 0x%x, size 0x%x) does not hold its own entries",
		directory.address, directory.size);
}

static bool is_hii(struct span resources, uint32_t offset)
{
	struct span name;

	return span_slice(resources, offset, 8, &name)
	       && memcmp(name.data, "\3\0H\0I\0I\0", 8) == 0;
}

/* The first entry of the directory at `offset`, which holds all its entries. */
static bool first_entry(
	struct span resources, uint64_t offset, struct span *ret, unsigned *ret_named)
{
	struct span header;
	size_t count;

	if (!span_slice(resources, offset, RESOURCE_HEADER_SIZE, &header))
		return false;
	*ret_named = le16(header.data + 12);
	count = (size_t)*ret_named + le16(header.data + 14);
	return span_slice(
		resources, offset + RESOURCE_HEADER_SIZE, count * RESOURCE_ENTRY_SIZE, ret);
}

/* The way down to the data of the resource "HII". */
static bool check_hii(struct span resources, uint32_t target)
{
	struct span entries;
	unsigned named;

	for (int depth = 1; target & RESOURCE_FLAG && depth < RESOURCE_DEPTH; depth++) {
		if (!first_entry(resources, target & ~RESOURCE_FLAG, &entries, &named)
			|| entries.size == 0)
			return false;
		target = le32(entries.data + 4);
	}
	return target & RESOURCE_FLAG || target < resources.size;
}

static int check_resources(struct span file, const struct pe *pe, struct error *error)
{
	struct pe_directory directory = pe_directory(pe, DIRECTORY_RESOURCES);
	struct span resources = { 0 }, entries;
	unsigned named;
	int r;

	if (directory.size == 0 || directory.address >= pe->size_of_image)
		return 0;
	r = find_directory(file, pe, "resources", directory, &resources, error);
	if (r < 0)
		return r;
	if (!first_entry(resources, 0, &entries, &named))
		return bad_resources(directory, error);
	for (unsigned i = 0; i < named; i++) {
		const uint8_t *entry = entries.data + (size_t)i * RESOURCE_ENTRY_SIZE;
		uint32_t name = le32(entry);

		if (!(name & RESOURCE_FLAG))
			continue;
		name &= ~RESOURCE_FLAG;
		if (name >= directory.size)
			return bad_resources(directory, error);
		if (is_hii(resources, name))
			return check_hii(resources, le32(entry + 4))
				       ? 0
				       : bad_resources(directory, error);
	}
	return 0;
}

int pe_check_directories(struct span file, const struct pe *pe, struct error *error)
{
	int r;

	r = check_relocations(file, pe, error);
	if (r == 0)
		r = check_debug(file, pe, error);
	return r < 0 ? r : check_resources(file, pe, error);
}
