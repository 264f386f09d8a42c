/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "linux_tree.h"
#include "machine/linux_private.h"
#include "machine/machine.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define PATH        "/var/lib/bistable/slot-a.chunks"
#define IN_TREE     "var/lib/bistable/slot-a.chunks"

struct fixture {
	struct tree tree;
	struct machine *machine;
	int fds;
};

static int set_up(void **state)
{
	static struct fixture f;

	tree_make(&f.tree);
	assert_int_equal(machine_linux_new(f.tree.path, &f.machine, NULL), 0);
	f.fds = count_fds();
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(count_fds(), f->fds);
	machine_free(f->machine);
	tree_remove(&f->tree);
	return 0;
}

static struct span span_of_text(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

/* The error says what failed, of which file in the tree, and why. */
static void check_error(struct fixture *f, const struct error *error, int number, const char *what,
	const char *path)
{
	char text[700];

	snprintf(text, sizeof(text), "cannot %s %s%s: %s", what, f->tree.path, path,
		strerror(number));
	assert_string_equal(error->text, text);
	assert_int_equal(error->number, number);
	assert_int_equal(error->kind, ERROR_FAILED);
}

static void replace(struct fixture *f, const char *path, const char *text)
{
	struct error error = { 0 };

	if (linux_file_replace(f->machine, path, span_of_text(text), false, &error) < 0)
		fail_msg("%s", error.text);
	assert_true(tree_holds(&f->tree, path + 1, text, strlen(text)));
}

static void cannot_replace(struct fixture *f, const char *path, int number)
{
	struct error error = { 0 };

	assert_int_equal(
		linux_file_replace(f->machine, path, span_of_text("new"), false, &error), -number);
	check_error(f, &error, number, "write", path);
}

static void test_read(void **state)
{
	static const struct {
		size_t size, max;
		int r;
	} rows[] = { { 0, 0, 0 }, { 10, 10, 0 }, { 11, 10, -EFBIG }, { 70000, 70000, 0 },
		{ 70001, 70000, -EFBIG }, { 1, 0, -EFBIG } };
	static uint8_t content[70001];
	struct fixture *f = *state;

	memset(content, 'c', sizeof(content));
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_BUFFER struct buffer got = { 0 };
		struct error error = { 0 };

		tree_write(&f->tree, IN_TREE, content, rows[i].size);
		assert_int_equal(buffer_append(&got, "x", 1, NULL), 0);
		assert_int_equal(
			linux_file_read(f->machine, PATH, rows[i].max, &got, &error), rows[i].r);
		if (rows[i].r < 0) {
			check_error(f, &error, EFBIG, "read", PATH);
			continue;
		}
		/* It is appended. */
		assert_int_equal(got.size, 1 + rows[i].size);
		assert_memory_equal(got.data + 1, content, rows[i].size);
	}
}

static void test_read_what_is_not_there(void **state)
{
	AUTO_BUFFER struct buffer got = { 0 };
	struct fixture *f = *state;
	struct error error = { 0 };

	assert_int_equal(linux_file_read(f->machine, PATH, 10, &got, &error), -ENOENT);
	check_error(f, &error, ENOENT, "read", PATH);
	tree_folder(&f->tree, IN_TREE);
	assert_int_equal(linux_file_read(f->machine, PATH, 10, &got, &error), -EISDIR);
	assert_int_equal(got.size, 0);
}

static void test_replace(void **state)
{
	static const char *const texts[] = { "first", "a longer one", "short", "", "last" };
	struct fixture *f = *state;
	struct stat status;

	for (size_t i = 0; i < COUNT(texts); i++) {
		replace(f, PATH, texts[i]);
		assert_false(tree_has(&f->tree, IN_TREE MACHINE_NEW_SUFFIX));
	}
	assert_int_equal(fstatat(f->tree.fd, IN_TREE, &status, 0), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0644);
	assert_int_equal(fstatat(f->tree.fd, "var/lib", &status, 0), 0);
	assert_int_equal(status.st_mode, S_IFDIR | 0755);
}

/* Who has the old file open goes on reading it: it is another file, not other content. */
static void test_replaced_as_a_whole(void **state)
{
	struct fixture *f = *state;
	AUTO_CLOSE int old = -1;
	char text[8] = "";

	replace(f, PATH, "old");
	old = openat(f->tree.fd, IN_TREE, O_RDONLY | O_CLOEXEC);
	f->fds++;
	replace(f, PATH, "new");
	assert_int_equal(read(old, text, sizeof(text)), 3);
	assert_string_equal(text, "old");
	f->fds--;
}

/* Folders are made from any that is there, however the path is written. */
static void test_folders_are_made(void **state)
{
	static const char *const paths[] = { "/top", "/a/b/c/d/e", "/a/b/x", "/a//q//file",
		"/state//file", "/other/./file" };
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT(paths); i++)
		replace(f, paths[i], paths[i]);
}

/* What a crash has left of the last try is in no one's way. */
static void test_a_left_over(void **state)
{
	struct fixture *f = *state;

	tree_text(&f->tree, IN_TREE MACHINE_NEW_SUFFIX, "something longer than what comes now");
	replace(f, PATH, "now");
	assert_false(tree_has(&f->tree, IN_TREE MACHINE_NEW_SUFFIX));
}

static void test_a_link_is_not_followed(void **state)
{
	struct fixture *f = *state;

	tree_text(&f->tree, "etc/shadow", "secret");
	tree_link(&f->tree, "/etc/shadow", IN_TREE MACHINE_NEW_SUFFIX);
	cannot_replace(f, PATH, ELOOP);
	assert_true(tree_holds(&f->tree, "etc/shadow", "secret", 6));
	unlinkat(f->tree.fd, IN_TREE MACHINE_NEW_SUFFIX, 0);
	/* A link of the file's own name is replaced, not what it leads to. */
	tree_link(&f->tree, "/etc/shadow", IN_TREE);
	replace(f, PATH, "public");
	assert_true(tree_holds(&f->tree, "etc/shadow", "secret", 6));
}

static void test_what_cannot_be_replaced(void **state)
{
	struct fixture *f = *state;
	char name[300] = "/";

	tree_folder(&f->tree, IN_TREE "/inside");
	cannot_replace(f, PATH, EISDIR);
	assert_false(tree_has(&f->tree, IN_TREE MACHINE_NEW_SUFFIX));
	tree_text(&f->tree, "file", "");
	cannot_replace(f, "/file/below", ENOTDIR);
	cannot_replace(f, "/file/far/below", ENOTDIR);
	/* With the suffix it is longer than names may be, or than there is room for. */
	memset(name + 1, 'n', 253);
	cannot_replace(f, name, ENAMETOOLONG);
	memset(name + 1, 'n', 290);
	cannot_replace(f, name, ENAMETOOLONG);
}

/* A medium that is full in the middle: the old content stays, and nothing else. */
static void test_a_full_medium(void **state)
{
	static const uint8_t content[100000];
	struct fixture *f = *state;
	struct rlimit before, limit;
	struct error error = { 0 };
	int r;

	replace(f, PATH, "old");
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = (struct rlimit){ .rlim_cur = 50000, .rlim_max = before.rlim_max };
	setrlimit(RLIMIT_FSIZE, &limit);
	r = linux_file_replace(
		f->machine, PATH, (struct span){ content, sizeof(content) }, false, &error);
	setrlimit(RLIMIT_FSIZE, &before);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(r, -EFBIG);
	assert_int_equal(error.number, EFBIG);
	assert_non_null(strstr(error.text, PATH ": File too large (the limit of a file's size, "
						"ulimit -f or LimitFSIZE=, is 48.8 KiB)"));
	assert_true(tree_holds(&f->tree, IN_TREE, "old", 3));
	assert_false(tree_has(&f->tree, IN_TREE MACHINE_NEW_SUFFIX));
}

/* Its owner's alone, whatever lies in the way of it. */
static void test_secret(void **state)
{
	static const char *const leftovers[] = { NULL, IN_TREE MACHINE_NEW_SUFFIX, IN_TREE };
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT(leftovers); i++) {
		struct error error = { 0 };
		char path[200];
		struct stat status;

		if (leftovers[i])
			tree_text(&f->tree, leftovers[i], "readable by all");
		assert_int_equal(
			linux_file_replace(f->machine, PATH, span_of_text("secret"), true, &error),
			0);
		snprintf(path, sizeof(path), "%s" PATH, f->tree.path);
		assert_int_equal(stat(path, &status), 0);
		assert_int_equal(status.st_mode & 07777, 0600);
		assert_true(tree_holds(&f->tree, IN_TREE, "secret", 6));
		/* What is none is for all. */
		replace(f, PATH, "x");
		assert_int_equal(stat(path, &status), 0);
		assert_int_equal(status.st_mode & 0777, 0644);
	}
}

static void test_remove(void **state)
{
	struct fixture *f = *state;
	struct error error = { 0 };

	/* Neither the file nor its folder is there. */
	assert_int_equal(linux_file_remove(f->machine, PATH, &error), 0);
	assert_false(tree_has(&f->tree, "var"));
	replace(f, PATH, "x");
	assert_int_equal(linux_file_remove(f->machine, PATH, &error), 0);
	assert_false(tree_has(&f->tree, IN_TREE));
	assert_true(tree_has(&f->tree, "var/lib/bistable"));
	assert_int_equal(linux_file_remove(f->machine, PATH, &error), 0);
	assert_int_equal(error.kind, ERROR_NONE);
	tree_folder(&f->tree, IN_TREE);
	assert_int_equal(linux_file_remove(f->machine, PATH, &error), -EISDIR);
	check_error(f, &error, EISDIR, "remove", PATH);
	tree_text(&f->tree, "file", "");
	assert_int_equal(linux_file_remove(f->machine, "/file/below", &error), -ENOTDIR);
	check_error(f, &error, ENOTDIR, "remove", "/file/below");
}

/* With --root, links lead nowhere outside. */
static void test_links_stay_inside(void **state)
{
	struct fixture *f = *state;
	AUTO_BUFFER struct buffer got = { 0 };
	struct tree outside;

	tree_make(&outside);
	tree_text(&outside, "file", "outside");
	tree_link(&f->tree, outside.path, "var/lib/bistable");
	assert_int_equal(
		linux_file_read(f->machine, "/var/lib/bistable/file", 100, &got, NULL), -ENOENT);
	assert_int_equal(linux_file_remove(f->machine, "/var/lib/bistable/file", NULL), 0);
	linux_file_replace(f->machine, "/var/lib/bistable/file", span_of_text("x"), false, NULL);
	assert_true(tree_holds(&outside, "file", "outside", 7));
	tree_remove(&outside);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_read),
		TEST(test_read_what_is_not_there),
		TEST(test_replace),
		TEST(test_replaced_as_a_whole),
		TEST(test_folders_are_made),
		TEST(test_a_left_over),
		TEST(test_a_link_is_not_followed),
		TEST(test_what_cannot_be_replaced),
		TEST(test_a_full_medium),
		TEST(test_secret),
		TEST(test_remove),
		TEST(test_links_stay_inside),
	};

	return cmocka_run_group_tests_name("linux_file", tests, NULL, NULL);
}
