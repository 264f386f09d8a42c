/* SPDX-License-Identifier: Apache-2.0 */

/* The ESP on arrays and mappings: Linux writes through them, the firmware sees what is under them.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "linux_sysfs.h"
#include "machine/linux_esp.h"
#include "machine/linux_private.h"

#define PART_BYTES (2u << 20) /* on floppies libblkid looks for no array */
#define SDA2       2          /* minor numbers */
#define SDB2       18
#define ROOT_A     makedev(8, SDA2)
#define ROOT_B     makedev(8, SDB2)

#define UUID_A "8b7a5c1e-0000-4000-8000-0000000000a1"
#define UUID_B "8b7a5c1e-0000-4000-8000-0000000000b1"
#define UUID_C "8b7a5c1e-0000-4000-8000-0000000000c1"

static const struct gpt_partition disk_a[] = {
	{ 1, 64, 64, ESP_TYPE, UUID_A, "ESP" },
	{ 2, 128, 64, DATA_TYPE, "8b7a5c1e-0000-4000-8000-0000000000a2", SLOT_LABEL },
};
static const struct gpt_partition disk_b[] = {
	{ 1, 64, 64, ESP_TYPE, UUID_B, "ESP" },
	{ 2, 128, 64, DATA_TYPE, "8b7a5c1e-0000-4000-8000-0000000000b2", SLOT_LABEL },
};

static void add_holder(struct fixture *f, const char *name, const char *holder)
{
	char path[256];

	snprintf(path, sizeof(path), "sys/class/block/%s/holders/%s", name, holder);
	tree_link(&f->tree, "/nowhere", path);
	add_slave(f, holder, name);
}

/* What the device begins with. */
static void add_content(struct fixture *f, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "dev/%s", name);
	tree_text(&f->tree, path, text);
	tree_resize(&f->tree, path, PART_BYTES);
}

/* A superblock of md, metadata 1.0: at the end, where no file system sees it. */
static void add_superblock(struct fixture *f, const char *name)
{
	uint64_t at = PART_BYTES - 0x2000;
	uint8_t block[256] = { 0 };
	char path[256];
	int fd;

	put_le32(block, 0xa92b4efc);
	put_le32(block + 4, 1);
	memset(block + 16, 0x42, 16); /* the array's UUID */
	put_le64(block + 144, at / 512);
	snprintf(path, sizeof(path), "dev/%s", name);
	fd = openat(f->tree.fd, path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, block, sizeof(block), (off_t)at), sizeof(block));
	close(fd);
}

static void add_md(struct fixture *f, const char *name, unsigned int minor, const char *state)
{
	add_device(f, NULL, name, 9, minor, "");
	add_text(f, name, "md/array_state", state);
	add_text(f, name, "md/degraded", "0\n");
}

static void add_member(struct fixture *f, const char *array, const char *name, const char *state)
{
	char file[64];

	add_holder(f, name, array);
	snprintf(file, sizeof(file), "md/dev-%s/state", name);
	add_text(f, array, file, state);
}

static void make_disks(struct fixture *f)
{
	fixture_make(f);
	add_esp_disk(f, "sda", 0, disk_a);
	add_esp_disk(f, "sdb", 16, disk_b);
	add_content(f, "sda1", "FAT");
	add_content(f, "sdb1", "FAT");
	add_superblock(f, "sda1");
	add_superblock(f, "sdb1");
}

/* md0 of sda1 and sdb1. */
static void make_mirror(struct fixture *f, const char *state_a, const char *state_b)
{
	make_disks(f);
	add_md(f, "md0", 0, "clean\n");
	add_content(f, "md0", "FAT");
	add_member(f, "md0", "sda1", state_a);
	add_member(f, "md0", "sdb1", state_b);
}

static void learn(struct fixture *f, dev_t device, dev_t root, struct esp *ret)
{
	AUTO_BLOCKS struct block_list stack = { 0 };

	memset(ret, 0, sizeof(*ret));
	ret->where = (char *)"/boot";
	assert_int_equal(find_stack(&f->root, root, &stack, &f->error), 0);
	assert_int_equal(esp_learn_place(&f->root, device, &stack, ret, &f->error), 0);
}

static void test_array_stands_for_its_members(void **state)
{
	static const char *const mounts[] = {
		"",
		"1 1 9:0 / /boot rw - vfat /dev/md0 rw\n",
		"1 1 9:0 / /mnt rw - vfat /dev/md0 rw\n",
	};
	static const char *const besides[] = { NULL, "PARTUUID=" UUID_B };
	struct fixture f;

	(void)state;
	make_mirror(&f, "in_sync\n", "in_sync\n");
	/* The root is a mirror as well, or on either disk, or elsewhere. */
	add_md(&f, "md1", 1, "active\n");
	add_member(&f, "md1", "sda2", "in_sync\n");
	add_member(&f, "md1", "sdb2", "in_sync\n");
	for (size_t i = 0; i < 12; i++) {
		const dev_t roots[] = { makedev(9, 1), ROOT_B };
		struct block_facts facts;

		if (seek_esp(&f, roots[i & 1], mounts[i / 4], besides[i >> 1 & 1], &facts) < 0)
			fail_msg("%zu: %s", i, f.error.text);
		assert_string_equal(facts.name, "md0");
	}
	tree_remove(&f.tree);
}

static void test_location_is_that_of_a_member(void **state)
{
	static const struct {
		const char *what, *state_a, *state_b;
		unsigned int root;
		const char *expected; /* NULL: none */
	} cases[] = {
		{ "the root's disk", "in_sync\n", "in_sync\n", SDA2, "sda1" },
		{ "the root's disk", "in_sync\n", "in_sync\n", SDB2, "sdb1" },
		{ "another disk: by PARTUUID", "in_sync\n", "in_sync,write_mostly\n", 64, "sda1" },
		{ "failed", "faulty\n", "in_sync\n", SDA2, "sdb1" },
		{ "being rebuilt", "spare\n", "in_sync,write_mostly\n", SDA2, "sdb1" },
		{ "all failed", "faulty\n", "faulty,blocked\n", SDA2, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct linux_machine machine = { 0 };
		struct esp_location location;
		struct esp place;
		struct fixture f;
		int r;

		make_mirror(&f, cases[i].state_a, cases[i].state_b);
		machine.root = f.root;
		learn(&f, makedev(9, 0), makedev(8, cases[i].root), &place);
		r = linux_esp_location(&machine.machine, &place, &location, &f.error);
		if (r != (cases[i].expected ? 0 : -ENODATA)
			|| (r == 0 && strcmp(place.part.name, cases[i].expected) != 0))
			fail_msg("%s: %d, %s", cases[i].what, r, place.part.name);
		if (r == 0) {
			assert_int_equal(location.partition_number, 1);
			assert_int_equal(location.start, 64);
			assert_int_equal(location.size, 64);
		} else {
			assert_non_null(strstr(f.error.text, "partition-number, start, size and "
							     "partuuid"));
		}
		block_list_done(&place.stack);
		tree_remove(&f.tree);
	}
}

/* Metadata 1.2, bcache, LVM: the firmware does not find the file system where it begins for us. */
static void test_shifted_content(void **state)
{
	struct linux_machine machine = { 0 };
	struct esp_location location;
	struct esp place;
	struct fixture f;

	(void)state;
	make_mirror(&f, "in_sync\n", "in_sync\n");
	machine.root = f.root;
	add_content(&f, "sda1", "superblock");
	learn(&f, makedev(9, 0), ROOT_A, &place);
	assert_string_equal(place.part.name, "sdb1");
	block_list_done(&place.stack);
	add_content(&f, "sdb1", "superblock");
	learn(&f, makedev(9, 0), ROOT_A, &place);
	assert_int_equal(
		linux_esp_location(&machine.machine, &place, &location, &f.error), -ENODATA);
	assert_non_null(strstr(f.error.text, "1.0 and 0.90"));
	block_list_done(&place.stack);
	tree_remove(&f.tree);
}

static void test_members_without_their_array(void **state)
{
	/* Even when somebody has mounted it. */
	static const char *const mounts[] = { "", "1 1 8:1 / /boot rw - vfat /dev/sda1 rw\n" };
	struct block_facts facts;
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		make_disks(&f);
		assert_int_equal(seek_esp(&f, ROOT_A, mounts[i], NULL, &facts), -EBUSY);
		assert_non_null(strstr(f.error.text, "/dev/sd"));
		assert_non_null(strstr(f.error.text, "mdadm --assemble"));
		tree_remove(&f.tree);
	}
	/* Known to the kernel, but not started. */
	make_disks(&f);
	add_md(&f, "md127", 127, "inactive\n");
	add_member(&f, "md127", "sda1", "in_sync\n");
	assert_int_equal(seek_esp(&f, ROOT_A, "", NULL, &facts), -EBUSY);
	tree_remove(&f.tree);

	/* On the root's disk one that was thrown out: it is not the ESP any more. */
	make_disks(&f);
	add_md(&f, "md0", 0, "clean\n");
	add_content(&f, "md0", "FAT");
	add_member(&f, "md0", "sdb1", "in_sync\n");
	assert_int_equal(seek_esp(&f, ROOT_A, "", NULL, &facts), 0);
	assert_string_equal(facts.name, "md0");
	tree_remove(&f.tree);

	/* No superblock: an ESP like any other. */
	make_disks(&f);
	add_content(&f, "sda1", "FAT");
	assert_int_equal(seek_esp(&f, ROOT_A, "", NULL, &facts), 0);
	assert_string_equal(facts.name, "sda1");
	tree_remove(&f.tree);
}

static void test_several_devices_on_it(void **state)
{
	struct block_facts facts;
	struct fixture f;

	(void)state;
	make_disks(&f);
	add_content(&f, "sdb1", "FAT");
	add_device(&f, NULL, "dm-0", 253, 0, "");
	add_device(&f, NULL, "dm-1", 253, 1, "");
	for (const char *name = "sda1"; name; name = strcmp(name, "sda1") == 0 ? "sdb1" : NULL) {
		add_holder(&f, name, "dm-0");
		add_holder(&f, name, "dm-1");
	}
	assert_int_equal(seek_esp(&f, ROOT_A, "", NULL, &facts), -EBUSY);
	assert_non_null(strstr(f.error.text, "several devices lie on"));
	tree_remove(&f.tree);
}

/* dmsetup's mirror, which has no superblock and tells nothing of its members. */
static void test_mapped_mirror(void **state)
{
	struct block_facts facts;
	struct esp place;
	struct fixture f;

	(void)state;
	make_disks(&f);
	add_device(&f, NULL, "dm-0", 253, 0, "");
	add_text(&f, "dm-0", "dm/uuid", "\n");
	add_content(&f, "dm-0", "FAT");
	add_holder(&f, "sda1", "dm-0");
	add_holder(&f, "sdb1", "dm-0");
	assert_int_equal(seek_esp(&f, ROOT_B, "", NULL, &facts), 0);
	assert_string_equal(facts.name, "dm-0");
	learn(&f, facts.device, ROOT_B, &place);
	assert_string_equal(place.part.name, "sdb1");
	block_list_done(&place.stack);
	tree_remove(&f.tree);
}

/* An array of whole disks: Linux sees its partitions there, and each of them on the disks again. */
static void test_array_of_disks(void **state)
{
	AUTO_BLOCKS struct block_list stack = { 0 };
	struct block_facts facts, twin;
	struct esp place;
	struct fixture f;
	bool found = true;

	(void)state;
	fixture_make(&f);
	add_esp_disk(&f, "sda", 0, disk_a);
	add_esp_disk(&f, "sdb", 16, disk_a);
	add_md(&f, "md0", 0, "clean\n");
	add_member(&f, "md0", "sda", "in_sync\n");
	add_member(&f, "md0", "sdb", "in_sync\n");
	for (unsigned int n = 1; n <= 2; n++) {
		char name[16], uevent[32], start[16];

		snprintf(name, sizeof(name), "md0p%u", n);
		snprintf(uevent, sizeof(uevent), "PARTN=%u\n", n);
		snprintf(start, sizeof(start), "%u\n", 64 * n);
		add_device(&f, "md0", name, 259, n, uevent);
		add_extent(&f, name, start, "64\n");
	}
	add_disk_image(&f, "md0", 512, disk_a, 2);
	assert_int_equal(seek_esp(&f, makedev(259, 2), "", NULL, &facts), 0);
	assert_string_equal(facts.name, "md0p1");
	learn(&f, facts.device, makedev(259, 2), &place);
	assert_string_equal(place.part.name, "md0p1");
	assert_int_equal(find_twin(&f.root, &place.part, &place.stack, &twin, &found, &f.error), 0);
	assert_false(found);
	/* A slot, too. */
	assert_int_equal(find_stack(&f.root, makedev(259, 2), &stack, &f.error), 0);
	assert_int_equal(
		find_partition(&f.root, &stack, "PARTLABEL=" SLOT_LABEL, &facts, &f.error), 0);
	assert_string_equal(facts.name, "md0p2");
	block_list_done(&place.stack);
	tree_remove(&f.tree);
}

/* Two paths to one disk, which multipath maps as a whole and kpartx partition by partition. */
static void test_multipath(void **state)
{
	AUTO_BLOCKS struct block_list stack = { 0 };
	struct block_facts facts, twin;
	struct esp place;
	struct fixture f;
	bool found = true;

	(void)state;
	fixture_make(&f);
	add_esp_disk(&f, "sda", 0, disk_a);
	add_esp_disk(&f, "sdb", 16, disk_a);
	add_device(&f, NULL, "dm-0", 253, 0, "");
	add_text(&f, "dm-0", "dm/uuid", "mpath-36001405\n");
	add_disk_image(&f, "dm-0", 512, disk_a, 2);
	add_holder(&f, "sda", "dm-0");
	add_holder(&f, "sdb", "dm-0");
	for (unsigned int n = 1; n <= 2; n++) {
		char name[16], uuid[64];

		snprintf(name, sizeof(name), "dm-%u", n);
		snprintf(uuid, sizeof(uuid), "part%u-mpath-36001405\n", n);
		add_device(&f, NULL, name, 253, n, "");
		add_text(&f, name, "dm/uuid", uuid);
		add_text(&f, name, "size", "64\n");
		add_holder(&f, "dm-0", name);
	}
	assert_int_equal(find_stack(&f.root, makedev(253, 2), &stack, &f.error), 0);
	assert_int_equal(seek_esp(&f, makedev(253, 2), "", NULL, &facts), 0);
	assert_string_equal(facts.name, "dm-1");
	learn(&f, facts.device, makedev(253, 2), &place);
	assert_string_equal(place.part.name, "dm-1");
	assert_int_equal(place.part.number, 1);
	assert_int_equal(place.part.start, 64);
	assert_true(place.part.has_partuuid);
	assert_int_equal(find_twin(&f.root, &place.part, &place.stack, &twin, &found, &f.error), 0);
	assert_false(found);
	assert_int_equal(
		find_partition(&f.root, &stack, "PARTLABEL=" SLOT_LABEL, &facts, &f.error), 0);
	assert_string_equal(facts.name, "dm-2");
	assert_true(find_holds(&stack, &facts));
	block_list_done(&place.stack);
	tree_remove(&f.tree);
}

/* The partition tables were copied from disk to disk, GUIDs and all. */
static void test_twins_in_an_array(void **state)
{
	static const struct {
		const char *state_b;
		bool found;
	} cases[] = { { "in_sync\n", false }, { "faulty\n", true }, { NULL, true } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct block_facts twin;
		struct esp place;
		struct fixture f;
		bool found;

		fixture_make(&f);
		add_esp_disk(&f, "sda", 0, disk_a);
		add_esp_disk(&f, "sdb", 16, disk_a);
		add_md(&f, "md0", 0, "clean\n");
		add_content(&f, "md0", "FAT");
		add_content(&f, "sda1", "FAT");
		add_content(&f, "sdb1", "FAT");
		add_member(&f, "md0", "sda1", "in_sync\n");
		if (cases[i].state_b)
			add_member(&f, "md0", "sdb1", cases[i].state_b);
		learn(&f, makedev(9, 0), ROOT_A, &place);
		assert_int_equal(
			find_twin(&f.root, &place.part, &place.stack, &twin, &found, &f.error), 0);
		assert_int_equal(found, cases[i].found);
		block_list_done(&place.stack);
		tree_remove(&f.tree);
	}
}

static void test_survey(void **state)
{
	static const struct {
		const char *what, *state_a, *degraded, *partuuid; /* NULL: nothing is configured */
		uint32_t number;
		uint64_t start, size;
		const char *misplaced; /* part of it; NULL: nothing is */
	} cases[] = {
		{ "found", "in_sync\n", "0\n", NULL, 0, 0, 0, NULL },
		{ "right", "in_sync\n", "0\n", UUID_A, 1, 64, 64, NULL },
		{ "the other member", "in_sync\n", "0\n", UUID_B, 1, 64, 64, NULL },
		{ "degraded", "faulty\n", "1\n", UUID_B, 1, 64, 64, NULL },
		{ "a lost member", "faulty\n", "1\n", UUID_A, 1, 64, 64,
			"/dev/sda1, which is not in sync" },
		{ "another number", "in_sync\n", "0\n", UUID_A, 2, 64, 64,
			"[esp] partition-number = 2, but that of /dev/sda1 is 1" },
		{ "another start", "in_sync\n", "0\n", UUID_A, 1, 65, 64,
			"[esp] start = 65, but that of /dev/sda1 is 64" },
		{ "another size", "in_sync\n", "0\n", UUID_B, 1, 64, 1,
			"[esp] size = 1, but that of /dev/sdb1 is 64" },
		{ "another disk", "in_sync\n", "0\n", UUID_C, 1, 64, 64,
			UUID_C " is /dev/sdc1, but the EFI System Partition in use is /dev/md0" },
		{ "nowhere", "in_sync\n", "0\n", "8b7a5c1e-0000-4000-8000-0000000000d1", 1, 64, 64,
			"no partition has the PARTUUID" },
	};
	static const struct gpt_partition disk_c[] = { { 1, 64, 64, ESP_TYPE, UUID_C, "ESP" },
		{ 2, 128, 64, DATA_TYPE, "8b7a5c1e-0000-4000-8000-0000000000c2", "x" } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_ESP_SURVEY struct esp_survey survey = { 0 };
		struct linux_machine machine = { 0 };
		struct esp place;
		struct fixture f;

		make_mirror(&f, cases[i].state_a, "in_sync\n");
		add_text(&f, "md0", "md/degraded", cases[i].degraded);
		add_esp_disk(&f, "sdc", 32, disk_c);
		machine.root = f.root;
		learn(&f, makedev(9, 0), ROOT_A, &place);
		place.has_location = cases[i].partuuid;
		if (cases[i].partuuid)
			guid_from_text(cases[i].partuuid, &place.location.partuuid);
		place.location.partition_number = cases[i].number;
		place.location.start = cases[i].start;
		place.location.size = cases[i].size;
		assert_int_equal(linux_esp_survey(&machine.machine, &place, &survey, &f.error), 0);
		assert_string_equal(survey.device, "/dev/md0");
		if (cases[i].misplaced
				? !survey.misplaced || !strstr(survey.misplaced, cases[i].misplaced)
				: survey.misplaced != NULL)
			fail_msg("%s: %s", cases[i].what, survey.misplaced);
		assert_int_equal(survey.degraded != NULL, cases[i].degraded[0] == '1');
		block_list_done(&place.stack);
		tree_remove(&f.tree);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_array_stands_for_its_members),
		cmocka_unit_test(test_location_is_that_of_a_member),
		cmocka_unit_test(test_shifted_content),
		cmocka_unit_test(test_members_without_their_array),
		cmocka_unit_test(test_several_devices_on_it),
		cmocka_unit_test(test_mapped_mirror),
		cmocka_unit_test(test_array_of_disks),
		cmocka_unit_test(test_multipath),
		cmocka_unit_test(test_twins_in_an_array),
		cmocka_unit_test(test_survey),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
