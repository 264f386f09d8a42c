/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/slot.h"
#include "base/text.h"

struct error;

/* Names and caps of a signed bundle's first two entries. */
#define MANIFEST_NAME               "manifest.json"
#define MANIFEST_SIGNATURE_NAME     "manifest.p7s"
#define MANIFEST_SIZE_MAX           (256u << 10)
#define MANIFEST_SIGNATURE_SIZE_MAX (64u << 10)

#define MANIFEST_PAYLOADS_MAX  16
#define MANIFEST_CHUNKS_SUFFIX ".chunks" /* behind a payload's name: the entry of its chunk map */

#define MANIFEST_ROLE_BOOT   "boot"
#define MANIFEST_ROLE_SYSTEM "system"

/* Texts are UTF-8 without control characters; their sizes are in bytes. */
#define MANIFEST_TEXT_MAX        128 /* compatible, architecture, version, a word of `requires` */
#define MANIFEST_DESCRIPTION_MAX 4096
#define MANIFEST_NAME_MAX        64

/** One content of a bundle. */
struct manifest_payload {
	char role[16];             /* "boot", "system", … */
	char *name;                /* of its ZIP entry; owned */
	uint64_t size;             /* plain bytes, 1 … CHUNKMAP_PAYLOAD_MAX */
	uint8_t sha256[32];        /* of the plain bytes */
	uint32_t chunk_size;       /* a power of two, CHUNKMAP_CHUNK_MIN … CHUNKMAP_CHUNK_MAX */
	uint8_t chunks_sha256[32]; /* of its chunk map */
	enum slot slot;            /* SLOT_NONE: for either; only `boot` may name one */
	bool optional;             /* who does not know the role leaves it out */
	char root_hash[129];       /* of dm-verity, lower-case hex; "": none */
};

/** What a signed bundle says of itself. Zero-initialised means empty; texts are owned. */
struct manifest {
	char *compatible;
	char *architecture;
	char *version;
	char *description; /* NULL: none */
	uint64_t epoch;    /* at most INT64_MAX */
	int64_t created;   /* seconds since 1970 */
	int64_t not_after; /* the same; 0: none */
	struct text_list requires;
	struct manifest_payload payloads[MANIFEST_PAYLOADS_MAX];
	size_t payload_count;
};

/**
 * Reads the bytes of a manifest.json whose signature holds. Strict JSON: a duplicate key, a wrong
 * type or a value out of its bounds is an error (-EBADMSG, ERROR_FAILED); unknown keys are ignored.
 * An unknown `format`, a word in `requires` that this version does not know, or an unknown role
 * without "optional": true is refused (-EOPNOTSUPP, ERROR_REFUSED). Payloads of unknown roles with
 * it stay in the list: manifest_role_known() tells them. There is a `boot` and a `system` payload,
 * and for no role two that one slot could take. *ret is written on success only, belongs to the
 * caller and ends with manifest_done(). Also -ENOMEM.
 */
int manifest_parse(struct span bytes, struct manifest *ret, struct error *error);

/** The same, for who makes one: without the advice to make it again. */
int manifest_check(struct span bytes, struct error *error);

/**
 * Appends the manifest.json that says this: the keys in the order of docs/bundle-format.md, two
 * spaces of indent, a final newline, so that equal manifests are equal bytes. What manifest_check()
 * would not take is an error. -EINVAL, -EBADMSG, -EOPNOTSUPP, -ENOMEM.
 */
int manifest_format(const struct manifest *manifest, struct buffer *out, struct error *error);

/** Frees the texts and leaves the manifest empty. */
void manifest_done(struct manifest *manifest);

#define AUTO_MANIFEST __attribute__((cleanup(manifest_done)))

/** True for the roles that this version can install. */
bool manifest_role_known(const char *role);

/** The payload that `slot` (A or B) takes for `role`; NULL: the bundle has none for it. Borrowed.
 */
const struct manifest_payload *manifest_find(
	const struct manifest *manifest, const char *role, enum slot slot);

/** Whether it is one that a manifest can give for a payload: 64, 96 or 128 hex digits. */
bool manifest_takes_root_hash(const char *root_hash);

/**
 * Seconds since 1970 of a RFC 3339 time in UTC with whole seconds: "2026-11-23T10:00:00Z", years
 * 1970 … 9999. False if `text` is anything else.
 */
bool manifest_time_parse(const char *text, int64_t *ret);

/** The reverse: 20 characters and a NUL. False if `time` lies outside of those years. */
bool manifest_time_format(int64_t time, char out[21]);
