/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/bytes.h"
#include "base/slot.h"
#include "engine/trust.h"
#include "fetch/fetcher.h"
#include "format/chunkmap.h"
#include "format/manifest.h"

struct context;
struct error;
struct trust_settings;

/** Of one payload that is installed. */
struct chunked_payload {
	const struct manifest_payload *payload; /* of the manifest */
	struct buffer map_bytes;
	struct chunkmap map; /* borrows map_bytes */
};

/** The head of a bundle of format 1, by a slot's eyes. Zero-initialised: none. */
struct chunked {
	struct buffer manifest_bytes, signature;
	struct trust trust;
	struct manifest manifest;
	struct chunked_payload boot, system;
	struct fetcher_entry entry; /* the one that the fetcher is at */
};

/**
 * Reads the head up to the first payload, in the order of docs/bundle-format.md: the signature is
 * verified over the manifest's bytes before these are parsed, then all that follows hangs on them.
 * ERROR_REFUSED by trust_verify() and trust_manifest(), -EBADMSG. After an error, too,
 * chunked_done() is called.
 */
int chunked_read_head(struct chunked *chunked, struct context *context, struct fetcher *fetcher,
	const struct trust_settings *settings, enum slot slot, struct error *error);
void chunked_done(struct chunked *chunked);

/** Whether no head was read: the bundle is another one. */
static inline bool chunked_is_none(const struct chunked *chunked)
{
	return chunked->manifest_bytes.size == 0;
}

/** Goes on to the entry of a payload. -EBADMSG: it does not come, or is not what the head says. */
int chunked_go_to(struct chunked *chunked, struct fetcher *fetcher,
	const struct chunked_payload *payload, struct error *error);

/** Goes on to the bundle's end, so that all of it was looked at that can be. */
int chunked_go_to_end(struct chunked *chunked, struct fetcher *fetcher, struct error *error);

/** Keeps manifest, signature and chunk map beside the slot. Of another bundle: does nothing. */
int chunked_write_receipt(const struct chunked *chunked, struct context *context, enum slot slot,
	struct error *error);
