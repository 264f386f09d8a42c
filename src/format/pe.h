/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

#define PE_MACHINE_X86_64 0x8664
#define PE_MACHINE_ARM64  0xaa64

/** The machine type that this build's firmware starts. */
#if defined(__aarch64__)
#define PE_MACHINE_NATIVE PE_MACHINE_ARM64
#else
#define PE_MACHINE_NATIVE PE_MACHINE_X86_64
#endif

/** "x86-64", "arm64", "riscv64", "loongarch64" (systemd's names); NULL for any other machine type.
 */
const char *pe_machine_name(uint16_t machine);

#define PE_SUBSYSTEM_EFI_APPLICATION 10

/** More sections than this are refused: ukify needs about 20, multi-profile images some more. */
#define PE_SECTIONS_MAX 96

/** One section. Names of exactly 8 bytes have no NUL in the file; here they do. Sizes in bytes. */
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
 * Parses a PE32+ image strictly (Microsoft PE Format, "COFF File Header" and following): header
 * offsets in 64-bit arithmetic; raw ranges and the certificate table behind the headers, inside the
 * file and disjoint; sections disjoint in memory. What lies outside of all ranges (a symbol table)
 * is ignored. -EBADMSG with the offset at fault; *ret is then unchanged.
 */
int pe_parse(struct span file, struct pe *ret, struct error *error);

/**
 * The bytes of a section of a parsed `file`: min(VirtualSize, SizeOfRawData) of them, since what
 * follows in the file is alignment. Borrowed from `file`; data is never NULL.
 */
struct span pe_section_bytes(struct span file, const struct pe_section *section);

/** `name` as it can be shown: anything but printable ASCII becomes '?'. */
void pe_section_label(const char name[9], char out[9]);

/**
 * The length at which an inner PE (a kernel inside .linux) ends: its last section's raw end, or the
 * end of its certificate table, which lies behind them, when it is signed. 0 when `bytes` hold no
 * PE32+; more than bytes.size when it is cut. Padding after it breaks the signature check of
 * kexec_file_load (EKEYREJECTED).
 */
uint64_t pe_extent(struct span bytes);
