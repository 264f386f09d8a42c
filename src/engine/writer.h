/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/image.h"

struct error;
struct target;
struct treestream;

/** Bytes that are compared and written in one go; every chunk of an image but the last has it. */
#define CHUNK_SIZE (1u << 20)

/**
 * Writes an image to the target, chunk after chunk: what the target holds already is not written
 * again.
 */
struct writer {
	struct target *target; /* borrowed */
	/** Called before the first write, once. */
	int (*begin)(void *opaque, struct error *error);
	void *opaque;
	struct image image;
	struct sha256 *hash;
	struct treestream *tree; /* owned; NULL: where the tree lies is not known beforehand */
	uint8_t *present;        /* what the target holds */
	bool begun;              /* something was written */
};

/**
 * Makes what a zeroed writer owns; target, begin and opaque are set by the caller, who may hand a
 * tree over before the first chunk. After an error, too, writer_done() is called.
 */
int writer_init(struct writer *writer, struct error *error);
/** Frees what writer_init() made. */
void writer_done(struct writer *writer);

/** A chunk; `data` is aligned to TARGET_BLOCK. Only the last one is shorter than CHUNK_SIZE. */
int writer_write(struct writer *writer, const uint8_t *data, size_t size, struct error *error);
/** Ends the image: its digest, and target_finish(). */
int writer_finish(struct writer *writer, struct error *error);
