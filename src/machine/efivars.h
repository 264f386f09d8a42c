/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;
struct text_list;

/* EFI_GLOBAL_VARIABLE (UEFI 2.10 §3.3), as efivarfs writes it behind every name. */
#define EFIVARS_GLOBAL_GUID "8be4df61-93ca-11d2-aa0d-00e098032b8c"

/* NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS: Boot####, BootOrder, BootNext (§8.2). */
#define EFIVARS_ATTRIBUTES 0x7u

/** A variable with more bytes of data than this is not looked at. */
#define EFIVARS_SIZE_MAX (1024 * 1024)

/*
 * EFI global variables in the directory `dir`: an efivarfs (linux fs/efivarfs), or a plain
 * directory of files NAME-GUID that hold the attributes (u32, little-endian) and the data.
 * `name` is without the GUID ("BootOrder"), unless the variable is another vendor's
 * ("StubInfo-4a67b082-…"); errors name the variable with it.
 */

/**
 * Names of the variables that are there ("BootOrder", "Boot0001", …), sorted. *ret is owned
 * (text_list_done). 0 or -errno.
 */
int efivars_list(int dir, struct text_list *ret, struct error *error);

/**
 * Reads a variable; *ret holds its data without the attributes and is owned (buffer_done).
 * -ENOENT: absent; -ENODATA: there is a name but no content yet (a create that failed half-way);
 * -EBADMSG: too short to be a variable; -EFBIG: over EFIVARS_SIZE_MAX; other -errno. The error is
 * set for all of them.
 */
int efivars_read(int dir, const char *name, uint32_t *ret_attributes, struct buffer *ret,
	struct error *error);

/**
 * Makes the variable hold exactly this, in a single write(), and reads it back. What it holds
 * already is not written again. An absent variable is created with `create`, else -ENOENT; one that
 * appears at that very moment is left alone: -EEXIST. A failed create leaves nothing behind. Errors
 * that may pass (EINTR, EINVAL, EIO) are tried again for a fifth of a second. -EINVAL: no data, or
 * refused by the firmware; -EIO: refused by the firmware; -ESTALE: it took the write but holds
 * something else; -ENOSPC: no room (the message says what usually takes it); other -errno.
 */
int efivars_write(int dir, const char *name, uint32_t attributes, struct span data, bool create,
	struct error *error);

/** Deletes the variable. One that is absent is fine: 0. -errno. */
int efivars_delete(int dir, const char *name, struct error *error);

/**
 * True if the firmware keeps runtime changes in memory only, so that nothing written here outlives
 * a reset (RTStorageVolatile; EBBR, "Variable services"; U-Boot).
 */
bool efivars_volatile(int dir);
