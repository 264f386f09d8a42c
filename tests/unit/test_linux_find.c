/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "linux_sysfs.h"
#include "machine/linux_private.h"

static void test_block_read(void **state)
{
	struct block_facts facts;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	add_device(&f, NULL, "nvme0n1", 259, 0, "");
	add_text(&f, "nvme0n1", "queue/logical_block_size", "4096\n");
	add_device(&f, "nvme0n1", "nvme0n1p12", 259, 12,
		"PARTN=12\nPARTNAME=" SLOT_LABEL
		"\nPARTUUID=8b7a5c1e-0000-4000-8000-00000000000c\n");
	add_extent(&f, "nvme0n1p12", "2048\n", "4096\n");

	assert_int_equal(block_read(&f.root, "nvme0n1p12", &facts), 0);
	assert_string_equal(facts.disk, "nvme0n1");
	assert_string_equal(facts.node, "nvme0n1p12");
	assert_int_equal(facts.number, 12);
	assert_int_equal(facts.start, 2048);
	assert_int_equal(facts.size, 4096);
	assert_int_equal(facts.logical_block, 4096);
	assert_int_equal(facts.device, makedev(259, 12));
	assert_string_equal(facts.label, SLOT_LABEL);
	assert_true(facts.has_partuuid);
	assert_false(facts.has_type);

	assert_int_equal(block_read_device(&f.root, makedev(259, 0), &facts), 0);
	assert_string_equal(facts.name, "nvme0n1");
	assert_string_equal(facts.disk, "nvme0n1");
	assert_int_equal(facts.number, 0);
	assert_int_equal(block_read(&f.root, "sdz", &facts), -ENODEV);
	assert_int_equal(block_read_device(&f.root, makedev(8, 0), &facts), -ENODEV);
	tree_remove(&f.tree);
}

/* The kernel shows non-ASCII labels as '!': such a label is not known. */
static void test_label_of_kernel(void **state)
{
	struct block_facts facts;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	add_device(&f, NULL, "vda", 254, 0, "");
	add_device(&f, "vda", "vda1", 254, 1, "PARTN=1\nPARTNAME=SYST!ME\n");
	add_device(&f, "vda", "vda2", 254, 2, "");
	add_text(&f, "vda2", "partition", "2\n");
	assert_int_equal(block_read(&f.root, "vda1", &facts), 0);
	assert_false(facts.has_label);
	assert_int_equal(facts.logical_block, 512);
	assert_int_equal(block_read(&f.root, "vda2", &facts), 0);
	assert_int_equal(facts.number, 2);
	tree_remove(&f.tree);
}

/* Root on dm-verity over LVM over LUKS on sda3, and a second disk with the same labels. */
static void make_two_disks(struct fixture *f, struct block_list *stack)
{
	fixture_make(f);
	add_device(f, NULL, "sda", 8, 0, "");
	add_device(f, "sda", "sda1", 8, 1, "PARTN=1\nPARTNAME=ESP\n");
	add_device(f, "sda", "sda3", 8, 3, "PARTN=3\nPARTNAME=" SLOT_LABEL "\n");
	add_device(f, "sda", "sda4", 8, 4, "PARTN=4\nPARTNAME=METROPOLIS-SYSTEM-B\n");
	add_device(f, NULL, "sdb", 8, 16, "");
	add_device(f, "sdb", "sdb3", 8, 19, "PARTN=3\nPARTNAME=" SLOT_LABEL "\n");
	add_device(f, "sdb", "sdb5", 8, 21, "PARTN=5\nPARTNAME=only here\n");
	add_device(f, NULL, "dm-0", 253, 0, "");
	add_device(f, NULL, "dm-1", 253, 1, "");
	add_device(f, NULL, "dm-2", 253, 2, "");
	add_slave(f, "dm-2", "dm-1");
	add_slave(f, "dm-1", "dm-0");
	add_slave(f, "dm-0", "sda3");
	assert_int_equal(find_stack(&f->root, makedev(253, 2), stack, &f->error), 0);
}

static void test_stack(void **state)
{
	AUTO_BLOCKS struct block_list stack = { 0 };
	struct block_facts facts;
	struct fixture f;

	(void)state;
	make_two_disks(&f, &stack);
	assert_int_equal(stack.count, 4);
	assert_true(block_list_has(&stack, "dm-2"));
	assert_true(block_list_has(&stack, "dm-1"));
	assert_true(block_list_has(&stack, "dm-0"));
	assert_true(block_list_has(&stack, "sda3"));
	assert_true(block_list_has_disk(&stack, "sda"));
	assert_false(block_list_has_disk(&stack, "sdb"));
	/* The same again adds nothing. */
	assert_int_equal(find_stack(&f.root, makedev(253, 2), &stack, &f.error), 0);
	assert_int_equal(stack.count, 4);

	static const struct {
		const char *name;
		bool holds;
	} cases[] = { { "sda3", true }, { "sda4", false }, { "sda", true }, { "sdb3", false },
		{ "sdb", false }, { "dm-2", true } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(block_read(&f.root, cases[i].name, &facts), 0);
		assert_int_equal(find_holds(&stack, &facts), cases[i].holds);
	}
	tree_remove(&f.tree);
}

/* md0p1 on sda and sdb; slaves stand at the disk. */
static void test_stack_of_md_partition(void **state)
{
	AUTO_BLOCKS struct block_list stack = { 0 };
	struct fixture f;

	(void)state;
	fixture_make(&f);
	add_device(&f, NULL, "sda", 8, 0, "");
	add_device(&f, NULL, "sdb", 8, 16, "");
	add_device(&f, NULL, "md0", 9, 0, "");
	add_device(&f, "md0", "md0p1", 259, 1, "PARTN=1\n");
	add_slave(&f, "md0", "sda");
	add_slave(&f, "md0", "sdb");
	assert_int_equal(find_stack(&f.root, makedev(259, 1), &stack, &f.error), 0);
	assert_int_equal(stack.count, 3);
	assert_true(block_list_has(&stack, "md0p1"));
	assert_true(block_list_has_disk(&stack, "sdb"));
	tree_remove(&f.tree);
}

/* Renames a folder to and fro until it is killed: openat2 answers EAGAIN at a ".." meanwhile. */
static pid_t rename_for_ever(const struct tree *tree)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		mkdirat(tree->fd, "here", 0755);
		while (getppid() == parent) {
			renameat(tree->fd, "here", tree->fd, "there");
			renameat(tree->fd, "there", tree->fd, "here");
		}
		_exit(0);
	}
	return pid;
}

static void test_renames_elsewhere(void **state)
{
	struct block_facts facts;
	struct fixture f;
	struct tree other;
	pid_t pid;

	(void)state;
	fixture_make(&f);
	tree_make(&other);
	add_device(&f, NULL, "sda", 8, 0, "");
	pid = rename_for_ever(&other);
	assert_true(pid > 0);
	for (unsigned int i = 0; i < 20000; i++)
		assert_int_equal(block_read(&f.root, "sda", &facts), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	tree_remove(&other);
	tree_remove(&f.tree);
}

static void test_find_by_label(void **state)
{
	static const struct {
		const char *device, *expected; /* NULL: -ENODEV */
	} cases[] = {
		{ "PARTLABEL=" SLOT_LABEL, "sda3" }, /* the root's disk, though sdb has it too */
		{ "PARTLABEL=METROPOLIS-SYSTEM-B", "sda4" },
		{ "PARTLABEL=only here", "sdb5" },
		{ "PARTLABEL=METROPOLIS-SYSTEM", NULL },
		{ "PARTLABEL=metropolis-system-b", NULL },
	};
	AUTO_BLOCKS struct block_list stack = { 0 }, none = { 0 };
	struct block_facts facts;
	struct fixture f;

	(void)state;
	make_two_disks(&f, &stack);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = find_partition(&f.root, &stack, cases[i].device, &facts, &f.error);

		assert_int_equal(r, cases[i].expected ? 0 : -ENODEV);
		if (r == 0)
			assert_string_equal(facts.name, cases[i].expected);
	}
	/* Without a root disk there is nothing to prefer. */
	assert_int_equal(find_partition(&f.root, &none, "PARTLABEL=" SLOT_LABEL, &facts, &f.error),
		-ENOTUNIQ);
	assert_non_null(strstr(f.error.text, "/dev/sda3, /dev/sdb3"));
	/* Twice on the root's disk. */
	add_device(&f, "sda", "sda9", 8, 9, "PARTN=9\nPARTNAME=" SLOT_LABEL "\n");
	assert_int_equal(find_partition(&f.root, &stack, "PARTLABEL=" SLOT_LABEL, &facts, &f.error),
		-ENOTUNIQ);
	assert_null(strstr(f.error.text, "sdb3"));
	tree_remove(&f.tree);
}

static void test_find_refuses(void **state)
{
	static const char *const devices[] = { "", "PARTLABEL=", "PARTUUID=", "PARTUUID=1234-01",
		"LABEL=x", "sda3" };
	AUTO_BLOCKS struct block_list stack = { 0 };
	struct block_facts facts;
	struct fixture f;

	(void)state;
	make_two_disks(&f, &stack);
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		assert_int_equal(
			find_partition(&f.root, &stack, devices[i], &facts, &f.error), -EINVAL);
		assert_int_equal(f.error.kind, ERROR_USAGE);
	}
	tree_remove(&f.tree);
}

/* What sysfs does not tell is read from the GPT, with 512 and 4096 byte blocks. */
static void test_find_in_gpt(void **state)
{
	static const uint32_t sectors[] = { 512, 4096 };
	static const struct gpt_partition partitions[] = {
		{ 1, 64, 64, ESP_TYPE, "8b7a5c1e-0000-4000-8000-000000000001", "ESP" },
		{ 7, 128, 64, DATA_TYPE, "8b7a5c1e-0000-4000-8000-000000000007", SLOT_LABEL },
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		AUTO_BLOCKS struct block_list none = { 0 };
		char start[32], size[32], block[32];
		struct block_facts facts;
		struct fixture f;

		fixture_make(&f);
		snprintf(start, sizeof(start), "%u\n", 128 * sectors[i] / 512);
		snprintf(size, sizeof(size), "%u\n", 64 * sectors[i] / 512);
		snprintf(block, sizeof(block), "%u\n", sectors[i]);
		add_device(&f, NULL, "mmcblk0", 179, 0, "");
		add_text(&f, "mmcblk0", "queue/logical_block_size", block);
		add_device(&f, "mmcblk0", "mmcblk0p7", 179, 7, "PARTN=7\n");
		add_extent(&f, "mmcblk0p7", start, size);
		add_disk_image(&f, "mmcblk0", sectors[i], partitions, 2);

		assert_int_equal(
			find_partition(&f.root, &none, "PARTLABEL=" SLOT_LABEL, &facts, &f.error),
			0);
		assert_string_equal(facts.name, "mmcblk0p7");
		assert_int_equal(
			find_partition(&f.root, &none,
				"PARTUUID=8B7A5C1E-0000-4000-8000-000000000007", &facts, &f.error),
			0);
		assert_string_equal(facts.name, "mmcblk0p7");
		assert_int_equal(facts.logical_block, sectors[i]);
		assert_true(facts.has_type);
		/* In the table, but not (yet) known to the kernel. */
		assert_int_equal(
			find_partition(&f.root, &none, "PARTLABEL=ESP", &facts, &f.error), -ENODEV);
		tree_remove(&f.tree);
	}
}

static const struct gpt_partition one_esp[] = {
	{ 1, 64, 64, ESP_TYPE, "8b7a5c1e-0000-4000-8000-000000000001", "ESP" },
	{ 2, 128, 64, DATA_TYPE, "8b7a5c1e-0000-4000-8000-000000000002", SLOT_LABEL },
};

static const struct gpt_partition two_esps[] = {
	{ 1, 64, 64, ESP_TYPE, "8b7a5c1e-0000-4000-8000-000000000011", "ESP" },
	{ 2, 128, 64, ESP_TYPE, "8b7a5c1e-0000-4000-8000-000000000012", "ESP 2" },
};

static void test_find_esp(void **state)
{
	static const char mounted[] = "1 1 8:33 / /efi rw - vfat /dev/sdc1 rw\n";
	static const char second[] = "1 1 8:34 / /mnt rw - vfat /dev/sdc2 rw\n";
	static const struct {
		const char *what;
		unsigned int root; /* minor number */
		const char *mountinfo, *beside, *expected;
		int r;
	} cases[] = {
		{ "the root's disk", 2, "", NULL, "sda1", 0 },
		{ "the root's disk, another is mounted", 2, mounted, NULL, "sda1", 0 },
		{ "beside", 2, "", "PARTUUID=8b7a5c1e-0000-4000-8000-000000000011", NULL,
			-ENOTUNIQ },
		{ "beside, mounted", 2, mounted, "PARTUUID=8b7a5c1e-0000-4000-8000-000000000011",
			"sdc1", 0 },
		{ "beside, the other one mounted", 2, second,
			"PARTUUID=8b7a5c1e-0000-4000-8000-000000000011", "sdc2", 0 },
		{ "beside is nowhere", 2, "", "PARTLABEL=none", "sda1", 0 },
		{ "two on the root's disk", 33, "", NULL, NULL, -ENOTUNIQ },
		{ "no root disk, one mounted", 0, mounted, NULL, "sdc1", 0 },
		{ "no root disk, none mounted", 0, "", NULL, NULL, -ENOTUNIQ },
	};
	struct fixture f;

	(void)state;
	fixture_make(&f);
	add_esp_disk(&f, "sda", 0, one_esp);
	add_esp_disk(&f, "sdc", 32, two_esps);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct block_facts facts;
		int r = seek_esp(&f, cases[i].root ? makedev(8, cases[i].root) : 0,
			cases[i].mountinfo, cases[i].beside, &facts);

		if (r != cases[i].r)
			fail_msg("%s: %d (%s)", cases[i].what, r, f.error.text);
		if (r == 0 && strcmp(facts.name, cases[i].expected) != 0)
			fail_msg("%s: %s", cases[i].what, facts.name);
		if (r == 0)
			assert_true(facts.has_partuuid);
	}
	tree_remove(&f.tree);
}

/* The names of disks and partitions in Linux, of every kind of disk. */
static void test_names(void **state)
{
	static const struct {
		const char *disk, *partition;
		unsigned int number;
	} cases[] = {
		{ "sda", "sda2", 2 },
		{ "sdaa", "sdaa12", 12 },
		{ "vda", "vda2", 2 },
		{ "xvdb", "xvdb3", 3 },
		{ "nvme0n1", "nvme0n1p2", 2 },
		{ "nvme10n2", "nvme10n2p11", 11 },
		{ "mmcblk0", "mmcblk0p2", 2 },
		{ "mmcblk1", "mmcblk1p128", 128 },
		{ "loop0", "loop0p2", 2 },
		{ "md127", "md127p2", 2 },
		{ "pmem0", "pmem0p1", 1 },
		{ "cciss!c0d0", "cciss!c0d0p2", 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_BLOCKS struct block_list stack = { 0 };
		struct block_facts facts, whole;
		char uevent[128], label[64];
		struct fixture f;

		fixture_make(&f);
		/* eMMC: what begins with the disk's name is no partition of it. */
		add_device(&f, NULL, "mmcblk0boot0", 179, 8, "");
		add_device(&f, NULL, "mmcblk0rpmb", 179, 16, "");
		add_device(&f, NULL, cases[i].disk, 259, 0, "");
		snprintf(uevent, sizeof(uevent), "PARTN=%u\nPARTNAME=here %u\n", cases[i].number,
			cases[i].number);
		add_device(&f, cases[i].disk, cases[i].partition, 259, 1, uevent);
		snprintf(label, sizeof(label), "PARTLABEL=here %u", cases[i].number);
		assert_int_equal(find_partition(&f.root, &stack, label, &facts, &f.error), 0);
		assert_string_equal(facts.name, cases[i].partition);
		assert_string_equal(facts.disk, cases[i].disk);
		assert_int_equal(facts.number, cases[i].number);
		assert_int_equal(block_read(&f.root, cases[i].disk, &whole), 0);
		assert_int_equal(whole.number, 0);
		assert_int_equal(find_stack(&f.root, facts.device, &stack, &f.error), 0);
		assert_true(find_holds(&stack, &whole));
		assert_int_equal(block_read(&f.root, "mmcblk0boot0", &whole), 0);
		assert_false(find_holds(&stack, &whole));
		tree_remove(&f.tree);
	}
}

/* The slots are logical volumes: the ESP is looked for on the disk under them. */
static void test_find_esp_under_lvm(void **state)
{
	struct block_facts facts;
	struct stat status;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	add_esp_disk(&f, "sda", 0, one_esp);
	add_esp_disk(&f, "sdb", 16, one_esp);
	add_device(&f, NULL, "dm-0", 253, 0, "");
	add_slave(&f, "dm-0", "sdb2");
	if (mknodat(f.tree.fd, "dev/dm-0", S_IFBLK | 0600, makedev(253, 0)) < 0) {
		tree_remove(&f.tree);
		skip(); /* no root */
	}
	tree_link(&f.tree, "../dm-0", "dev/vg/system-A");
	assert_int_equal(root_stat(&f.root, "/dev/vg/system-A", &status), 0);
	assert_int_equal(seek_esp(&f, makedev(8, 2), "", "/dev/vg/system-A", &facts), 0);
	assert_string_equal(facts.name, "sdb1");
	assert_int_equal(seek_esp(&f, makedev(8, 2), "", "/dev/absent", &facts), 0);
	assert_string_equal(facts.name, "sda1");
	tree_remove(&f.tree);
}

/* A clone has the same GUIDs; another disk's have nothing to do with it. */
static void test_find_twin(void **state)
{
	struct block_facts facts = { 0 }, twin = { 0 };
	const struct block_list none = { 0 };
	struct fixture f;
	bool found = true;

	(void)state;
	fixture_make(&f);
	add_esp_disk(&f, "sda", 0, one_esp);
	add_esp_disk(&f, "sdb", 16, two_esps);
	assert_int_equal(seek_esp(&f, makedev(8, 2), "", NULL, &facts), 0);
	assert_int_equal(find_twin(&f.root, &facts, &none, &twin, &found, &f.error), 0);
	assert_false(found);
	add_esp_disk(&f, "sdc", 32, one_esp);
	assert_int_equal(find_twin(&f.root, &facts, &none, &twin, &found, &f.error), 0);
	assert_true(found);
	assert_string_equal(twin.name, "sdc1");
	tree_remove(&f.tree);
}

/* No disk with an ESP at all. */
static void test_find_no_esp(void **state)
{
	static const struct gpt_partition none[] = {
		{ 1, 64, 64, DATA_TYPE, "8b7a5c1e-0000-4000-8000-000000000001", "ESP" },
		{ 2, 128, 64, DATA_TYPE, "8b7a5c1e-0000-4000-8000-000000000002", SLOT_LABEL },
	};
	struct block_facts facts;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	add_esp_disk(&f, "sda", 0, none);
	/* Neither its label nor a FAT mounted at its usual place makes one of it. */
	assert_int_equal(seek_esp(&f, makedev(8, 2), "1 1 8:1 / /boot rw - vfat /dev/sda1 rw\n",
				 "PARTLABEL=" SLOT_LABEL, &facts),
		-ENODEV);
	assert_non_null(strstr(f.error.text, "no EFI System Partition found (2 partitions seen)"));
	tree_remove(&f.tree);
}

/* No access to the disk: the usual mount points tell. */
static void test_find_esp_unreadable(void **state)
{
	struct block_facts facts;
	int none = geteuid() == 0 ? -ENODEV : -EACCES;
	struct fixture f;

	(void)state;
	fixture_make(&f);
	add_device(&f, NULL, "vda", 254, 0, "");
	add_device(&f, "vda", "vda1", 254, 1, "PARTN=1\n");
	add_device(&f, "vda", "vda2", 254, 2, "PARTN=2\n");
	assert_int_equal(
		seek_esp(&f, 0, "1 1 254:1 / /boot/efi rw - vfat /dev/vda1 rw\n", NULL, &facts), 0);
	assert_string_equal(facts.name, "vda1");
	assert_int_equal(
		seek_esp(&f, 0, "1 1 254:1 / /mnt rw - vfat /dev/vda1 rw\n", NULL, &facts), none);
	assert_int_equal(
		seek_esp(&f, 0, "1 1 254:1 / /boot rw - ext4 /dev/vda1 rw\n", NULL, &facts), none);
	tree_remove(&f.tree);
}

/* On the machine the tests run on: whatever it is, this works and answers. */
static void test_this_machine(void **state)
{
	AUTO_BLOCKS struct block_list stack = { 0 };
	AUTO_CLOSE int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct root_dir root = { fd, false, "" };
	struct error error = { 0 };

	(void)state;
	assert_int_equal(find_root_stack(&root, &stack, &error), 0);
	for (size_t i = 0; i < stack.count; i++)
		assert_true(find_holds(&stack, &stack.items[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_block_read),
		cmocka_unit_test(test_label_of_kernel),
		cmocka_unit_test(test_stack),
		cmocka_unit_test(test_stack_of_md_partition),
		cmocka_unit_test(test_renames_elsewhere),
		cmocka_unit_test(test_find_by_label),
		cmocka_unit_test(test_find_refuses),
		cmocka_unit_test(test_find_in_gpt),
		cmocka_unit_test(test_find_esp),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_find_esp_under_lvm),
		cmocka_unit_test(test_find_twin),
		cmocka_unit_test(test_find_no_esp),
		cmocka_unit_test(test_find_esp_unreadable),
		cmocka_unit_test(test_this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
