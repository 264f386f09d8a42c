/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slot.h"

struct context;
struct error;
struct records;

/** What it takes for a cold boot to start a slot. Free with startable_done(). */
struct startable {
	enum slot slot;
	/* The running system's UKI, which has to be copied to the slot's boot file. NULL: it lies
	 * there. Owned. */
	char *source;
	uint64_t size; /* bytes of it */
	uint8_t sha256[32];
	char *loader; /* that started this machine so far; NULL: none; owned */
	/* Boot entries that start something else and must come after the slot's. Owned. */
	uint16_t *rivals;
	size_t rival_count;
};

/**
 * Looks whether a cold boot can start `slot`, without changing anything: its boot file is there,
 * loads, and starts this very system; else, of the running slot, another file on the ESP is proven
 * to be the UKI that runs: by the digest in the slot's record, by the dm-verity root hash in
 * /proc/cmdline, or because systemd-stub says that the firmware started it, with this command line.
 * ERROR_REFUSED with what to do; with context->boot->force, a warning.
 */
int startable_look(struct context *context, enum slot slot, enum slot running,
	const struct records *records, struct startable *ret, struct error *error);

/** Copies the boot file, if need be: afterwards there is no source any more. The lock is held. */
int startable_make(struct context *context, struct startable *startable, struct error *error);

void startable_done(struct startable *startable);

#define AUTO_STARTABLE __attribute__((cleanup(startable_done)))
