/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/slot.h"
#include "format/state.h"

struct context;
struct error;

/** What is known of a slot: its state record and its boot file. Free with record_done(). */
struct record {
	struct state
		state; /* without a record on the ESP: a factory image, complete and confirmed */
	bool exists;   /* the record is on the ESP */
	bool readable; /* false: damaged or of a newer format; state says incomplete then */
	char *why;     /* not readable: what is wrong, owned */
	bool has_boot_file; /* the boot file is on the ESP */
};

/** Reads a slot's record. A damaged one is not an error but "not readable". */
int record_read(struct context *context, enum slot slot, struct record *ret, struct error *error);
/** Writes record->state durably, unless the ESP holds these very bytes. */
int record_write(
	struct context *context, enum slot slot, struct record *record, struct error *error);
void record_done(struct record *record);

#define AUTO_RECORD __attribute__((cleanup(record_done)))

/** There is a boot file, and what is in the slot is whole. */
bool record_complete(const struct record *record);
/** Complete and not marked bad: its boot entry may be active. */
bool record_startable(const struct record *record);
/**
 * The newest attempt to start the slot, if it is still open and was asked for by another boot than
 * `boot_id`: in the running slot that is a trial, in the other one a start that failed.
 */
struct state_attempt *record_open_attempt(struct record *record, const char *boot_id);

/** How an attempt to start a slot ended, or what it waits for. */
enum attempt_end {
	ATTEMPT_PENDING, /* the next start serves it */
	ATTEMPT_RUNNING, /* the slot runs on trial */
	ATTEMPT_CONFIRMED,
	ATTEMPT_FAILED,
	ATTEMPT_NOT_STARTED, /* another start came first: nothing is known of the slot */
};

/**
 * The same of attempt `i`. `running`: the record is that of the running slot; `still_chosen`: the
 * firmware has a choice (BootNext) that names the slot.
 */
enum attempt_end record_attempt_end(const struct record *record, size_t i, bool running,
	bool still_chosen, const char *boot_id);

/** The newest attempt of the slot that does not run ended in ATTEMPT_FAILED. */
bool record_has_failed(const struct record *record, bool still_chosen, const char *boot_id);

/**
 * Forgets the newest attempt if it was asked for by this boot (`boot_id`) and so never came about.
 * True if there was one.
 */
bool record_drop_pending(struct record *record, const char *boot_id);

/** Both slots' records at once. */
struct records {
	struct record of[SLOT_COUNT];
	bool startable[SLOT_COUNT];
};

int records_read(struct context *context, struct records *ret, struct error *error);
void records_done(struct records *records);

#define AUTO_RECORDS __attribute__((cleanup(records_done)))
