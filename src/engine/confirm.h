/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/slot.h"

struct context;
struct error;
struct records;

/**
 * Confirms the running slot: boot entries repaired, removable path refreshed, the slot first of
 * the pair in BootOrder, the record says so. A second call writes nothing. ERROR_REFUSED when the
 * firmware fell back to this slot from a confirmed one, unless `force`.
 */
int confirm_mark_good(struct context *context, bool force, enum slot *ret, struct error *error);

/**
 * Whether the other slot is the one that was confirmed last and could start, and nobody asked for
 * the one that runs (`boot_id`: of this boot): the firmware decided otherwise.
 */
bool confirm_passed_over(struct records *records, enum slot running, const char *boot_id);

/**
 * Marks a slot bad (SLOT_NONE: the other one) until the next install into it. ERROR_REFUSED when
 * its counterpart is not complete.
 */
int confirm_mark_bad(struct context *context, enum slot slot, enum slot *ret, struct error *error);
