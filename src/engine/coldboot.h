/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slot.h"
#include "boot/boot.h"
#include "engine/espfile.h"

struct context;
struct error;

/** What a cold boot starts, as far as files on the ESP decide it. Free with coldboot_done(). */
struct coldboot {
	struct boot_view view;
	bool known;     /* false: the boot entries cannot be read (view.notes) */
	enum slot slot; /* SLOT_NONE: neither */
	char *what; /* what is started: "Boot0003 'Linux' (/EFI/x/y.efi)"; NULL: nothing; owned */
	struct espfile own[SLOT_COUNT]; /* the slots' boot files */
	/* A file that was passed over because it could not be read: why, owned, and the -errno. */
	char *unread;
	int unread_number;
	/* Entries that would start something other than `wanted` before it. Owned. */
	uint16_t *rivals;
	size_t rival_count;
};

/**
 * Goes through the active entries in BootOrder, then the removable path, as firmware does: the
 * first whose file is there and loads is started. Entries that name nothing on the ESP (network,
 * other disks, firmware set-up) are passed over, since the machine came up in spite of them;
 * unless the firmware started this system by one, and somebody else's program lies on the removable
 * path. `wanted`: the slot that is to start; SLOT_NONE: no entry is a rival.
 */
int coldboot_look(
	struct context *context, enum slot wanted, struct coldboot *ret, struct error *error);
void coldboot_done(struct coldboot *coldboot);

#define AUTO_COLDBOOT __attribute__((cleanup(coldboot_done)))

/**
 * Fails unless a cold boot starts `slot`: ERROR_REFUSED with what it would start instead. Where the
 * boot entries cannot be read, nothing is said.
 */
int coldboot_require(struct context *context, enum slot slot, struct error *error);

/** A boot loader that starts this machine's systems. Free with boot_loader_done(). */
struct boot_loader {
	enum filekind kind; /* filekind_is_boot_loader(), or FILEKIND_EFI_PROGRAM: some other one */
	char *name; /* "systemd-boot (/EFI/systemd/systemd-bootx64.efi)"; NULL: none; owned */
};

/**
 * What the firmware started this machine by, if that was not a UKI: by BootCurrent, the removable
 * path, and what the loader left in LoaderInfo (Boot Loader Interface).
 */
int boot_loader_look(struct context *context, const struct boot_view *view, struct boot_loader *ret,
	struct error *error);
void boot_loader_done(struct boot_loader *loader);

#define AUTO_BOOT_LOADER __attribute__((cleanup(boot_loader_done)))
