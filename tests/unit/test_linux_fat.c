/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "linux_fat_image.h"
#include "machine/linux_private.h"

#define KINDS 3

static const struct fat_image kinds[KINDS] = {
	{ .bits = 12, .clusters = 100, .cluster_sectors = 1 },
	{ .bits = 16, .clusters = 5000, .cluster_sectors = 4 },
	{ .bits = 32, .clusters = 70000, .cluster_sectors = 1 },
};

static void make(size_t kind, struct fat_image *image, struct fat_volume *volume)
{
	*image = kinds[kind];
	image->fd = memfd_create("fat", MFD_CLOEXEC);
	assert_true(image->fd >= 0);
	fat_image_make(image);
	assert_int_equal(fat_open(image->fd, volume), 0);
}

static void test_open(void **state)
{
	(void)state;
	for (size_t i = 0; i < KINDS; i++) {
		struct fat_image image;
		struct fat_volume volume;

		make(i, &image, &volume);
		assert_int_equal(volume.bits, image.bits);
		assert_int_equal(volume.clusters, image.clusters);
		assert_int_equal(volume.first_data, image.first_data);
		assert_int_equal(volume.cluster, image.cluster_sectors);
		close(image.fd);
	}
}

static void test_open_refuses(void **state)
{
	static const struct {
		size_t offset;
		uint8_t byte;
	} changes[] = {
		{ 510, 0 },   /* no signature */
		{ 12, 3 },    /* 768-byte sectors */
		{ 12, 0 },    /* none */
		{ 13, 3 },    /* clusters of 3 sectors */
		{ 13, 0 },    /* of none */
		{ 14, 0 },    /* nothing reserved */
		{ 16, 0 },    /* no FAT */
		{ 22, 0 },    /* a FAT without size */
		{ 23, 0xff }, /* larger than the volume */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct fat_image image;
		struct fat_volume volume;

		make(0, &image, &volume);
		assert_int_equal(
			pwrite(image.fd, &changes[i].byte, 1, (off_t)changes[i].offset), 1);
		assert_int_equal(fat_open(image.fd, &volume), -EINVAL);
		close(image.fd);
	}
}

static void test_open_short(void **state)
{
	AUTO_CLOSE int fd = memfd_create("fat", MFD_CLOEXEC);
	struct fat_volume volume;

	(void)state;
	assert_int_equal(fat_open(fd, &volume), -EINVAL);
}

static void test_cluster_of(void **state)
{
	struct fat_image image;
	struct fat_volume volume;

	(void)state;
	make(1, &image, &volume);
	assert_int_equal(fat_cluster_of(&volume, 0), 0);
	assert_int_equal(fat_cluster_of(&volume, image.first_data - 1), 0);
	assert_int_equal(fat_cluster_of(&volume, image.first_data), 2);
	assert_int_equal(fat_cluster_of(&volume, image.first_data + 3), 2);
	assert_int_equal(fat_cluster_of(&volume, image.first_data + 4), 3);
	assert_int_equal(fat_cluster_of(&volume, image.first_data + 4 * 5000 - 1), 5001);
	assert_int_equal(fat_cluster_of(&volume, image.first_data + 4 * 5000), 0);
	close(image.fd);
}

/* A file of 3 clusters, the last one not full, and what its chain may look like. */
static void test_claim(void **state)
{
	static const struct {
		const char *what;
		uint32_t chain[8];
		int ended;
		uint32_t taken; /* a cluster marked before */
		enum fat_chain expected;
	} cases[] = {
		{ "in a row", { 2, 3, 4 }, 1, 0, FAT_CHAIN_SOUND },
		{ "scattered", { 9, 5, 90 }, 1, 0, FAT_CHAIN_SOUND },
		{ "up to the last cluster", { 99, 100, 101 }, 1, 0, FAT_CHAIN_SOUND },
		{ "too long", { 2, 3, 4, 5 }, 1, 0, FAT_CHAIN_LONG },
		{ "too short", { 2, 3 }, 1, 0, FAT_CHAIN_UNSOUND },
		{ "free", { 2 }, 0, 0, FAT_CHAIN_UNSOUND },
		{ "ends in a free cluster", { 2, 3, 4 }, 0, 0, FAT_CHAIN_UNSOUND },
		{ "a loop", { 2, 3, 4, 3 }, 0, 0, FAT_CHAIN_UNSOUND },
		{ "leads outside", { 2, 3, 102 }, 0, 0, FAT_CHAIN_UNSOUND },
		{ "to a reserved cluster", { 2, 3, 1 }, 0, 0, FAT_CHAIN_UNSOUND },
		{ "starts outside", { 102 }, 0, 0, FAT_CHAIN_UNSOUND },
		{ "first cluster shared", { 2, 3, 4 }, 1, 2, FAT_CHAIN_UNSOUND },
		{ "last cluster shared", { 2, 3, 4 }, 1, 4, FAT_CHAIN_UNSOUND },
		{ "another one taken", { 2, 3, 4 }, 1, 5, FAT_CHAIN_SOUND },
	};

	(void)state;
	for (size_t kind = 0; kind < KINDS; kind++) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			struct fat_image image;
			struct fat_volume volume;
			AUTO_FREE uint8_t *claimed = NULL;
			uint64_t size;

			make(kind, &image, &volume);
			volume.clusters = 100; /* the same edges for all kinds */
			fat_image_chain(&image, cases[i].chain, cases[i].ended);
			claimed = calloc(1, fat_bitmap_size(&volume));
			claimed[cases[i].taken / 8] |= (uint8_t)(1 << cases[i].taken % 8);
			size = 2 * image.cluster_sectors * 512 + 1;
			if (fat_claim(&volume, cases[i].chain[0], size, claimed)
				!= cases[i].expected)
				fail_msg("FAT%u: %s", image.bits, cases[i].what);
			close(image.fd);
		}
	}
}

static void test_claim_empty(void **state)
{
	struct fat_image image;
	struct fat_volume volume;
	uint8_t claimed[16] = { 0 };

	(void)state;
	make(0, &image, &volume);
	assert_int_equal(fat_claim(&volume, 0, 0, claimed), FAT_CHAIN_SOUND);
	assert_int_equal(fat_claim(&volume, 5, 0, claimed), FAT_CHAIN_UNSOUND);
	assert_int_equal(fat_claim(&volume, 0, 1, claimed), FAT_CHAIN_UNSOUND);
	close(image.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_open_refuses),
		cmocka_unit_test(test_open_short),
		cmocka_unit_test(test_cluster_of),
		cmocka_unit_test(test_claim),
		cmocka_unit_test(test_claim_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
