/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/** printf into a new string, owned by the caller. NULL when out of memory. */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline const char *text_yes_no(bool value)
{
	return value ? "yes" : "no";
}

bool text_starts_with(const char *text, const char *prefix);
bool text_ends_with(const char *text, const char *suffix);
/** ASCII case is ignored. */
bool text_ends_with_nocase(const char *text, const char *suffix);

/** Writes 2 * size lower-case hex digits and a NUL to `out`. */
void text_hex(const uint8_t *data, size_t size, char *out);
/** Reads exactly 2 * size hex digits of either case and a NUL. False if `text` is anything else. */
bool text_unhex(const char *text, uint8_t *out, size_t size);

/**
 * A decimal number without sign or blanks, at most `max`. False if `text` is anything else.
 */
bool text_to_u64(const char *text, uint64_t max, uint64_t *ret);

/**
 * UTF-16LE (size in bytes, no terminator needed; stops at a NUL unit) to UTF-8. Unpaired surrogates
 * become U+FFFD. *ret belongs to the caller. 0, -EINVAL (odd size), -ENOMEM.
 */
int text_from_utf16(const uint8_t *data, size_t size, char **ret, struct error *error);

/**
 * UTF-8 to UTF-16LE without terminator. *ret belongs to the caller, *ret_size is in bytes.
 * 0, -EILSEQ (not UTF-8), -ENOMEM.
 */
int text_to_utf16(const char *text, uint8_t **ret, size_t *ret_size, struct error *error);

/** "512 B", "1.5 KiB", "17.0 MiB": at most 15 characters and a NUL are written to `out`. */
void text_size(uint64_t bytes, char out[16]);

/** An owned list of owned strings; `items` ends with NULL once the list is not empty. */
struct text_list {
	char **items;
	size_t count;
};

/** Appends a formatted string. 0 or -ENOMEM. */
int text_list_add(struct text_list *list, struct error *error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/** Sorts by byte value (strcmp). */
void text_list_sort(struct text_list *list);
bool text_list_contains(const struct text_list *list, const char *text);
/** All of them in one string, owned by the caller, with `between` between each two. -ENOMEM. */
int text_list_join(
	const struct text_list *list, const char *between, char **ret, struct error *error);
/** Frees the strings and leaves the list empty. */
void text_list_done(struct text_list *list);

#define AUTO_TEXT_LIST __attribute__((cleanup(text_list_done)))
