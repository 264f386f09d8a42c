/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

#define STATE_FORMAT       1
#define STATE_SIZE_MAX     65536
#define STATE_TEXT_MAX     2048 /* bytes of a version or source */
#define STATE_PAYLOADS_MAX 8
#define STATE_ATTEMPTS_MAX 8 /* the newest are kept */

/** Size and digest of something that was installed. */
struct state_content {
	char role[16]; /* "boot", "system", … ; "" for the bound boot file */
	uint64_t size; /* bytes */
	uint8_t sha256[32];
};

/** How one attempt to start the slot ended. */
enum state_outcome { STATE_PENDING, STATE_CONFIRMED, STATE_FAILED };

/** One attempt to start the slot. */
struct state_attempt {
	char how[16];     /* "reboot" or "kexec" */
	int64_t time;     /* seconds since the epoch, by the clock of that moment */
	char boot_id[37]; /* the boot that asked for it: while it runs, the attempt is still to come
			   */
	enum state_outcome outcome;
	bool unstarted; /* a restart that serves it was not seen to begin; "started": false */
};

/**
 * The record that lies beside a slot's boot file (`boot-b.state`): what nothing else can hold.
 * A slot without a record is a factory image: complete.
 */
struct state {
	bool complete;
	char *version; /* owned; NULL: unknown */
	char *source;  /* as it was given, or without what may be secret; owned; NULL: unknown */
	bool source_private; /* the latter: the whole is kept elsewhere */
	char *signer; /* subject of the certificate, as verified by the install; owned; NULL: none
		       */
	char signer_sha256[65]; /* of the certificate; "": none */
	int64_t installed;      /* seconds since the epoch; 0: unknown */
	int64_t epoch;          /* of the bundle; 0: none, or not known */
	int64_t created;        /* when the bundle was made, seconds since the epoch; 0: unknown */
	struct state_content payloads[STATE_PAYLOADS_MAX];
	size_t payload_count;
	bool has_boot_file;
	struct state_content boot_file; /* the boot file as bound and written to the ESP */
	char root_hash[129];            /* that its command line names, lower-case hex; "": none */
	struct state_attempt attempts[STATE_ATTEMPTS_MAX];
	size_t attempt_count;
	bool confirmed;
	bool cold_booted; /* confirmed at least once after a start by the firmware */
	bool bad;
	bool has_removable;
	uint8_t removable_sha256[32]; /* of our file on the removable path, when last seen */
	bool duplicates_removed;      /* of boot entries, once: one that comes back is left alone */
	int64_t confirmation; /* counts up over both slots: the larger one was confirmed last */
	int64_t repairs;      /* how often boot entries were put right since it was confirmed */
};

/**
 * Parses a record. `format` and `complete` must be there; other keys that are missing are unknown,
 * empty or false. Unknown keys are ignored, and of too many attempts the newest are kept. *ret is
 * owned (state_done). 0, -ENOMEM, -EBADMSG: not JSON, not an object, wrong types, over-long;
 * -EOPNOTSUPP: a newer format (the message says so).
 */
int state_parse(struct span bytes, struct state *ret, struct error *error);
/**
 * Appends the record as JSON with a final newline; keys sorted, so equal records are equal bytes.
 * A version or source is cut to STATE_TEXT_MAX bytes, and bytes of it that are not UTF-8 become
 * '?': the record must never be the reason why an install fails. 0, -ENOMEM, -EINVAL (a field that
 * state_parse would refuse); `out` is unchanged on failure.
 */
int state_format(const struct state *state, struct buffer *out, struct error *error);
/** Adds an attempt, dropping the oldest when the list is full. */
void state_add_attempt(struct state *state, const struct state_attempt *attempt);
/** The newest attempt or NULL. It points into `state`. */
struct state_attempt *state_last_attempt(struct state *state);
/** Frees what the record owns and leaves it empty. */
void state_done(struct state *state);

#define AUTO_STATE __attribute__((cleanup(state_done)))
