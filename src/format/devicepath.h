/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/guid.h"

struct error;

/** A GPT partition as a Hard Drive Media device path node names it (UEFI 2.10 §10.3.5.1). */
struct devicepath_hd {
	uint32_t partition_number;
	uint64_t start; /* logical blocks */
	uint64_t size;  /* logical blocks */
	struct guid partuuid;
};

/** What a boot entry's first device path points at, as far as it is understood. */
struct devicepath_target {
	bool has_hd;
	struct devicepath_hd hd; /* the last HD() node with a GPT signature */
	char *path;              /* File() nodes joined, with backslashes; NULL: none. Owned. */
};

/**
 * Appends HD(…)/File(path)/End to `out`. `path` may use '/' or '\'; it is written with single
 * backslashes, the first one added if it is missing. `out` is unchanged on failure.
 * 0, -EINVAL (empty path, or longer than 1023 UTF-16 units), -EILSEQ (not UTF-8), -ENOMEM.
 */
int devicepath_append_file(
	struct buffer *out, const struct devicepath_hd *hd, const char *path, struct error *error);

/**
 * Reads the first device path in `list` (up to its End node; what follows is not looked at). Nodes
 * that are not understood, HD() nodes with an MBR signature among them, are stepped over. *ret is
 * owned (devicepath_target_done). 0, -ENOMEM, -EBADMSG: a node shorter than 4 bytes or past the
 * end, no End node.
 */
int devicepath_parse(struct span list, struct devicepath_target *ret, struct error *error);

/**
 * Changes the place (partition number, start, size) in the HD() node that devicepath_parse() finds
 * in `list`, a device path it accepts; the PARTUUID stays. Without such a node nothing changes.
 */
void devicepath_set_place(uint8_t *list, size_t size, const struct devicepath_hd *place);

/**
 * Same file on an ESP: separators alike, runs of them count as one, ASCII case ignored, leading
 * separator optional. NULL is no file: false.
 */
bool devicepath_same_file(const char *a, const char *b);

/** Frees what the target owns and leaves it empty. */
void devicepath_target_done(struct devicepath_target *target);

#define AUTO_DEVICEPATH_TARGET __attribute__((cleanup(devicepath_target_done)))
