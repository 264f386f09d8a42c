/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/image.h"

#define STEP 4096u /* a superblock lies at the start of a block */

void image_look_for_verity(struct image *image, uint64_t offset, const uint8_t *data, size_t size)
{
	for (size_t i = 0; !image->has_verity && i + VERITY_SUPERBLOCK_SIZE <= size; i += STEP) {
		struct verity verity;
		uint64_t end;

		if (!verity_is_superblock(data + i))
			continue;
		if (verity_parse((struct span){ data + i, VERITY_SUPERBLOCK_SIZE }, &verity, NULL)
				< 0
			|| __builtin_mul_overflow(verity.data_blocks, verity.data_block_size, &end)
			|| end != offset + i)
			continue;
		image->has_verity = true;
		image->verity = verity;
		image->tree = end + verity.hash_block_size;
	}
}
