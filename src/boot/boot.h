/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/guid.h"
#include "base/report.h"
#include "base/slot.h"
#include "base/text.h"

struct boot;
struct error;
struct esp;
struct machine;

/** What a boot backend needs to know. All is borrowed for the life of the backend. */
struct boot_settings {
	struct machine *machine;
	struct esp *esp; /* NULL: not reachable; then only view() works, as far as it can */
	const char *boot_files[SLOT_COUNT];   /* paths on the ESP, with '/' */
	const char *descriptions[SLOT_COUNT]; /* of the boot entries */
	const struct report *report;
};

/** How the backend sees one slot. */
struct boot_slot_view {
	bool present;    /* an entry starts this slot's boot file */
	uint16_t number; /* of the entry */
	bool active;
	bool listed;         /* in BootOrder */
	bool misplaced;      /* it states another place of the ESP than the partition table */
	unsigned duplicates; /* further entries for it that bear our description */
};

/** A boot entry that the firmware may start by itself. */
struct boot_choice {
	uint16_t number;
	char *name;     /* "Boot0003 'Linux Boot Manager'"; owned */
	enum slot slot; /* whose boot file it names; SLOT_NONE: something else */
	char *path; /* of the file on the ESP that it names, with '/'; NULL: none there; owned */
};

/** An entry like one of ours, on another ESP. */
struct boot_elsewhere {
	char *name; /* as in struct boot_choice */
	struct guid partuuid;
};

/** How the backend sees the machine. Free with boot_view_done(). */
struct boot_view {
	bool readable; /* false: the rest says nothing (why: notes) */
	struct boot_slot_view slots[SLOT_COUNT];
	enum slot
		default_slot; /* what of the pair a cold boot starts; SLOT_NONE: nothing of ours */
	bool next_set;        /* something was chosen for the next start only */
	enum slot next_slot;  /* what; SLOT_NONE: something foreign */
	bool next_dangling;   /* a choice is left over that names nothing */
	struct boot_choice *choices; /* what a cold boot tries, in this order; owned */
	size_t choice_count;
	struct boot_choice current; /* what the firmware started last; name NULL: unknown */
	struct boot_elsewhere *elsewhere;
	size_t elsewhere_count;
	struct text_list foreign_before; /* active entries of others that come before both slots */
	struct text_list skipped;        /* what could not be read or parsed, and why */
	struct text_list notes;          /* what a user should know, one sentence each */
};

void boot_view_done(struct boot_view *view);

#define AUTO_BOOT_VIEW __attribute__((cleanup(boot_view_done)))

/** What confirm() did. */
struct boot_changes {
	bool moved;       /* the slot was put before the other one */
	bool repaired;    /* that, or an entry was missing, unlisted or inactive */
	unsigned removed; /* duplicate entries */
};

/**
 * Who decides which slot starts. `startable[slot]`: complete and not marked bad; an entry is
 * created active only then. Every operation is idempotent and writes only what differs; foreign
 * entries keep their bytes and their order. 0 or -errno.
 */
struct boot_ops {
	int (*view)(struct boot *boot, struct boot_view *ret, struct error *error);
	/** Whether the others can work here at all, as far as can be told without a change. */
	int (*check)(struct boot *boot, struct error *error);
	/**
	 * Both slots have an entry that is listed, and nothing chosen for the next start names
	 * `target`. `running` (unless SLOT_NONE) is active and comes before `target` and all
	 * rivals.
	 */
	int (*prepare)(struct boot *boot, enum slot running, enum slot target,
		const bool startable[SLOT_COUNT], struct error *error);
	/** Nothing that names the slot's boot file is started any more. */
	int (*disable)(struct boot *boot, enum slot slot, struct error *error);
	/** Undoes disable(). */
	int (*enable)(struct boot *boot, enum slot slot, struct error *error);
	/** The slot is started by the next reboot, and by that one only. */
	int (*start_next)(struct boot *boot, enum slot slot, struct error *error);
	/**
	 * The slot becomes the default, before the other one and all rivals; entries are repaired.
	 * `remove_duplicates`: also entries that bear our description a second time.
	 */
	int (*confirm)(struct boot *boot, enum slot slot, const bool startable[SLOT_COUNT],
		bool remove_duplicates, struct boot_changes *ret, struct error *error);
	/** The other slot becomes the default of the pair, then nothing starts this one any more.
	 */
	int (*demote)(struct boot *boot, enum slot slot, struct error *error);
	void (*free)(struct boot *boot);
};

/** A backend: implementations embed this as their first member. */
struct boot {
	const struct boot_ops *ops;
	/* Set by the caller. */
	bool force;             /* what cannot be read may be made anew (BootOrder) */
	bool known[SLOT_COUNT]; /* the slot had an entry before */
	const uint16_t
		*rivals; /* entries of others that must not come before the default; borrowed */
	size_t rival_count;
};

/** UEFI boot entries: Boot####, BootOrder, BootNext. *ret belongs to the caller (boot_free). */
int boot_firmware_new(const struct boot_settings *settings, struct boot **ret, struct error *error);

static inline void boot_free(struct boot *boot)
{
	if (boot)
		boot->ops->free(boot);
}
