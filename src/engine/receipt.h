/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/slot.h"
#include "format/chunkmap.h"
#include "format/manifest.h"

struct context;
struct error;

/** Bytes of a receipt: a ZIP of a manifest and its signature. */
#define RECEIPT_SIZE_MAX (512u << 10)

/** What a slot was installed from: a manifest and its signature, beside the boot file. */
struct receipt {
	struct buffer manifest_bytes;
	struct buffer signature; /* empty: none */
	struct manifest manifest;
};

/** Replaces the slot's receipt; `created` is the manifest's. */
int receipt_write(struct context *context, enum slot slot, struct span manifest,
	struct span signature, int64_t created, struct error *error);
/** Reads and parses it. The signature is not verified. -ENOENT: the slot has none; -EBADMSG. */
int receipt_read(struct context *context, enum slot slot, struct receipt *ret, struct error *error);
void receipt_done(struct receipt *receipt);

#define AUTO_RECEIPT __attribute__((cleanup(receipt_done)))

/** Removes the slot's receipt and its payload's chunk map. Absent is fine. */
int receipt_remove(struct context *context, enum slot slot, struct error *error);

/**
 * Keeps the chunk map of the slot's system payload in the state directory, from where the next
 * install knows its blocks. A failure is told and does no harm.
 */
void receipt_keep_map(struct context *context, enum slot slot, struct span map);
/**
 * Reads it, if it is there and is the payload's (by its SHA-256): true, *ret_bytes is owned and
 * *ret borrows it.
 */
bool receipt_find_map(struct context *context, enum slot slot,
	const struct manifest_payload *payload, struct buffer *ret_bytes, struct chunkmap *ret);
