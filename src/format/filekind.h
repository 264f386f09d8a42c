/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

/** What a file is, by its content. */
enum filekind {
	FILEKIND_UNKNOWN,
	FILEKIND_EMPTY,
	/* EFI programs */
	FILEKIND_UKI,
	FILEKIND_ADDON,
	FILEKIND_STUB,
	FILEKIND_SYSTEMD_BOOT,
	FILEKIND_SHIM,
	FILEKIND_SHIM_HELPER,
	FILEKIND_GRUB,
	FILEKIND_EFI_PROGRAM,
	FILEKIND_EFI_PROGRAM_32,
	FILEKIND_EFI_DRIVER,
	FILEKIND_PE,
	/* Kernels */
	FILEKIND_KERNEL_X86,
	FILEKIND_KERNEL_ARM64,
	FILEKIND_KERNEL_RISCV,
	FILEKIND_KERNEL_LOONGARCH,
	FILEKIND_KERNEL_ARM,
	FILEKIND_KERNEL_ZBOOT,
	FILEKIND_KERNEL_ELF,
	FILEKIND_ELF,
	/* What goes into a UKI, a bundle or a partition */
	FILEKIND_CPIO,
	FILEKIND_DEVICE_TREE,
	FILEKIND_ZIP,
	FILEKIND_GZIP,
	FILEKIND_XZ,
	FILEKIND_ZSTD,
	FILEKIND_LZ4,
	FILEKIND_BZIP2,
	FILEKIND_LZMA,
	FILEKIND_TAR,
	FILEKIND_DISK_IMAGE,
	FILEKIND_ISO9660,
	FILEKIND_QCOW2,
	FILEKIND_EROFS,
	FILEKIND_SQUASHFS,
	FILEKIND_EXT4,
	FILEKIND_FAT,
	FILEKIND_PEM,
	FILEKIND_SCRIPT,
	FILEKIND_TEXT,
	FILEKIND_COUNT,
};

/**
 * Recognises a file by its first bytes, and EFI programs by their PE sections. Nothing is checked
 * beyond that: a UKI that is damaged is still a UKI. The beginning of a file is enough for most
 * kinds; EFI programs are told apart only by the whole of them.
 */
enum filekind filekind_of(struct span bytes);

/** Words for users that complete "this is ...": "a UKI", "the boot loader shim". */
const char *filekind_name(enum filekind kind);

/** What to do with such a file where a UKI is wanted; NULL: nothing is known. */
const char *filekind_advice(enum filekind kind);

/** A boot loader, which chooses and starts other programs: systemd-boot, shim or GRUB. */
bool filekind_is_boot_loader(enum filekind kind);
