/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;
struct text_list;

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

#define PE_SUBSYSTEM_EFI_APPLICATION    10
#define PE_SUBSYSTEM_EFI_BOOT_DRIVER    11
#define PE_SUBSYSTEM_EFI_RUNTIME_DRIVER 12

/** What a loaded image takes in memory at most, in bytes: small machines have no more to give. */
#define PE_IMAGE_MAX (1u << 30)

#define PE_SECTION_UNINITIALIZED 0x00000080u
#define PE_SECTION_DISCARDABLE   0x02000000u
#define PE_SECTION_EXECUTABLE    0x20000000u
#define PE_SECTION_READABLE      0x40000000u

/** One section. Names of exactly 8 bytes have no NUL in the file; here they do. Sizes in bytes. */
struct pe_section {
	char name[9];
	uint32_t virtual_address;
	uint32_t virtual_size;
	uint32_t raw_offset;
	uint32_t raw_size;
	uint32_t flags; /* PE_SECTION_... */
};

/** A place and its size in bytes, as the data directories have it. */
struct pe_directory {
	uint32_t address;
	uint32_t size;
};

/** The headers of a PE32+ image (Microsoft PE Format). Borrows the file's bytes. */
struct pe {
	uint16_t machine;
	uint16_t characteristics;
	uint16_t subsystem;
	uint16_t major_image_version;
	uint32_t entry_point;
	uint32_t section_alignment;
	uint32_t file_alignment;
	uint32_t size_of_image;
	uint32_t size_of_headers;
	uint32_t certificate_offset; /* 0: unsigned */
	uint32_t certificate_size;
	struct span optional_header;
	struct span section_headers;
	size_t section_count;
	uint64_t section_headers_offset; /* in the file */
	uint32_t directory_count;
};

/**
 * Reads the headers and checks no more than that they lie in the file. -EBADMSG with the offset at
 * fault; *ret is unchanged then.
 */
int pe_read(struct span file, struct pe *ret, struct error *error);

/**
 * Checks of an image that pe_read() took all that the loaders of EDK2 (MdePkg BasePeCoffLib,
 * DxeCore) and of shim (pe.c, pe-relocate.c) check, so that firmware loads what is accepted;
 * sections must be disjoint in memory and in the file besides. What lies outside of all ranges (a
 * symbol table) is ignored. -EBADMSG with what is wrong, where, and what to do; -ENOMEM.
 */
int pe_check(struct span file, const struct pe *pe, struct error *error);

/** pe_read() and pe_check(). */
int pe_parse(struct span file, struct pe *ret, struct error *error);

/**
 * What EDK2's loader checks, of an image that pe_read() took; other loaders are stricter. -EBADMSG.
 */
int pe_check_firmware(struct span file, const struct pe *pe, struct error *error);

/**
 * Adds to `warnings` what firmware accepts of a UKI and is wrong all the same, each a sentence for
 * users: a section that violates SectionAlignment, one that has no VirtualSize. -ENOMEM.
 */
int pe_warn(const struct pe *pe, struct text_list *warnings, struct error *error);

/** The section at `index`, which is below section_count. */
struct pe_section pe_section(const struct pe *pe, size_t index);

/** Whether there is a section of that name; the first one goes to *ret (may be NULL). */
bool pe_find(const struct pe *pe, const char *name, struct pe_section *ret);

/** A data directory by its index; nothing where the image has fewer. */
struct pe_directory pe_directory(const struct pe *pe, uint32_t index);

/** What a section takes in memory: loaders take the raw size when there is no VirtualSize. */
static inline uint64_t pe_memory_size(const struct pe_section *section)
{
	return section->virtual_size ? section->virtual_size : section->raw_size;
}

/**
 * The bytes of a section of a parsed `file`: min(VirtualSize, SizeOfRawData) of them, since what
 * follows in the file is alignment. Borrowed from `file`; data is never NULL. Empty when they do
 * not lie in the file.
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
