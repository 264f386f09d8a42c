/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "base/bytes.h"
#include "crypto/sha256.h"

struct content;
struct error;
struct maker_observer;
struct verity_tree;

/** How payloads are packed. */
struct pack_settings {
	uint16_t method; /* of the ZIP entry */
	int level;       /* or FRAME_LEVEL_DEFAULT */
	uint32_t chunk_size;
	unsigned threads; /* 0: as many as there are processors */
	int spool;        /* where frames go, behind each other */
	const struct maker_observer *observer;
};

/** A payload that was packed. packed_done() frees it. */
struct packed {
	uint64_t size;       /* plain bytes */
	uint64_t compressed; /* bytes of all frames */
	uint64_t offset;     /* of the first frame in the spool */
	uint32_t crc;        /* CRC-32 of the plain bytes */
	uint8_t sha256[SHA256_SIZE];
	struct buffer map; /* the chunk map */
	uint8_t map_sha256[SHA256_SIZE];
};

/**
 * Packs `content` (at least a byte) into the spool from *offset on, which moves behind the last
 * frame. With `tree` (may be NULL) the content is checked against it. `phase` is for progress.
 * Several threads compress; the result does not depend on how many. Memory: at most 4 pieces of
 * 256 KiB (or a chunk, or data block, if larger) a thread, and the chunk map.
 */
int pack_content(const struct content *content, const struct pack_settings *settings,
	const struct verity_tree *tree, const char *phase, uint64_t *offset, struct packed *ret,
	struct error *error);
void packed_done(struct packed *packed);

#define AUTO_PACKED __attribute__((cleanup(packed_done)))

/** The threads to work with when `wanted` (0: not said) are. */
unsigned pack_threads(unsigned wanted);
