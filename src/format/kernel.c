/* SPDX-License-Identifier: Apache-2.0 */
#include "format/kernel.h"

#include <errno.h>
#include <inttypes.h>

#include "base/error.h"
#include "format/pe.h"

/* Offsets of the setup header's fields (Documentation/arch/x86/boot.rst). */
#define SETUP_SECTS     0x1f1
#define SYSSIZE         0x1f4
#define BOOT_FLAG       0x1fe
#define MAGIC           0x202
#define PROTOCOL        0x206
#define RELOCATABLE     0x234
#define XLOADFLAGS      0x236
#define CMDLINE_SIZE    0x238
#define SETUP_END       0x23c /* of the fields above; all are there since protocol 2.12 */
#define PROTOCOL_LEAST  0x20c
#define XLF_KERNEL_64   1
#define XLF_HANDOVER_64 8
#define SETUP_SECTS_OLD 4 /* what 0 stands for */

int kernel_parse(struct span bytes, struct kernel *ret, struct error *error)
{
	struct kernel kernel;
	uint64_t setup_sects;

	if (bytes.size < SETUP_END || memcmp(bytes.data + MAGIC, "HdrS", 4) != 0)
		return error_failed(error, EBADMSG,
			"not an x86 kernel (bzImage): no 'HdrS' at offset 0x%x", MAGIC);

	kernel.protocol = le16(bytes.data + PROTOCOL);
	if (kernel.protocol < PROTOCOL_LEAST)
		return error_failed(error, EBADMSG,
			"the kernel's boot protocol is %u.%02u, at least 2.12 is needed",
			kernel.protocol >> 8, kernel.protocol & 0xffu);
	if (!(le16(bytes.data + XLOADFLAGS) & XLF_KERNEL_64))
		return error_failed(error, EBADMSG,
			"the kernel has no 64-bit entry point (XLF_KERNEL_64 at offset 0x%x)",
			XLOADFLAGS);

	kernel.cmdline_size = le32(bytes.data + CMDLINE_SIZE);
	setup_sects = bytes.data[SETUP_SECTS] ? bytes.data[SETUP_SECTS] : SETUP_SECTS_OLD;
	kernel.least_size = (setup_sects + 1) * 512 + (uint64_t)le32(bytes.data + SYSSIZE) * 16;
	if (bytes.size < kernel.least_size)
		return error_failed(error, EBADMSG,
			"the kernel is not complete: %zu bytes, its header speaks of %" PRIu64,
			bytes.size, kernel.least_size);
	*ret = kernel;
	return 0;
}

static int check_handover(struct span bytes, uint16_t machine, struct error *error)
{
	struct kernel kernel;

	if (machine != PE_MACHINE_X86_64)
		return error_failed(error, EBADMSG,
			"the kernel in .linux is older than Linux 5.8: its stub cannot start it");
	if (kernel_parse(bytes, &kernel, NULL) < 0 || le16(bytes.data + BOOT_FLAG) != 0xaa55
		|| !bytes.data[RELOCATABLE] || !(le16(bytes.data + XLOADFLAGS) & XLF_HANDOVER_64))
		return error_failed(error, EBADMSG,
			"the kernel in .linux is older than Linux 5.8 and has no EFI handover "
			"protocol: its stub cannot start it");
	return 0;
}

int kernel_check_stub(struct span bytes, uint16_t machine, struct error *error)
{
	struct pe pe;
	int r = pe_read(bytes, &pe, error);

	if (r < 0) {
		error_prefix(error, "the kernel in .linux is no EFI program (CONFIG_EFI_STUB)");
		return r;
	}
	if (pe.machine != machine)
		return error_failed(error, EBADMSG,
			"the kernel in .linux is for machine type 0x%04x, its stub for 0x%04x",
			pe.machine, machine);
	if (pe.major_image_version < 1)
		return check_handover(bytes, machine, error);
	if (pe.subsystem < PE_SUBSYSTEM_EFI_APPLICATION
		|| pe.subsystem > PE_SUBSYSTEM_EFI_RUNTIME_DRIVER)
		return error_failed(error, EBADMSG,
			"the kernel in .linux is no EFI program: PE subsystem %u", pe.subsystem);
	r = pe_check_firmware(bytes, &pe, error);
	if (r < 0)
		error_prefix(error, "the firmware could not load the kernel in .linux");
	return r;
}
