/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "maker/output.h"

/* Whether the file system has files without a name; vfat has none. */
static int nameless;

int __real_openat64(int directory, const char *path, int flags, mode_t mode);
int __wrap_openat64(int directory, const char *path, int flags, mode_t mode);

int __wrap_openat64(int directory, const char *path, int flags, mode_t mode)
{
	if (!nameless && (flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return __real_openat64(directory, path, flags, mode);
}

static char folder[64], path[96];

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/test_output.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/b.zip", folder);
	return 0;
}

static int each_name(void (*act)(int directory, const char *name))
{
	DIR *stream = opendir(folder);
	int count = 0;

	for (struct dirent *entry; (entry = readdir(stream));) {
		if (entry->d_name[0] == '.')
			continue;
		count++;
		if (act)
			act(dirfd(stream), entry->d_name);
	}
	closedir(stream);
	return count;
}

static void remove_it(int directory, const char *name)
{
	unlinkat(directory, name, 0);
}

static int teardown(void **state)
{
	(void)state;
	each_name(remove_it);
	return rmdir(folder);
}

static void write_file(const char *suffix, const char *text)
{
	char name[128];
	FILE *file;

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	file = fopen(name, "w");
	fputs(text, file);
	fclose(file);
}

static void assert_holds(const char *text)
{
	char found[32] = "";
	FILE *file = fopen(path, "r");

	if (!file)
		fail_msg("'%s' is not there", path);
	assert_int_equal(fread(found, 1, sizeof(found) - 1, file), strlen(text));
	fclose(file);
	assert_string_equal(found, text);
}

static void test_it_appears_when_it_is_whole(void **state)
{
	(void)state;
	for (nameless = 0; nameless <= 1; nameless++) {
		AUTO_OUTPUT struct output output = OUTPUT_NONE;

		write_file("", "old");
		assert_int_equal(output_open(path, &output, NULL), 0);
		assert_int_equal(output_write(&output, "he", 2, NULL), 0);
		assert_int_equal(output_write(&output, "llo", 3, NULL), 0);
		assert_holds("old");
		assert_int_equal(output_commit(&output, NULL), 0);
		assert_holds("hello");
		assert_int_equal(each_name(NULL), 1);
	}
}

/* Two who make the same file: each is whole, and the last one stays. */
static void test_two_at_once(void **state)
{
	(void)state;
	for (nameless = 0; nameless <= 1; nameless++) {
		AUTO_OUTPUT struct output first = OUTPUT_NONE, second = OUTPUT_NONE;

		write_file(".tmp", "of somebody else");
		assert_int_equal(output_open(path, &first, NULL), 0);
		assert_int_equal(output_write(&first, "first", 5, NULL), 0);
		assert_int_equal(output_open(path, &second, NULL), 0);
		assert_int_equal(output_write(&second, "sec", 3, NULL), 0);
		assert_int_equal(output_commit(&first, NULL), 0);
		assert_holds("first");
		assert_int_equal(output_write(&second, "ond", 3, NULL), 0);
		assert_int_equal(output_commit(&second, NULL), 0);
		assert_holds("second");
		assert_int_equal(each_name(NULL), 2);
	}
	each_name(remove_it);
}

static void test_given_up_it_leaves_nothing(void **state)
{
	(void)state;
	for (nameless = 0; nameless <= 1; nameless++) {
		struct output output = OUTPUT_NONE;
		int spool = -1;

		assert_int_equal(output_open(path, &output, NULL), 0);
		assert_int_equal(each_name(NULL), nameless ? 0 : 1);
		assert_int_equal(output_open_spool(&output, &spool, NULL), 0);
		assert_int_equal(each_name(NULL), nameless ? 0 : 1);
		assert_int_equal(output_write(&output, "hello", 5, NULL), 0);
		output_done(&output);
		assert_int_equal(each_name(NULL), 0);
		close(spool);
	}
}

static void test_copies_from_the_spool(void **state)
{
	static const char text[] = "0123456789";

	(void)state;
	for (nameless = 0; nameless <= 1; nameless++) {
		AUTO_OUTPUT struct output output = OUTPUT_NONE;
		struct error error = { 0 };
		int spool = -1;

		assert_int_equal(output_open(path, &output, NULL), 0);
		assert_int_equal(output_open_spool(&output, &spool, NULL), 0);
		assert_int_equal(pwrite(spool, text, 10, 0), 10);
		assert_int_equal(output_write(&output, "<", 1, NULL), 0);
		assert_int_equal(output_copy(&output, "spool", spool, 3, 4, NULL), 0);
		assert_int_equal(output_write(&output, ">", 1, NULL), 0);
		assert_int_equal(output.position, 6);
		/* More than there is. */
		assert_int_equal(output_copy(&output, "spool", spool, 8, 4, &error), -EIO);
		assert_non_null(strstr(error.text, "'spool' has become shorter"));
		output.position = 6;
		assert_int_equal(ftruncate(output.fd, 6), 0);
		assert_int_equal(output_commit(&output, NULL), 0);
		assert_holds("<3456>");
		close(spool);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_it_appears_when_it_is_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_given_up_it_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copies_from_the_spool, setup, teardown),
	};

	return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
