/* SPDX-License-Identifier: Apache-2.0 */
#include "format/pe.h"

#include <errno.h>
#include <inttypes.h>

#include "base/error.h"
#include "format/pe_private.h"

#define DOS_HEADER_SIZE       64
#define COFF_HEADER_SIZE      24  /* with the signature "PE\0\0" before it */
#define OPTIONAL_HEADER_SIZE  112 /* of PE32+, up to the data directories */
#define DATA_DIRECTORY_SIZE   8
#define CERTIFICATE_DIRECTORY 4
#define MAGIC_PE32_PLUS       0x20b

static int find_coff_header(
	struct span file, uint64_t *ret_offset, struct span *ret, struct error *error)
{
	uint64_t offset;

	if (file.size < DOS_HEADER_SIZE)
		return error_failed(error, EBADMSG,
			"not a PE image: %zu bytes are less than its DOS header", file.size);
	if (memcmp(file.data, "MZ", 2) != 0)
		return error_failed(error, EBADMSG, "not a PE image: it does not begin with 'MZ'");

	offset = le32(file.data + 0x3c);
	if (offset < DOS_HEADER_SIZE || !span_slice(file, offset, COFF_HEADER_SIZE, ret))
		return error_failed(error, EBADMSG,
			"not a PE image: its header cannot lie at offset 0x%" PRIx64
			" (the file has %zu bytes)",
			offset, file.size);
	if (memcmp(ret->data, "PE\0\0", 4) != 0)
		return error_failed(error, EBADMSG,
			"not a PE image: no 'PE' signature at offset 0x%" PRIx64, offset);
	*ret_offset = offset;
	return 0;
}

static int find_optional_header(
	struct span file, uint64_t offset, uint64_t size, struct pe *pe, struct error *error)
{
	if (!span_slice(file, offset, size, &pe->optional_header))
		return error_failed(error, EBADMSG,
			"PE optional header of %" PRIu64 " bytes at offset 0x%" PRIx64
			" reaches past the end of the file (%zu bytes)",
			size, offset, file.size);
	if (size < 2 || le16(pe->optional_header.data) != MAGIC_PE32_PLUS)
		return error_failed(error, EBADMSG,
			"PE optional header at offset 0x%" PRIx64 " is not PE32+ (64 bit)", offset);
	if (size < OPTIONAL_HEADER_SIZE)
		return error_failed(error, EBADMSG,
			"PE optional header at offset 0x%" PRIx64 " has %" PRIu64
			" bytes, PE32+ needs %d",
			offset, size, OPTIONAL_HEADER_SIZE);

	pe->directory_count = le32(pe->optional_header.data + 108);
	if (OPTIONAL_HEADER_SIZE + (uint64_t)pe->directory_count * DATA_DIRECTORY_SIZE > size)
		return error_failed(error, EBADMSG,
			"PE optional header at offset 0x%" PRIx64 " has %" PRIu64
			" bytes, too few for the %u data directories it states",
			offset, size, pe->directory_count);
	return 0;
}

static int find_section_headers(
	struct span file, uint64_t offset, size_t count, struct pe *pe, struct error *error)
{
	if (!span_slice(file, offset, count * PE_SECTION_HEADER_SIZE, &pe->section_headers))
		return error_failed(error, EBADMSG,
			"PE headers of %zu sections at offset 0x%" PRIx64
			" reach past the end of the file (%zu bytes)",
			count, offset, file.size);
	pe->section_headers_offset = offset;
	pe->section_count = count;
	return 0;
}

static void read_numbers(struct pe *pe)
{
	const uint8_t *header = pe->optional_header.data;
	struct pe_directory certificate;

	pe->entry_point = le32(header + 16);
	pe->section_alignment = le32(header + 32);
	pe->file_alignment = le32(header + 36);
	pe->major_image_version = le16(header + 44);
	pe->size_of_image = le32(header + 56);
	pe->size_of_headers = le32(header + 60);
	pe->subsystem = le16(header + 68);
	certificate = pe_directory(pe, CERTIFICATE_DIRECTORY);
	if (certificate.size > 0)
		pe->certificate_offset = certificate.address;
	pe->certificate_size = certificate.size;
}

int pe_read(struct span file, struct pe *ret, struct error *error)
{
	struct pe pe = { 0 };
	struct span coff = { 0 };
	uint64_t offset = 0;
	uint16_t size;
	int r;

	r = find_coff_header(file, &offset, &coff, error);
	if (r < 0)
		return r;
	pe.machine = le16(coff.data + 4);
	size = le16(coff.data + 20);
	pe.characteristics = le16(coff.data + 22);
	offset += COFF_HEADER_SIZE;
	r = find_optional_header(file, offset, size, &pe, error);
	if (r == 0)
		r = find_section_headers(file, offset + size, le16(coff.data + 6), &pe, error);
	if (r < 0)
		return r;
	read_numbers(&pe);
	*ret = pe;
	return 0;
}

struct pe_section pe_section(const struct pe *pe, size_t index)
{
	const uint8_t *header = pe->section_headers.data + index * PE_SECTION_HEADER_SIZE;
	struct pe_section section = {
		.virtual_size = le32(header + 8),
		.virtual_address = le32(header + 12),
		.raw_size = le32(header + 16),
		.raw_offset = le32(header + 20),
		.flags = le32(header + 36),
	};

	memcpy(section.name, header, 8);
	return section;
}

bool pe_find(const struct pe *pe, const char *name, struct pe_section *ret)
{
	for (size_t i = 0; i < pe->section_count; i++) {
		struct pe_section section = pe_section(pe, i);

		if (strcmp(section.name, name) != 0)
			continue;
		if (ret)
			*ret = section;
		return true;
	}
	return false;
}

struct pe_directory pe_directory(const struct pe *pe, uint32_t index)
{
	const uint8_t *entry = pe->optional_header.data + OPTIONAL_HEADER_SIZE
			       + (size_t)index * DATA_DIRECTORY_SIZE;

	if (index >= pe->directory_count)
		return (struct pe_directory){ 0 };
	return (struct pe_directory){ le32(entry), le32(entry + 4) };
}

struct span pe_section_bytes(struct span file, const struct pe_section *section)
{
	struct span bytes = { file.data, 0 };
	uint32_t size = section->virtual_size < section->raw_size ? section->virtual_size
								  : section->raw_size;

	if (size > 0)
		span_slice(file, section->raw_offset, size, &bytes);
	return bytes;
}

void pe_section_label(const char name[9], char out[9])
{
	size_t i;

	for (i = 0; i < 8 && name[i]; i++)
		out[i] = name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?';
	out[i] = '\0';
}

uint64_t pe_extent(struct span bytes)
{
	uint64_t extent;
	struct pe pe;

	if (pe_read(bytes, &pe, NULL) < 0)
		return 0;
	extent = pe.section_headers_offset + pe.section_headers.size;
	if (pe.certificate_size > 0)
		extent = (uint64_t)pe.certificate_offset + pe.certificate_size;
	for (size_t i = 0; i < pe.section_count; i++) {
		const struct pe_section section = pe_section(&pe, i);
		uint64_t end = (uint64_t)section.raw_offset + section.raw_size;

		if (section.raw_size > 0 && end > extent)
			extent = end;
	}
	return extent;
}

const char *pe_machine_name(uint16_t machine)
{
	switch (machine) {
	case PE_MACHINE_X86_64:
		return "x86-64";
	case PE_MACHINE_ARM64:
		return "arm64";
	case 0x5064:
		return "riscv64";
	case 0x6264:
		return "loongarch64";
	default:
		return NULL;
	}
}
