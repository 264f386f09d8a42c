// SPDX-License-Identifier: Apache-2.0
/*
 * verity-open DEVICE HASH-OFFSET ROOT-HASH NAME
 *
 * Activates dm-verity for one device that holds the data followed, at HASH-OFFSET (bytes), by
 * veritysetup's superblock and hash tree. Static and tiny, so that the initrd of the test OS need
 * not carry libcryptsetup. The superblock is veritysetup(8)'s format 1. A mismatch panics the
 * kernel.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/dm-ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct superblock {
	char magic[8];
	uint32_t version, hash_type;
	uint8_t uuid[16];
	char algorithm[32];
	uint32_t data_block_size, hash_block_size;
	uint64_t data_blocks;
	uint16_t salt_size;
	uint8_t padding[6];
	uint8_t salt[256];
};

struct request {
	struct dm_ioctl head;
	struct dm_target_spec target;
	char parameters[2048];
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void fill(struct request *request, const char *name)
{
	memset(request, 0, sizeof(*request));
	request->head.version[0] = DM_VERSION_MAJOR;
	request->head.data_size = sizeof(*request);
	request->head.data_start = sizeof(request->head);
	snprintf(request->head.name, sizeof(request->head.name), "%s", name);
}

static struct superblock read_superblock(const char *device, off_t offset)
{
	struct superblock block;
	int fd = open(device, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &block, sizeof(block), offset) != (ssize_t)sizeof(block))
		fail(device);
	close(fd);
	if (memcmp(block.magic, "verity\0\0", 8) != 0 || block.salt_size > sizeof(block.salt)
		|| memchr(block.algorithm, 0, sizeof(block.algorithm)) == NULL) {
		fprintf(stderr, "%s: no verity superblock at %jd\n", device, (intmax_t)offset);
		exit(1);
	}
	return block;
}

static void describe(struct request *request, const struct superblock *block, const char *device,
	uint64_t hash_offset, const char *root_hash)
{
	char salt[2 * sizeof(block->salt) + 1] = "-";

	for (size_t i = 0; i < block->salt_size; i++)
		snprintf(salt + 2 * i, 3, "%02x", block->salt[i]);
	request->head.target_count = 1;
	request->head.flags = DM_READONLY_FLAG;
	request->target.length = block->data_blocks * (block->data_block_size / 512);
	strcpy(request->target.target_type, "verity");
	/* The tree starts in the hash block after the superblock's. */
	snprintf(request->parameters, sizeof(request->parameters),
		"%u %s %s %u %u %" PRIu64 " %" PRIu64 " %s %s %s 1 panic_on_corruption",
		block->hash_type, device, device, block->data_block_size, block->hash_block_size,
		block->data_blocks, hash_offset / block->hash_block_size + 1, block->algorithm,
		root_hash, salt);
}

int main(int argc, char **argv)
{
	struct request request;
	struct superblock block;
	uint64_t hash_offset;
	dev_t device;
	char node[300];
	int control;

	if (argc != 5)
		return 2;
	hash_offset = strtoull(argv[2], NULL, 10);
	block = read_superblock(argv[1], (off_t)hash_offset);
	control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		fail("/dev/mapper/control");
	fill(&request, argv[4]);
	if (ioctl(control, DM_DEV_CREATE, &request) < 0)
		fail("DM_DEV_CREATE");
	device = (dev_t)request.head.dev;
	fill(&request, argv[4]);
	describe(&request, &block, argv[1], hash_offset, argv[3]);
	if (ioctl(control, DM_TABLE_LOAD, &request) < 0)
		fail("DM_TABLE_LOAD");
	fill(&request, argv[4]);
	if (ioctl(control, DM_DEV_SUSPEND, &request) < 0) /* without DM_SUSPEND_FLAG: resume */
		fail("DM_DEV_SUSPEND");
	snprintf(node, sizeof(node), "/dev/mapper/%s", argv[4]);
	if (mknod(node, S_IFBLK | 0600, device) < 0)
		fail(node);
	return 0;
}
