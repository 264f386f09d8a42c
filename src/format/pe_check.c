/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "format/pe_private.h"

#define NT_HEADERS_SIZE       264 /* what EDK2 reads at once: a header with 16 directories */
#define DIRECTORIES_LEAST     6   /* up to that of base relocations, which shim wants */
#define RELOCATIONS           5   /* its index */
#define FLAG_RELOCS_STRIPPED  1u
#define COFF_TO_OPTIONAL      24
#define OPTIONAL_TO_DIRECTORY 112
#define SIZE_OF_DIRECTORY     8

/* PeCoffLoaderGetPeHeader() */
static int check_optional_header(struct span file, const struct pe *pe, struct error *error)
{
	uint64_t nt_headers = pe->section_headers_offset - pe->optional_header.size
			      - COFF_TO_OPTIONAL;
	size_t wanted = OPTIONAL_TO_DIRECTORY + (size_t)pe->directory_count * SIZE_OF_DIRECTORY;

	if (pe->directory_count > PE_DIRECTORIES_MAX)
		return error_failed(error, EBADMSG,
			"PE header states %u data directories, at most %d are possible",
			pe->directory_count, PE_DIRECTORIES_MAX);
	if (pe->optional_header.size != wanted)
		return error_failed(error, EBADMSG,
			"PE optional header has %zu bytes, but with its %u data directories it "
			"has to have %zu",
			pe->optional_header.size, pe->directory_count, wanted);
	/* PeCoffLoaderRelocateImage() takes the first section header for this directory then. */
	if (pe->directory_count == RELOCATIONS)
		return error_failed(error, EBADMSG,
			"PE header states %u data directories: without the next one, that of base "
			"relocations, firmware reads past them",
			pe->directory_count);
	if (file.size - nt_headers < NT_HEADERS_SIZE)
		return error_failed(error, EBADMSG,
			"PE header at offset 0x%" PRIx64
			" is too close to the end of the file (%zu bytes): firmware reads %d bytes",
			nt_headers, file.size, NT_HEADERS_SIZE);
	return 0;
}

static int check_headers(struct span file, const struct pe *pe, struct error *error)
{
	uint64_t offset = pe->section_headers_offset;

	if (pe->size_of_headers <= offset
		|| (pe->size_of_headers - offset) / PE_SECTION_HEADER_SIZE < pe->section_count)
		return error_failed(error, EBADMSG,
			"PE SizeOfHeaders is 0x%x, which does not hold the headers of %zu "
			"sections at offset 0x%" PRIx64,
			pe->size_of_headers, pe->section_count, offset);
	if (pe->size_of_headers > file.size)
		return error_failed(error, EBADMSG,
			"PE SizeOfHeaders is 0x%x, more than the file has (%zu bytes)",
			pe->size_of_headers, file.size);
	return 0;
}

static int check_image_size(const struct pe *pe, struct error *error)
{
	uint64_t offset = pe->section_headers_offset;

	if (pe->size_of_image > pe->size_of_headers
		&& (pe->size_of_image - offset) / PE_SECTION_HEADER_SIZE > pe->section_count)
		return 0;
	return error_failed(error, EBADMSG,
		"PE SizeOfImage is 0x%x, which does not reach past the headers of %zu sections "
		"(SizeOfHeaders 0x%x)",
		pe->size_of_image, pe->section_count, pe->size_of_headers);
}

/* CoreLoadPeImage() rounds the place of the image up to it, and 0 makes that address 0. */
static int check_alignment(const struct pe *pe, struct error *error)
{
	uint32_t alignment = pe->section_alignment;

	if (alignment == 0 || (alignment & (alignment - 1)) != 0)
		return error_failed(error, EBADMSG,
			"PE SectionAlignment is %u, which is no power of two", alignment);
	if ((uint64_t)pe->size_of_image + alignment > PE_IMAGE_MAX)
		return error_failed(error, EBADMSG,
			"PE SizeOfImage 0x%x and SectionAlignment 0x%x: the image takes more than "
			"%u MiB in memory",
			pe->size_of_image, alignment, PE_IMAGE_MAX >> 20);
	if (pe->characteristics & FLAG_RELOCS_STRIPPED)
		return error_failed(error, EBADMSG,
			"PE relocations were stripped (IMAGE_FILE_RELOCS_STRIPPED): the image "
			"could be loaded at one address only");
	return 0;
}

static int check_numbers(struct span file, const struct pe *pe, const struct pe_section *section,
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
	if (section->raw_size > 0 && section->raw_offset < pe->size_of_headers)
		return error_failed(error, EBADMSG,
			"PE section '%s' at offset 0x%x overlaps the headers, which end at 0x%x",
			label, section->raw_offset, pe->size_of_headers);
	if (section->virtual_address + pe_memory_size(section) > UINT32_MAX)
		return error_failed(error, EBADMSG,
			"PE section '%s': address 0x%x and size 0x%" PRIx64
			" exceed 4 GiB: " PE_ADVICE,
			label, section->virtual_address, pe_memory_size(section));
	return 0;
}

/* PeCoffLoaderLoadImage(), but in 64 bit, and so that nothing is written outside of the image. */
static int check_memory_place(
	const struct pe *pe, const struct pe_section *section, struct error *error)
{
	uint64_t size = pe_memory_size(section), end = section->virtual_address + size;
	char label[9];

	pe_section_label(section->name, label);
	if (size > 0 && section->virtual_address < pe->size_of_headers)
		return error_failed(error, EBADMSG,
			"PE section '%s' at address 0x%x lies over the headers, which end at 0x%x",
			label, section->virtual_address, pe->size_of_headers);
	if (end > pe->size_of_image)
		return error_failed(error, EBADMSG,
			"PE section '%s' (address 0x%x, size 0x%" PRIx64
			") lies outside of the image, whose SizeOfImage is 0x%x",
			label, section->virtual_address, size, pe->size_of_image);
	return 0;
}

/* shim wants one byte more behind the first one; memory protection wants the flag. */
static int check_entry_point(const struct pe *pe, struct error *error)
{
	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);
		uint64_t size = pe_memory_size(&section);
		char label[9];

		if (size > section.raw_size)
			size = section.raw_size;
		if (pe->entry_point < section.virtual_address
			|| pe->entry_point + UINT64_C(1) >= section.virtual_address + size)
			continue;
		if (section.flags & PE_SECTION_EXECUTABLE)
			return 0;
		pe_section_label(section.name, label);
		return error_failed(error, EBADMSG,
			"PE entry point 0x%x lies in section '%s', which is not executable",
			pe->entry_point, label);
	}
	return error_failed(
		error, EBADMSG, "PE entry point 0x%x lies in no section's bytes", pe->entry_point);
}

static int check_certificate(struct span file, const struct pe *pe, struct error *error)
{
	uint64_t end = (uint64_t)pe->certificate_offset + pe->certificate_size;

	if (pe->certificate_size == 0)
		return 0;
	if (pe->certificate_offset < pe->size_of_headers || end > UINT32_MAX || end > file.size)
		return error_failed(error, EBADMSG,
			"PE certificate table (%u bytes at offset 0x%x) lies outside of the file "
			"(%zu bytes)",
			pe->certificate_size, pe->certificate_offset, file.size);
	return 0;
}

/* Where things lie in the file. */
static int check_file(struct span file, const struct pe *pe, struct error *error)
{
	int r = check_optional_header(file, pe, error);

	if (r == 0)
		r = check_headers(file, pe, error);
	for (size_t i = 0; r == 0 && i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);

		r = check_numbers(file, pe, &section, error);
	}
	return r < 0 ? r : check_certificate(file, pe, error);
}

/* Where things lie in memory. */
static int check_memory(const struct pe *pe, struct error *error)
{
	int r = check_image_size(pe, error);

	for (size_t i = 0; r == 0 && i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);

		r = check_memory_place(pe, &section, error);
	}
	return r < 0 ? r : check_alignment(pe, error);
}

static int check_contents(struct span file, const struct pe *pe, struct error *error)
{
	int r = pe_check_directories(file, pe, error);

	return r < 0 ? r : check_entry_point(pe, error);
}

int pe_check_firmware(struct span file, const struct pe *pe, struct error *error)
{
	int r = check_file(file, pe, error);

	if (r == 0)
		r = check_memory(pe, error);
	return r < 0 ? r : check_contents(file, pe, error);
}

/* shim finds its relocations by the section's name, and wants the directory to lie in it. */
static int check_relocation_section(const struct pe *pe, struct error *error)
{
	struct pe_directory directory = pe_directory(pe, RELOCATIONS);
	size_t count = 0;

	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);

		if (strcmp(section.name, ".reloc") != 0)
			continue;
		if (count++ > 0)
			return error_failed(error, EBADMSG, "PE image with two '.reloc' sections");
		if (section.raw_size == 0 || section.virtual_size == 0
			|| directory.address != section.virtual_address || directory.size == 0
			|| directory.size > section.virtual_size)
			return error_failed(error, EBADMSG,
				"PE section '.reloc' (address 0x%x, size 0x%x) is not where the "
				"header has the base relocations (address 0x%x, size 0x%x)",
				section.virtual_address, section.virtual_size, directory.address,
				directory.size);
	}
	return 0;
}

/* shim neither copies what is not readable nor what is flagged as uninitialized. */
static int check_section_flags(const struct pe *pe, struct error *error)
{
	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);
		char label[9];

		pe_section_label(section.name, label);
		if (section.raw_size > 0
			&& (!(section.flags & PE_SECTION_READABLE)
				|| section.flags & PE_SECTION_UNINITIALIZED))
			return error_failed(error, EBADMSG,
				"PE section '%s' has bytes in the file, but its flags (0x%08x) "
				"call it %s: some loaders would leave it out",
				label, section.flags,
				section.flags & PE_SECTION_READABLE ? "uninitialized"
								    : "not readable");
	}
	return 0;
}

static int check_shim(struct span file, const struct pe *pe, struct error *error)
{
	int r;

	if (pe->directory_count < DIRECTORIES_LEAST)
		return error_failed(error, EBADMSG,
			"PE header states %u data directories: the one of base relocations, which "
			"shim wants, is the %dth",
			pe->directory_count, DIRECTORIES_LEAST);
	if (pe->file_alignment % 2 != 0)
		return error_failed(error, EBADMSG, "PE FileAlignment is %u, an odd number",
			pe->file_alignment);
	/* What is behind it would have been signed, too. */
	if (pe->certificate_size > 0
		&& (uint64_t)pe->certificate_offset + pe->certificate_size != file.size)
		return error_failed(error, EBADMSG,
			"PE certificate table (%u bytes at offset 0x%x) does not end the file (%zu "
			"bytes): something was appended to a signed image",
			pe->certificate_size, pe->certificate_offset, file.size);
	r = check_section_flags(pe, error);
	return r < 0 ? r : check_relocation_section(pe, error);
}

/* A range of the file or of memory, and whose it is: a section's index, or their number for the
 * certificate table. */
struct range {
	uint64_t begin, end;
	size_t owner;
};

static int compare_ranges(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return x->owner < y->owner ? -1 : x->owner > y->owner;
}

/* Sorts; true and the first two that overlap, or false. */
static bool find_overlap(
	struct range *ranges, size_t count, struct range *ret_a, struct range *ret_b)
{
	qsort(ranges, count, sizeof(*ranges), compare_ranges);
	for (size_t i = 1; i < count; i++) {
		if (ranges[i].begin >= ranges[i - 1].end)
			continue;
		*ret_a = ranges[i - 1];
		*ret_b = ranges[i];
		return true;
	}
	return false;
}

static void label_of(const struct pe *pe, size_t index, char out[9])
{
	const struct pe_section section = pe_section(pe, index);

	pe_section_label(section.name, out);
}

static int check_disjoint_in_file(const struct pe *pe, struct range *ranges, struct error *error)
{
	struct range a, b;
	char a_label[9], b_label[9];
	size_t count = 0;

	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);
		uint64_t begin = section.raw_offset;

		if (section.raw_size > 0)
			ranges[count++] = (struct range){ begin, begin + section.raw_size, i };
	}
	if (pe->certificate_size > 0)
		ranges[count++] = (struct range){ pe->certificate_offset,
			(uint64_t)pe->certificate_offset + pe->certificate_size,
			pe->section_count };
	if (!find_overlap(ranges, count, &a, &b))
		return 0;
	if (a.owner == pe->section_count || b.owner == pe->section_count) {
		label_of(pe, a.owner == pe->section_count ? b.owner : a.owner, a_label);
		return error_failed(error, EBADMSG,
			"PE certificate table at offset 0x%x overlaps section '%s'",
			pe->certificate_offset, a_label);
	}
	label_of(pe, a.owner, a_label);
	label_of(pe, b.owner, b_label);
	return error_failed(error, EBADMSG,
		"PE sections '%s' (offset 0x%" PRIx64 ") and '%s' (offset 0x%" PRIx64
		") overlap in the file",
		a_label, a.begin, b_label, b.begin);
}

static int overlap_in_memory(
	const struct pe *pe, const struct range *a, const struct range *b, struct error *error)
{
	char a_label[9], b_label[9];

	label_of(pe, a->owner, a_label);
	label_of(pe, b->owner, b_label);
	return error_failed(error, EBADMSG,
		"PE sections '%s' (address 0x%" PRIx64 ", size 0x%" PRIx64
		") and '%s' (address 0x%" PRIx64 ") overlap in memory",
		a_label, a->begin, a->end - a->begin, b_label, b->begin);
}

/* The index of the first .sbat, or the number of sections. Whoever reads it does so in the file,
 * and ukify makes the one of Debian 12's stub so long that .sdmagic is loaded over its end. */
static size_t find_sbat(const struct pe *pe)
{
	size_t index = 0;

	for (; index < pe->section_count; index++) {
		const struct pe_section section = pe_section(pe, index);

		if (strcmp(section.name, ".sbat") == 0)
			break;
	}
	return index;
}

/* kexec would not mind, but a firmware boot would: objcopy recipes with fixed addresses make such
 * images once the kernel has grown. Sections are loaded one after the other. */
static int check_disjoint_in_memory(const struct pe *pe, struct range *ranges, struct error *error)
{
	size_t count = 0, sbat_index = find_sbat(pe);
	struct range a, b, sbat = { 0 };

	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);
		uint64_t begin = section.virtual_address, size = pe_memory_size(&section);

		if (i == sbat_index)
			sbat = (struct range){ begin, begin + size, i };
		else if (size > 0)
			ranges[count++] = (struct range){ begin, begin + size, i };
	}
	for (size_t i = 0; i < count && ranges[i].owner < sbat_index; i++)
		if (sbat.begin < ranges[i].end && ranges[i].begin < sbat.end)
			return overlap_in_memory(pe, &ranges[i], &sbat, error);
	return find_overlap(ranges, count, &a, &b) ? overlap_in_memory(pe, &a, &b, error) : 0;
}

static int check_disjoint(const struct pe *pe, struct error *error)
{
	AUTO_FREE struct range *ranges = calloc(pe->section_count + 1, sizeof(*ranges));
	int r;

	if (!ranges)
		return error_memory(error);
	r = check_disjoint_in_file(pe, ranges, error);
	return r < 0 ? r : check_disjoint_in_memory(pe, ranges, error);
}

int pe_check(struct span file, const struct pe *pe, struct error *error)
{
	int r = check_file(file, pe, error);

	if (r < 0)
		return r;
	r = check_memory(pe, error);
	if (r == 0)
		r = check_disjoint(pe, error);
	if (r == -EBADMSG)
		error_advise(error, "the firmware could not load this image; " PE_ADVICE);
	if (r == 0)
		r = check_contents(file, pe, error);
	return r < 0 ? r : check_shim(file, pe, error);
}

int pe_parse(struct span file, struct pe *ret, struct error *error)
{
	struct pe pe;
	int r;

	r = pe_read(file, &pe, error);
	if (r == 0)
		r = pe_check(file, &pe, error);
	if (r == 0)
		*ret = pe;
	return r;
}

/* Debian 12's stub itself has these at odd places. */
static bool is_stubs_own(const struct pe_section *section)
{
	return strcmp(section->name, ".sdmagic") == 0 || strcmp(section->name, ".sbat") == 0;
}

static int warn_alignment(const struct pe *pe, struct text_list *warnings, struct error *error)
{
	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);
		char label[9];

		if (section.virtual_address % pe->section_alignment == 0 || is_stubs_own(&section))
			continue;
		pe_section_label(section.name, label);
		return text_list_add(warnings, error,
			"the UKI's section '%s' lies at address 0x%x, which is no multiple of its "
			"SectionAlignment (0x%x): firmware loads it without memory protection, or "
			"not at all where it insists on that; " PE_ADVICE,
			label, section.virtual_address, pe->section_alignment);
	}
	return 0;
}

static int warn_empty(const struct pe *pe, struct text_list *warnings, struct error *error)
{
	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);
		char label[9];

		if (section.virtual_size > 0)
			continue;
		pe_section_label(section.name, label);
		return text_list_add(warnings, error,
			"the UKI's section '%s' has VirtualSize 0: firmware loads it, shim does "
			"not",
			label);
	}
	return 0;
}

int pe_warn(const struct pe *pe, struct text_list *warnings, struct error *error)
{
	int r = warn_alignment(pe, warnings, error);

	return r < 0 ? r : warn_empty(pe, warnings, error);
}
