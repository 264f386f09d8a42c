/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "crypto/cms.h"
#include "format/chunkmap.h"
#include "format/manifest.h"

struct bistable_bundle;
struct error;
struct input;
struct zip_entry;

/** Bytes of a chunk map: that of an image of 88 GiB in chunks of 32 KiB. It is held in memory. */
#define HEAD_MAP_MAX (256u << 20)

/** What a bundle of format 1 begins with. Zero-initialised means empty; head_done() frees it. */
struct head {
	struct buffer manifest_bytes;
	struct buffer signature; /* empty: none */
	struct cms_signer signer;
	struct manifest manifest;
	struct buffer map_bytes[MANIFEST_PAYLOADS_MAX];
	struct chunkmap maps[MANIFEST_PAYLOADS_MAX]; /* of the payload with the same index */
	uint16_t method;                             /* of the payload that follows */
};

/**
 * Reads the head at the start of the input, and the local header behind it. With `keyring` (may be
 * NULL) the signature is verified before anything of the manifest is parsed; a bundle without one
 * is refused. -EBADMSG: no bundle of format 1, or a damaged one, with the offset; those of
 * manifest_parse(), cms_verify(), chunkmap_parse().
 */
int head_read(
	struct input *input, const struct keyring *keyring, struct head *ret, struct error *error);
void head_done(struct head *head);

#define AUTO_HEAD __attribute__((cleanup(head_done)))

/** The index of the payload with this name, or -1. */
int head_payload_named(const struct head *head, const struct zip_entry *entry);
/** The index of the payload whose chunk map has this name, or -1. */
int head_map_named(const struct head *head, const struct zip_entry *entry);

/** `size` bytes of the bundle (UINT64_MAX: unknown). *ret belongs to the caller. 0 or -ENOMEM. */
int head_describe(
	const struct head *head, uint64_t size, struct bistable_bundle **ret, struct error *error);

/** Reads a keyring; NULL path: *ret is NULL. */
int head_open_keyring(const char *path, struct keyring **ret, struct error *error);
