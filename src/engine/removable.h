/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/slot.h"

struct context;
struct error;
struct records;
struct state;

/** What firmware starts when no boot entry does (UEFI 2.10 §3.5.1.1), as a path on the ESP. */
#if defined(__aarch64__)
#define REMOVABLE_PATH "/EFI/BOOT/BOOTAA64.EFI"
#else
#define REMOVABLE_PATH "/EFI/BOOT/BOOTX64.EFI"
#endif

/** What lies on the removable path. */
struct removable_view {
	const char *path; /* on the ESP */
	bool present;
	bool ours;             /* one of our boot files, of today or of earlier */
	bool same[SLOT_COUNT]; /* as the slot's boot file of today */
};

/** Looks without changing anything. 0, or -errno when it cannot be told. */
int removable_look(struct context *context, const struct records *records,
	struct removable_view *ret, struct error *error);

/**
 * Makes the removable path (\EFI\BOOT\BOOTX64.EFI, UEFI 2.10 §3.5.1.1) hold the boot file of
 * `slot`, so that a machine whose boot entries are lost still starts it. Only when the file there
 * is absent (and `create`), or one of ours: somebody's shim, GRUB or systemd-boot is never
 * overwritten. A failure is a warning. `remember` (may be NULL) is told the digest of a file of
 * ours that is there afterwards, so that a stale one is known for ours later.
 */
void removable_refresh(struct context *context, enum slot slot, const struct records *records,
	bool create, struct state *remember);
