/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

#define PE_MACHINE_X86_64 0x8664
#define PE_MACHINE_ARM64  0xaa64

#define PE_SUBSYSTEM_EFI_APPLICATION 10

/** More sections than this are refused: ukify needs about 20, multi-profile images some more. */
#define PE_SECTIONS_MAX 96

/** One section. Names of exactly 8 bytes have no NUL in the file; here they do. */
struct pe_section {
	char name[9];
	uint32_t virtual_address;
	uint32_t virtual_size;
	uint32_t raw_offset;
	uint32_t raw_size;
};

/** A parsed PE32+ image. Borrows nothing but the numbers. */
struct pe {
	uint16_t machine;
	uint16_t subsystem;
	uint32_t size_of_image;
	uint32_t certificate_offset; /* 0: unsigned */
	uint32_t certificate_size;
	struct pe_section sections[PE_SECTIONS_MAX];
	size_t section_count;
};

/**
 * Parses a PE32+ image strictly (Microsoft PE Format, "COFF File Header" and following): header offsets in
 * 64-bit arithmetic, raw ranges inside the file and disjoint, sections disjoint in memory.
 * -EBADMSG with the offset at fault.
 */
int pe_parse(struct span file, struct pe *ret, struct error *error);

/** The bytes of a section: min(VirtualSize, SizeOfRawData) of them. */
struct span pe_section_bytes(struct span file, const struct pe_section *section);

/**
 * The length at which an inner PE (a kernel inside .linux) ends: its certificate table's end when
 * it is signed, else its last section's raw end. 0 when `bytes` hold no PE. Padding after it breaks
 * the signature check of kexec_file_load.
 */
uint64_t pe_extent(struct span bytes);
