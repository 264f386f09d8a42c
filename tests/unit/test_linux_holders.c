/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "linux_tree.h"
#include "machine/linux_private.h"

struct fixture {
	struct tree tree;
	struct root_dir root;
	struct error error;
};

static void add_device(struct fixture *f, const char *disk, const char *name, unsigned int minor,
	unsigned int number)
{
	char path[256], text[256];

	snprintf(path, sizeof(path), "sys/devices/%s%s%s/uevent", disk ? disk : "", disk ? "/" : "",
		name);
	snprintf(text, sizeof(text), "MAJOR=8\nMINOR=%u\nDEVNAME=%s\nDEVTYPE=%s\n", minor, name,
		disk ? "partition" : "disk");
	if (number > 0)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "PARTN=%u\n", number);
	tree_text(&f->tree, path, text);
	snprintf(path, sizeof(path), "sys/class/block/%s", name);
	snprintf(text, sizeof(text), "../../devices/%s%s%s", disk ? disk : "", disk ? "/" : "",
		name);
	tree_link(&f->tree, text, path);
}

static bool add_node(struct fixture *f, const char *path, unsigned int minor)
{
	tree_make_parents(&f->tree, path);
	return mknodat(f->tree.fd, path, S_IFBLK | 0600, makedev(8, minor)) == 0;
}

/* sda with two partitions, and what uses them. False: this user cannot make device nodes. */
static bool fixture_make(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	tree_make(&f->tree);
	f->root = (struct root_dir){ f->tree.fd, true, f->tree.path };
	add_device(f, NULL, "sda", 0, 0);
	add_device(f, "sda", "sda1", 1, 1);
	add_device(f, "sda", "sda2", 2, 2);
	add_device(f, NULL, "sdb", 16, 0);
	tree_text(&f->tree, "proc/self/mountinfo", "");
	return add_node(f, "dev/sda", 0) && add_node(f, "dev/sda1", 1) && add_node(f, "dev/sda2", 2)
	       && add_node(f, "dev/sdb", 16);
}

static void assert_holders(struct fixture *f, const char *device, const char *expected)
{
	AUTO_TEXT_LIST struct text_list holders = { 0 };
	struct block_facts facts;
	char text[512] = "";

	assert_int_equal(block_read(&f->root, device, &facts), 0);
	assert_int_equal(holders_list(&f->root, &facts, &holders, &f->error), 0);
	for (size_t i = 0; i < holders.count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? ", " : "",
			holders.items[i]);
	assert_string_equal(text, expected);
}

static void test_holders(void **state)
{
	static const struct {
		const char *path, *content;          /* a file of the tree */
		const char *sda, *sda1, *sda2, *sdb; /* what holds each */
	} cases[] = {
		{ "proc/self/mountinfo",
			"1 1 8:1 / /a rw - vfat /dev/sda1 rw\n1 1 8:1 / /b rw - vfat x rw\n",
			"mounted at /a, mounted at /b", "mounted at /a, mounted at /b", "", "" },
		{ "proc/self/mountinfo", "1 1 8:0 / /whole rw - vfat /dev/sda rw\n",
			"mounted at /whole", "mounted at /whole", "mounted at /whole", "" },
		{ "sys/class/block/sda1/holders/dm-3", "", "used by /dev/dm-3", "used by /dev/dm-3",
			"", "" },
		{ "sys/class/block/loop4/loop/backing_file", "/dev/sda2\n", "used by /dev/loop4",
			"", "used by /dev/loop4", "" },
		{ "sys/class/block/loop4/loop/backing_file", "/srv/image (deleted)\n", "", "", "",
			"" },
		{ "proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sdb partition 4 0 -2\n",
			"", "", "", "used as swap" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;

		if (!fixture_make(&f)) {
			tree_remove(&f.tree);
			skip();
		}
		tree_text(&f.tree, cases[i].path, cases[i].content);
		assert_holders(&f, "sda", cases[i].sda);
		assert_holders(&f, "sda1", cases[i].sda1);
		assert_holders(&f, "sda2", cases[i].sda2);
		assert_holders(&f, "sdb", cases[i].sdb);
		tree_remove(&f.tree);
	}
}

/* A process is named only where nothing else explains it, and we ourselves never. */
static void test_processes(void **state)
{
	struct fixture f;
	char own[64];

	(void)state;
	if (!fixture_make(&f)) {
		tree_remove(&f.tree);
		skip();
	}
	tree_link(&f.tree, "/dev/sda1", "proc/42/fd/7");
	tree_text(&f.tree, "proc/42/comm", "partprobe\n");
	snprintf(own, sizeof(own), "proc/%d/fd/7", (int)getpid());
	tree_link(&f.tree, "/dev/sda1", own);
	assert_holders(&f, "sda1", "opened by process 42 (partprobe)");
	assert_holders(&f, "sda2", "");
	tree_text(&f.tree, "sys/class/block/sda1/holders/dm-0", "");
	tree_text(&f.tree, "sys/class/block/dm-0/dm/name", "vg-root\n");
	assert_holders(&f, "sda1", "used by /dev/dm-0 (vg-root)");
	tree_remove(&f.tree);
}

/* Loop devices do not open what they lie on exclusively: they are asked for by themselves. */
static void test_loops(void **state)
{
	AUTO_TEXT_LIST struct text_list loops = { 0 };
	struct block_facts facts;
	struct fixture f;

	(void)state;
	if (!fixture_make(&f)) {
		tree_remove(&f.tree);
		skip();
	}
	tree_text(&f.tree, "sys/class/block/sda1/holders/dm-0", "");
	tree_text(&f.tree, "sys/class/block/loop7/loop/backing_file", "/dev/sda1\n");
	tree_text(&f.tree, "sys/class/block/loop8/loop/backing_file", "/dev/sdb\n");
	assert_int_equal(block_read(&f.root, "sda1", &facts), 0);
	assert_int_equal(holders_list_loops(&f.root, &facts, &loops, &f.error), 0);
	assert_int_equal(loops.count, 1);
	assert_string_equal(loops.items[0], "used by /dev/loop7");
	tree_remove(&f.tree);
}

static void test_mountinfo(void **state)
{
	static const char text[] =
		"22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n"
		"23 22 0:21 / /proc rw,nosuid shared:5 master:2 - proc proc rw\n"
		"not a line\n"
		"30 22 254:2 / /boot/my\\040efi ro,nosuid - vfat /dev/vda2 ro,fmask=0077\n"
		"31 22 254:2 /EFI /mnt rw - vfat /dev/vda2 ro\n"
		"32 22 x:y / /bad rw - vfat /dev/vda2 ro\n"
		"33 22 0:40 / /ro roots,x - overlay overlay rw,lowerdir=/a:/b,upperdir=/c\n"
		"34 22 0:50 / /mnt rw - tmpfs \\134odd\n";
	AUTO_MOUNTS struct mount_list mounts = { 0 };
	AUTO_FREE char *lower = NULL, *none = NULL;

	(void)state;
	assert_int_equal(mounts_parse(text, &mounts, NULL), 0);
	assert_int_equal(mounts.count, 6);
	assert_int_equal(mounts.items[0].device, makedev(254, 1));
	assert_string_equal(mounts.items[0].point, "/");
	assert_string_equal(mounts.items[0].source, "/dev/vda1");
	assert_string_equal(mounts.items[0].type, "ext4");
	assert_string_equal(mounts.items[2].point, "/boot/my efi");
	assert_true(mounts.items[2].read_only);
	assert_false(mounts.items[3].read_only);
	assert_string_equal(mounts.items[3].root, "/EFI");
	assert_false(mounts.items[4].read_only);
	assert_string_equal(mounts.items[5].source, "\\odd");
	assert_string_equal(mounts.items[5].super_options, "");
	assert_ptr_equal(mounts_at(&mounts, "/mnt"), &mounts.items[5]);
	assert_null(mounts_at(&mounts, "/bad"));
	lower = mount_option(mounts.items[4].super_options, "lowerdir");
	assert_string_equal(lower, "/a:/b");
	none = mount_option(mounts.items[4].super_options, "dir");
	assert_null(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holders),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_mountinfo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
