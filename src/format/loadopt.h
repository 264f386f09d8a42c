/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

#define LOADOPT_ACTIVE 0x1u
#define LOADOPT_HIDDEN 0x8u

/** A Boot#### variable larger than this is not looked at. */
#define LOADOPT_SIZE_MAX 65536

/**
 * An EFI_LOAD_OPTION (UEFI 2.10 §3.1.3). All spans borrow the parsed bytes, so that what is not
 * understood (vendor attribute bits, device paths after the first End, OptionalData) is kept.
 */
struct loadopt {
	uint32_t attributes;
	struct span description;  /* UTF-16LE, without its NUL */
	struct span device_paths; /* FilePathListLength bytes */
	struct span optional_data;
};

/**
 * Reads an option; *ret borrows `bytes`. The device paths are not looked into (devicepath_parse).
 * -EBADMSG: truncated, larger than LOADOPT_SIZE_MAX, or the description has no NUL.
 */
int loadopt_parse(struct span bytes, struct loadopt *ret, struct error *error);

/**
 * Appends the encoded option; parse then format gives the same bytes. `out` is unchanged on
 * failure. -EINVAL: too large, or a description of odd size or with a NUL in it; -ENOMEM.
 */
int loadopt_format(const struct loadopt *option, struct buffer *out, struct error *error);

/** The description as UTF-8, owned by the caller. 0, -EINVAL (odd size), -ENOMEM. */
int loadopt_description(const struct loadopt *option, char **ret, struct error *error);
