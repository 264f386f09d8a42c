/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/sha256.h"
#include "format/verity.h"

struct error;
struct machine;
struct partition;
struct treestream;

/** Bytes that are compared and written in one go; every chunk of an image but the last has it. */
#define CHUNK_SIZE (1u << 20)

/** Blocks in which differences are found. */
#define WRITER_BLOCK 4096u

/** What an image is, told by the writer as it goes by. */
struct image {
	uint64_t size; /* bytes so far */
	uint8_t sha256[SHA256_SIZE];
	uint64_t *sums; /* CRC-64 (ECMA-182) of each chunk, to compare with what is read back */
	size_t capacity;
	bool has_verity; /* a verity superblock was seen right behind its own data */
	struct verity verity;
	uint64_t tree;     /* byte offset of its hash tree */
	bool tree_checked; /* against a tree that was known beforehand */
};

/**
 * Writes an image to a partition, chunk after chunk: what the partition holds already is not
 * written again, and the first block comes last (writer_finish()), since whoever finds a superblock
 * may mount what lies behind it.
 */
struct writer {
	struct machine *machine;     /* borrowed */
	struct partition *partition; /* borrowed */
	/** Called before the first write, once. */
	int (*begin)(void *opaque, struct error *error);
	void *opaque;
	struct image image;
	struct sha256 *hash;
	struct treestream *tree; /* owned; NULL: where the tree lies is not known beforehand */
	uint8_t *present;        /* what the partition holds */
	uint8_t *first;          /* the image's first block */
	size_t first_size;
	bool begun;       /* something was written */
	uint64_t written; /* bytes */
};

/**
 * Makes what a zeroed writer owns; machine, partition, begin and opaque are set by the caller, who
 * may hand a tree over before the first chunk.
 * `capacity`: bytes that the partition holds. After an error, too, writer_done() is called.
 */
int writer_init(struct writer *writer, uint64_t capacity, struct error *error);
/** Frees what writer_init() made. */
void writer_done(struct writer *writer);

/** A chunk; `data` is aligned to WRITER_BLOCK. Only the last one is shorter than CHUNK_SIZE. */
int writer_write(struct writer *writer, const uint8_t *data, size_t size, struct error *error);
/** Ends the image: its digest, a flush, the first block, another flush. */
int writer_finish(struct writer *writer, struct error *error);
