/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "linux_tree.h"
#include "machine/linux_private.h"
#include "machine/machine.h"

#define GLOBAL    "8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define EFIVARS   "sys/firmware/efi/efivars/"
#define BOOT_FILE "/EFI/metropolis/boot-a.efi"

struct fixture {
	struct tree tree;
	struct machine *machine;
	const struct machine_ops *ops;
	struct error error;
	struct esp *esp;
};

static void fixture_make(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	tree_make(&f->tree);
	assert_int_equal(machine_linux_new(f->tree.path, &f->machine, &f->error), 0);
	f->ops = f->machine->ops;
}

static void open_esp(struct fixture *f)
{
	const struct esp_settings settings = { .remount = true };

	tree_folder(&f->tree, "efi/EFI");
	assert_int_equal(f->ops->esp_open(f->machine, &settings, &f->esp, &f->error), 0);
}

static void fixture_done(struct fixture *f)
{
	f->ops->esp_close(f->machine, f->esp);
	machine_free(f->machine);
	tree_remove(&f->tree);
}

static struct span span_of_text(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

static void test_new(void **state)
{
	static const char *const whole[] = { NULL, "/", "//" };
	struct machine *machine = NULL;
	struct error error = { 0 };
	int64_t now;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		AUTO_FREE char *text = NULL;

		assert_int_equal(machine_linux_new(whole[i], &machine, &error), 0);
		assert_int_equal(
			machine->ops->read_text(machine, "/proc/self/status", &text, &error), 0);
		assert_non_null(strstr(text, "Name:"));
		now = machine->ops->now(machine);
		assert_true(now >= time(NULL) - 5 && now <= time(NULL));
		machine_free(machine);
	}
	assert_int_equal(machine_linux_new("/absent/root", &machine, &error), -ENOENT);
	assert_non_null(strstr(error.text, "/absent/root"));
	machine_free(NULL);
}

static void test_read_text(void **state)
{
	AUTO_FREE char *text = NULL, *large = calloc(1, MACHINE_TEXT_MAX + 1);
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, "proc/cmdline", "quiet PARTLABEL=METROPOLIS-SYSTEM-A\n");
	assert_int_equal(f.ops->read_text(f.machine, "/proc/cmdline", &text, &f.error), 0);
	assert_string_equal(text, "quiet PARTLABEL=METROPOLIS-SYSTEM-A\n");
	assert_int_equal(f.ops->read_text(f.machine, "/etc/passwd", &text, &f.error), -ENOENT);
	assert_non_null(strstr(f.error.text, "/etc/passwd"));
	assert_non_null(strstr(f.error.text, f.tree.path));
	tree_write(&f.tree, "large", large, MACHINE_TEXT_MAX + 1);
	assert_int_equal(f.ops->read_text(f.machine, "/large", &text, &f.error), -EFBIG);
	/* Nothing leads out of the tree. */
	tree_link(&f.tree, "../../../../../../../etc/passwd", "link");
	assert_int_equal(f.ops->read_text(f.machine, "/link", &text, &f.error), -ENOENT);
	assert_int_equal(
		f.ops->read_text(f.machine, "/../../../../etc/passwd", &text, &f.error), -ENOENT);
	fixture_done(&f);
}

static void test_list(void **state)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, "d/b", "");
	tree_text(&f.tree, "d/a", "");
	tree_folder(&f.tree, "d/c");
	assert_int_equal(f.ops->list(f.machine, "/d", &names, &f.error), 0);
	assert_int_equal(names.count, 3);
	assert_string_equal(names.items[0], "a");
	assert_string_equal(names.items[1], "b");
	assert_string_equal(names.items[2], "c");
	text_list_done(&names);
	assert_int_equal(f.ops->list(f.machine, "/absent", &names, &f.error), -ENOENT);
	fixture_done(&f);
}

static void test_esp_places(void **state)
{
	static const struct {
		const char *folders[4];
		const char *mount, *expected; /* NULL: -ENODEV */
	} cases[] = {
		{ { "efi/EFI", "boot/EFI" }, NULL, "efi" },
		{ { "efi", "boot/efi/EFI", "boot/EFI" }, NULL, "boot/efi" },
		{ { "boot/EFI", "esp/EFI" }, NULL, "boot" },
		{ { "esp/EFI" }, NULL, "esp" },
		{ { "efi", "boot" }, NULL, NULL },
		{ { "boot/efi" }, NULL, "boot" }, /* a FAT's EFI, in lower case */
		{ { "my/esp", "efi/EFI" }, "/my/esp", "my/esp" },
		{ { "efi/EFI" }, "/my/esp", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct esp_settings settings = { .mount = cases[i].mount };
		struct fixture f;
		char path[64];
		int r;

		fixture_make(&f);
		for (size_t k = 0; k < 4 && cases[i].folders[k]; k++)
			tree_folder(&f.tree, cases[i].folders[k]);
		r = f.ops->esp_open(f.machine, &settings, &f.esp, &f.error);
		assert_int_equal(r, cases[i].expected ? 0 : -ENODEV);
		if (r == 0) {
			assert_int_equal(f.ops->esp_replace(f.machine, f.esp, "/x",
						 span_of_text("here"), &f.error),
				0);
			snprintf(path, sizeof(path), "%s/x", cases[i].expected);
			assert_true(tree_holds(&f.tree, path, "here", 4));
		}
		fixture_done(&f);
	}
}

static void test_esp_files(void **state)
{
	AUTO_BUFFER struct buffer content = { 0 };
	AUTO_TEXT_LIST struct text_list names = { 0 };
	struct esp_space space;
	struct fixture f;
	int fds;

	(void)state;
	fixture_make(&f);
	open_esp(&f);
	fds = count_fds();
	assert_int_equal(
		f.ops->esp_read(f.machine, f.esp, BOOT_FILE, 100, &content, &f.error), -ENOENT);
	assert_int_equal(
		f.ops->esp_replace(f.machine, f.esp, BOOT_FILE, span_of_text("content"), &f.error),
		0);
	assert_true(tree_holds(&f.tree, "efi" BOOT_FILE, "content", 7));
	assert_int_equal(f.ops->esp_read(f.machine, f.esp, BOOT_FILE, 7, &content, &f.error), 0);
	assert_int_equal(content.size, 7);
	assert_memory_equal(content.data, "content", 7);
	buffer_done(&content);
	assert_int_equal(
		f.ops->esp_read(f.machine, f.esp, BOOT_FILE, 6, &content, &f.error), -EFBIG);

	assert_int_equal(f.ops->esp_list(f.machine, f.esp, "/EFI/metropolis", &names, &f.error), 0);
	assert_int_equal(names.count, 1);
	assert_string_equal(names.items[0], "boot-a.efi");
	text_list_done(&names);
	assert_int_equal(f.ops->esp_list(f.machine, f.esp, "/", &names, &f.error), 0);
	assert_true(text_list_contains(&names, "EFI"));
	text_list_done(&names);
	assert_int_equal(f.ops->esp_list(f.machine, f.esp, "/absent", &names, &f.error), -ENOENT);

	assert_int_equal(f.ops->esp_remove(f.machine, f.esp, BOOT_FILE, &f.error), 0);
	assert_false(tree_has(&f.tree, "efi" BOOT_FILE));
	assert_int_equal(f.ops->esp_remove(f.machine, f.esp, BOOT_FILE, &f.error), 0);
	assert_int_equal(f.ops->esp_remove(f.machine, f.esp, "/absent/x", &f.error), 0);
	assert_int_equal(f.ops->esp_space(f.machine, f.esp, &space, &f.error), 0);
	assert_true(space.free > 0 && space.free <= space.size);
	assert_int_equal(count_fds(), fds);
	fixture_done(&f);
}

/* Part of a file: what of it lies there. Folders and what is empty or absent are told. */
static void test_esp_part_of_a_file(void **state)
{
	static const struct {
		uint64_t offset;
		size_t size;
		const char *part;
	} cases[] = {
		{ 0, 7, "content" },
		{ 0, 100, "content" },
		{ 3, 2, "te" },
		{ 6, 2, "t" },
		{ 7, 1, "" },
		{ UINT64_C(1) << 40, 100, "" },
	};
	struct fixture f;
	char part[100];
	size_t got;

	(void)state;
	fixture_make(&f);
	open_esp(&f);
	assert_int_equal(
		f.ops->esp_read_at(f.machine, f.esp, BOOT_FILE, 0, part, 1, &got, &f.error),
		-ENOENT);
	tree_text(&f.tree, "efi" BOOT_FILE, "content");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(f.ops->esp_read_at(f.machine, f.esp, BOOT_FILE, cases[i].offset,
					 part, cases[i].size, &got, &f.error),
			0);
		assert_int_equal(got, strlen(cases[i].part));
		assert_memory_equal(part, cases[i].part, got);
	}
	assert_int_equal(
		f.ops->esp_read_at(f.machine, f.esp, "/EFI", 0, part, 1, &got, &f.error), -EISDIR);
	tree_text(&f.tree, "efi" BOOT_FILE, "");
	assert_int_equal(
		f.ops->esp_read_at(f.machine, f.esp, BOOT_FILE, 0, part, 1, &got, &f.error),
		-ENOENT);
	fixture_done(&f);
}

/* What a power cut while a file was being created leaves counts as absent, and is never made. */
static void test_esp_empty_file(void **state)
{
	AUTO_BUFFER struct buffer content = { 0 };
	struct fixture f;

	(void)state;
	fixture_make(&f);
	open_esp(&f);
	tree_text(&f.tree, "efi" BOOT_FILE, "");
	assert_int_equal(
		f.ops->esp_read(f.machine, f.esp, BOOT_FILE, 100, &content, &f.error), -ENOENT);
	assert_int_equal(
		f.ops->esp_replace(f.machine, f.esp, BOOT_FILE, span_of_text(""), &f.error),
		-EINVAL);
	fixture_done(&f);
}

static void test_esp_paths(void **state)
{
	static const struct {
		const char *path;
		int r;
	} cases[] = {
		{ "", -EINVAL },
		{ "/", -EINVAL },
		{ "EFI/x", -EINVAL },
		{ "/EFI//x", -EINVAL },
		{ "/EFI/", -EINVAL },
		{ "/EFI/../x", -EINVAL },
		{ "/..", -EINVAL },
		{ "/EFI/./x", -EINVAL },
		{ "/link/x", -ENOTDIR },
		{ "/file/x", -ENOTDIR },
		{ "/link", -ELOOP },
		{ "/EFI/.../x", -EINVAL },
		{ "/EFI/ /x", -EINVAL },
		{ "/EFI", -EISDIR },
	};
	AUTO_BUFFER struct buffer content = { 0 };
	struct fixture f;

	(void)state;
	fixture_make(&f);
	open_esp(&f);
	tree_text(&f.tree, "secret/x", "secret");
	tree_link(&f.tree, "../secret", "efi/link");
	tree_text(&f.tree, "efi/file", "x");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = f.ops->esp_read(f.machine, f.esp, cases[i].path, 100, &content, &f.error);

		if (r != cases[i].r)
			fail_msg("read \"%s\": %d (%s)", cases[i].path, r, f.error.text);
		r = f.ops->esp_replace(
			f.machine, f.esp, cases[i].path, span_of_text("x"), &f.error);
		if (r >= 0)
			fail_msg("replace \"%s\"", cases[i].path);
	}
	assert_true(tree_holds(&f.tree, "secret/x", "secret", 6));
	fixture_done(&f);
}

/* A factory image has its own spelling, and a tree does not fold case. */
static void test_esp_names(void **state)
{
	AUTO_BUFFER struct buffer content = { 0 };
	AUTO_TEXT_LIST struct text_list names = { 0 };
	struct machine_lock *first, *second;
	struct fixture f;
	uint64_t size;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, "efi/efi/METROPOLIS/BOOT-A.EFI", "factory");
	assert_int_equal(
		f.ops->esp_open(f.machine, &(struct esp_settings){ 0 }, &f.esp, &f.error), 0);
	assert_int_equal(f.ops->esp_read(f.machine, f.esp, BOOT_FILE, 100, &content, &f.error), 0);
	assert_memory_equal(content.data, "factory", 7);
	assert_int_equal(f.ops->esp_digest(f.machine, f.esp, BOOT_FILE, NULL, &size, &f.error), 0);
	assert_int_equal(size, 7);
	assert_int_equal(f.ops->esp_list(f.machine, f.esp, "/EFI/metropolis", &names, &f.error), 0);
	assert_int_equal(names.count, 1);

	/* The old one keeps its name, a new one gets ours. */
	assert_int_equal(
		f.ops->esp_replace(f.machine, f.esp, BOOT_FILE, span_of_text("new"), &f.error), 0);
	assert_true(tree_holds(&f.tree, "efi/efi/METROPOLIS/BOOT-A.EFI", "new", 3));
	assert_int_equal(f.ops->esp_replace(f.machine, f.esp, "/EFI/metropolis/boot-a.state",
				 span_of_text("{}"), &f.error),
		0);
	assert_true(tree_holds(&f.tree, "efi/efi/METROPOLIS/boot-a.state", "{}", 2));

	/* One lock, however it is spelled. */
	assert_int_equal(
		f.ops->lock(f.machine, f.esp, "/EFI/metropolis", false, true, &first, &f.error), 0);
	assert_int_equal(
		f.ops->lock(f.machine, f.esp, "/efi/Metropolis", false, true, &second, &f.error),
		-EWOULDBLOCK);
	f.ops->unlock(f.machine, first);

	assert_int_equal(f.ops->esp_remove(f.machine, f.esp, BOOT_FILE, &f.error), 0);
	assert_false(tree_has(&f.tree, "efi/efi/METROPOLIS/BOOT-A.EFI"));
	assert_false(tree_has(&f.tree, "efi/EFI"));
	fixture_done(&f);
}

/* No name on a FAT ends in these. */
static void test_esp_trailing_dots(void **state)
{
	AUTO_BUFFER struct buffer content = { 0 };
	struct fixture f;

	(void)state;
	fixture_make(&f);
	open_esp(&f);
	assert_int_equal(f.ops->esp_replace(f.machine, f.esp, "/EFI/metropolis. /boot-a.efi..",
				 span_of_text("x"), &f.error),
		0);
	assert_true(tree_holds(&f.tree, "efi" BOOT_FILE, "x", 1));
	assert_int_equal(
		f.ops->esp_read(f.machine, f.esp, BOOT_FILE " .", 9, &content, &f.error), 0);
	fixture_done(&f);
}

/* What Linux reads may not be what the firmware reads: nothing is made worse. */
static void test_esp_clash(void **state)
{
	static const struct {
		const char *first, *second, *expected; /* NULL: none */
	} cases[] = {
		{ "efi/EFI/metropolis/x", "efi/EFI/metropolis/y", NULL },
		{ "efi/EFI/metropolis/x", "efi/efi/BOOT/x", "\"EFI\" and \"efi\" in /" },
		{ "efi/EFI/METROPOLIS/x", "efi/EFI/metropolis/x",
			"\"metropolis\" and \"METROPOLIS\" in /EFI" },
		{ "efi/EFI/METROPOLIS/x", "efi/EFI/Metropolis/x",
			"\"METROPOLIS\" and \"Metropolis\" in /EFI" },
		{ "efi/EFI/METROPOLIS/boot-a.efi", "efi/EFI/METROPOLIS/boot-a.EFI",
			"\"boot-a.EFI\" and \"boot-a.efi\" in /EFI/metropolis" },
		{ "efi/EFI/metropolis/boot-a.efi", "efi/EFI/BOOT/Boot-A.efi", NULL },
		{ "efi/EFI/metropolis/x", "efi/EFI/Other/x", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_FREE char *clash = NULL;
		struct fixture f;

		fixture_make(&f);
		tree_text(&f.tree, cases[i].first, "1");
		tree_text(&f.tree, cases[i].second, "2");
		assert_int_equal(
			f.ops->esp_open(f.machine, &(struct esp_settings){ 0 }, &f.esp, &f.error),
			0);
		assert_int_equal(
			f.ops->esp_clash(f.machine, f.esp, "/EFI/metropolis", &clash, &f.error), 0);
		if (cases[i].expected)
			assert_string_equal(clash, cases[i].expected);
		else
			assert_null(clash);
		fixture_done(&f);
	}
}

static void test_esp_clash_is_not_written(void **state)
{
	AUTO_BUFFER struct buffer content = { 0 };
	struct machine_lock *lock;
	struct fixture f;
	int fds;

	(void)state;
	fixture_make(&f);
	open_esp(&f);
	tree_text(&f.tree, "efi/EFI/metropolis/BOOT-A.EFI", "upper");
	tree_text(&f.tree, "efi/EFI/metropolis/boot-a.efi", "lower");
	tree_text(&f.tree, "efi/EFI/other/boot-a.efi", "other");
	tree_text(&f.tree, "efi/EFI/Other/boot-a.efi", "Other");
	fds = count_fds();
	/* The spelling that is asked for comes first. */
	assert_int_equal(f.ops->esp_read(f.machine, f.esp, BOOT_FILE, 100, &content, &f.error), 0);
	assert_memory_equal(content.data, "lower", 5);
	assert_int_equal(
		f.ops->esp_replace(f.machine, f.esp, BOOT_FILE, span_of_text("x"), &f.error),
		-ENOTUNIQ);
	assert_int_equal(f.error.kind, ERROR_REFUSED);
	assert_non_null(strstr(f.error.text, "\"BOOT-A.EFI\""));
	assert_non_null(strstr(f.error.text, "check=s"));
	assert_int_equal(f.ops->esp_remove(f.machine, f.esp, BOOT_FILE, &f.error), -ENOTUNIQ);
	assert_int_equal(
		f.ops->esp_replace(f.machine, f.esp, "/EFI/OTHER/x", span_of_text("x"), &f.error),
		-ENOTUNIQ);
	assert_int_equal(f.ops->lock(f.machine, f.esp, "/EFI/other", false, true, &lock, &f.error),
		-ENOTUNIQ);
	assert_true(tree_holds(&f.tree, "efi/EFI/metropolis/BOOT-A.EFI", "upper", 5));
	assert_true(tree_holds(&f.tree, "efi/EFI/metropolis/boot-a.efi", "lower", 5));
	assert_int_equal(count_fds(), fds);
	fixture_done(&f);
}

static void test_esp_location(void **state)
{
	struct esp_settings settings = { .has_location = true,
		.location = { .partition_number = 3, .start = 2048, .size = 4096 } };
	struct esp_location location;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	open_esp(&f);
	assert_int_equal(f.ops->esp_location(f.machine, f.esp, &location, &f.error), -ENODATA);
	assert_non_null(strstr(f.error.text, "partition-number"));
	f.ops->esp_close(f.machine, f.esp);
	assert_int_equal(f.ops->esp_open(f.machine, &settings, &f.esp, &f.error), 0);
	assert_int_equal(f.ops->esp_location(f.machine, f.esp, &location, &f.error), 0);
	assert_int_equal(location.partition_number, 3);
	assert_int_equal(location.start, 2048);
	assert_int_equal(location.size, 4096);
	fixture_done(&f);
}

static void test_lock(void **state)
{
	struct machine_lock *first, *second;
	struct fixture f;
	int fds;

	(void)state;
	fixture_make(&f);
	open_esp(&f);
	fds = count_fds();
	assert_int_equal(
		f.ops->lock(f.machine, f.esp, "/EFI/metropolis", false, true, &first, &f.error), 0);
	assert_int_equal(f.error.kind, ERROR_NONE); /* though the folder was missing */
	assert_int_equal(
		f.ops->lock(f.machine, f.esp, "/EFI/metropolis", false, true, &second, &f.error),
		-EWOULDBLOCK);
	assert_int_equal(f.error.kind, ERROR_BUSY);
	f.ops->unlock(f.machine, first);
	assert_int_equal(
		f.ops->lock(f.machine, f.esp, "/EFI/metropolis", true, true, &second, &f.error), 0);
	f.ops->unlock(f.machine, second);
	f.ops->unlock(f.machine, NULL);
	assert_int_equal(count_fds(), fds);
	fixture_done(&f);
}

static void test_variables(void **state)
{
	static const uint8_t order[] = { 7, 0, 0, 0, 1, 0, 2, 0 };
	AUTO_BUFFER struct buffer data = { 0 };
	AUTO_TEXT_LIST struct text_list names = { 0 };
	struct stat before, after;
	struct fixture f;
	uint32_t attributes;

	(void)state;
	fixture_make(&f);
	assert_false(f.ops->efi_available(f.machine));
	assert_int_equal(f.ops->variable_read(f.machine, "BootOrder", &attributes, &data, &f.error),
		-EOPNOTSUPP);
	assert_non_null(strstr(f.error.text, "not started by UEFI"));
	tree_folder(&f.tree, "sys/firmware/efi");
	assert_int_equal(f.ops->variable_list(f.machine, &names, &f.error), -EOPNOTSUPP);
	assert_non_null(strstr(f.error.text, "mount efivarfs"));

	tree_write(&f.tree, EFIVARS "BootOrder-" GLOBAL, order, sizeof(order));
	assert_true(f.ops->efi_available(f.machine));
	assert_int_equal(
		f.ops->variable_read(f.machine, "BootOrder", &attributes, &data, &f.error), 0);
	assert_int_equal(attributes, 7);
	assert_int_equal(data.size, 4);
	/* The same again is not written. */
	assert_int_equal(fstatat(f.tree.fd, EFIVARS "BootOrder-" GLOBAL, &before, 0), 0);
	assert_int_equal(fchmodat(f.tree.fd, EFIVARS "BootOrder-" GLOBAL, 0444, 0), 0);
	assert_int_equal(f.ops->variable_write(
				 f.machine, "BootOrder", (struct span){ order + 4, 4 }, &f.error),
		0);
	assert_int_equal(fstatat(f.tree.fd, EFIVARS "BootOrder-" GLOBAL, &after, 0), 0);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	assert_int_equal(
		f.ops->variable_read(f.machine, "BootNext", &attributes, &data, NULL), -ENOENT);
	/* Created when absent. */
	assert_int_equal(f.ops->variable_write(
				 f.machine, "BootNext", (struct span){ order + 4, 2 }, &f.error),
		0);
	assert_true(tree_holds(&f.tree, EFIVARS "BootNext-" GLOBAL, order, 6));
	assert_int_equal(f.ops->variable_list(f.machine, &names, &f.error), 0);
	assert_int_equal(names.count, 2);
	assert_int_equal(f.ops->variable_delete(f.machine, "BootNext", &f.error), 0);
	assert_false(tree_has(&f.tree, EFIVARS "BootNext-" GLOBAL));
	assert_int_equal(f.ops->variable_delete(f.machine, "BootNext", &f.error), 0);
	fixture_done(&f);
}

static void test_never_carried_out(void **state)
{
	AUTO_FREE char *reason = NULL;
	struct span bytes = span_of_text("kernel");
	bool staged = true;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	assert_int_equal(f.ops->kexec_preflight(f.machine, &reason, &f.error), 0);
	assert_string_equal(reason, "kexec is never carried out under --root");
	assert_int_equal(f.ops->kexec_stage(f.machine, bytes, bytes, "", &f.error), -EOPNOTSUPP);
	assert_int_equal(f.ops->kexec_unstage(f.machine, &f.error), 0);
	assert_int_equal(f.ops->kexec_staged(f.machine, &staged, &f.error), 0);
	assert_false(staged);
	tree_text(&f.tree, "sys/kernel/kexec_loaded", "1\n");
	assert_int_equal(f.ops->kexec_staged(f.machine, &staged, &f.error), 0);
	assert_true(staged);
	assert_false(f.ops->kexec_booted(f.machine));
	assert_int_equal(f.ops->restart(f.machine, MACHINE_REBOOT, false, &f.error), -EOPNOTSUPP);
	assert_int_equal(f.ops->restart(f.machine, MACHINE_KEXEC, true, &f.error), -EOPNOTSUPP);
	fixture_done(&f);
}

/* On the machine the tests run on: a folder that is no FAT is never taken for the ESP. */
static void test_esp_that_is_not_mounted(void **state)
{
	AUTO_MACHINE struct machine *machine = NULL;
	struct esp_settings settings = { 0 };
	struct esp *esp = NULL;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	settings.mount = f.tree.path;
	assert_int_equal(machine_linux_new(NULL, &machine, &f.error), 0);
	assert_int_equal(machine->ops->esp_open(machine, &settings, &esp, &f.error), -ENODEV);
	assert_non_null(strstr(f.error.text, "is the ESP mounted there?"));
	settings.mount = "/absent/esp";
	assert_int_equal(machine->ops->esp_open(machine, &settings, &esp, &f.error), -ENODEV);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_read_text),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_esp_places),
		cmocka_unit_test(test_esp_files),
		cmocka_unit_test(test_esp_part_of_a_file),
		cmocka_unit_test(test_esp_empty_file),
		cmocka_unit_test(test_esp_paths),
		cmocka_unit_test(test_esp_names),
		cmocka_unit_test(test_esp_trailing_dots),
		cmocka_unit_test(test_esp_clash),
		cmocka_unit_test(test_esp_clash_is_not_written),
		cmocka_unit_test(test_esp_location),
		cmocka_unit_test(test_lock),
		cmocka_unit_test(test_variables),
		cmocka_unit_test(test_never_carried_out),
		cmocka_unit_test(test_esp_that_is_not_mounted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
