/* SPDX-License-Identifier: Apache-2.0 */
#include "format/filekind.h"

#include "format/pe.h"

/* arch/{arm64,riscv,loongarch}/include/asm/image.h, arch/arm/boot/compressed/head.S,
 * drivers/firmware/efi/libstub/zboot-header.S, Documentation/arch/x86/boot.rst */
#define MAGIC_LOONGARCH 0x818223cd /* LINUX_PE_MAGIC; zboot kernels have it, too */

#define MAGIC_PE32   0x10b
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT_SAMPLE  512 /* bytes that are looked at to tell text */

static bool has(struct span bytes, uint64_t offset, const void *magic, size_t size)
{
	struct span found;

	return span_slice(bytes, offset, size, &found) && memcmp(found.data, magic, size) == 0;
}

#define HAS(bytes, offset, text) has(bytes, offset, text, sizeof(text) - 1)

static bool contains(struct span bytes, const char *text)
{
	return bytes.data && memmem(bytes.data, bytes.size, text, strlen(text));
}

static bool has_section(const struct pe *pe, const char *name)
{
	return pe_find(pe, name, NULL);
}

static struct span section_bytes(struct span file, const struct pe *pe, const char *name)
{
	struct pe_section section;

	return pe_find(pe, name, &section) ? pe_section_bytes(file, &section) : (struct span){ 0 };
}

/* What systemd's programs say of themselves: "#### LoaderInfo: systemd-boot 257 ####". */
static enum filekind kind_by_sdmagic(struct span magic, const struct pe *pe)
{
	static const char *const payloads[] = { ".cmdline", ".dtb", ".dtbauto", ".initrd", ".ucode",
		".uname", ".hwids", ".efifw" };

	if (contains(magic, ": systemd-boot "))
		return FILEKIND_SYSTEMD_BOOT;
	if (contains(magic, ": systemd-addon "))
		return FILEKIND_ADDON;
	if (!contains(magic, ": systemd-stub "))
		return FILEKIND_UNKNOWN;
	for (size_t i = 0; i < COUNT(payloads); i++)
		if (has_section(pe, payloads[i]))
			return FILEKIND_ADDON;
	return FILEKIND_STUB;
}

/* shim, MokManager and fallback have the same .sbat; only shim has this text. Those before SBAT
 * have the text alone. GRUB's modules lie in a section of their own. */
static enum filekind kind_by_content(struct span file, const struct pe *pe)
{
	struct span sbat = section_bytes(file, pe, ".sbat");

	if (contains(file, "UEFI SHIM\n$Version:"))
		return FILEKIND_SHIM;
	if (contains(sbat, "\nshim,"))
		return FILEKIND_SHIM_HELPER;
	if (contains(sbat, "\ngrub,") || has_section(pe, "mods"))
		return FILEKIND_GRUB;
	return FILEKIND_UNKNOWN;
}

static enum filekind kind_of_efi_program(struct span file)
{
	enum filekind kind;
	struct pe pe;

	if (pe_read(file, &pe, NULL) < 0)
		return FILEKIND_UNKNOWN;
	if (has_section(&pe, ".linux"))
		return FILEKIND_UKI;
	kind = kind_by_sdmagic(section_bytes(file, &pe, ".sdmagic"), &pe);
	if (kind == FILEKIND_UNKNOWN)
		kind = kind_by_content(file, &pe);
	return kind;
}

/* PE32 and PE32+ have their subsystem at the same place. */
static enum filekind kind_by_subsystem(struct span file)
{
	uint64_t header = le32(file.data + 0x3c);
	struct span optional;
	struct pe pe;
	bool small; /* PE32 */

	if (!HAS(file, header, "PE\0\0") || !span_slice(file, header + 24, 70, &optional))
		return FILEKIND_UNKNOWN;
	small = le16(optional.data) == MAGIC_PE32;
	if (!small && pe_read(file, &pe, NULL) < 0)
		return FILEKIND_UNKNOWN;
	switch (le16(optional.data + 68)) {
	case PE_SUBSYSTEM_EFI_APPLICATION:
		return small ? FILEKIND_EFI_PROGRAM_32 : FILEKIND_EFI_PROGRAM;
	case PE_SUBSYSTEM_EFI_BOOT_DRIVER:
	case PE_SUBSYSTEM_EFI_RUNTIME_DRIVER:
		return FILEKIND_EFI_DRIVER;
	default:
		return FILEKIND_PE;
	}
}

static enum filekind kind_of_kernel(struct span file)
{
	struct span magic;

	if (HAS(file, 0x1fe, "\x55\xaa") && HAS(file, 0x202, "HdrS"))
		return FILEKIND_KERNEL_X86;
	if (HAS(file, 0, "MZ") && HAS(file, 4, "zimg"))
		return FILEKIND_KERNEL_ZBOOT;
	if (HAS(file, 56, "ARM\x64"))
		return FILEKIND_KERNEL_ARM64;
	if (HAS(file, 48, "RISCV\0\0\0") || HAS(file, 56, "RSC\x05"))
		return FILEKIND_KERNEL_RISCV;
	if (HAS(file, 0x24, "\x18\x28\x6f\x01"))
		return FILEKIND_KERNEL_ARM;
	if (HAS(file, 0, "MZ") && span_slice(file, 56, 4, &magic)
		&& le32(magic.data) == MAGIC_LOONGARCH)
		return FILEKIND_KERNEL_LOONGARCH;
	return FILEKIND_UNKNOWN;
}

static enum filekind kind_by_magic(struct span file)
{
	static const struct {
		enum filekind kind;
		uint32_t offset;
		uint32_t size;
		const char *magic;
	} rows[] = {
		{ FILEKIND_CPIO, 0, 6, "070701" },
		{ FILEKIND_CPIO, 0, 6, "070702" },
		{ FILEKIND_CPIO, 0, 6, "070707" },
		{ FILEKIND_CPIO, 0, 2, "\xc7\x71" },
		{ FILEKIND_DEVICE_TREE, 0, 4, "\xd0\x0d\xfe\xed" },
		{ FILEKIND_ZIP, 0, 4, "PK\3\4" },
		{ FILEKIND_ZIP, 0, 4, "PK\5\6" },
		{ FILEKIND_GZIP, 0, 2, "\x1f\x8b" },
		{ FILEKIND_XZ, 0, 6,
			"\xfd"
			"7zXZ\0" },
		{ FILEKIND_ZSTD, 0, 4, "\x28\xb5\x2f\xfd" },
		{ FILEKIND_LZ4, 0, 4, "\x04\x22\x4d\x18" },
		{ FILEKIND_LZ4, 0, 4, "\x02\x21\x4c\x18" },
		{ FILEKIND_BZIP2, 0, 3, "BZh" },
		{ FILEKIND_LZMA, 0, 4, "\x5d\0\0\x80" },
		{ FILEKIND_LZMA, 0, 4, "\x5d\0\0\0" },
		{ FILEKIND_QCOW2, 0, 4, "QFI\xfb" },
		{ FILEKIND_SQUASHFS, 0, 4, "hsqs" },
		{ FILEKIND_PEM, 0, 11, "-----BEGIN " },
		{ FILEKIND_SCRIPT, 0, 2, "#!" },
		{ FILEKIND_TAR, 257, 5, "ustar" },
		{ FILEKIND_EROFS, 1024, 4, "\xe2\xe1\xf5\xe0" },
		{ FILEKIND_EXT4, 1080, 2, "\x53\xef" },
		{ FILEKIND_DISK_IMAGE, 512, 8, "EFI PART" },
		{ FILEKIND_DISK_IMAGE, 4096, 8, "EFI PART" },
		{ FILEKIND_ISO9660, 32769, 5, "CD001" },
		{ FILEKIND_FAT, 54, 3, "FAT" },
		{ FILEKIND_FAT, 82, 5, "FAT32" },
		{ FILEKIND_DISK_IMAGE, 510, 2, "\x55\xaa" },
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		if (has(file, rows[i].offset, rows[i].magic, rows[i].size))
			return rows[i].kind;
	return FILEKIND_UNKNOWN;
}

static bool is_text(struct span file)
{
	size_t size = file.size < TEXT_SAMPLE ? file.size : TEXT_SAMPLE;

	for (size_t i = 0; i < size; i++)
		if (file.data[i] < 0x20 ? !file.data[i] || !strchr("\t\n\r\f", file.data[i])
					: file.data[i] == 0x7f)
			return false;
	return true;
}

enum filekind filekind_of(struct span bytes)
{
	enum filekind kind = FILEKIND_UNKNOWN;

	if (bytes.size == 0)
		return FILEKIND_EMPTY;
	if (HAS(bytes, 0,
		    "\x7f"
		    "ELF"))
		return contains(bytes, "Linux version ") ? FILEKIND_KERNEL_ELF : FILEKIND_ELF;
	if (HAS(bytes, 0, "MZ"))
		kind = kind_of_efi_program(bytes);
	if (kind == FILEKIND_UNKNOWN)
		kind = kind_of_kernel(bytes);
	if (kind == FILEKIND_UNKNOWN && HAS(bytes, 0, "MZ") && bytes.size >= 64)
		kind = kind_by_subsystem(bytes);
	if (kind == FILEKIND_UNKNOWN)
		kind = kind_by_magic(bytes);
	return kind == FILEKIND_UNKNOWN && is_text(bytes) ? FILEKIND_TEXT : kind;
}

const char *filekind_name(enum filekind kind)
{
	static const char *const names[FILEKIND_COUNT] = {
		[FILEKIND_UNKNOWN] = "no file of a known kind",
		[FILEKIND_EMPTY] = "an empty file",
		[FILEKIND_UKI] = "a UKI",
		[FILEKIND_ADDON] = "a UKI addon (it has no kernel)",
		[FILEKIND_STUB] = "systemd-stub without a kernel",
		[FILEKIND_SYSTEMD_BOOT] = "the boot loader systemd-boot",
		[FILEKIND_SHIM] = "the boot loader shim",
		[FILEKIND_SHIM_HELPER] = "a helper of the boot loader shim (MokManager, fallback)",
		[FILEKIND_GRUB] = "the boot loader GRUB",
		[FILEKIND_EFI_PROGRAM] = "an EFI program without a kernel",
		[FILEKIND_EFI_PROGRAM_32] = "a 32-bit EFI program",
		[FILEKIND_EFI_DRIVER] = "an EFI driver",
		[FILEKIND_PE] = "a Windows program",
		[FILEKIND_KERNEL_X86] = "a bare Linux kernel for x86 (bzImage)",
		[FILEKIND_KERNEL_ARM64] = "a bare Linux kernel for arm64 (Image)",
		[FILEKIND_KERNEL_RISCV] = "a bare Linux kernel for RISC-V (Image)",
		[FILEKIND_KERNEL_LOONGARCH] = "a bare Linux kernel for LoongArch",
		[FILEKIND_KERNEL_ARM] = "a bare Linux kernel for 32-bit ARM (zImage)",
		[FILEKIND_KERNEL_ZBOOT] = "a bare, compressed Linux kernel (EFI zboot)",
		[FILEKIND_KERNEL_ELF] = "a bare Linux kernel in ELF format (vmlinux)",
		[FILEKIND_ELF] = "an ELF file",
		[FILEKIND_CPIO] = "a cpio archive, as an initrd is",
		[FILEKIND_DEVICE_TREE] = "a device tree",
		[FILEKIND_ZIP] = "a ZIP archive, as a bundle is",
		[FILEKIND_GZIP] = "a file compressed with gzip",
		[FILEKIND_XZ] = "a file compressed with xz",
		[FILEKIND_ZSTD] = "a file compressed with zstd",
		[FILEKIND_LZ4] = "a file compressed with LZ4",
		[FILEKIND_BZIP2] = "a file compressed with bzip2",
		[FILEKIND_LZMA] = "a file compressed with LZMA",
		[FILEKIND_TAR] = "a tar archive",
		[FILEKIND_DISK_IMAGE] = "a disk image",
		[FILEKIND_ISO9660] = "an ISO 9660 image",
		[FILEKIND_QCOW2] = "a QCOW2 disk image",
		[FILEKIND_EROFS] = "an erofs image",
		[FILEKIND_SQUASHFS] = "a squashfs image",
		[FILEKIND_EXT4] = "an ext2, ext3 or ext4 image",
		[FILEKIND_FAT] = "a FAT image",
		[FILEKIND_PEM] = "a certificate or key (PEM)",
		[FILEKIND_SCRIPT] = "a script",
		[FILEKIND_TEXT] = "a text file",
	};

	return kind < FILEKIND_COUNT ? names[kind] : names[FILEKIND_UNKNOWN];
}

const char *filekind_advice(enum filekind kind)
{
	switch (kind) {
	case FILEKIND_KERNEL_X86:
	case FILEKIND_KERNEL_ARM64:
	case FILEKIND_KERNEL_RISCV:
	case FILEKIND_KERNEL_LOONGARCH:
	case FILEKIND_KERNEL_ZBOOT:
	case FILEKIND_CPIO:
	case FILEKIND_STUB:
		return "build a UKI of kernel, initrd and command line with ukify";
	case FILEKIND_KERNEL_ELF:
		return "build a UKI with ukify, of the bootable kernel (bzImage, Image)";
	case FILEKIND_ADDON:
		return "name the UKI that it belongs to";
	case FILEKIND_SYSTEMD_BOOT:
	case FILEKIND_SHIM:
	case FILEKIND_SHIM_HELPER:
	case FILEKIND_GRUB:
		return "name the UKI that it starts";
	case FILEKIND_ZIP:
		return "'bistable bundle inspect' shows what a bundle holds";
	case FILEKIND_GZIP:
	case FILEKIND_XZ:
	case FILEKIND_ZSTD:
	case FILEKIND_LZ4:
	case FILEKIND_BZIP2:
	case FILEKIND_LZMA:
	case FILEKIND_TAR:
		return "unpack it first";
	default:
		return NULL;
	}
}

bool filekind_is_boot_loader(enum filekind kind)
{
	return kind == FILEKIND_SYSTEMD_BOOT || kind == FILEKIND_SHIM || kind == FILEKIND_GRUB;
}
