/* SPDX-License-Identifier: Apache-2.0 */
/* A verity superblock and the layout of its tree, for digests of the size in the last byte. */
#include "format/verity.h"
#include "fuzz.h"

static void check_layout(const struct verity *verity, size_t digest_size)
{
	struct error error = { 0 };
	struct verity_layout layout;
	uint64_t below = verity->data_blocks, total = 0;

	if (!succeeded(verity_lay_out(verity, digest_size, &layout, &error), &error))
		return;
	must(digest_size > 0 && layout.level_count <= VERITY_LEVELS_MAX);
	must((uint64_t)layout.hashes_per_block * digest_size <= verity->hash_block_size);
	for (size_t i = 0; i < layout.level_count; i++) {
		/* Each level has just the blocks that the hashes of the one below it need. */
		must((below - 1) / layout.hashes_per_block + 1 == layout.level_blocks[i]);
		below = layout.level_blocks[i];
		total += below;
		/* Levels follow each other, the highest first. */
		must(layout.level_start[i] + total == layout.total_blocks);
	}
	must(below == 1 && total == layout.total_blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error error = { 0 };
	struct verity verity;

	if (!succeeded(verity_parse((struct span){ data, size }, &verity, &error), &error))
		return 0;
	must(verity.salt_size <= VERITY_SALT_MAX && verity.data_blocks > 0);
	must(verity.algorithm[0] && memchr(verity.algorithm, '\0', sizeof(verity.algorithm)));
	must(is_printable(verity.algorithm));
	check_layout(&verity, 32);
	check_layout(&verity, data[size - 1]);
	return 0;
}
