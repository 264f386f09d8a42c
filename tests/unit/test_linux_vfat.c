/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "linux_fat_image.h"
#include "linux_tree.h"
#include "linux_vfat_recorder.h"
#include "machine/linux_private.h"

#define NAME "boot-b.efi"

struct fixture {
	struct tree tree;
	struct fat_image image; /* stands for the block device */
	struct vfat_folder folder;
	struct error error;
};

static void fixture_make(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	memset(&recorder, 0, sizeof(recorder));
	recorder.free = 1 << 20;
	tree_make(&f->tree);
	f->image = (struct fat_image){ .bits = 16, .clusters = 5000, .cluster_sectors = 1 };
	f->image.fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	assert_true(f->image.fd >= 0);
	fat_image_make(&f->image);
	name_fd(f->image.fd, "disk");
	name_fd(f->tree.fd, "folder");
	f->folder = (struct vfat_folder){ &recorded_calls, f->tree.fd, f->image.fd };
}

static void fixture_done(struct fixture *f)
{
	close(f->image.fd);
	tree_remove(&f->tree);
}

static struct span span_of_text(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

static int replace(struct fixture *f, const char *content)
{
	return vfat_replace(&f->folder, NAME, span_of_text(content), &f->error);
}

static bool holds(struct fixture *f, const char *name, const char *content)
{
	return tree_holds(&f->tree, name, content, strlen(content));
}

static void test_order_of_replace(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, NAME, "old");
	assert_int_equal(replace(&f, "new content"), 0);
	assert_string_equal(recorder.log, "open " NAME "\n"
					  "create " NAME ".new\n"
					  "write " NAME ".new\n"
					  "sync " NAME ".new\n"
					  "sync folder\n"
					  "sync disk\n"
					  "rename " NAME "\n"
					  "sync " NAME ".new\n" /* the same descriptor */
					  "sync folder\n"
					  "sync disk\n"
					  "syncfs folder\n"
					  "sync disk\n"
					  "close " NAME "\n" /* only now its clusters are freed */
					  "syncfs folder\n"
					  "sync disk\n"
					  "drop " NAME ".new\n"
					  "read " NAME ".new\n"
					  "close " NAME ".new\n");
	assert_true(holds(&f, NAME, "new content"));
	assert_false(tree_has(&f.tree, NAME ".new"));
	fixture_done(&f);
}

static void test_order_of_create(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	f.folder.device = -1;
	assert_int_equal(replace(&f, "new"), 0);
	assert_string_equal(recorder.log, "create " NAME ".new\n"
					  "write " NAME ".new\n"
					  "sync " NAME ".new\n"
					  "sync folder\n"
					  "rename " NAME "\n"
					  "sync " NAME ".new\n"
					  "sync folder\n"
					  "syncfs folder\n"
					  "syncfs folder\n"
					  "drop " NAME ".new\n"
					  "read " NAME ".new\n"
					  "close " NAME ".new\n");
	assert_true(holds(&f, NAME, "new"));
	fixture_done(&f);
}

static void test_order_of_remove(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, NAME, "old");
	assert_int_equal(vfat_remove(&f.folder, NAME, &f.error), 0);
	assert_string_equal(recorder.log, "open " NAME "\n"
					  "unlink " NAME "\n"
					  "sync folder\n"
					  "syncfs folder\n"
					  "sync disk\n"
					  "close " NAME "\n"
					  "syncfs folder\n"
					  "sync disk\n");
	assert_false(tree_has(&f.tree, NAME));
	recorder.log[0] = '\0';
	assert_int_equal(vfat_remove(&f.folder, NAME, &f.error), 0);
	assert_string_equal(recorder.log, "");
	fixture_done(&f);
}

static void test_order_of_make_folder(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	assert_int_equal(vfat_make_folder(&f.folder, "EFI", &f.error), 0);
	assert_int_equal(vfat_make_folder(&f.folder, "EFI", &f.error), 0);
	assert_string_equal(recorder.log,
		"mkdir EFI\nopen EFI\nsync EFI\nsync folder\nsync disk\nclose EFI\nmkdir EFI\n");
	fixture_done(&f);
}

/* Pretends that a file lies on these clusters of the FAT. */
static void lie_on(struct fixture *f, size_t i, const char *name, const uint32_t *chain, int ended)
{
	recorder.fat = true;
	recorder.sectors[i].name = name;
	recorder.sectors[i].sector = fat_image_sector(&f->image, chain[0]);
	fat_image_chain(&f->image, chain, ended);
}

#define CHAIN(...) ((const uint32_t[]){ __VA_ARGS__, 0 })

static ino_t number_of(struct fixture *f, const char *name)
{
	struct stat status;

	assert_int_equal(fstatat(f->tree.fd, name, &status, 0), 0);
	return status.st_ino;
}

static void test_leftover_is_reused(void **state)
{
	struct fixture f;
	ino_t number;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, NAME, "old");
	tree_text(&f.tree, NAME ".new", "of an earlier attempt");
	lie_on(&f, 0, NAME, CHAIN(2), 1);
	lie_on(&f, 1, NAME ".new", CHAIN(3), 1);
	number = number_of(&f, NAME ".new");
	assert_int_equal(replace(&f, "new"), 0);
	assert_true(holds(&f, NAME, "new"));
	assert_int_equal(number_of(&f, NAME), number);
	assert_null(strstr(recorder.log, "create"));
	assert_null(strstr(recorder.log, "unlink"));
	/* Written over, and only then shortened. */
	assert_non_null(strstr(recorder.log, "write " NAME ".new\ntruncate " NAME ".new\nsync"));
	fixture_done(&f);
}

static void test_long_leftover_is_emptied_first(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, NAME ".new", "x");
	lie_on(&f, 0, NAME ".new", CHAIN(3, 4), 1);
	assert_int_equal(replace(&f, "new"), 0);
	assert_non_null(strstr(recorder.log, "truncate " NAME ".new\nwrite " NAME ".new\nsync"));
	assert_true(holds(&f, NAME, "new"));
	fixture_done(&f);
}

/* What must neither be written over nor deleted: it is put aside as it is. */
static void check_put_aside(struct fixture *f)
{
	const char *aside, *create;

	assert_int_equal(replace(f, "new"), 0);
	assert_true(holds(f, NAME, "new"));
	assert_true(holds(f, NAME ".new.lost0", "leftover"));
	aside = strstr(recorder.log, "rename " NAME ".new.lost0\nsync folder\nsync disk\n");
	create = strstr(recorder.log, "create " NAME ".new\n");
	assert_non_null(aside);
	assert_non_null(create);
	assert_true(aside < create);
	assert_null(strstr(recorder.log, "unlink"));
	assert_null(strstr(recorder.log, "truncate"));
	assert_false(tree_has(&f->tree, NAME ".new"));
}

static void test_unsound_leftovers(void **state)
{
	static const struct {
		uint32_t live[4], leftover[4];
		int ended;
	} cases[] = {
		{ { 2 }, { 2 }, 1 },          /* the live file's */
		{ { 2, 3 }, { 3 }, 1 },       /* its tail */
		{ { 2 }, { 7 }, 0 },          /* free */
		{ { 2 }, { 4999, 5002 }, 0 }, /* outside */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;

		fixture_make(&f);
		tree_text(&f.tree, NAME, "old");
		tree_text(&f.tree, NAME ".new", "leftover");
		lie_on(&f, 0, NAME, cases[i].live, 1);
		lie_on(&f, 1, NAME ".new", cases[i].leftover, cases[i].ended);
		check_put_aside(&f);
		fixture_done(&f);
	}
}

static void test_leftover_that_cannot_be_judged(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f); /* no access to the device: the log has no "sync disk" then */
	tree_text(&f.tree, NAME, "old");
	tree_text(&f.tree, NAME ".new", "leftover");
	tree_text(&f.tree, NAME ".new.lost0", "of an earlier time");
	lie_on(&f, 0, NAME, CHAIN(2), 1);
	lie_on(&f, 1, NAME ".new", CHAIN(3), 1);
	f.folder.device = -1;
	assert_int_equal(replace(&f, "new"), 0);
	assert_true(holds(&f, NAME, "new"));
	assert_true(holds(&f, NAME ".new.lost0", "of an earlier time"));
	assert_true(holds(&f, NAME ".new.lost1", "leftover"));
	fixture_done(&f);
}

/* One put aside owns nothing: its clusters may be anyone's by now. */
static void test_lost_files_own_nothing(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, NAME ".new", "leftover");
	tree_text(&f.tree, NAME ".new.lost0", "lost");
	lie_on(&f, 0, NAME ".new", CHAIN(3), 1);
	lie_on(&f, 1, NAME ".new.lost0", CHAIN(3), 1);
	assert_int_equal(replace(&f, "new"), 0);
	assert_null(strstr(recorder.log, "create"));
	assert_true(holds(&f, NAME ".new.lost0", "lost"));
	fixture_done(&f);
}

static void test_remove_settles_the_leftover(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, NAME, "old");
	tree_text(&f.tree, NAME ".new", "leftover");
	lie_on(&f, 0, NAME, CHAIN(2), 1);
	lie_on(&f, 1, NAME ".new", CHAIN(2), 1);
	assert_int_equal(vfat_remove(&f.folder, NAME, &f.error), 0);
	assert_false(tree_has(&f.tree, NAME));
	assert_true(holds(&f, NAME ".new.lost0", "leftover"));
	fixture_done(&f);

	fixture_make(&f);
	tree_text(&f.tree, NAME ".new", "leftover");
	lie_on(&f, 0, NAME ".new", CHAIN(2), 1);
	assert_int_equal(vfat_remove(&f.folder, NAME, &f.error), 0);
	assert_false(tree_has(&f.tree, NAME ".new"));
	fixture_done(&f);
}

/* Spelled otherwise, as it is where Linux does not fold case, it is the same leftover. */
static void test_leftovers_in_any_case(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, "Boot-B.efi.New", "leftover");
	lie_on(&f, 0, "Boot-B.efi.New", CHAIN(3), 1);
	assert_int_equal(replace(&f, "new"), 0);
	assert_null(strstr(recorder.log, "create"));
	assert_true(holds(&f, NAME, "new"));
	assert_false(tree_has(&f.tree, "Boot-B.efi.New"));
	fixture_done(&f);

	/* Put aside under a name that is new in any case. */
	fixture_make(&f);
	tree_text(&f.tree, NAME, "old");
	tree_text(&f.tree, "BOOT-B.EFI.NEW", "leftover");
	tree_text(&f.tree, "boot-b.efi.new.LOST0", "lost");
	lie_on(&f, 0, NAME, CHAIN(2), 1);
	lie_on(&f, 1, "BOOT-B.EFI.NEW", CHAIN(2), 1);
	lie_on(&f, 2, "boot-b.efi.new.LOST0", CHAIN(2), 1);
	assert_int_equal(vfat_remove(&f.folder, NAME, &f.error), 0);
	assert_false(tree_has(&f.tree, NAME));
	assert_true(holds(&f, "BOOT-B.EFI.NEW.lost1", "leftover"));
	assert_true(holds(&f, "boot-b.efi.new.LOST0", "lost"));
	fixture_done(&f);

	/* Which of two is the one? */
	fixture_make(&f);
	tree_text(&f.tree, NAME, "old");
	tree_text(&f.tree, NAME ".new", "one");
	tree_text(&f.tree, NAME ".NEW", "two");
	assert_int_equal(replace(&f, "new"), -ENOTUNIQ);
	assert_non_null(strstr(f.error.text, "\"" NAME ".new\" and \"" NAME ".NEW\""));
	assert_int_equal(vfat_remove(&f.folder, NAME, &f.error), -ENOTUNIQ);
	assert_true(holds(&f, NAME, "old"));
	fixture_done(&f);
}

static void test_no_room(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, NAME, "old");
	recorder.free = 5 * 512 - 1; /* one cluster and the margin of four */
	assert_int_equal(replace(&f, "new"), -ENOSPC);
	assert_non_null(strstr(f.error.text, "2.5 KiB needed"));
	assert_true(holds(&f, NAME, "old"));
	assert_false(tree_has(&f.tree, NAME ".new"));
	recorder.free++;
	assert_int_equal(replace(&f, "new"), 0);
	fixture_done(&f);
}

static void test_links_and_folders_are_refused(void **state)
{
	struct fixture f;

	(void)state;
	fixture_make(&f);
	tree_text(&f.tree, "target", "old");
	tree_link(&f.tree, "target", NAME);
	assert_int_equal(replace(&f, "new"), -ELOOP);
	assert_true(holds(&f, "target", "old"));
	assert_int_equal(unlinkat(f.tree.fd, NAME, 0), 0);
	tree_folder(&f.tree, NAME);
	assert_int_equal(replace(&f, "new"), -EEXIST);
	assert_int_equal(vfat_remove(&f.folder, NAME, &f.error), -EEXIST);
	fixture_done(&f);
}

static void test_name_too_long(void **state)
{
	char name[256];
	struct fixture f;

	(void)state;
	fixture_make(&f);
	memset(name, 'x', 250);
	name[250] = '\0';
	assert_int_equal(
		vfat_replace(&f.folder, name, span_of_text("new"), &f.error), -ENAMETOOLONG);
	fixture_done(&f);
}

static ssize_t read_flipped(int fd, void *data, size_t size, off_t offset)
{
	ssize_t n = pread(fd, data, size, offset);

	if (n > 0)
		((uint8_t *)data)[n - 1] ^= 1;
	return n;
}

static void test_read_back_differs(void **state)
{
	struct vfat_calls calls = recorded_calls;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	calls.read = read_flipped;
	f.folder.calls = &calls;
	assert_int_equal(replace(&f, "new"), -EIO);
	assert_non_null(strstr(f.error.text, "reads back differently"));
	fixture_done(&f);
}

/* How calls fail: writes are short as well, and end in the middle. */
static const struct failure {
	int number;
	bool lasts;
	size_t write_max;
} failures[] = {
	{ EIO, false, 0 },
	{ EIO, true, 0 },
	{ EIO, false, 3 },
	{ ENOSPC, false, 3 },
	{ ENOSPC, true, 3 },
};

/* Each call fails: the old file is whole until the rename, and nothing leaks. */
static void check_failure(
	void (*prepare)(struct fixture *), const char *old, const struct failure *failure)
{
	int r = -1;

	for (unsigned int at = 1; r < 0; at++) {
		struct fixture f;
		int fds;

		fixture_make(&f);
		prepare(&f);
		recorder.fail_at = at;
		recorder.fail_errno = failure->number;
		recorder.fail_lasts = failure->lasts;
		recorder.write_max = failure->write_max;
		fds = count_fds();
		r = replace(&f, "new content");
		assert_int_equal(count_fds(), fds);
		if (r < 0) {
			assert_string_not_equal(f.error.text, "");
			if (strstr(recorder.log, "rename " NAME "\n"))
				assert_true(holds(&f, NAME, "new content"));
			else
				assert_true(old ? holds(&f, NAME, old) : !tree_has(&f.tree, NAME));
			/* And the next attempt is not in the way of this one. */
			recorder.fail_at = 0;
			recorder.fat = false;
			assert_int_equal(replace(&f, "new content"), 0);
		}
		assert_true(holds(&f, NAME, "new content"));
		fixture_done(&f);
		assert_true(at < 200);
	}
}

static void check_failures(void (*prepare)(struct fixture *), const char *old)
{
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
		check_failure(prepare, old, &failures[i]);
}

static void prepare_old(struct fixture *f)
{
	tree_text(&f->tree, NAME, "old");
}

static void prepare_nothing(struct fixture *f)
{
	(void)f;
}

static void prepare_leftover(struct fixture *f)
{
	prepare_old(f);
	tree_text(&f->tree, NAME ".new", "of an earlier attempt");
	lie_on(f, 0, NAME, CHAIN(2), 1);
	lie_on(f, 1, NAME ".new", CHAIN(3), 1);
}

static void prepare_shared_leftover(struct fixture *f)
{
	prepare_leftover(f);
	lie_on(f, 1, NAME ".new", CHAIN(2), 1);
}

static void test_failures(void **state)
{
	(void)state;
	check_failures(prepare_old, "old");
	check_failures(prepare_nothing, NULL);
	check_failures(prepare_leftover, "old");
	check_failures(prepare_shared_leftover, "old");
}

static void test_failures_of_remove(void **state)
{
	int r = -1;

	(void)state;
	for (unsigned int at = 1; r < 0; at++) {
		struct fixture f;
		int fds;

		fixture_make(&f);
		prepare_old(&f);
		recorder.fail_at = at;
		fds = count_fds();
		r = vfat_remove(&f.folder, NAME, &f.error);
		assert_int_equal(count_fds(), fds);
		if (r < 0 && !strstr(recorder.log, "unlink"))
			assert_true(holds(&f, NAME, "old"));
		else
			assert_false(tree_has(&f.tree, NAME));
		fixture_done(&f);
	}
}

/* The real calls, on whatever /tmp is. */
static void test_real_calls(void **state)
{
	AUTO_FREE char *large = malloc(3 << 20);
	struct vfat_folder folder = { &vfat_linux_calls, -1, -1 };
	struct fixture f;

	(void)state;
	fixture_make(&f);
	folder.fd = f.tree.fd;
	for (size_t i = 0; i < 3 << 20; i++)
		large[i] = (char)(i * 7 >> 3);
	assert_int_equal(vfat_replace(&folder, NAME, span_of_text("old"), &f.error), 0);
	assert_int_equal(
		vfat_replace(&folder, NAME, (struct span){ (uint8_t *)large, 3 << 20 }, &f.error),
		0);
	assert_true(tree_holds(&f.tree, NAME, large, 3 << 20));
	assert_int_equal(vfat_make_folder(&folder, "EFI", &f.error), 0);
	assert_int_equal(vfat_remove(&folder, NAME, &f.error), 0);
	assert_false(tree_has(&f.tree, NAME));
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_of_replace),
		cmocka_unit_test(test_order_of_create),
		cmocka_unit_test(test_order_of_remove),
		cmocka_unit_test(test_order_of_make_folder),
		cmocka_unit_test(test_leftover_is_reused),
		cmocka_unit_test(test_long_leftover_is_emptied_first),
		cmocka_unit_test(test_unsound_leftovers),
		cmocka_unit_test(test_leftover_that_cannot_be_judged),
		cmocka_unit_test(test_lost_files_own_nothing),
		cmocka_unit_test(test_remove_settles_the_leftover),
		cmocka_unit_test(test_leftovers_in_any_case),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_links_and_folders_are_refused),
		cmocka_unit_test(test_name_too_long),
		cmocka_unit_test(test_read_back_differs),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_failures_of_remove),
		cmocka_unit_test(test_real_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
