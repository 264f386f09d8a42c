/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * Builds PE images, kernels and UKIs in memory for tests, the wrong ones too. Zero in a field means
 * "as a good image has it". Out of memory aborts: these are tests.
 */

#define MAKE_FILE_ALIGNMENT    0x200u
#define MAKE_SECTION_ALIGNMENT 0x1000u
#define MAKE_PE_OFFSET         0x40u /* of the "PE\0\0" signature, unless chosen */
#define MAKE_SUBSYSTEM         10u

/** For a field whose good value is not 0 and that shall be 0. */
#define MAKE_ZERO UINT32_MAX

/** One section. The file gets `size` bytes of data (NULL: a pattern), padded to `raw_size`. */
struct make_section {
	const char *name; /* at most 8 bytes */
	const void *data;
	uint32_t size;
	uint32_t virtual_size;    /* 0: size */
	uint32_t virtual_address; /* 0: the next free page */
	uint32_t raw_offset;      /* 0: the next free place */
	uint32_t raw_size;        /* 0: size, rounded up to MAKE_FILE_ALIGNMENT */
	uint32_t flags;           /* 0: code for the first one with bytes, data for the others */
};

/** A PE image; .reloc becomes its base relocations. Lists of sections end with one without name. */
struct make_pe {
	const struct make_section *sections;
	uint32_t machine;          /* 0: native */
	uint32_t subsystem;        /* 0: EFI application */
	uint32_t magic;            /* 0: PE32+ */
	uint32_t pe_offset;        /* 0: MAKE_PE_OFFSET */
	uint32_t optional_size;    /* stated size of the optional header; 0: 112 + 16 directories */
	uint32_t directories;      /* stated number; 0: 16 */
	uint32_t section_count;    /* stated number; 0: those in `sections` */
	uint32_t certificate_size; /* of a certificate table at the end of the file; 0: unsigned */
	uint32_t certificate_offset; /* stated; 0: where it is */
	uint32_t symbol_table_size;  /* bytes behind the last section, outside of every one */
	uint32_t entry_point;        /* 0: the beginning of the first section with bytes */
	uint32_t size_of_image;      /* stated; 0: up to the end of the last section */
	uint32_t size_of_headers;    /* stated; 0: up to the end of the section headers */
	uint32_t major_image_version;
};

/** A fake x86-64 bzImage, which is a PE with one section, as a real one. */
struct make_kernel {
	uint32_t size;             /* bytes without certificate, a multiple of 16, at least 2048 */
	uint32_t cmdline_size;     /* 0: 2047 */
	uint32_t protocol;         /* 0: 0x20f */
	uint32_t certificate_size; /* 0: unsigned */
	uint8_t seed;              /* kernels with different seeds differ */
};

/** Builds a PE image. The bytes are the caller's (buffer_done). */
struct buffer make_pe(const struct make_pe *pe);

/** Builds a kernel that kernel_parse() takes. The bytes are the caller's (buffer_done). */
struct buffer make_kernel(const struct make_kernel *kernel);

/** `size` bytes that look random and depend on `seed` only. The bytes are the caller's. */
struct buffer make_pattern(size_t size, uint8_t seed);

/**
 * A good UKI with stub-like .text and .sdmagic, .osrel with IMAGE_VERSION=version (NULL: no
 * .osrel), .cmdline, a .linux of 16 KiB and an .initrd of 5000 bytes that both depend on `seed`.
 * The bytes are the caller's (buffer_done).
 */
struct buffer make_uki(const char *cmdline, const char *version, uint8_t seed);

/**
 * A good UKI of 460 KiB. All have one kernel and one initrd, which lie behind .osrel (`osrel` bytes
 * with the version) and .cmdline, and move with their sizes. The bytes are the caller's.
 */
struct buffer make_large_uki(const char *cmdline, const char *version, uint32_t osrel);
