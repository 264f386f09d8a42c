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

/** More dm-verity trees than that are refused. */
#define CMDLINE_TREES_MAX 8

/** A dm-verity tree that the command line names. */
struct cmdline_tree {
	char root_hash[129]; /* lower-case hex of 16 to 64 bytes */
	uint64_t superblock; /* where it lies, in bytes, if that is said (hash-offset=); else 0 */
	bool table;          /* the fields below are known (dm-mod.create, hash format 1, data
				and hash tree on one device) */
	uint32_t data_block_size; /* bytes */
	uint32_t hash_block_size; /* bytes */
	uint64_t data_blocks;
	uint64_t hash_start; /* in hash blocks, from the start of the hash device */
	char algorithm[32];
	char salt[513]; /* hex, "-" for none as in the table */
};

/** All of them; no two have one root hash. */
struct cmdline_verity {
	struct cmdline_tree trees[CMDLINE_TREES_MAX];
	size_t count;
	bool flatcar; /* verity.usrhash= is there: of Flatcar's initrd, and none of the trees */
};

/**
 * The trees that the command line names: as systemd-veritysetup-generator(8) reads `roothash=`,
 * `usrhash=` and their options (of one key the last counts, nothing for a value is none, and `rd.`
 * may stand before a key, for they are read in the initrd), and as the kernel reads
 * `dm-mod.create="…"` (Documentation/admin-guide/device-mapper/dm-init.rst and verity.rst).
 * -EINVAL: a root hash that is not hex of 16 to 64 bytes, a verity target that is not one, too many
 * of them. -ENOMEM.
 */
int cmdline_verity(const char *cmdline, struct cmdline_verity *ret, struct error *error);

/** Whether this root hash (lower-case hex) is one of them. */
bool cmdline_verity_names(const struct cmdline_verity *verity, const char *root_hash);

/** Whether both name the same trees, and any at all: then they start one root file system. */
bool cmdline_verity_equal(const struct cmdline_verity *a, const struct cmdline_verity *b);

/** "the root hash X" or "the root hashes X and Y", owned by the caller. NULL: out of memory. */
char *cmdline_verity_text(const struct cmdline_verity *verity);

/**
 * The hash tree that a table describes: *ret_start is its byte offset on the hash device. False
 * when there is no table, or one that cannot be so.
 */
bool cmdline_tree_of_table(
	const struct cmdline_tree *tree, struct verity *ret, uint64_t *ret_start);
