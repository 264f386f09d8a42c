/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/kexec.h"
#include "machine/kexec_private.h"

#define DISABLED    "proc/sys/kernel/kexec_load_disabled"
#define LIMIT       "proc/sys/kernel/kexec_load_limit_reboot"
#define LOADER      "proc/sys/kernel/bootloader_type"
#define STATUS      "proc/self/status"
#define EFI         "sys/firmware/efi/fw_platform_size"
#define RUNTIME_MAP "sys/firmware/efi/runtime-map/0/attribute"
#define DMI         "sys/firmware/dmi/tables/DMI"
#define LOCKDOWN    "sys/kernel/security/lockdown"
#define OLD_LOADED  "sys/kernel/kexec_loaded"
#define NEW_LOADED  "sys/kernel/kexec/loaded"

#define ALL_CAPABILITIES "Name:\tx\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"
#define NO_SYS_BOOT      "Name:\tx\nCapEff:\t000001ffffbfffff\nCapBnd:\t000001ffffffffff\n"

struct file {
	const char *path, *text;
};

#define FILES_MAX 4

/* A tree that looks like a machine. */
struct tree {
	char path[32];
	int fd;
};

static void put_file(const struct tree *tree, const char *path, const char *text)
{
	AUTO_FREE char *copy = strdup(path);
	AUTO_CLOSE int fd = -1;

	assert_non_null(copy);
	for (char *p = strchr(copy, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		assert_true(mkdirat(tree->fd, copy, 0755) == 0 || errno == EEXIST);
		*p = '/';
	}
	fd = openat(tree->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *ftw)
{
	(void)stat;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static void tree_done(struct tree *tree)
{
	close(tree->fd);
	nftw(tree->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

#define AUTO_TREE CLEANUP(tree_done)

static struct tree tree_of(const struct file *files)
{
	struct tree tree = { .path = "/tmp/test-kexec-XXXXXX" };

	assert_non_null(mkdtemp(tree.path));
	tree.fd = open(tree.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(tree.fd >= 0);
	for (size_t i = 0; i < FILES_MAX && files[i].path; i++)
		put_file(&tree, files[i].path, files[i].text);
	return tree;
}

/* Every errno that a kexec load is known to give says more than its name. */
static void test_errno_words(void **state)
{
	static const struct {
		int number;
		const char *says;
	} cases[] = {
		{ EPERM, "kexec_load_disabled" },
		{ EPERM, "CAP_SYS_BOOT" },
		{ EPERM, "lockdown" },
		{ ENOEXEC, "not a kernel" },
		{ EINVAL, "command line" },
		{ ETXTBSY, "open for writing" },
		{ ENODATA, "no signature" },
		{ ENOKEY, "does not trust" },
		{ EKEYREJECTED, "does not match" },
		{ ELIBBAD, "malformed" },
		{ EBADMSG, "malformed" },
		{ EMSGSIZE, "malformed" },
		{ ENOPKG, "algorithm" },
		{ EBUSY, "another" },
		{ ENOSYS, "without kexec" },
		{ ENOMEM, "memory" },
		{ EADDRNOTAVAIL, "memory" },
		{ ENOSPC, "space" }, /* not in the table: what the C library says */
		{ 99999, "unknown" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_non_null(strstr(kexec_errno_words(cases[i].number), cases[i].says));
}

static void test_preflight(void **state)
{
	static const struct {
		struct file files[FILES_MAX];
		const char *says; /* NULL: kexec can work */
	} cases[] = {
		{ { { DISABLED, "0\n" }, { STATUS, ALL_CAPABILITIES }, { OLD_LOADED, "0\n" } },
			NULL },
		{ { { DISABLED, "0\n" } }, NULL },
		{ { { OLD_LOADED, "0\n" } }, NULL },
		{ { { NEW_LOADED, "1\n" } }, NULL },
		{ { { DISABLED, "1\n" }, { STATUS, ALL_CAPABILITIES } },
			"kexec_load_disabled is 1" },
		{ { { DISABLED, "0\n" }, { LIMIT, "0\n" } }, "limit" },
		{ { { DISABLED, "0\n" }, { LIMIT, "-1\n" } }, NULL },
		{ { { DISABLED, "0\n" }, { LIMIT, "2\n" } }, NULL },
		{ { { STATUS, ALL_CAPABILITIES } }, "without kexec" },
		{ { { NULL, NULL } }, "without kexec" },
		{ { { DISABLED, "0\n" }, { EFI, "1" } }, "runtime-map" },
		{ { { DISABLED, "0\n" }, { EFI, "1" }, { RUNTIME_MAP, "1" } }, NULL },
		{ { { DISABLED, "0\n" }, { DMI, "vendor strings" } }, NULL },
		{ { { DISABLED, "0\n" }, { DMI, "io.systemd.stub.kernel-cmdline-extra=debug" } },
			"SMBIOS" },
		/* Lockdown is no reason by itself. */
		{ { { DISABLED, "0\n" }, { LOCKDOWN, "none [integrity] confidentiality\n" } },
			NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		AUTO_TREE struct tree tree = tree_of(cases[i].files);
		char untouched;
		AUTO_FREE char *reason = NULL;
		char *given = &untouched;

		assert_int_equal(kexec_preflight(tree.fd, &given, NULL), 0);
		assert_ptr_not_equal(given, &untouched);
		reason = given;
		if (cases[i].says) {
			assert_non_null(reason);
			assert_non_null(strstr(reason, cases[i].says));
		} else {
			assert_null(reason);
		}
	}
}

/* What stands against it whoever asks is told first: rights are only missing where it may work. */
static void test_preflight_without_rights(void **state)
{
	static const struct {
		struct file files[FILES_MAX];
		int result;
	} cases[] = {
		{ { { DISABLED, "0\n" }, { STATUS, NO_SYS_BOOT } }, -EPERM },
		{ { { DISABLED, "1\n" }, { STATUS, NO_SYS_BOOT } }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		AUTO_TREE struct tree tree = tree_of(cases[i].files);
		AUTO_FREE char *reason = NULL;
		struct error error = { 0 };

		assert_int_equal(kexec_preflight(tree.fd, &reason, &error), cases[i].result);
		if (cases[i].result < 0)
			assert_non_null(strstr(error.text, "no CAP_SYS_BOOT: run as root"));
		assert_int_equal(reason != NULL, cases[i].result == 0);
	}
}

static void test_preflight_unreadable(void **state)
{
	static const struct file files[FILES_MAX] = { { DISABLED, "maybe\n" } };
	AUTO_TREE struct tree tree = tree_of(files);
	struct error error = { 0 };
	char *reason = tree.path;

	(void)state;
	assert_int_equal(kexec_preflight(tree.fd, &reason, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "/" DISABLED));
	assert_ptr_equal(reason, tree.path);
}

/* Whatever this machine is, it gives an answer and is not changed. */
static void test_preflight_here(void **state)
{
	AUTO_CLOSE int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool before = false, after = true;
	AUTO_FREE char *reason = NULL;

	(void)state;
	assert_int_equal(kexec_staged(root, &before, NULL), 0);
	assert_int_equal(kexec_preflight(root, &reason, NULL), 0);
	assert_int_equal(kexec_staged(root, &after, NULL), 0);
	assert_int_equal(before, after);
}

static void test_staged(void **state)
{
	static const struct {
		struct file files[FILES_MAX];
		int result;
		bool staged;
	} cases[] = {
		{ { { NULL, NULL } }, 0, false },
		{ { { OLD_LOADED, "0\n" } }, 0, false },
		{ { { OLD_LOADED, "1\n" } }, 0, true },
		{ { { NEW_LOADED, "0\n" } }, 0, false },
		{ { { NEW_LOADED, "1\n" } }, 0, true },
		{ { { NEW_LOADED, "1\n" }, { OLD_LOADED, "1\n" } }, 0, true },
		{ { { OLD_LOADED, "\n" } }, -EBADMSG, false },
		{ { { NEW_LOADED, "yes\n" } }, -EBADMSG, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		AUTO_TREE struct tree tree = tree_of(cases[i].files);
		bool staged = !cases[i].staged;
		int r = kexec_staged(tree.fd, &staged, NULL);

		assert_int_equal(r, cases[i].result);
		if (r == 0)
			assert_int_equal(staged, cases[i].staged);
	}
}

static void test_booted(void **state)
{
	static const struct {
		const char *type;
		bool booted;
	} cases[] = {
		{ "208\n", true }, /* kexec_file_load */
		{ "209\n", true }, /* a version in the low nibble */
		{ "223\n", true },
		{ "176\n", false }, /* QEMU */
		{ "207\n", false },
		{ "224\n", false },
		{ "464\n", false }, /* 0x1d0: an extended type */
		{ "-48\n", false },
		{ "\n", false },
		{ "208 x", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct file files[FILES_MAX] = { { LOADER, cases[i].type } };
		AUTO_TREE struct tree tree = tree_of(files);

		assert_int_equal(kexec_booted(tree.fd), cases[i].booted);
	}
	const struct file none[FILES_MAX] = { { NULL, NULL } };
	AUTO_TREE struct tree tree = tree_of(none);

	assert_false(kexec_booted(tree.fd));
}

/* Nobody can change what was checked between the check and the load. */
static void test_memfd_is_sealed(void **state)
{
	static const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
	static const uint8_t content[] = "bzImage";
	AUTO_CLOSE int fd = -1;
	uint8_t back[16];

	(void)state;
	assert_int_equal(kexec_memfd("kernel", (struct span){ content, 7 }, &fd, NULL), 0);
	assert_int_equal(pread(fd, back, sizeof(back), 0), 7);
	assert_memory_equal(back, content, 7);
	assert_int_equal(fcntl(fd, F_GET_SEALS) & seals, seals);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 3), -1);
	assert_int_equal(ftruncate(fd, 30), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_ptr_equal(mmap(NULL, 7, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
}

static void test_memfd_large(void **state)
{
	const size_t size = (1u << 20) + 3;
	AUTO_FREE uint8_t *content = malloc(size), *back = malloc(size);
	AUTO_CLOSE int fd = -1;
	struct stat stat;

	(void)state;
	assert_true(content && back);
	for (size_t i = 0; i < size; i++)
		content[i] = (uint8_t)(i * 31 + i / 4096);
	assert_int_equal(kexec_memfd("initrd", (struct span){ content, size }, &fd, NULL), 0);
	assert_int_equal(fstat(fd, &stat), 0);
	assert_int_equal(stat.st_size, size);
	assert_int_equal(pread(fd, back, size, 0), size);
	assert_memory_equal(content, back, size);
}

/* No kernel takes these, so that the test is harmless even where kexec works. */
static void test_stage_refuses(void **state)
{
	static const uint8_t garbage[64] = { 'g' };
	struct error error = { 0 };

	(void)state;
	assert_int_equal(
		kexec_stage((struct span){ garbage, 0 }, (struct span){ NULL, 0 }, "", &error),
		-EINVAL);
	assert_non_null(strstr(error.text, "empty"));
	error = (struct error){ 0 };
	assert_true(kexec_stage((struct span){ garbage, sizeof(garbage) },
			    (struct span){ garbage, 4 }, "quiet", &error)
		    < 0);
	assert_non_null(strstr(error.text, "cannot stage a kernel by kexec: "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errno_words),
		cmocka_unit_test(test_preflight),
		cmocka_unit_test(test_preflight_without_rights),
		cmocka_unit_test(test_preflight_unreadable),
		cmocka_unit_test(test_preflight_here),
		cmocka_unit_test(test_staged),
		cmocka_unit_test(test_booted),
		cmocka_unit_test(test_memfd_is_sealed),
		cmocka_unit_test(test_memfd_large),
		cmocka_unit_test(test_stage_refuses),
	};

	return cmocka_run_group_tests_name("kexec", tests, NULL, NULL);
}
