/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** A GUID as it lies in GPT headers and device paths: mixed-endian bytes (UEFI 2.10 appendix A). */
struct guid {
	uint8_t bytes[16];
};

#define GUID_TEXT_SIZE 37 /* 36 characters and a NUL */

/** Reads "01234567-89ab-cdef-0123-456789abcdef", either case. False if `text` is anything else. */
bool guid_from_text(const char *text, struct guid *ret);
/** Writes the lower-case text form. */
void guid_to_text(const struct guid *guid, char out[GUID_TEXT_SIZE]);
bool guid_equal(const struct guid *a, const struct guid *b);
