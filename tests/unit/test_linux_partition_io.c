/* SPDX-License-Identifier: Apache-2.0 */

/* The kernel's calls fail, are cut short or interrupted: the linker puts ours before them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "linux_tree.h"
#include "machine/linux_private.h"
#include "machine/machine.h"

#define LABEL  "PARTLABEL=METROPOLIS-SYSTEM-A"
#define PATH   "dev/disk/by-partlabel/METROPOLIS-SYSTEM-A"
#define PIECE  ((1u << 20) + 512)
#define PIECES 18u /* more than what is written before the kernel is asked to write back */
#define SIZE   (PIECE * PIECES)

#define DIRECT_PIECE (1u << 20)

/* The n-th call fails, or all from there on; a cut one carries out less than it was asked for. */
static struct {
	unsigned int count, fail_at;
	int number;
	bool lasts;
	size_t most; /* bytes that one call moves; 0: all */
	unsigned int failed;
	unsigned int direct; /* writes past the page cache */
	bool refuses_direct; /* these, as some file systems do */
} disk;

static bool fails(void)
{
	if (++disk.count < disk.fail_at || disk.fail_at == 0
		|| (disk.count > disk.fail_at && !disk.lasts))
		return false;
	disk.failed++;
	errno = disk.number;
	return true;
}

static size_t at_most(size_t size)
{
	return disk.most > 0 && size > disk.most ? disk.most : size;
}

ssize_t __real_pread64(int fd, void *data, size_t size, off64_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t size, off64_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t size, off64_t offset)
{
	return fails() ? -1 : __real_pread64(fd, data, at_most(size), offset);
}

ssize_t __real_pwrite64(int fd, const void *data, size_t size, off64_t offset);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off64_t offset);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	bool direct = (fcntl(fd, F_GETFL) & O_DIRECT) != 0;

	if (fails())
		return -1;
	disk.direct += direct;
	if (direct && disk.refuses_direct) {
		errno = EINVAL;
		return -1;
	}
	return __real_pwrite64(fd, data, at_most(size), offset);
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	return fails() ? -1 : __real_fdatasync(fd);
}

int __real_sync_file_range(int fd, off64_t offset, off64_t size, unsigned int flags);
int __wrap_sync_file_range(int fd, off64_t offset, off64_t size, unsigned int flags);
int __wrap_sync_file_range(int fd, off64_t offset, off64_t size, unsigned int flags)
{
	return fails() ? -1 : __real_sync_file_range(fd, offset, size, flags);
}

struct fixture {
	struct tree tree;
	struct machine *machine;
	void *memory[2];
	uint8_t *content, *found;
	uint32_t piece;
};

/* Whether what is written is aligned: then it goes past the page cache. */
static void align(struct fixture *f, bool aligned)
{
	f->content = (uint8_t *)f->memory[0] + (aligned ? 0 : 1);
	f->found = (uint8_t *)f->memory[1] + (aligned ? 0 : 1);
	f->piece = aligned ? DIRECT_PIECE : PIECE;
	for (uint32_t i = 0; i < SIZE; i++)
		f->content[i] = (uint8_t)(i * 31 + (i >> 12) * 7);
}

static int set_up(void **state)
{
	static struct fixture f;
	struct error error = { 0 };

	memset(&disk, 0, sizeof(disk));
	tree_make(&f.tree);
	for (size_t i = 0; i < 2; i++)
		if (posix_memalign(&f.memory[i], 4096, SIZE + 1) != 0)
			return -1;
	align(&f, false);
	memset(f.found, 0, SIZE);
	tree_write(&f.tree, PATH, f.found, SIZE);
	*state = &f;
	return machine_linux_new(f.tree.path, &f.machine, &error);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	machine_free(f->machine);
	tree_remove(&f->tree);
	free(f->memory[0]);
	free(f->memory[1]);
	return 0;
}

/* Writes all, flushes, and reads it back. */
static int pass(struct fixture *f, struct error *error)
{
	const struct machine_ops *ops = f->machine->ops;
	struct partition *partition = NULL;
	int r;

	memset(f->found, 0xee, SIZE);
	r = ops->partition_open(f->machine, LABEL, PARTITION_WRITE, &partition, error);
	for (uint32_t i = 0; r == 0 && i < PIECES; i++)
		r = ops->partition_write(f->machine, partition, (uint64_t)i * f->piece,
			f->content + i * f->piece, f->piece, error);
	if (r == 0)
		r = ops->partition_flush(f->machine, partition, error);
	for (uint32_t i = 0; r == 0 && i < PIECES; i++)
		r = ops->partition_read(f->machine, partition, (uint64_t)i * f->piece,
			f->found + i * f->piece, f->piece, error);
	ops->partition_close(f->machine, partition);
	return r;
}

static void check_works(struct fixture *f)
{
	struct error error = { 0 };

	if (pass(f, &error) < 0)
		fail_msg("%s", error.text);
	assert_memory_equal(f->found, f->content, f->piece * PIECES);
}

/* Each call fails in turn: it is said, with the partition's name, and never taken for done. */
static void check_failing(struct fixture *f, int number, bool lasts)
{
	unsigned int calls;

	disk.fail_at = 0;
	disk.count = 0;
	check_works(f);
	calls = disk.count;
	assert_in_range(calls, 2 * PIECES, 20 * PIECES);
	for (unsigned int at = 1; at <= calls; at++) {
		struct error error = { 0 };

		disk.fail_at = at;
		disk.number = number;
		disk.lasts = lasts;
		disk.count = disk.failed = 0;
		assert_int_equal(pass(f, &error), -number);
		assert_in_range(disk.failed, 1, UINT32_MAX);
		assert_non_null(strstr(error.text, "METROPOLIS-SYSTEM-A"));
		assert_non_null(strstr(error.text, strerror(number)));
	}
}

static void test_eio(void **state)
{
	check_failing(*state, EIO, false);
}

static void test_eio_from_then_on(void **state)
{
	check_failing(*state, EIO, true);
}

static void test_enospc(void **state)
{
	check_failing(*state, ENOSPC, false);
}

/* An odd number of bytes at a time, as no disk does: all of it arrives. */
static void test_cut_short(void **state)
{
	disk.most = 300001;
	check_works(*state);
	disk.most = 65536;
	check_works(*state);
}

/* Short, and then nothing fits any more. */
static void test_short_and_full(void **state)
{
	struct error error = { 0 };

	disk.most = 300001;
	disk.fail_at = 3;
	disk.number = ENOSPC;
	assert_int_equal(pass(*state, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "at offset 600002"));
}

/* Where the file system under the tests can do without the page cache, so do aligned writes. */
static void check_direct(struct fixture *f)
{
	AUTO_CLOSE int fd = openat(f->tree.fd, PATH, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd >= 0)
		assert_in_range(disk.direct, PIECES, UINT32_MAX);
}

static void test_direct(void **state)
{
	struct fixture *f = *state;

	align(f, true);
	check_works(f);
	check_direct(f);
	disk.most = 65536;
	check_works(f);
	disk.most = 0;
	check_failing(f, EIO, false);
	check_failing(f, ENOSPC, true);
}

static void test_direct_short_and_full(void **state)
{
	struct fixture *f = *state;
	struct error error = { 0 };

	align(f, true);
	disk.most = 65536;
	disk.fail_at = 3;
	disk.number = ENOSPC;
	assert_int_equal(pass(f, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "at offset 131072"));
}

/* Through the page cache then, also what comes after a part that was written past it. */
static void test_direct_refused(void **state)
{
	struct fixture *f = *state;

	align(f, true);
	disk.refuses_direct = true;
	check_works(f);
	check_direct(f);
	disk.refuses_direct = false;
	disk.count = 0;
	disk.fail_at = 2;
	disk.number = EINVAL;
	disk.most = 65536;
	check_works(f);
	assert_int_equal(disk.failed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_eio, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_eio_from_then_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_enospc, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cut_short, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_short_and_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_direct, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_direct_short_and_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_direct_refused, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
