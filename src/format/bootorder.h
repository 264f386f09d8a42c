/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

#define BOOTORDER_MAX 1024

/** BootOrder (UEFI 2.10 §3.3): entry numbers, first tried first. */
struct bootorder {
	uint16_t numbers[BOOTORDER_MAX];
	size_t count;
};

/**
 * Reads a BootOrder; no bytes are an empty order. -EBADMSG: odd length or more than BOOTORDER_MAX
 * numbers.
 */
int bootorder_parse(struct span bytes, struct bootorder *ret, struct error *error);
/** Appends the encoded order. 0 or -ENOMEM. */
int bootorder_format(const struct bootorder *order, struct buffer *out, struct error *error);

/** The position of the first mention of `number`, or -1. */
long bootorder_find(const struct bootorder *order, uint16_t number);
/**
 * Puts `number` directly before `mark` if it is listed after it; a number that is not listed is
 * inserted there; with `mark` not listed it is appended. All others keep their order. Of numbers
 * listed more than once the first mention counts. True if the order changed. False and unchanged
 * also when the list is full.
 */
bool bootorder_put_before(struct bootorder *order, uint16_t number, uint16_t mark);
/**
 * Inserts an unlisted `number` directly after `mark`, or at the end. True if the order changed.
 * False and unchanged also when the list is full.
 */
bool bootorder_put_after(struct bootorder *order, uint16_t number, uint16_t mark);
/** Removes every mention of `number`. True if the order changed. */
bool bootorder_remove(struct bootorder *order, uint16_t number);
/** Removes the second and later mentions of any number. True if the order changed. */
bool bootorder_dedup(struct bootorder *order);

/** "Boot" and four hex digits of either case. False for anything else. */
bool bootorder_entry_number(const char *variable, uint16_t *ret);
