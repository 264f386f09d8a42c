/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct input;
struct source;
struct bundle;

/** The names of a plain bundle's payloads. */
#define BUNDLE_BOOT_NAME   "kernel_efi.efi"
#define BUNDLE_SYSTEM_NAME "verity_rootfs.img"

#define BUNDLE_SIZE_UNKNOWN UINT64_MAX

/** What a payload is for. */
enum bundle_role { BUNDLE_ROLE_BOOT, BUNDLE_ROLE_SYSTEM };

#define BUNDLE_ROLE_COUNT 2

/** The name that the entry of a payload of this role has. */
const char *bundle_role_name(int role);

/** One payload, as the bundle describes it. */
struct bundle_payload {
	enum bundle_role role;
	const char *name;
	uint64_t size; /* plain bytes, or BUNDLE_SIZE_UNKNOWN until it has been read */
};

/**
 * Opens the plain bundle in `source` (borrowed, must outlive the bundle). A seekable source has its
 * central directory read and checked: both payloads there once, streamable, not encrypted, method
 * 0 or 8. Otherwise only what comes first is looked at. *ret belongs to the caller.
 * Errors: -EBADMSG (not a ZIP, truncated, damaged; an HTML page is named as such), -EOPNOTSUPP
 * (encryption, method, cannot be streamed), the source's.
 */
int bundle_open(struct source *source, struct bundle **ret, struct error *error);

/** The same for an input at the start of its source, which is taken over, also on failure. */
int bundle_open_input(struct input *input, struct bundle **ret, struct error *error);

/** -EBADMSG when what the input begins with is no ZIP with entries. Nothing is consumed. */
int bundle_sniff(struct input *input, struct error *error);

/** The payloads when they are known before reading (seekable source), else false. */
bool bundle_payload(const struct bundle *bundle, enum bundle_role role, struct bundle_payload *ret);

/**
 * Goes to the next payload: `boot` before `system` when the source is seekable, else as they come.
 * 1 and *ret; 0 when all of them have been read and the rest of the bundle is sound (a sequential
 * source is read to its end: duplicate payloads, a missing payload and truncation are errors).
 */
int bundle_next(struct bundle *bundle, struct bundle_payload *ret, struct error *error);

/**
 * Reads plain bytes of the current payload. *ret_got = 0 only at its end, after its size and CRC-32
 * have been checked. -EBADMSG for damage (with the payload's name and the offset).
 */
int bundle_read(
	struct bundle *bundle, void *data, size_t size, size_t *ret_got, struct error *error);

/** Bytes of the bundle that have been received so far (progress). */
uint64_t bundle_received(const struct bundle *bundle);

/** NULL is fine. */
void bundle_close(struct bundle *bundle);

static inline void bundle_closep(struct bundle **bundle)
{
	bundle_close(*bundle);
}

#define AUTO_BUNDLE __attribute__((cleanup(bundle_closep)))
