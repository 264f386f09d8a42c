/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "format/pe.h"

struct error;
struct text_list;

/**
 * A Unified Kernel Image (UAPI.5). Sections are those of the base profile: what lies before the
 * first `.profile`, overridden by profile 0 (`@0`) where it exists. Borrows the file's bytes; an
 * absent section has data NULL.
 */
struct uki {
	struct span file;
	struct pe pe;
	struct span kernel;  /* .linux, without section padding (exact size) */
	struct span initrd;  /* .initrd; empty when absent */
	struct span cmdline; /* .cmdline up to its first NUL, raw */
	struct span osrel, uname, ucode, pcrsig, pcrpkey, profile, sdmagic;
	bool device_tree;   /* .dtb, .dtbauto or .efifw anywhere */
	bool has_signature; /* a certificate table: Secure Boot */
};

/**
 * Parses a UKI strictly: a PE32+ EFI application of this build's native machine type that firmware
 * loads (pe_parse()), `.linux` present, no duplicate sections inside a profile (but .dtbauto,
 * .efifw, .hwids), no more sections than its stub takes (.sdmagic). The kernel's exact size is
 * min(VirtualSize, SizeOfRawData), cut to pe_extent() where that is shorter, but never below what
 * the bzImage header asks for. -EBADMSG and what is wrong and where; -ENOMEM. The kernel itself is
 * checked by uki_check_kernel().
 */
int uki_parse(struct span file, struct uki *ret, struct error *error);

/** uki_parse() for a UKI of whatever machine type. */
int uki_parse_any(struct span file, struct uki *ret, struct error *error);

/**
 * Whether the UKI's stub can start its kernel: kernel_check_stub(); for x86-64 also kernel_parse(),
 * and a command line that the kernel takes whole. -EBADMSG.
 */
int uki_check_kernel(const struct uki *uki, struct error *error);

/**
 * Adds to `ret` what does not keep firmware from starting the UKI, but should be known: each a
 * sentence for users without its full stop. -ENOMEM.
 */
int uki_warnings(const struct uki *uki, struct text_list *ret, struct error *error);

/**
 * Replaces `placeholder` by `bound` in every `.cmdline` section, whatever its profile, of `file`: a
 * writable copy of uki->file, changed in place. *ret_count (may be NULL): how many were replaced.
 * Errors: cmdline_bind(); nothing is changed then.
 */
int uki_bind(const struct uki *uki, uint8_t *file, const char *placeholder, const char *bound,
	size_t *ret_count, struct error *error);

/**
 * The command line as systemd-stub passes it on (src/boot/stub.c): up to the first NUL, control
 * characters and 0x7f to spaces, both ends trimmed. *ret belongs to the caller; "" when there is
 * none. -ENOMEM.
 */
int uki_cmdline(const struct uki *uki, char **ret, struct error *error);

/**
 * The version the UKI states in `.osrel`: IMAGE_VERSION, else VERSION_ID (os-release(5), quotes and
 * escapes removed; one with control characters is none). *ret belongs to the caller, NULL when it
 * states none. -ENOMEM.
 */
int uki_version(const struct uki *uki, char **ret, struct error *error);
