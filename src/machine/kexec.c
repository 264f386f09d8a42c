/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/kexec.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/kexec_private.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* linux 6.3 */
#endif

/* A flag that no kernel knows: it answers ENOSYS or EPERM, or refuses the flag. */
#define PROBE_FLAG (1UL << 63)

#define LOADER_TYPE_KEXEC 0xd /* high nibble; the low one is a version */

/* Larger than /proc/self/status, the largest text read here. */
#define SMBIOS_MAX     (1u << 20)
#define SMBIOS_STEP    (16u << 10)
#define SMALL_TEXT_MAX 8192

#define DISABLED_WORDS \
	"kernel.kexec_load_disabled is 1, which only a restart through the firmware undoes"
#define UNSUPPORTED_WORDS "this kernel was built without kexec (CONFIG_KEXEC_FILE)"

static const struct {
	int number;
	const char *words;
} errno_words[] = {
	{ EPERM, "not permitted: no CAP_SYS_BOOT, kernel.kexec_load_disabled is 1, the limit of "
		 "kexec loads is used up, or lockdown is on and the kernel's signature cannot be "
		 "checked" },
	{ ENOEXEC, "not a kernel image that can be started by kexec" },
	{ EINVAL, "refused: no kernel image for this machine, or its command line is too long" },
	{ ETXTBSY, "the image is open for writing elsewhere" },
	{ ENODATA, "this system wants signed kernels, and this one has no signature" },
	{ ENOKEY, "the kernel is signed with a key this system does not trust" },
	{ EKEYREJECTED, "the kernel's signature does not match its content" },
	{ ELIBBAD, "the kernel's signature is malformed" },
	{ EBADMSG, "the kernel's signature is malformed" },
	{ EMSGSIZE, "the kernel's signature is malformed" },
	{ ENOPKG, "the kernel's signature uses an algorithm this system does not have" },
	{ EBUSY, "another kexec load is under way" },
	{ ENOSYS, UNSUPPORTED_WORDS },
	{ ENOMEM, "not enough memory to load the kernel" },
	{ EADDRNOTAVAIL, "no free memory where the kernel could be placed" },
};

const char *kexec_errno_words(int number)
{
	const char *words;

	for (size_t i = 0; i < sizeof(errno_words) / sizeof(*errno_words); i++)
		if (errno_words[i].number == number)
			return errno_words[i].words;
	words = strerrordesc_np(number);
	return words ? words : "unknown error";
}

/* Reads a file of proc/ or sys/ below `root`, cut to `size` - 1 bytes. -ENOENT without error. */
static int read_small(int root, const char *path, char *out, size_t size, struct error *error)
{
	AUTO_CLOSE int fd = openat(root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t used = 0;
	ssize_t got = -1;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return -ENOENT;
	while (fd >= 0 && used < size - 1) {
		got = read(fd, out + used, size - 1 - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	if (got < 0)
		return error_failed(
			error, errno, "cannot read /%s: %s", path, strerrordesc_np(errno));
	out[used] = '\0';
	return 0;
}

/* A file that holds one whole number. -ENOENT without error. */
static int read_number(int root, const char *path, long *ret, struct error *error)
{
	char text[32], *end;
	long value;
	int r;

	r = read_small(root, path, text, sizeof(text), error);
	if (r < 0)
		return r;
	errno = 0;
	value = strtol(text, &end, 10);
	if (end == text || errno != 0 || (*end != '\0' && *end != '\n'))
		return error_failed(error, EBADMSG, "/%s holds no number: '%.20s'", path, text);
	*ret = value;
	return 0;
}

/* *ret keeps its value when the file is absent. */
static int read_optional_number(int root, const char *path, long *ret, struct error *error)
{
	int r = read_number(root, path, ret, error);

	return r == -ENOENT ? 0 : r;
}

/* Whether proc/self/status says CAP_SYS_BOOT is effective; true when it says nothing. */
static int may_boot(int root, bool *ret, struct error *error)
{
	char text[SMALL_TEXT_MAX];
	const char *line;
	int r;

	r = read_small(root, "proc/self/status", text, sizeof(text), error);
	if (r < 0 && r != -ENOENT)
		return r;
	line = r == 0 ? strstr(text, "\nCapEff:") : NULL;
	*ret = !line || (strtoull(line + strlen("\nCapEff:"), NULL, 16) >> CAP_SYS_BOOT & 1) != 0;
	return 0;
}

static bool is_real_root(int root)
{
	struct stat given, real;

	return fstat(root, &given) == 0 && stat("/", &real) == 0 && given.st_dev == real.st_dev
	       && given.st_ino == real.st_ino;
}

static long file_load(int kernel, int initrd, const char *cmdline, unsigned long flags)
{
	return syscall(SYS_kexec_file_load, kernel, initrd, cmdline ? strlen(cmdline) + 1 : 0,
		cmdline, flags);
}

/* The sysctl and the sysfs file come with CONFIG_KEXEC_CORE; the system call is asked itself. */
static bool is_supported(int root)
{
	if (faccessat(root, "proc/sys/kernel/kexec_load_disabled", F_OK, 0) < 0
		&& faccessat(root, "sys/kernel/kexec/loaded", F_OK, 0) < 0
		&& faccessat(root, "sys/kernel/kexec_loaded", F_OK, 0) < 0)
		return false;
	return !is_real_root(root) || file_load(-1, -1, NULL, PROBE_FLAG) == 0 || errno != ENOSYS;
}

/* An OEM string (SMBIOS type 11) by which systemd-stub 254+ extends the command line. */
static bool has_smbios_cmdline(int root)
{
	static const char key[] = "io.systemd.stub.kernel-cmdline-extra=";
	AUTO_CLOSE int fd = openat(root, "sys/firmware/dmi/tables/DMI", O_RDONLY | O_CLOEXEC);
	AUTO_BUFFER struct buffer table = { 0 };
	ssize_t got = 1;

	while (fd >= 0 && got > 0 && table.size < SMBIOS_MAX
		&& buffer_reserve(&table, SMBIOS_STEP, NULL) == 0) {
		got = read(fd, table.data + table.size, SMBIOS_STEP);
		table.size += got > 0 ? (size_t)got : 0;
	}
	return table.size > 0 && memmem(table.data, table.size, key, strlen(key));
}

/* What a start by the firmware would do, and a kexec on this machine would not. */
static const char *firmware_reason(int root)
{
	if (faccessat(root, "sys/firmware/efi", F_OK, 0) == 0
		&& faccessat(root, "sys/firmware/efi/runtime-map", F_OK, 0) < 0)
		return "this kernel cannot hand the EFI runtime services over (no "
		       "/sys/firmware/efi/runtime-map)";
	if (has_smbios_cmdline(root))
		return "the machine's SMBIOS extends the kernel command line "
		       "(io.systemd.stub.kernel-cmdline-extra), which only the firmware's stub "
		       "reads";
	return NULL;
}

int kexec_preflight(int root_dir_fd, char **ret_reason, struct error *error)
{
	long disabled = 0, limit = -1;
	const char *reason = NULL;
	char *copy = NULL;
	bool capable;
	int r;

	r = read_optional_number(
		root_dir_fd, "proc/sys/kernel/kexec_load_disabled", &disabled, error);
	if (r == 0)
		r = read_optional_number(
			root_dir_fd, "proc/sys/kernel/kexec_load_limit_reboot", &limit, error);
	if (r == 0)
		r = may_boot(root_dir_fd, &capable, error);
	if (r < 0)
		return r;

	if (!is_supported(root_dir_fd))
		reason = UNSUPPORTED_WORDS;
	else if (disabled != 0)
		reason = DISABLED_WORDS;
	else if (limit == 0)
		reason = "kernel.kexec_load_limit_reboot is used up until the next restart";
	else
		reason = firmware_reason(root_dir_fd);
	if (!reason && !capable)
		return error_failed(error, EPERM, "this process has no CAP_SYS_BOOT: run as root");
	if (reason) {
		copy = strdup(reason);
		if (!copy)
			return error_memory(error);
	}
	*ret_reason = copy;
	return 0;
}

/* Newer kernels may insist on MFD_NOEXEC_SEAL (vm.memfd_noexec), older ones do not know it. */
static int new_memfd(const char *name)
{
	const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);

	return fd < 0 && errno == EINVAL ? memfd_create(name, flags) : fd;
}

int kexec_memfd(const char *name, struct span content, int *ret_fd, struct error *error)
{
	AUTO_CLOSE int fd = new_memfd(name);

	for (size_t done = 0; fd >= 0 && done < content.size;) {
		ssize_t written = write(fd, content.data + done, content.size - done);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return error_failed(error, written < 0 ? errno : EIO,
				"cannot hold the %s of %zu bytes in memory: %s", name, content.size,
				strerrordesc_np(written < 0 ? errno : EIO));
		done += (size_t)written;
	}
	if (fd < 0
		|| fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
			   < 0)
		return error_failed(error, errno, "cannot make a sealed memory file for the %s: %s",
			name, strerrordesc_np(errno));
	*ret_fd = take_fd(&fd);
	return 0;
}

/* EPERM has many causes: the one that holds is said if it can be told. */
static int load_error(int number, const char *action, struct error *error)
{
	AUTO_CLOSE int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *reason = NULL;

	if (number == EPERM && root >= 0)
		kexec_preflight(root, &reason, NULL);
	return error_failed(error, number, "cannot %s by kexec: %s", action,
		reason ? reason : kexec_errno_words(number));
}

int kexec_stage(struct span kernel, struct span initrd, const char *cmdline, struct error *error)
{
	AUTO_CLOSE int kernel_fd = -1, initrd_fd = -1;
	int r;

	if (kernel.size == 0)
		return error_failed(error, EINVAL, "cannot stage a kernel by kexec: it is empty");
	r = kexec_memfd("kernel", kernel, &kernel_fd, error);
	if (r == 0 && initrd.size > 0)
		r = kexec_memfd("initrd", initrd, &initrd_fd, error);
	if (r < 0)
		return r;
	if (file_load(kernel_fd, initrd_fd, cmdline, initrd.size > 0 ? 0 : KEXEC_FILE_NO_INITRAMFS)
		< 0)
		return load_error(errno, "stage a kernel", error);
	return 0;
}

int kexec_unstage(struct error *error)
{
	if (file_load(-1, -1, NULL, KEXEC_FILE_UNLOAD) == 0 || errno == ENOSYS)
		return 0;
	return load_error(errno, "unload the kernel that is staged", error);
}

int kexec_staged(int root_dir_fd, bool *ret, struct error *error)
{
	long loaded = 0;
	int r;

	r = read_number(root_dir_fd, "sys/kernel/kexec/loaded", &loaded, error);
	if (r == -ENOENT)
		r = read_optional_number(root_dir_fd, "sys/kernel/kexec_loaded", &loaded, error);
	if (r < 0)
		return r;
	*ret = loaded != 0;
	return 0;
}

bool kexec_booted(int root_dir_fd)
{
	long type = 0;

	return read_number(root_dir_fd, "proc/sys/kernel/bootloader_type", &type, NULL) == 0
	       && type >> 4 == LOADER_TYPE_KEXEC;
}
