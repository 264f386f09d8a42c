/* SPDX-License-Identifier: Apache-2.0 */
#include "format/pe.h"

#include <errno.h>
#include <inttypes.h>

#include "base/error.h"

#define DOS_HEADER_SIZE       64
#define COFF_HEADER_SIZE      24  /* with the signature "PE\0\0" before it */
#define OPTIONAL_HEADER_SIZE  112 /* of PE32+, up to the data directories */
#define DATA_DIRECTORY_SIZE   8
#define SECTION_HEADER_SIZE   40
#define CERTIFICATE_DIRECTORY 4
#define MAGIC_PE32_PLUS       0x20b

/* The three parts of the headers, each inside the file. */
struct headers {
	struct span coff;
	struct span optional;
	struct span sections;
	uint64_t directories; /* how many data directories there are */
	uint64_t end;         /* where the headers end in the file */
};

static int find_coff_header(struct span file, struct headers *headers, struct error *error)
{
	uint64_t offset;

	if (file.size < DOS_HEADER_SIZE)
		return error_failed(error, EBADMSG,
			"not a PE image: %zu bytes are less than its DOS header", file.size);
	if (memcmp(file.data, "MZ", 2) != 0)
		return error_failed(error, EBADMSG, "not a PE image: it does not begin with 'MZ'");

	offset = le32(file.data + 0x3c);
	if (offset < DOS_HEADER_SIZE || !span_slice(file, offset, COFF_HEADER_SIZE, &headers->coff))
		return error_failed(error, EBADMSG,
			"not a PE image: its header cannot lie at offset 0x%" PRIx64
			" (the file has %zu bytes)",
			offset, file.size);
	if (memcmp(headers->coff.data, "PE\0\0", 4) != 0)
		return error_failed(error, EBADMSG,
			"not a PE image: no 'PE' signature at offset 0x%" PRIx64, offset);
	headers->end = offset + COFF_HEADER_SIZE;
	return 0;
}

static int find_optional_header(struct span file, struct headers *headers, struct error *error)
{
	uint64_t offset = headers->end, size = le16(headers->coff.data + 20);

	if (!span_slice(file, offset, size, &headers->optional))
		return error_failed(error, EBADMSG,
			"PE optional header of %" PRIu64 " bytes at offset 0x%" PRIx64
			" reaches past the end of the file (%zu bytes)",
			size, offset, file.size);
	if (size < 2 || le16(headers->optional.data) != MAGIC_PE32_PLUS)
		return error_failed(error, EBADMSG,
			"PE optional header at offset 0x%" PRIx64 " is not PE32+ (64 bit)", offset);
	if (size < OPTIONAL_HEADER_SIZE)
		return error_failed(error, EBADMSG,
			"PE optional header at offset 0x%" PRIx64 " has %" PRIu64
			" bytes, PE32+ needs %d",
			offset, size, OPTIONAL_HEADER_SIZE);

	headers->directories = le32(headers->optional.data + 108);
	if (OPTIONAL_HEADER_SIZE + headers->directories * DATA_DIRECTORY_SIZE > size)
		return error_failed(error, EBADMSG,
			"PE optional header at offset 0x%" PRIx64 " has %" PRIu64
			" bytes, too few for the %" PRIu64 " data directories it states",
			offset, size, headers->directories);
	headers->end += size;
	return 0;
}

static int find_section_headers(struct span file, struct headers *headers, struct error *error)
{
	uint64_t offset = headers->end, count = le16(headers->coff.data + 6);

	if (count > PE_SECTIONS_MAX)
		return error_failed(error, EBADMSG,
			"PE image with %" PRIu64 " sections, at most %d are accepted", count,
			PE_SECTIONS_MAX);
	if (!span_slice(file, offset, count * SECTION_HEADER_SIZE, &headers->sections))
		return error_failed(error, EBADMSG,
			"PE section headers (%" PRIu64 " at offset 0x%" PRIx64
			") reach past the end of the file (%zu bytes)",
			count, offset, file.size);
	headers->end += count * SECTION_HEADER_SIZE;
	return 0;
}

/* Reads all numbers. Only the headers themselves are known to lie inside the file then. */
static int read_headers(struct span file, struct pe *pe, uint64_t *ret_end, struct error *error)
{
	struct headers headers = { 0 };
	int r;

	r = find_coff_header(file, &headers, error);
	if (r < 0)
		return r;
	r = find_optional_header(file, &headers, error);
	if (r < 0)
		return r;
	r = find_section_headers(file, &headers, error);
	if (r < 0)
		return r;

	pe->machine = le16(headers.coff.data + 4);
	pe->size_of_image = le32(headers.optional.data + 56);
	pe->subsystem = le16(headers.optional.data + 68);
	if (headers.directories > CERTIFICATE_DIRECTORY) {
		const uint8_t *directory = headers.optional.data + OPTIONAL_HEADER_SIZE
					   + CERTIFICATE_DIRECTORY * DATA_DIRECTORY_SIZE;

		pe->certificate_offset = le32(directory);
		pe->certificate_size = le32(directory + 4);
	}
	pe->section_count = headers.sections.size / SECTION_HEADER_SIZE;
	for (size_t i = 0; i < pe->section_count; i++) {
		const uint8_t *header = headers.sections.data + i * SECTION_HEADER_SIZE;
		struct pe_section *section = &pe->sections[i];

		memcpy(section->name, header, 8);
		section->virtual_size = le32(header + 8);
		section->virtual_address = le32(header + 12);
		section->raw_size = le32(header + 16);
		section->raw_offset = le32(header + 20);
	}
	*ret_end = headers.end;
	return 0;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a_size > 0 && b_size > 0 && a < b + b_size && b < a + a_size;
}

/* What a section takes in memory. Without a VirtualSize, loaders take the raw size. */
static uint64_t memory_size(const struct pe_section *section)
{
	return section->virtual_size ? section->virtual_size : section->raw_size;
}

static int check_place(struct span file, const struct pe_section *section, uint64_t headers_end,
	struct error *error)
{
	char label[9];
	struct span raw;

	pe_section_label(section->name, label);
	if (section->raw_size > 0
		&& !span_slice(file, section->raw_offset, section->raw_size, &raw))
		return error_failed(error, EBADMSG,
			"PE section '%s': its %u bytes at offset 0x%x reach past the end of the "
			"file (%zu bytes)",
			label, section->raw_size, section->raw_offset, file.size);
	if (section->raw_size > 0 && section->raw_offset < headers_end)
		return error_failed(error, EBADMSG,
			"PE section '%s' at offset 0x%x overlaps the headers, which end at "
			"0x%" PRIx64,
			label, section->raw_offset, headers_end);
	if (section->virtual_address + memory_size(section) > UINT32_MAX)
		return error_failed(error, EBADMSG,
			"PE section '%s': address 0x%x and size 0x%" PRIx64 " exceed 4 GiB", label,
			section->virtual_address, memory_size(section));
	return 0;
}

static int check_pair(
	const struct pe_section *section, const struct pe_section *other, struct error *error)
{
	char label[9], other_label[9];

	pe_section_label(section->name, label);
	pe_section_label(other->name, other_label);
	if (overlap(section->raw_offset, section->raw_size, other->raw_offset, other->raw_size))
		return error_failed(error, EBADMSG,
			"PE sections '%s' (offset 0x%x) and '%s' (offset 0x%x) overlap in the file",
			other_label, other->raw_offset, label, section->raw_offset);
	/* kexec would not mind, but a firmware boot would: objcopy recipes with fixed addresses
	 * make such images once the kernel has grown. */
	if (overlap(section->virtual_address, memory_size(section), other->virtual_address,
		    memory_size(other)))
		return error_failed(error, EBADMSG,
			"PE sections '%s' (address 0x%x, size 0x%" PRIx64
			") and '%s' (address 0x%x) overlap in memory: the firmware could not "
			"start this image; build it with other section addresses",
			other_label, other->virtual_address, memory_size(other), label,
			section->virtual_address);
	return 0;
}

static int check_certificate(
	struct span file, const struct pe *pe, uint64_t headers_end, struct error *error)
{
	struct span table;

	if (pe->certificate_size == 0)
		return 0;
	if (pe->certificate_offset < headers_end
		|| !span_slice(file, pe->certificate_offset, pe->certificate_size, &table))
		return error_failed(error, EBADMSG,
			"PE certificate table (%u bytes at offset 0x%x) lies outside of the file "
			"(%zu bytes)",
			pe->certificate_size, pe->certificate_offset, file.size);
	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section *section = &pe->sections[i];
		char label[9];

		pe_section_label(section->name, label);
		if (overlap(pe->certificate_offset, pe->certificate_size, section->raw_offset,
			    section->raw_size))
			return error_failed(error, EBADMSG,
				"PE certificate table at offset 0x%x overlaps section '%s'",
				pe->certificate_offset, label);
	}
	return 0;
}

int pe_parse(struct span file, struct pe *ret, struct error *error)
{
	struct pe pe = { 0 };
	uint64_t headers_end;
	int r;

	r = read_headers(file, &pe, &headers_end, error);
	if (r < 0)
		return r;
	for (size_t i = 0; i < pe.section_count; i++) {
		r = check_place(file, &pe.sections[i], headers_end, error);
		if (r < 0)
			return r;
		for (size_t j = 0; j < i; j++) {
			r = check_pair(&pe.sections[i], &pe.sections[j], error);
			if (r < 0)
				return r;
		}
	}
	r = check_certificate(file, &pe, headers_end, error);
	if (r < 0)
		return r;
	if (pe.certificate_size == 0)
		pe.certificate_offset = 0;
	*ret = pe;
	return 0;
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
	struct pe pe = { 0 };
	uint64_t extent;

	if (read_headers(bytes, &pe, &extent, NULL) < 0)
		return 0;
	if (pe.certificate_size > 0)
		extent = (uint64_t)pe.certificate_offset + pe.certificate_size;
	for (size_t i = 0; i < pe.section_count; i++) {
		const struct pe_section *section = &pe.sections[i];
		uint64_t end = (uint64_t)section->raw_offset + section->raw_size;

		if (section->raw_size > 0 && end > extent)
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
