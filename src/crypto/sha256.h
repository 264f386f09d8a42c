/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct error;
struct sha256;

#define SHA256_SIZE      32
#define SHA256_TEXT_SIZE 65 /* hex digits and a NUL */

/** Starts a SHA-256. *ret belongs to the caller. 0 or -ENOMEM. */
int sha256_new(struct sha256 **ret, struct error *error);
/** Starts over. 0 or -ENOMEM. */
int sha256_reset(struct sha256 *hash, struct error *error);
int sha256_update(struct sha256 *hash, const void *data, size_t size, struct error *error);
/** Ends the hash; sha256_reset() before it is used again. */
int sha256_final(struct sha256 *hash, uint8_t ret[SHA256_SIZE], struct error *error);
/** NULL is fine. */
void sha256_free(struct sha256 *hash);

static inline void sha256_freep(struct sha256 **hash)
{
	sha256_free(*hash);
}

#define AUTO_SHA256 __attribute__((cleanup(sha256_freep)))

/** The digest of `size` bytes at once. */
int sha256_of(const void *data, size_t size, uint8_t ret[SHA256_SIZE], struct error *error);
