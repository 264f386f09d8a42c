/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/guid.h"
#include "base/slot.h"
#include "base/text.h"
#include "format/bootorder.h"
#include "format/loadopt.h"

struct boot_settings;
struct error;
struct esp_location;
struct machine;

/** One Boot#### variable that could be parsed. */
struct entry {
	uint16_t number;
	char variable[9];      /* as the firmware spells it: hex digits of either case */
	struct buffer bytes;   /* owned */
	struct loadopt option; /* borrows `bytes` */
	char *path;          /* of the file on the ESP that it names, with '/'; NULL: none; owned */
	enum slot slot;      /* whose boot file it names; SLOT_NONE: foreign */
	bool ours;           /* it names a boot file and bears that slot's description */
	bool misplaced;      /* it names a boot file; number, start or size of the ESP are wrong */
	enum slot elsewhere; /* it is like one of ours, on another ESP: whose; else SLOT_NONE */
	struct guid partuuid; /* elsewhere: of that ESP */
};

/** The firmware's boot entries at one moment. */
struct entries {
	struct entry *items;
	size_t count;
	uint16_t *taken; /* numbers of all Boot#### variables, readable or not */
	size_t taken_count;
	struct bootorder order;
	bool order_unreadable;    /* `order` was made anew */
	struct text_list skipped; /* variables that could not be read or parsed, and why */
};

/**
 * Reads all Boot#### and BootOrder. A variable that cannot be read or parsed is skipped and named
 * in `skipped`; a BootOrder that exists but cannot be read is an error (ERROR_REFUSED), for it must
 * not be replaced blindly; with `force` a new one lists all entries. `location`: the ESP's; NULL
 * compares paths only.
 */
int entries_read(const struct boot_settings *settings, const struct esp_location *location,
	bool force, struct entries *ret, struct error *error);

/**
 * The entry that stands for a slot: one with our description before any other, listed before
 * unlisted, first in BootOrder, then the lowest number. NULL: none.
 */
struct entry *entries_of_slot(const struct entries *entries, enum slot slot);

/**
 * The number listed first in BootOrder among the entries that name the slot's boot file: the
 * firmware may have added one of its own for it. One that cannot be read may be the slot's as well,
 * unless it is `not_this`. `otherwise` when none is listed.
 */
uint16_t entries_first_listed(
	const struct entries *entries, enum slot slot, uint16_t not_this, uint16_t otherwise);

/** The entry with that number, or NULL. */
struct entry *entries_find(const struct entries *entries, uint16_t number);

/** Whether there is a Boot#### variable of that number, readable or not. */
bool entries_exists(const struct entries *entries, uint16_t number);

/** Reads a variable that holds one entry number. -ENOENT: not set; -EBADMSG: not 2 bytes. */
int entries_read_number(
	struct machine *machine, const char *name, uint16_t *ret, struct error *error);

/** The lowest number that neither a variable nor BootOrder uses. -ENOSPC: none. */
int entries_free_number(const struct entries *entries, uint16_t *ret, struct error *error);

void entries_done(struct entries *entries);

#define AUTO_ENTRIES __attribute__((cleanup(entries_done)))
