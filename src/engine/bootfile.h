/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/slot.h"
#include "format/cmdline.h"
#include "format/state.h"
#include "format/uki.h"

struct bundle_payload;
struct context;
struct error;
struct fetcher;
struct manifest_payload;
struct record;

/** A boot payload in memory: a UKI that was checked and bound to its slot. Zero-initialised: none.
 */
struct bootfile {
	struct buffer bytes;          /* as it goes to the ESP */
	struct uki uki;               /* borrows `bytes` */
	char *version;                /* owned; NULL: none stated */
	struct cmdline_verity verity; /* what the command line says of the image's tree */
	struct state_content payload; /* as it came */
	struct state_content bound;   /* as it goes to the ESP */
};

/**
 * Whether the boot file on the ESP of a slot is the one with this SHA-256 but for being bound to
 * the slot. Then *ret_bytes (may be NULL), owned, is the file not bound.
 */
int bootfile_is(struct context *context, enum slot slot, const uint8_t sha256[32],
	struct buffer *ret_bytes, bool *ret, struct error *error);

/** Whether a slot, whose record this is, has this payload for its boot file: *ret, owned, is it. */
bool bootfile_find(struct context *context, enum slot slot, const struct record *record,
	const struct manifest_payload *payload, struct buffer *ret);

/** Checks the bytes that `file` has, and binds them to `slot`. `name`: of the payload. */
int bootfile_check(struct context *context, enum slot slot, struct bootfile *file, const char *name,
	struct error *error);

/** Reads the bundle's current payload as a boot file for `slot`, checks and binds it. */
int bootfile_read(struct context *context, struct fetcher *fetcher,
	const struct bundle_payload *payload, enum slot slot, struct bootfile *ret,
	struct error *error);

/**
 * Whether the ESP has room for a boot file of `size` bytes beside the slot's present one, or
 * instead of it (*ret_remove_first). -ENOSPC with the figures; -EFBIG: this process may write none
 * so large.
 */
int bootfile_check_space(struct context *context, enum slot slot, uint64_t size,
	bool *ret_remove_first, struct error *error);

/** Whether the slot's boot file on the ESP is this one already. */
int bootfile_is_present(struct context *context, enum slot slot, const struct bootfile *file,
	bool *ret, struct error *error);

/** Puts the boot file on the ESP, safely. */
int bootfile_write(
	struct context *context, enum slot slot, const struct bootfile *file, struct error *error);

void bootfile_done(struct bootfile *file);

#define AUTO_BOOTFILE __attribute__((cleanup(bootfile_done)))
