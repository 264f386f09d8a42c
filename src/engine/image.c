/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/image.h"

/* A superblock lies behind a data block, which has 512 bytes at least. */
#define STEP 512u

void image_look_for_verity(struct image *image, uint64_t offset, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i + VERITY_SUPERBLOCK_SIZE <= size; i += STEP) {
		struct verity verity;
		uint64_t end, tree;

		if (!verity_is_superblock(data + i))
			continue;
		if (verity_parse((struct span){ data + i, VERITY_SUPERBLOCK_SIZE }, &verity, NULL)
				< 0
			|| __builtin_mul_overflow(verity.data_blocks, verity.data_block_size, &end)
			|| end != offset + i || !verity_tree_start(&verity, end, &tree))
			continue;
		/* Of a tree over a tree, the outer one. The pieces may come in any order. */
		if (image->has_verity && image->tree >= tree)
			continue;
		image->has_verity = true;
		image->verity = verity;
		image->tree = tree;
	}
}
