/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slot.h"
#include "base/text.h"
#include "bistable/bistable.h"
#include "machine/machine.h"

struct error;

/** The configuration, complete: defaults where nothing is set. All strings are owned. */
struct config {
	char *compatible; /* what systems bundles must be for; NULL: any */
	char *keyring;    /* path of a PEM file; there need be none */
	char *crl;        /* path of a PEM file; NULL: none */
	bool check_purpose;
	bool allow_unsigned;
	bool allow_downgrade;
	char *state_dir;

	char *cmdline_match; /* with %s */
	char *placeholder;
	char *bound[SLOT_COUNT];
	char *boot_file[SLOT_COUNT];    /* path on the ESP, with '/' */
	char *state_file[SLOT_COUNT];   /* the same with .state for its suffix */
	char *receipt_file[SLOT_COUNT]; /* the same with .receipt */
	char *folder;                   /* of the boot files: what is locked */
	char *description[SLOT_COUNT];
	char *system_device[SLOT_COUNT]; /* PARTLABEL=, PARTUUID= or a path */

	char *esp_mount; /* NULL: found */
	bool esp_remount;
	bool has_esp_location;
	struct esp_location esp_location;

	bool removable_path;                 /* keep \EFI\BOOT\BOOTX64.EFI up to date */
	enum bistable_activation activation; /* never DEFAULT */
	bool kexec;                          /* false: never on this hardware */

	unsigned connect_timeout, stall_timeout, total_timeout; /* seconds */
	char *ca_file, *client_cert, *client_key;               /* NULL: unset */
	struct text_list headers;
};

/**
 * Reads /usr/lib/bistable/bistable.conf, /etc/bistable/bistable.conf (whose keys win) and the
 * drop-ins of both bistable.conf.d (by name; /etc hides an equal name), or only `file` when it is
 * not NULL. *ret is owned (config_done). ERROR_USAGE with file and line for whatever is wrong.
 */
int config_load(struct machine *machine, const char *file, struct config *ret, struct error *error);
void config_done(struct config *config);

#define AUTO_CONFIG __attribute__((cleanup(config_done)))
