/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between linux_esp.c and linux_esp_open.c. */

#include <stdbool.h>

#include "machine/linux_private.h"

/** The open EFI System Partition. */
struct esp {
	int directory; /* its root */
	int mount;     /* keeps a private mount; -1: it is mounted otherwise */
	int device;    /* its block device; -1: none, or no access */
	char *where;   /* the mount point or the device node, for messages */
	bool remount;  /* may be remounted for a write */
	bool remounted;
	bool has_location; /* from the settings */
	struct esp_location location;
	struct block_facts facts; /* zero where sysfs tells nothing (--root) */
};

/** Closes and frees; no remount. NULL and half-built ones are fine. */
void esp_free(struct esp *esp);
