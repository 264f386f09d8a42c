/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "linux_tree.h"
#include "machine/linux_private.h"
#include "machine/machine.h"

#define LABEL "PARTLABEL=METROPOLIS-SYSTEM-A"
#define PATH  "dev/disk/by-partlabel/METROPOLIS-SYSTEM-A"
#define SIZE  ((20u << 20) + 512) /* the last 4 KiB are not whole */

static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 12) * 7 + (offset >> 20));
}

static uint8_t *make_content(void)
{
	uint8_t *content = malloc(SIZE);

	assert_non_null(content);
	for (uint64_t i = 0; i < SIZE; i++)
		content[i] = pattern(i);
	return content;
}

struct fixture {
	struct tree tree;
	struct machine *machine;
	struct error error;
};

static void fixture_make(struct fixture *f)
{
	AUTO_FREE uint8_t *content = make_content();

	memset(f, 0, sizeof(*f));
	tree_make(&f->tree);
	tree_write(&f->tree, PATH, content, SIZE);
	assert_int_equal(machine_linux_new(f->tree.path, &f->machine, &f->error), 0);
}

static void fixture_done(struct fixture *f)
{
	machine_free(f->machine);
	tree_remove(&f->tree);
}

/* Offsets and sizes of every alignment, and sequential ones as a scan makes them. */
static void check_reads(struct machine *machine, struct partition *partition)
{
	static const struct {
		uint64_t offset;
		size_t size;
	} cases[] = {
		{ 0, 1 },
		{ 0, 4096 },
		{ 4096, 4096 },
		{ 1, 4095 },
		{ 511, 2 },
		{ 4095, 4098 },
		{ 1 << 20, 1 << 20 },
		{ (1 << 20) - 1, (2 << 20) + 2 },
		{ SIZE - 1, 1 },
		{ SIZE - 512, 512 },
		{ SIZE - 4608, 4608 },
		{ SIZE - 5000, 5000 },
		{ SIZE, 0 },
		{ 12345, 3000000 },
		{ 0, SIZE },
	};
	AUTO_FREE uint8_t *aligned = NULL;
	struct error error = { 0 };

	assert_int_equal(posix_memalign((void **)&aligned, 4096, SIZE + 4096), 0);
	for (size_t shift = 0; shift < 2; shift++) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			memset(aligned, 0xee, SIZE + 4096);
			assert_int_equal(
				machine->ops->partition_read(machine, partition, cases[i].offset,
					aligned + shift, cases[i].size, &error),
				0);
			for (size_t k = 0; k < cases[i].size; k++) {
				if (aligned[shift + k] != pattern(cases[i].offset + k))
					fail_msg("case %zu: byte %zu", i, k);
			}
			assert_int_equal(aligned[shift + cases[i].size], 0xee);
		}
	}
	for (uint64_t at = 0; at + 32768 <= SIZE; at += 32768) {
		assert_int_equal(machine->ops->partition_read(
					 machine, partition, at, aligned, 32768, &error),
			0);
		for (size_t k = 0; k < 32768; k += 509)
			assert_int_equal(aligned[k], pattern(at + k));
	}
}

static void test_read(void **state)
{
	struct partition *partition;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	assert_int_equal(f.machine->ops->partition_open(
				 f.machine, LABEL, PARTITION_READ, &partition, &f.error),
		0);
	assert_int_equal(f.machine->ops->partition_size(f.machine, partition), SIZE);
	check_reads(f.machine, partition);
	f.machine->ops->partition_close(f.machine, partition);
	fixture_done(&f);
}

static void test_ranges_and_modes(void **state)
{
	static const struct {
		uint64_t offset;
		size_t size;
	} cases[] = { { SIZE, 1 }, { SIZE - 1, 2 }, { UINT64_MAX, 1 }, { 1, SIZE }, { SIZE + 1, 0 },
		{ UINT64_MAX - 3, 8 } };
	AUTO_FREE uint8_t *data = calloc(1, SIZE);
	struct partition *partition;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	const struct machine_ops *ops = f.machine->ops;
	assert_int_equal(
		ops->partition_open(f.machine, LABEL, PARTITION_WRITE, &partition, &f.error), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(ops->partition_read(f.machine, partition, cases[i].offset, data,
					 cases[i].size, &f.error),
			-EINVAL);
		assert_int_equal(ops->partition_write(f.machine, partition, cases[i].offset, data,
					 cases[i].size, &f.error),
			-EINVAL);
	}
	ops->partition_close(f.machine, partition);
	assert_int_equal(
		ops->partition_open(f.machine, LABEL, PARTITION_READ, &partition, &f.error), 0);
	assert_int_equal(ops->partition_write(f.machine, partition, 0, data, 1, &f.error), -EBADF);
	ops->partition_close(f.machine, partition);
	ops->partition_close(f.machine, NULL);
	fixture_done(&f);
}

/* Writes everything inverted in odd steps, so that write-back starts in between, and reads. */
static void check_writes(struct machine *machine, struct partition *partition)
{
	AUTO_FREE uint8_t *content = make_content(), *back = malloc(SIZE);
	struct error error = { 0 };
	uint8_t part[4096];

	for (uint64_t i = 0; i < SIZE; i++)
		content[i] ^= 0xff;
	/* A window that the writes make stale. */
	assert_int_equal(machine->ops->partition_read(machine, partition, 0, part, 100, &error), 0);
	for (uint64_t at = 0; at < SIZE;) {
		size_t step = SIZE - at < 700001 ? (size_t)(SIZE - at) : 700001;

		assert_int_equal(machine->ops->partition_write(
					 machine, partition, at, content + at, step, &error),
			0);
		at += step;
	}
	assert_int_equal(machine->ops->partition_read(machine, partition, 0, part, 100, &error), 0);
	assert_memory_equal(part, content, 100);
	assert_int_equal(machine->ops->partition_flush(machine, partition, &error), 0);
	assert_int_equal(
		machine->ops->partition_read(machine, partition, 0, back, SIZE, &error), 0);
	assert_memory_equal(back, content, SIZE);
}

static void test_write(void **state)
{
	struct partition *partition;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	assert_int_equal(f.machine->ops->partition_open(
				 f.machine, LABEL, PARTITION_WRITE, &partition, &f.error),
		0);
	check_writes(f.machine, partition);
	f.machine->ops->partition_close(f.machine, partition);
	fixture_done(&f);
}

static void test_finding(void **state)
{
	static const struct {
		const char *device;
		int r;
	} cases[] = {
		{ LABEL, 0 },
		{ "PARTUUID=8B7A5C1E-0000-4000-8000-000000000001", 0 },
		{ "/" PATH, 0 },
		{ "/dev/absolute", 0 },
		{ "PARTLABEL=absent", -ENODEV },
		{ "/absent", -ENODEV },
		{ "/dev", -EINVAL },
		{ "/dev/fifo", -EINVAL },
		{ "/dev/outside", -ENODEV },
		{ "PARTLABEL=", -EINVAL },
		{ "PARTLABEL=../x", -EINVAL },
		{ "PARTUUID=zz", -EINVAL },
		{ "sda1", -EINVAL },
	};
	struct fixture f;
	bool held = true;
	int fds;

	(void)state;
	fixture_make(&f);
	tree_link(&f.tree, "../by-partlabel/METROPOLIS-SYSTEM-A",
		"dev/disk/by-partuuid/8b7a5c1e-0000-4000-8000-000000000001");
	/* Absolute links count from the tree, and none leads out of it. */
	tree_link(&f.tree, "/" PATH, "dev/absolute");
	tree_link(&f.tree, "../../../../../../../../bin/sh", "dev/outside");
	assert_int_equal(mkfifoat(f.tree.fd, "dev/fifo", 0600), 0);
	fds = count_fds();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct partition *partition = NULL;
		int r = f.machine->ops->partition_open(
			f.machine, cases[i].device, PARTITION_WRITE, &partition, &f.error);

		if (r != cases[i].r)
			fail_msg("%s: %d (%s)", cases[i].device, r, f.error.text);
		f.machine->ops->partition_close(f.machine, partition);
		assert_int_equal(count_fds(), fds);
	}
	assert_int_equal(
		f.machine->ops->partition_holds_root(f.machine, LABEL, &held, &f.error), 0);
	assert_false(held);
	fixture_done(&f);
}

/* A loop device on an open file: the fd of the loop device, which keeps it. -1: not possible. */
static int make_loop(int file, char node[32])
{
	AUTO_CLOSE int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = { .fd = (uint32_t)file, .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	AUTO_CLOSE int fd = -1;
	int number;

	if (control < 0 || (number = ioctl(control, LOOP_CTL_GET_FREE)) < 0)
		return -1;
	snprintf(node, 32, "/dev/loop%d", number);
	fd = open(node, O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) < 0)
		return -1;
	return take_fd(&fd);
}

static void test_block_device(void **state)
{
	struct partition *partition, *second;
	AUTO_CLOSE int file = -1, loop = -1;
	AUTO_MACHINE struct machine *machine = NULL;
	struct fixture f;
	char node[32];
	bool held = true;

	(void)state;
	fixture_make(&f);
	file = openat(f.tree.fd, PATH, O_RDWR | O_CLOEXEC);
	loop = make_loop(file, node);
	if (loop < 0) {
		fixture_done(&f);
		skip();
	}
	assert_int_equal(machine_linux_new(NULL, &machine, &f.error), 0);
	const struct machine_ops *ops = machine->ops;
	assert_int_equal(
		ops->partition_open(machine, node, PARTITION_WRITE, &partition, &f.error), 0);
	assert_int_equal(ops->partition_size(machine, partition), SIZE);
	check_reads(machine, partition);
	/* Exclusive for writers; others may look. */
	assert_int_equal(
		ops->partition_open(machine, node, PARTITION_WRITE, &second, &f.error), -EBUSY);
	assert_non_null(strstr(f.error.text, "in use"));
	assert_int_equal(ops->partition_open(machine, node, PARTITION_READ, &second, &f.error), 0);
	ops->partition_close(machine, second);
	check_writes(machine, partition);
	ops->partition_close(machine, partition);
	assert_int_equal(ops->partition_holds_root(machine, node, &held, &f.error), 0);
	assert_false(held);
	fixture_done(&f);
}

/* The block device under / of the machine the tests run on is never opened for writing. */
static void test_running_root(void **state)
{
	AUTO_MACHINE struct machine *machine = NULL;
	AUTO_BLOCKS struct block_list stack = { 0 };
	AUTO_CLOSE int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct root_dir root = { fd, false, "" };
	struct partition *partition;
	struct error error = { 0 };
	struct stat status;
	char node[128];
	bool held = false;

	(void)state;
	assert_int_equal(find_root_stack(&root, &stack, &error), 0);
	if (stack.count == 0)
		skip();
	snprintf(node, sizeof(node), "/dev/%s", stack.items[0].node);
	if (stat(node, &status) < 0)
		skip();
	assert_int_equal(machine_linux_new("/", &machine, &error), 0);
	assert_int_equal(
		machine->ops->partition_open(machine, node, PARTITION_WRITE, &partition, &error),
		-EBUSY);
	assert_non_null(strstr(error.text, "running system"));
	assert_int_equal(machine->ops->partition_holds_root(machine, node, &held, &error), 0);
	assert_true(held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_ranges_and_modes),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_finding),
		cmocka_unit_test(test_block_device),
		cmocka_unit_test(test_running_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
