/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/sha256.h"
#include "format/verity.h"

/** What an image is, told as it goes by. */
struct image {
	uint64_t size; /* bytes so far */
	uint8_t sha256[SHA256_SIZE];
	uint64_t *sums; /* checksum_of() each chunk, to compare with what is read back */
	size_t capacity;
	bool has_verity; /* a verity superblock was seen right behind its own data */
	struct verity verity;
	uint64_t tree;     /* byte offset of its hash tree */
	bool tree_checked; /* against a tree that was known beforehand */
};

/** Looks for a verity superblock in `size` bytes of the image at `offset`, a multiple of 4096. */
void image_look_for_verity(struct image *image, uint64_t offset, const uint8_t *data, size_t size);
