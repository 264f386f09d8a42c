/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slot.h"
#include "format/cmdline.h"
#include "format/filekind.h"

struct context;
struct error;

/** What a file on the ESP is to the firmware. Free with espfile_done(). */
struct espfile {
	bool present;
	bool loads; /* as far as can be told, the firmware starts it */
	char *why;  /* it does not load: why, a clause; owned */
	int unread; /* it could not even be read: -errno; else 0 */
	enum filekind kind;
	uint64_t size; /* bytes */
	uint8_t sha256[32];

	/* Of a UKI that loads. */
	char *cmdline;                /* owned */
	char *version;                /* NULL: it states none; owned */
	enum slot slot;               /* that its command line names; SLOT_NONE: neither */
	struct cmdline_verity verity; /* of its command line */
};

/**
 * Looks at a file: it is read once, until espfile_forget(). That it is absent, no program, or
 * cannot be read, is told by *ret; -ENOMEM alone is an error. Memory: the file, during the call.
 */
int espfile_look(
	struct context *context, const char *path, struct espfile *ret, struct error *error);
/** The digest of its content; errors as those of esp_digest() (struct machine_ops). */
int espfile_digest(
	struct context *context, const char *path, uint8_t ret_sha256[32], struct error *error);
/** What was looked at may be another file now: before a program on the ESP is written. */
void espfile_forget(struct context *context);
/** NULL-safe for a zero-initialised one. */
void espfile_done(struct espfile *file);

#define AUTO_ESPFILE __attribute__((cleanup(espfile_done)))
