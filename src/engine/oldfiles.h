/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct chunkmap;
struct context;
struct error;
struct oldfiles;

/** Files that oldfiles_look() takes at most. */
#define OLDFILES_MAX 3

/**
 * Files on the ESP as places where the blocks of a payload may lie: at each 512 bytes, since the
 * sections of a PE file move by its FileAlignment. Nothing of them is believed: whatever is copied
 * is checked by its chunk's SHA-256. `map`, the payload's, is borrowed; *ret belongs to the caller
 * (oldfiles_free). Memory: 256 KiB and engine/hints.h.
 */
int oldfiles_new(struct context *context, const struct chunkmap *map, struct oldfiles **ret,
	struct error *error);

/**
 * Looks through a file; `path` is borrowed. *ret_whole: it is there, and all of it could be read;
 * that it could not is told, and no error. -ECANCELED.
 */
int oldfiles_look(struct oldfiles *files, const char *path, bool *ret_whole, struct error *error);

/** Whether each block of the chunk was seen in one of them, or needs no place. */
bool oldfiles_have(const struct oldfiles *files, uint64_t chunk);

/** Puts such a chunk together. *ret: it is the one of the map; else `data` holds anything. */
int oldfiles_copy(
	struct oldfiles *files, uint64_t chunk, uint8_t *data, bool *ret, struct error *error);

/** NULL is fine. */
void oldfiles_free(struct oldfiles *files);

static inline void oldfiles_freep(struct oldfiles **files)
{
	oldfiles_free(*files);
}

#define AUTO_OLDFILES __attribute__((cleanup(oldfiles_freep)))
