/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slot.h"

struct error;
struct verity;

/**
 * Which slot a kernel command line speaks of: `bistable.slot=A|B` as a parameter of its own (split
 * at blanks outside of double quotes, as the kernel does in lib/cmdline.c) comes first, else
 * `pattern` (with %s for the letter, as "PARTLABEL=METROPOLIS-SYSTEM-%s"; NULL or "": none)
 * anywhere in it, not followed by a letter, digit, '-' or '_'. 0 and *ret (SLOT_NONE: it speaks of
 * none). -EINVAL (ERROR_FAILED) when it names both, or in bistable.slot= anything but a slot;
 * -EINVAL (ERROR_USAGE) for a pattern without letter; -ENOMEM.
 */
int cmdline_slot(const char *cmdline, const char *pattern, enum slot *ret, struct error *error);

/**
 * Replaces every `placeholder` in the `size` bytes by `bound`, in place. *ret_count (may be NULL)
 * is how many were replaced. -EINVAL (ERROR_USAGE) when their lengths differ or `placeholder` is
 * empty; nothing is changed then.
 */
int cmdline_bind(uint8_t *bytes, size_t size, const char *placeholder, const char *bound,
	size_t *ret_count, struct error *error);

/**
 * The dm-verity root hash that the command line names: `roothash=`, `usrhash=`, or the hash in a
 * `verity` target of `dm-mod.create="…"` (Documentation/admin-guide/device-mapper/dm-init.rst and
 * verity.rst).
 */
struct cmdline_verity {
	char root_hash[129];      /* lower-case hex; "" when none is named */
	bool table;               /* the fields below are known (dm-mod.create, hash format 1, data
				     and hash tree on one device) */
	uint32_t data_block_size; /* bytes */
	uint32_t hash_block_size; /* bytes */
	uint64_t data_blocks;
	uint64_t hash_start; /* in hash blocks, from the start of the hash device */
	char algorithm[32];
	char salt[513]; /* hex, "-" for none as in the table */
};

/**
 * 0 and *ret (root_hash "" when the command line names none). -EINVAL when it names two different
 * root hashes, one that is not hex of 32 to 64 bytes, or a verity target that is not one. -ENOMEM.
 */
int cmdline_verity(const char *cmdline, struct cmdline_verity *ret, struct error *error);

/**
 * The hash tree that a table describes: *ret_start is its byte offset on the hash device. False
 * when there is no table, or one that cannot be so.
 */
bool cmdline_verity_tree(
	const struct cmdline_verity *table, struct verity *ret, uint64_t *ret_start);
