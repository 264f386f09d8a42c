/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/guid.h"
#include "base/text.h"

struct error;
struct machine;
struct machine_lock; /* an exclusive lock */
struct partition;    /* an open partition */
struct esp;          /* the EFI System Partition, reachable */

/** Attributes of the boot variables: NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS. */
#define EFI_BOOT_ATTRIBUTES 7u

/** An interrupted replacement leaves PATH with this behind it; the next one writes over it. */
#define MACHINE_NEW_SUFFIX ".new"

/** Why nothing is written where esp_clash() finds something, which is what %s stands for. */
#define MACHINE_CLASH                                                                    \
	"the ESP holds %s, which are one name to the firmware: it may take another one " \
	"than Linux does; mount the ESP with -o check=s, which tells them apart, and keep one"

/** Small texts (sysfs, /proc, configuration) larger than this are refused. */
#define MACHINE_TEXT_MAX (1u << 20)

/** How to find the ESP and what is known of it beforehand. Borrowed strings. */
struct esp_settings {
	const char *mount; /* where it is mounted; NULL: find it */
	bool remount;      /* a read-only mount may be remounted for a write, and back */
	bool has_location; /* `location` comes from the configuration, not from the system */
	struct esp_location {
		uint32_t partition_number;
		uint64_t start; /* logical blocks */
		uint64_t size;  /* logical blocks */
		struct guid partuuid;
	} location;
	const char
		*beside; /* a partition of the system (PARTLABEL=…): its disk is searched first */
};

struct esp_space {
	uint64_t free;  /* bytes */
	uint64_t size;  /* bytes */
	bool read_only; /* for all who use it: writing needs a remount */
};

/** What the doctor says of the ESP's place. Owned strings; NULL: nothing to say, or not known. */
struct esp_survey {
	char *device;    /* what a file system check takes: "/dev/md0" */
	char *misplaced; /* why the configured location is not that of the ESP in use */
	char *degraded;  /* the array that lacks a member: "/dev/md0" */
};

enum partition_mode {
	PARTITION_READ,  /* shared, for looking */
	PARTITION_WRITE, /* exclusive; refused under the running root or when otherwise held */
};

enum machine_restart { MACHINE_REBOOT, MACHINE_KEXEC };

/** What starts and stops the system's services. */
struct machine_init {
	bool systemd;     /* it is PID 1 */
	unsigned version; /* of it; 0: unknown */
};

/**
 * The seam between bistable and the machine it runs on: nothing outside src/machine touches a
 * device, the ESP, a firmware variable, /proc or /sys. Each operation returns 0 or -errno with
 * *error set, and writes its ret_ arguments only on success. Paths begin with '/'; paths on the ESP
 * count from its root, use '/', and find what the firmware finds, in whatever case it is spelled.
 */
struct machine_ops {
	/** A small text file, NUL-terminated, owned by the caller. -ENOENT when absent. */
	int (*read_text)(
		struct machine *machine, const char *path, char **ret, struct error *error);
	/** Names in a directory, sorted, without "." and "..". -ENOENT when absent. */
	int (*list)(struct machine *machine, const char *path, struct text_list *ret,
		struct error *error);
	/** Appends a whole file of at most `max` bytes. -ENOENT absent; -EFBIG. */
	int (*file_read)(struct machine *machine, const char *path, size_t max, struct buffer *ret,
		struct error *error);
	/**
	 * Replaces or creates a file, durably, whole or not at all. Folders are made. `secret`:
	 * nobody but its owner can read it.
	 */
	int (*file_replace)(struct machine *machine, const char *path, struct span content,
		bool secret, struct error *error);
	/** Absent is fine. */
	int (*file_remove)(struct machine *machine, const char *path, struct error *error);
	/** Wall clock, seconds since the epoch. */
	int64_t (*now)(struct machine *machine);

	/**
	 * Opens a partition: PARTLABEL=…, PARTUUID=… (on the running root's disk if it is there,
	 * whatever other disks hold; else on any) or a path. -ENODEV not found, -ENOTUNIQ, -EBUSY
	 * in use or (PARTITION_WRITE) under the running root.
	 */
	int (*partition_open)(struct machine *machine, const char *device, enum partition_mode mode,
		struct partition **ret, struct error *error);
	/** Bytes. */
	uint64_t (*partition_size)(struct machine *machine, struct partition *partition);
	/**
	 * Reads exactly `size` bytes of what is on the medium (past the page cache where that
	 * works). Several threads may read and write one partition at once.
	 */
	int (*partition_read)(struct machine *machine, struct partition *partition, uint64_t offset,
		void *data, size_t size, struct error *error);
	/** Writes exactly `size` bytes; durable only after partition_flush(). */
	int (*partition_write)(struct machine *machine, struct partition *partition,
		uint64_t offset, const void *data, size_t size, struct error *error);
	/** All that was written is on the medium. */
	int (*partition_flush)(
		struct machine *machine, struct partition *partition, struct error *error);
	/** NULL is fine. */
	void (*partition_close)(struct machine *machine, struct partition *partition);
	/** Whether the running system (/ or /usr) lies on it, through any device-mapper. */
	int (*partition_holds_root)(
		struct machine *machine, const char *device, bool *ret, struct error *error);

	/**
	 * Makes the ESP reachable: at settings->mount, where it is mounted, else mounted privately
	 * (only root can). -ENODEV: none; -ENOTUNIQ; -EACCES: not reachable for this user.
	 */
	int (*esp_open)(struct machine *machine, const struct esp_settings *settings,
		struct esp **ret, struct error *error);
	/**
	 * Reads a whole file of at most `max` bytes. -ENOENT, also for an empty file: a power cut
	 * while it was being created can leave one. -EFBIG.
	 */
	int (*esp_read)(struct machine *machine, struct esp *esp, const char *path, size_t max,
		struct buffer *ret, struct error *error);
	/**
	 * Reads `size` bytes at `offset` of a file, less where it ends: *ret_got. -ENOENT as
	 * esp_read().
	 */
	int (*esp_read_at)(struct machine *machine, struct esp *esp, const char *path,
		uint64_t offset, void *data, size_t size, size_t *ret_got, struct error *error);
	/**
	 * The SHA-256 (32 bytes, may be NULL) and size (bytes, may be NULL) of a file, which is not
	 * held in memory. -ENOENT.
	 */
	int (*esp_digest)(struct machine *machine, struct esp *esp, const char *path,
		uint8_t *ret_sha256, uint64_t *ret_size, struct error *error);
	/**
	 * Replaces or creates a file such that a power cut leaves the old or the new content, and
	 * reads it back from the medium. Folders are made. -EINVAL for no content at all; -ENOSPC;
	 * -EROFS.
	 */
	int (*esp_replace)(struct machine *machine, struct esp *esp, const char *path,
		struct span content, struct error *error);
	/** Durable. Absent is fine. */
	int (*esp_remove)(
		struct machine *machine, struct esp *esp, const char *path, struct error *error);
	/**
	 * Names in a folder, sorted. -ENOENT. NAME.new and NAME.new.lostN are what interrupted
	 * replacements of NAME left.
	 */
	int (*esp_list)(struct machine *machine, struct esp *esp, const char *path,
		struct text_list *ret, struct error *error);
	int (*esp_space)(struct machine *machine, struct esp *esp, struct esp_space *ret,
		struct error *error);
	/**
	 * Where the ESP lies on its disk, for HD() nodes; of an array, a member in sync, on the
	 * running system's disk if one is there. -ENODATA: cannot be told here; -EACCES: by this
	 * user.
	 */
	int (*esp_location)(struct machine *machine, struct esp *esp, struct esp_location *ret,
		struct error *error);
	/**
	 * The device node of another partition with the ESP's PARTUUID, as a cloned disk has it:
	 * firmware, which knows the ESP by nothing else, may take that one. Owned by the caller;
	 * NULL: none can be seen.
	 */
	int (*esp_twin)(struct machine *machine, struct esp *esp, char **ret, struct error *error);
	/** Compares what is configured of the ESP's place with what the system shows. */
	int (*esp_survey)(struct machine *machine, struct esp *esp, struct esp_survey *ret,
		struct error *error);
	/**
	 * Two entries whose names differ in case only, on the way to a folder or in it, in words
	 * ("\"EFI\" and \"efi\" in /"): nothing is written there. Owned by the caller; NULL: none.
	 */
	int (*esp_clash)(struct machine *machine, struct esp *esp, const char *path, char **ret,
		struct error *error);
	/** NULL is fine. */
	void (*esp_close)(struct machine *machine, struct esp *esp);

	/**
	 * flock on a folder of the ESP. wait false: ERROR_BUSY when held, with by whom. A missing
	 * folder is made; make false: *ret is NULL then.
	 */
	int (*lock)(struct machine *machine, struct esp *esp, const char *folder, bool wait,
		bool make, struct machine_lock **ret, struct error *error);
	/** NULL is fine. */
	void (*unlock)(struct machine *machine, struct machine_lock *lock);

	/** Whether the system has EFI variables at all. */
	bool (*efi_available)(struct machine *machine);
	/** Whether the firmware forgets what a running system writes (RTStorageVolatile, EBBR). */
	bool (*variables_volatile)(struct machine *machine);
	/** Names of the EFI global variables ("BootOrder", "Boot0001", …), sorted. */
	int (*variable_list)(struct machine *machine, struct text_list *ret, struct error *error);
	/**
	 * `name`: of an EFI global variable, or another vendor's with its GUID ("StubInfo-4a67…").
	 * -ENOENT absent; -ENODATA uncommitted (0 bytes).
	 */
	int (*variable_read)(struct machine *machine, const char *name, uint32_t *ret_attributes,
		struct buffer *ret, struct error *error);
	/** Writes with EFI_BOOT_ATTRIBUTES; nothing is written when it holds just this already. */
	int (*variable_write)(
		struct machine *machine, const char *name, struct span data, struct error *error);
	/** Absent is fine. */
	int (*variable_delete)(struct machine *machine, const char *name, struct error *error);

	/**
	 * *ret = NULL when kexec can work here, else why not, owned by the caller. -EPERM: nothing
	 * but the rights of this process is known to stand against it.
	 */
	int (*kexec_preflight)(struct machine *machine, char **ret_reason, struct error *error);
	int (*kexec_stage)(struct machine *machine, struct span kernel, struct span initrd,
		const char *cmdline, struct error *error);
	/** Nothing staged is fine. */
	int (*kexec_unstage)(struct machine *machine, struct error *error);
	int (*kexec_staged)(struct machine *machine, bool *ret, struct error *error);
	/** Whether the running kernel was started by kexec. */
	bool (*kexec_booted)(struct machine *machine);

	void (*init)(struct machine *machine, struct machine_init *ret);
	/** Appends the failed units that boot-complete.target waits for: health checks. */
	int (*failed_units)(struct machine *machine, struct text_list *ret, struct error *error);
	/** Appends who forbids a restart at the moment, in words. */
	int (*restart_blockers)(
		struct machine *machine, struct text_list *ret, struct error *error);
	/**
	 * Starts an orderly restart; returns once it is under way. `force`: whoever forbids it.
	 */
	int (*restart)(
		struct machine *machine, enum machine_restart how, bool force, struct error *error);

	void (*free)(struct machine *machine);
};

/** A machine: implementations embed this as their first member. */
struct machine {
	const struct machine_ops *ops;
};

/**
 * The machine this process runs on; with `root` (not NULL, not "/") a tree that looks like one:
 * ROOT/proc/cmdline, ROOT/sys/firmware/efi/efivars/NAME-GUID, ROOT/dev/disk/by-partlabel/LABEL (or
 * by-partuuid), the ESP as a folder.
 * Under a root, nothing outside it is touched, kexec and restart are refused (-EOPNOTSUPP).
 * *ret belongs to the caller (machine_free).
 */
int machine_linux_new(const char *root, struct machine **ret, struct error *error);

static inline void machine_free(struct machine *machine)
{
	if (machine)
		machine->ops->free(machine);
}

static inline void machine_freep(struct machine **machine)
{
	machine_free(*machine);
}

#define AUTO_MACHINE __attribute__((cleanup(machine_freep)))

static inline void esp_survey_done(struct esp_survey *survey)
{
	free(survey->device);
	free(survey->misplaced);
	free(survey->degraded);
	*survey = (struct esp_survey){ 0 };
}

#define AUTO_ESP_SURVEY __attribute__((cleanup(esp_survey_done)))
