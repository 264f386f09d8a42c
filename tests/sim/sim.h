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

/* Larger than what an install compares and writes in one go. */
#define SIM_PARTITION_SIZE (1536u << 10)
#define SIM_VARIABLES_MAX  48
#define SIM_FILES_MAX      48

/** Ways in which firmware departs from the plain one. Each is a switch of its own. */
enum sim_quirk {
	SIM_QUIRK_NEXT_NEEDS_ORDER = 1u << 0, /* BootNext is ignored unless listed in BootOrder */
	SIM_QUIRK_DROPS_INACTIVE = 1u << 1,   /* inactive entries vanish at boot */
	SIM_QUIRK_DUPLICATES_OURS = 1u << 2, /* every boot adds a copy of the first entry of ours */
};

/** What happens at the chosen operation. */
enum sim_fault {
	SIM_NO_FAULT,
	SIM_CUT_BEFORE, /* power fails before it; unflushed writes are lost */
	SIM_CUT_AFTER,  /* power fails right after it; unflushed writes had reached the medium */
	SIM_CUT_TORN,   /* power fails in it; of the unflushed writes any part reached the medium */
	SIM_FAILS,      /* it fails with EIO, once, and power stays on */
};

struct sim_variable {
	char name[40];
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
	uint8_t now[SIM_PARTITION_SIZE];    /* as the running system sees it */
	uint8_t medium[SIM_PARTITION_SIZE]; /* what a power cut leaves */
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
	bool locked;

	enum slot running; /* SLOT_NONE: off, or nothing starts */
	bool by_kexec;
	unsigned boots;
	char cmdline[512];
	int64_t clock;

	bool volatile_variables; /* RTStorageVolatile */
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
	uint32_t seed; /* for torn writes */
};

/** A machine with an empty ESP and empty partitions, switched off. Free with sim_free(). */
struct sim *sim_new(void);
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
void sim_put_variable(struct sim *sim, const char *name, struct span data);
struct buffer *sim_variable(struct sim *sim, const char *name); /* NULL: absent */
void sim_remove_variable(struct sim *sim, const char *name);
void sim_put_image(struct sim *sim, enum slot slot, struct span image);

/** Makes the fault happen at the `at`-th changing operation from now on. */
void sim_set_fault(struct sim *sim, enum sim_fault fault, unsigned at);

/**
 * Power off, then on: the firmware starts what its variables say. A slot starts when its boot file
 * parses as a UKI and its partition holds the image that its command line names by
 * `sim.image=<sha256>` and `sim.size=<bytes>`; else the kernel panics, and the firmware starts
 * again. Returns the slot that runs; SLOT_NONE: nothing does (the machine is lost).
 */
enum slot sim_power_cycle(struct sim *sim);

/** An orderly restart into the staged kernel. SLOT_NONE: it panicked. */
enum slot sim_kexec(struct sim *sim);
