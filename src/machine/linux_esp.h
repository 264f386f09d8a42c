/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between linux_esp.c and linux_esp_open.c. */

#include <stdbool.h>

#include "machine/linux_private.h"

struct error;

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
	struct block_facts facts; /* of what is mounted; zero where sysfs tells nothing (--root) */
	struct block_list stack;  /* that and all it lies on */
	struct block_facts part;  /* what firmware sees of it; number 0: not known */
};

/** Closes and frees; no remount. NULL and half-built ones are fine. */
void esp_free(struct esp *esp);

/* linux_esp_place.c */

/**
 * Fills in the facts, the stack and the partition of an ESP on `device`; what is unknown stays so.
 * `near`: the stack of the running system. 0 or -errno.
 */
int esp_learn_place(const struct root_dir *root, dev_t device, const struct block_list *near,
	struct esp *esp, struct error *error);

/* linux_esp_path.c */

/** What for: a name that is not the only one is refused (-ENOTUNIQ) except for reading. */
enum esp_walk {
	ESP_READ,
	ESP_CHANGE, /* what is there */
	ESP_CREATE, /* folders on the way are made */
};

/**
 * Opens the folder that the components of `path` name: all of them, or (ret_name not NULL) all but
 * the last, which is returned as it is spelled there, else as in `path`. Each is looked for as
 * firmware does (format/fatname.h), and no link is followed. The fd and the name belong to the
 * caller. 0 or -errno.
 */
int esp_walk(struct esp *esp, const char *path, enum esp_walk how, int *ret_folder, char **ret_name,
	struct error *error);
/** Sets the error for what cannot be opened or listed on the way to `path`. Returns -number. */
int esp_folder_failed(const char *path, int number, struct error *error);

/** Remounts a read-only ESP for a write, where that is allowed. -EROFS. */
int esp_make_writable(struct machine *machine, struct esp *esp, struct error *error);
