/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

/** What a bzImage says of itself (Documentation/arch/x86/boot.rst). */
struct kernel {
	uint16_t protocol;     /* boot protocol, 0x20f for 2.15 */
	uint32_t cmdline_size; /* longest command line in bytes, without its NUL */
	uint64_t least_size;   /* bytes that a complete kernel has at least */
};

/**
 * Checks that `bytes` are a complete x86-64 bzImage, which kexec_file_load does not: HdrS, protocol
 * >= 2.12, XLF_KERNEL_64, all bytes up to (setup_sects + 1) * 512 + syssize * 16 there.
 * -EBADMSG and what is wrong; *ret is then unchanged.
 */
int kernel_parse(struct span bytes, struct kernel *ret, struct error *error);

/**
 * Whether systemd-stub on `machine` starts this kernel (src/boot/linux.c): an EFI program for that
 * machine which firmware loads, as the stub has it done; or for x86-64 one from before Linux 5.8,
 * which the stub enters by the EFI handover protocol. -EBADMSG.
 */
int kernel_check_stub(struct span bytes, uint16_t machine, struct error *error);
