/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/efivars.h"
#include "machine/efivars_private.h"

#define GUID    "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define ORDER   "BootOrder" GUID
#define FOREIGN "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

#define SPAN(array) ((struct span){ array, sizeof(array) })

static const uint8_t old_order[] = { 1, 0, 2, 0, 9, 0 };
static const uint8_t new_order[] = { 2, 0, 1, 0 };

/* A directory of variables and what the firmware behind it is told to do. */
struct firmware {
	char path[32];
	int dir;
	struct efivars_io io;
	int fail;          /* errno of the coming calls; 0: none */
	int fail_count;    /* how many of them fail */
	size_t cut_writes; /* bytes a write() leaves out */
	bool ignore_writes, lose_writes;
	int reads, writes, unlinks, pauses;
};

static bool fails(struct firmware *firmware)
{
	if (firmware->fail_count <= 0)
		return false;
	firmware->fail_count--;
	errno = firmware->fail;
	return true;
}

static ssize_t plain_read(void *context, int fd, void *data, size_t size)
{
	struct firmware *firmware = context;

	firmware->reads++;
	return read(fd, data, size);
}

static ssize_t failing_read(void *context, int fd, void *data, size_t size)
{
	return fails(context) ? -1 : plain_read(context, fd, data, size);
}

static ssize_t test_write(void *context, int fd, const void *data, size_t size)
{
	struct firmware *firmware = context;

	firmware->writes++;
	if (fails(firmware))
		return -1;
	if (firmware->ignore_writes)
		return (ssize_t)size;
	if (firmware->lose_writes)
		return ftruncate(fd, 0) == 0 ? (ssize_t)size : -1;
	return write(fd, data, size - firmware->cut_writes);
}

static int test_unlinkat(void *context, int dir, const char *file)
{
	struct firmware *firmware = context;

	firmware->unlinks++;
	return fails(firmware) ? -1 : unlinkat(dir, file, 0);
}

static void test_pause(void *context)
{
	((struct firmware *)context)->pauses++;
}

static void put(const struct firmware *firmware, const char *file, const void *data, size_t size)
{
	AUTO_CLOSE int fd = openat(
		firmware->dir, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
}

static void put_order(const struct firmware *firmware)
{
	put(firmware, ORDER, "\7\0\0\0\1\0\2\0\x9\0", 10);
}

/* What lies in the file is exactly this. */
static void assert_file(
	const struct firmware *firmware, const char *file, const void *data, size_t size)
{
	AUTO_CLOSE int fd = openat(firmware->dir, file, O_RDONLY | O_CLOEXEC);
	uint8_t bytes[64];

	assert_true(fd >= 0);
	assert_int_equal(read(fd, bytes, sizeof(bytes)), size);
	assert_memory_equal(bytes, data, size);
}

static bool has_file(const struct firmware *firmware, const char *file)
{
	return faccessat(firmware->dir, file, F_OK, 0) == 0;
}

static int setup(void **state)
{
	struct firmware *firmware = calloc(1, sizeof(*firmware));

	assert_non_null(firmware);
	strcpy(firmware->path, "/tmp/test-efivars-XXXXXX");
	assert_non_null(mkdtemp(firmware->path));
	firmware->dir = open(firmware->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(firmware->dir >= 0);
	firmware->io = (struct efivars_io){ .read = plain_read,
		.write = test_write,
		.unlinkat = test_unlinkat,
		.pause = test_pause,
		.context = firmware };
	*state = firmware;
	return 0;
}

static int teardown(void **state)
{
	struct firmware *firmware = *state;
	DIR *listing = fdopendir(firmware->dir);
	const struct dirent *entry;

	while ((entry = readdir(listing)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(listing), entry->d_name, 0);
	closedir(listing);
	assert_int_equal(rmdir(firmware->path), 0);
	free(firmware);
	return 0;
}

static void test_list(void **state)
{
	static const char *const expected[] = { "Boot0001", "Boot00aF", "BootOrder" };
	struct firmware *firmware = *state;

	put_order(firmware);
	put(firmware, "Boot00aF" GUID, "", 0);
	put(firmware, "Boot0001" GUID, "x", 1);
	put(firmware, FOREIGN, "x", 1);
	put(firmware, GUID, "x", 1);
	put(firmware, "Boot0002", "x", 1);
	/* Twice: the directory must not be left at its end. */
	for (int round = 0; round < 2; round++) {
		AUTO_TEXT_LIST struct text_list names = { 0 };

		assert_int_equal(efivars_list(firmware->dir, &names, NULL), 0);
		assert_int_equal(names.count, 3);
		for (size_t i = 0; i < 3; i++)
			assert_string_equal(names.items[i], expected[i]);
	}
}

static void test_list_empty_and_gone(void **state)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	struct firmware *firmware = *state;
	struct error error = { 0 };

	assert_int_equal(efivars_list(firmware->dir, &names, NULL), 0);
	assert_int_equal(names.count, 0);
	assert_int_equal(efivars_list(-1, &names, &error), -EBADF);
	assert_string_not_equal(error.text, "");
}

static void test_read(void **state)
{
	AUTO_BUFFER struct buffer data = { 0 };
	struct firmware *firmware = *state;
	uint32_t attributes;

	put_order(firmware);
	assert_int_equal(efivars_read(firmware->dir, "BootOrder", &attributes, &data, NULL), 0);
	assert_int_equal(attributes, 7);
	assert_true(span_equal(span_of(&data), SPAN(old_order)));
	buffer_done(&data);
	put(firmware, "Empty" GUID, "\1\2\3\4", 4);
	assert_int_equal(efivars_read(firmware->dir, "Empty", &attributes, &data, NULL), 0);
	assert_int_equal(attributes, 0x04030201);
	assert_int_equal(data.size, 0);
}

static void test_read_failures(void **state)
{
	static const struct {
		const char *name;
		int number;
	} cases[] = {
		{ "Absent", ENOENT },
		{ "Uncommitted", ENODATA },
		{ "Short", EBADMSG },
		{ "", EINVAL },
		{ "a/b", EINVAL },
		{ "../etc/passwd", EINVAL },
	};
	struct firmware *firmware = *state;

	put(firmware, "Uncommitted" GUID, "", 0);
	put(firmware, "Short" GUID, "\7\0\0", 3);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct buffer data = { .size = 77 };
		struct error error = { 0 };
		uint32_t attributes = 88;

		assert_int_equal(
			efivars_read(firmware->dir, cases[i].name, &attributes, &data, &error),
			-cases[i].number);
		assert_int_equal(error.number, cases[i].number);
		assert_int_equal(data.size, 77);
		assert_int_equal(attributes, 88);
		if (cases[i].number != EINVAL)
			assert_non_null(strstr(error.text, GUID));
	}
}

/* Around the sizes of the buffer that grows. */
static void test_read_sizes(void **state)
{
	static const size_t sizes[] = { 4095, 4096, 4097, 8192, 20000 };
	struct firmware *firmware = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		AUTO_FREE uint8_t *bytes = malloc(sizes[i]);
		AUTO_BUFFER struct buffer data = { 0 };
		uint32_t attributes;

		assert_non_null(bytes);
		for (size_t k = 0; k < sizes[i]; k++)
			bytes[k] = (uint8_t)(k * 7 + k / 256);
		put(firmware, "Large" GUID, bytes, sizes[i]);
		assert_int_equal(efivars_read(firmware->dir, "Large", &attributes, &data, NULL), 0);
		assert_int_equal(data.size, sizes[i] - 4);
		assert_memory_equal(data.data, bytes + 4, data.size);
	}
}

static void test_read_too_large(void **state)
{
	AUTO_BUFFER struct buffer data = { 0 };
	struct firmware *firmware = *state;
	uint32_t attributes;

	put(firmware, "Huge" GUID, "", 0);
	AUTO_CLOSE int fd = openat(firmware->dir, "Huge" GUID, O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 4 * EFIVARS_SIZE_MAX), 0);
	assert_int_equal(efivars_read(firmware->dir, "Huge", &attributes, &data, NULL), -EFBIG);
}

static void test_read_retries(void **state)
{
	static const struct {
		int fail, count, result, pauses;
	} cases[] = {
		{ EINTR, EFIVARS_TRIES - 1, 0, EFIVARS_TRIES - 1 },
		{ EINTR, EFIVARS_TRIES, -EINTR, EFIVARS_TRIES - 1 },
		{ EIO, 1, -EIO, 0 },
	};
	struct firmware *firmware = *state;

	put_order(firmware);
	firmware->io.read = failing_read;
	for (size_t i = 0; i < 3; i++) {
		AUTO_BUFFER struct buffer data = { 0 };
		uint32_t attributes;

		firmware->pauses = 0;
		firmware->fail = cases[i].fail;
		firmware->fail_count = cases[i].count;
		assert_int_equal(efivars_read_with(&firmware->io, firmware->dir, "BootOrder",
					 &attributes, &data, NULL),
			cases[i].result);
		assert_int_equal(firmware->pauses, cases[i].pauses);
	}
}

static int write_order(struct firmware *firmware, bool create, struct error *error)
{
	return efivars_write_with(&firmware->io, firmware->dir, "BootOrder", EFIVARS_ATTRIBUTES,
		SPAN(new_order), create, error);
}

/* One write(), and nothing of the longer old content is left. */
static void test_write_replaces(void **state)
{
	struct firmware *firmware = *state;

	put_order(firmware);
	assert_int_equal(write_order(firmware, false, NULL), 0);
	assert_int_equal(firmware->writes, 1);
	assert_file(firmware, ORDER, "\7\0\0\0\2\0\1\0", 8);
	/* The same through the real calls, and longer again. */
	assert_int_equal(
		efivars_write(firmware->dir, "BootOrder", 7, SPAN(old_order), false, NULL), 0);
	assert_file(firmware, ORDER, "\7\0\0\0\1\0\2\0\x9\0", 10);
}

static void test_write_equal_writes_nothing(void **state)
{
	struct firmware *firmware = *state;
	struct error error = { 0 };
	struct stat before, after;

	put(firmware, ORDER, "\7\0\0\0\2\0\1\0", 8);
	assert_int_equal(fstatat(firmware->dir, ORDER, &before, 0), 0);
	assert_int_equal(write_order(firmware, false, &error), 0);
	assert_int_equal(write_order(firmware, true, &error), 0);
	assert_int_equal(
		efivars_write(firmware->dir, "BootOrder", 7, SPAN(new_order), true, NULL), 0);
	assert_int_equal(fstatat(firmware->dir, ORDER, &after, 0), 0);
	assert_int_equal(firmware->writes, 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim));
	assert_int_equal(error.kind, ERROR_NONE);
	/* Other attributes are another content. */
	put(firmware, ORDER, "\3\0\0\0\2\0\1\0", 8);
	assert_int_equal(write_order(firmware, false, NULL), 0);
	assert_int_equal(firmware->writes, 1);
	assert_file(firmware, ORDER, "\7\0\0\0\2\0\1\0", 8);
}

static void test_write_creates(void **state)
{
	struct firmware *firmware = *state;
	struct error error = { 0 };

	assert_int_equal(write_order(firmware, false, &error), -ENOENT);
	assert_non_null(strstr(error.text, ORDER));
	assert_false(has_file(firmware, ORDER));
	assert_int_equal(firmware->writes, 0);

	error = (struct error){ 0 };
	assert_int_equal(write_order(firmware, true, &error), 0);
	assert_int_equal(error.kind, ERROR_NONE);
	assert_file(firmware, ORDER, "\7\0\0\0\2\0\1\0", 8);
}

/* A leftover of somebody's failed create, and one that is cut off, are written over. */
static void test_write_over_leftovers(void **state)
{
	struct firmware *firmware = *state;

	for (int create = 0; create < 2; create++) {
		put(firmware, ORDER, "", 0);
		assert_int_equal(write_order(firmware, create, NULL), 0);
		assert_file(firmware, ORDER, "\7\0\0\0\2\0\1\0", 8);
		put(firmware, ORDER, "\7\0\0", 3);
		assert_int_equal(write_order(firmware, create, NULL), 0);
		assert_file(firmware, ORDER, "\7\0\0\0\2\0\1\0", 8);
	}
}

static void test_write_retries(void **state)
{
	static const int passing[] = { EINTR, EINVAL, EIO };
	struct firmware *firmware = *state;

	for (size_t i = 0; i < 3; i++) {
		struct error error = { 0 };

		put_order(firmware);
		firmware->writes = firmware->pauses = 0;
		firmware->fail = passing[i];
		firmware->fail_count = EFIVARS_TRIES - 1;
		assert_int_equal(write_order(firmware, false, &error), 0);
		assert_int_equal(firmware->writes, EFIVARS_TRIES);
		assert_int_equal(firmware->pauses, EFIVARS_TRIES - 1);
		assert_int_equal(error.kind, ERROR_NONE);
		assert_file(firmware, ORDER, "\7\0\0\0\2\0\1\0", 8);

		put_order(firmware);
		firmware->writes = 0;
		firmware->fail_count = EFIVARS_TRIES + 1;
		assert_int_equal(write_order(firmware, false, &error), -passing[i]);
		assert_int_equal(firmware->writes, EFIVARS_TRIES);
		assert_non_null(strstr(error.text, ORDER));
		assert_file(firmware, ORDER, "\7\0\0\0\1\0\2\0\x9\0", 10);
	}
}

static void test_write_failures_that_stay(void **state)
{
	static const struct {
		int number;
		const char *says;
	} cases[] = {
		{ ENOSPC, "dump-type0-*" },
		{ EROFS, "read-only" },
		{ EPERM, "not permitted" },
		{ EACCES, "denied" },
	};
	struct firmware *firmware = *state;

	put_order(firmware);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct error error = { 0 };

		firmware->writes = 0;
		firmware->fail = cases[i].number;
		firmware->fail_count = 1;
		assert_int_equal(write_order(firmware, false, &error), -cases[i].number);
		assert_int_equal(firmware->writes, 1);
		assert_non_null(strstr(error.text, ORDER));
		assert_non_null(strstr(error.text, cases[i].says));
	}
	assert_int_equal(firmware->pauses + firmware->unlinks, 0);
	assert_file(firmware, ORDER, "\7\0\0\0\1\0\2\0\x9\0", 10);
}

static void test_failed_create_leaves_nothing(void **state)
{
	struct firmware *firmware = *state;

	firmware->fail = ENOSPC;
	firmware->fail_count = 1;
	assert_int_equal(write_order(firmware, true, NULL), -ENOSPC);
	assert_int_equal(firmware->unlinks, 1);
	assert_false(has_file(firmware, ORDER));
	/* A leftover that was there before is not ours to take away. */
	put(firmware, ORDER, "", 0);
	firmware->fail_count = 1;
	assert_int_equal(write_order(firmware, true, NULL), -ENOSPC);
	assert_true(has_file(firmware, ORDER));
}

static void test_short_write_fails(void **state)
{
	struct firmware *firmware = *state;

	firmware->cut_writes = 1;
	assert_int_equal(write_order(firmware, true, NULL), -EIO);
	assert_int_equal(firmware->writes, 1); /* never continued */
	assert_false(has_file(firmware, ORDER));
}

/* Firmware that says yes and does something else. */
static void test_read_back(void **state)
{
	struct firmware *firmware = *state;
	struct error error = { 0 };

	put_order(firmware);
	firmware->ignore_writes = true;
	assert_int_equal(write_order(firmware, false, &error), -ESTALE);
	assert_non_null(strstr(error.text, "lock"));
	firmware->ignore_writes = false;
	firmware->lose_writes = true;
	assert_int_equal(write_order(firmware, false, &error), -ESTALE);
}

static void test_write_refuses(void **state)
{
	static const uint8_t data[1] = { 0 };
	struct firmware *firmware = *state;

	put_order(firmware);
	assert_int_equal(
		efivars_write(firmware->dir, "BootOrder", 7, (struct span){ data, 0 }, true, NULL),
		-EINVAL);
	assert_int_equal(efivars_write(firmware->dir, "a/b", 7, SPAN(data), true, NULL), -EINVAL);
	assert_int_equal(efivars_write(firmware->dir, "", 7, SPAN(data), true, NULL), -EINVAL);
	assert_file(firmware, ORDER, "\7\0\0\0\1\0\2\0\x9\0", 10);
}

/* A variable somebody else creates between our look and our create is left alone. */
static ssize_t racing_read(void *context, int fd, void *data, size_t size)
{
	(void)context;
	(void)fd;
	(void)data;
	(void)size;
	errno = ENOENT;
	return -1;
}

static void test_create_race(void **state)
{
	struct firmware *firmware = *state;

	put_order(firmware);
	firmware->io.read = racing_read;
	assert_int_equal(write_order(firmware, true, NULL), -EEXIST);
	assert_int_equal(firmware->writes + firmware->unlinks, 0);
	assert_file(firmware, ORDER, "\7\0\0\0\1\0\2\0\x9\0", 10);
}

static void test_delete(void **state)
{
	struct firmware *firmware = *state;
	struct error error = { 0 };

	put_order(firmware);
	assert_int_equal(efivars_delete(firmware->dir, "BootOrder", &error), 0);
	assert_false(has_file(firmware, ORDER));
	assert_int_equal(efivars_delete(firmware->dir, "BootOrder", &error), 0);
	assert_int_equal(error.kind, ERROR_NONE);
	assert_int_equal(efivars_delete(firmware->dir, "a/b", NULL), -EINVAL);

	put_order(firmware);
	firmware->fail = EINVAL;
	firmware->fail_count = EFIVARS_TRIES;
	assert_int_equal(
		efivars_delete_with(&firmware->io, firmware->dir, "BootOrder", &error), -EINVAL);
	assert_non_null(strstr(error.text, ORDER));
	assert_true(has_file(firmware, ORDER));
	firmware->fail_count = 1;
	assert_int_equal(efivars_delete_with(&firmware->io, firmware->dir, "BootOrder", NULL), 0);
	assert_false(has_file(firmware, ORDER));
}

static void test_volatile(void **state)
{
	struct firmware *firmware = *state;

	assert_false(efivars_volatile(firmware->dir));
	put(firmware, "RTStorageVolatile-b2ac5fc9-92b7-4acd-aeac-11e818c3130c", "\6\0\0\0x", 5);
	assert_true(efivars_volatile(firmware->dir));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_list),
		TEST(test_list_empty_and_gone),
		TEST(test_read),
		TEST(test_read_failures),
		TEST(test_read_sizes),
		TEST(test_read_too_large),
		TEST(test_read_retries),
		TEST(test_write_replaces),
		TEST(test_write_equal_writes_nothing),
		TEST(test_write_creates),
		TEST(test_write_over_leftovers),
		TEST(test_write_retries),
		TEST(test_write_failures_that_stay),
		TEST(test_failed_create_leaves_nothing),
		TEST(test_short_write_fails),
		TEST(test_read_back),
		TEST(test_write_refuses),
		TEST(test_create_race),
		TEST(test_delete),
		TEST(test_volatile),
	};

	return cmocka_run_group_tests_name("efivars", tests, NULL, NULL);
}
