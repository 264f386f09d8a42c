/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A simulated machine: a firmware with boot entries, an ESP, two slots' partitions and kexec, all
 * in memory, behind the same table of operations as the real one. Power can be cut at any operation
 * that changes something; what was not flushed by then is lost, kept or torn.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/slot.h"
#include "machine/machine.h"
#include "sim_loader.h"

/* Larger than what an install compares and writes in one go. */
#define SIM_PARTITION_SIZE (1536u << 10)
#define SIM_VARIABLES_MAX  64
#define SIM_FILES_MAX      48
#define SIM_DISK           "disk:" /* before paths of files that do not lie on the ESP */
#define SIM_CLONE          "11111110-2222-3333-4444-555555555555" /* the PARTUUID of another ESP */
#define SIM_LOADER_IMAGE   "LoaderImageIdentifier-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
#define SIM_STUB_IMAGE     "StubImageIdentifier-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
#define SIM_SYSTEMD_BOOT   "#### LoaderInfo: systemd-boot 257 ####"

/** Ways in which firmware departs from the plain one: the rows of sim_quirks[]. */
enum sim_quirk {
	SIM_QUIRK_SETUP_RESET = 1u << 0,
	SIM_QUIRK_DROPS_UNMOUNTABLE = 1u << 1,
	SIM_QUIRK_DROPS_DUPLICATES = 1u << 2,
	SIM_QUIRK_DROPS_INACTIVE = 1u << 3,
	SIM_QUIRK_DUPLICATES_OURS = 1u << 4,
	SIM_QUIRK_OVERWRITES_UNLISTED = 1u << 5,
	SIM_QUIRK_ORDER_REVERTED = 1u << 6,
	SIM_QUIRK_ORDER_LOCKED = 1u << 7,
	SIM_QUIRK_ORDER_IGNORED = 1u << 8,
	SIM_QUIRK_ORDER_UNREADABLE = 1u << 9,
	SIM_QUIRK_ORDER_DANGLES = 1u << 10,
	SIM_QUIRK_PRUNES_ORDER = 1u << 11,
	SIM_QUIRK_RECREATES_DEFAULTS = 1u << 12,
	SIM_QUIRK_ADDS_OWN_ENTRY = 1u << 13,
	SIM_QUIRK_APPENDS_DATA = 1u << 14,
	SIM_QUIRK_PATHS_AFTER_END = 1u << 15,
	SIM_QUIRK_LOWER_CASE = 1u << 16,
	SIM_QUIRK_INVALID_ENTRIES = 1u << 17,
	SIM_QUIRK_HIDES_ENTRY = 1u << 18,
	SIM_QUIRK_NEXT_NEEDS_ORDER = 1u << 19,
	SIM_QUIRK_TRANSIENT_EINVAL = 1u << 20,
};

#define SIM_QUIRK_COUNT 21

struct sim;

/** One quirk: docs/firmware.md has the same rows. */
struct sim_quirk_row {
	enum sim_quirk quirk;
	const char *name;
	const char *source;            /* where it was seen: repository#issue, or a commit */
	bool decides;                  /* the firmware may start the wrong slot, or allow nothing */
	void (*boot)(struct sim *sim); /* what it does at power on; NULL: it acts elsewhere */
};

extern const struct sim_quirk_row sim_quirks[SIM_QUIRK_COUNT];

/** What happens at the chosen operation. */
enum sim_fault {
	SIM_NO_FAULT,
	SIM_CUT_BEFORE, /* power fails before it; unflushed writes are lost */
	SIM_CUT_AFTER,  /* power fails right after it; unflushed writes had reached the medium */
	SIM_CUT_TORN,   /* power fails in it; of the unflushed writes any part reached the medium */
	SIM_FAILS,      /* it fails with EIO, once, and power stays on */
	SIM_VARIABLE_FAILS, /* counted over calls of variable operations, reads too: they fail */
};

struct sim_variable {
	char name[64];
	uint32_t attributes;
	struct buffer data;
	bool used;
};

struct sim_file {
	char path[128];
	struct buffer data;
	bool used;
};

struct sim_partition {
	uint8_t *now;    /* SIM_PARTITION_SIZE bytes: as the running system sees it */
	uint8_t *medium; /* as many: what a power cut leaves */
	size_t used;     /* bytes from the start that were ever written */
	bool open;
	bool held; /* somebody else has it open */
};

struct sim {
	struct machine machine;
	unsigned quirks; /* enum sim_quirk */

	struct sim_variable variables[SIM_VARIABLES_MAX];
	struct sim_file files[SIM_FILES_MAX];
	struct sim_partition partitions[SLOT_COUNT];
	uint64_t esp_capacity; /* bytes */
	bool esp_read_only;
	const char *esp_twin; /* NULL: none */
	bool clone_gone;      /* the disk that one of the entries in world.h is for */
	const char *esp_misplaced, *esp_degraded; /* what esp_survey says; NULL: nothing */
	const char *esp_clash;                    /* in the folder of the boot files; NULL: none */
	bool locked;

	enum slot running;   /* SLOT_NONE: off, or nothing starts */
	enum slot started;   /* by the firmware; the same until the next power cycle */
	enum slot confirmed; /* that bistable has confirmed last; SLOT_NONE: none so far */
	bool by_kexec;
	unsigned boots;
	char cmdline[512];
	int64_t clock;

	struct machine_init init;
	const char *failed_unit; /* a health check; NULL: none failed */

	bool volatile_variables; /* RTStorageVolatile */
	bool nvram_full;         /* once `variable_writes` is above `nvram_room` */
	unsigned nvram_room;
	bool kexec_staged;
	bool corrupts_writes; /* the medium flips a bit of what it is given */
	bool kexec_refused;   /* the kernel refuses to load */
	bool unstage_refused;
	char staged_cmdline[512];

	enum sim_fault fault;
	unsigned fault_at;   /* the changing operation, counted from 1 */
	unsigned operations; /* changing operations so far */
	bool dead;           /* power is off: everything fails */
	unsigned variable_writes;
	unsigned variable_calls; /* since sim_set_fault() */
	int fault_errno;         /* of SIM_VARIABLE_FAILS */
	unsigned fault_count;    /* calls in a row that fail so */

	unsigned cycles;            /* of power, with quirks */
	struct buffer first_order;  /* BootOrder at the first of them */
	struct buffer locked_order; /* BootOrder when slots were first listed */
	bool order_unreadable;      /* until it is written */
	bool order_was_unreadable;
	bool refuses_write; /* the next one, with EINVAL */
	uint32_t seed;      /* for torn writes */

	struct failing_disk *disk; /* what stands before partitions and ESP; NULL: nothing */
};

/** A machine with an empty ESP and empty partitions, switched off. Free with sim_free(). */
struct sim *sim_new(void);
/** The same machine once more, with no disk that fails. Free with sim_free(). */
struct sim *sim_copy(const struct sim *sim);
void sim_free(struct sim *sim);

static inline void sim_freep(struct sim **sim)
{
	sim_free(*sim);
}

#define AUTO_SIM __attribute__((cleanup(sim_freep)))

/** A handle for the engine; freeing it leaves the simulated machine alone. */
struct machine *sim_machine(struct sim *sim);

/** Direct access for tests: not counted, never cut. */
void sim_put_file(struct sim *sim, const char *path, struct span data);
struct buffer *sim_file(struct sim *sim, const char *path); /* NULL: absent */
void sim_remove_file(struct sim *sim, const char *path);
void sim_put_variable(struct sim *sim, const char *name, struct span data);
struct buffer *sim_variable(struct sim *sim, const char *name); /* NULL: absent */
void sim_remove_variable(struct sim *sim, const char *name);
void sim_put_image(struct sim *sim, enum slot slot, struct span image);

/** The variable Boot#### of that number, its digits in either case. NULL: absent. */
struct sim_variable *sim_entry(struct sim *sim, uint16_t number);
/** Whose boot file on this ESP the variable's load option names; SLOT_NONE: foreign. */
enum slot sim_entry_slot(struct sim *sim, const struct sim_variable *variable);
/** What the quirks do at power on. */
void sim_quirks_boot(struct sim *sim);
/** The variable exists, but the running system does not see it. */
bool sim_hides(const struct sim *sim, const char *name);

/** Makes the fault happen at the `at`-th changing operation from now on. */
void sim_set_fault(struct sim *sim, enum sim_fault fault, unsigned at);

/**
 * Power off, then on: the firmware starts what its variables say, else the removable path, and says
 * so in BootCurrent, and the stub in the variables of the Boot Loader Interface. A file that calls
 * itself systemd-boot starts the last UKI in /EFI/Linux. A slot starts when the firmware loads its
 * boot file, a kernel is in there, and its partition holds the image that its command line names by
 * `sim.image=<sha256>` and `sim.size=<bytes>`; else the kernel panics, and the firmware starts
 * again. Returns the slot that runs; SLOT_NONE: nothing does (the machine is lost).
 */
enum slot sim_power_cycle(struct sim *sim);

/**
 * What the firmware would start if power failed right now, with BootNext spent: nothing happens to
 * the machine. A kernel that panics starts nothing.
 */
enum slot sim_cold_start(const struct sim *sim);

/** An orderly restart into the staged kernel. SLOT_NONE: it panicked. */
enum slot sim_kexec(struct sim *sim);
