/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "base/slot.h"
#include "engine/config.h"
#include "source/source.h"

struct boot;
struct error;
struct esp;
struct espfile_seen;
struct fetcher;
struct machine;
struct machine_lock;

/** Counters that an operation moves. */
struct progress {
	const char *phase; /* "boot", "compare", "scan", "copy", "system" or "verify" */
	uint64_t done;     /* bytes of the phase */
	uint64_t total;    /* bytes of the phase; UINT64_MAX: unknown */
	uint64_t fetched;  /* bytes received from the source */
	uint64_t written;  /* bytes written to the slot */
	uint64_t kept;     /* bytes of the payloads that the slot held already */
	uint64_t copied;   /* bytes of the payloads that are taken from what the machine has */
	uint64_t requests; /* sent to the server */
};

/** How the front end follows an operation. */
struct observer {
	struct report report;
	void (*progress)(void *context, const struct progress *progress); /* may be NULL */
	bool (*cancelled)(void *context);                                 /* may be NULL */
	void *context;
};

/** A boot file larger than this (bytes) is refused. */
#define BOOT_FILE_MAX (256u << 20)

/** What every engine operation works on. Free with context_free(). */
struct context {
	struct machine *machine; /* owned */
	struct config config;
	struct observer observer;
	struct progress progress;
	struct esp *esp;           /* NULL: not reachable */
	struct espfile_seen *seen; /* on the ESP; owned; espfile_forget() */
	struct boot *boot;
	struct machine_lock *lock; /* NULL: not taken */
	unsigned threads;          /* that share work; 0: one for each processor */
};

/** Reads the configuration on `machine` (taken over, also on failure). */
int context_new(struct machine *machine, const char *config_file, const struct observer *observer,
	struct context **ret, struct error *error);
/** NULL is fine. */
void context_free(struct context *context);

/**
 * Makes the ESP reachable and builds the boot backend. `required` false: goes on without an ESP,
 * and *ret_why (may be NULL, owned by the caller) says why; then only looking works.
 */
int context_open(struct context *context, bool required, char **ret_why, struct error *error);

/**
 * context_open() and the lock. `wait` false: ERROR_BUSY at once when another operation holds it.
 * Both last until context_close(). Refused when names on the way to the boot files, or among them,
 * are not the only ones (struct machine_ops, esp_clash).
 */
int context_begin(struct context *context, bool wait, struct error *error);
/** The same for an operation that changes nothing: the folder that is locked is not made. */
int context_rehearse(struct context *context, struct error *error);
/** Releases the lock, the backend and the ESP. */
void context_close(struct context *context);

static inline void context_closep(struct context **context)
{
	context_close(*context);
}

/** Closes the context when the variable leaves its scope. */
#define AUTO_CONTEXT_CLOSE __attribute__((cleanup(context_closep)))

/**
 * The slot this system runs from: the kernel command line, else the partition under the root file
 * system. Never firmware variables: after a kexec they describe the boot before. 0 and *ret
 * (SLOT_NONE: neither tells); -EINVAL when the command line names both.
 */
int context_running_slot(struct context *context, enum slot *ret, struct error *error);

/** The same, but SLOT_NONE is an error that says how to tell. */
int context_require_slot(struct context *context, enum slot *ret, struct error *error);

/** The id of the running boot (36 characters), or "" when it cannot be told. */
void context_boot_id(struct context *context, char ret[37]);

/** Starts a phase of `total` bytes (UINT64_MAX: unknown) and tells the observer. */
void context_begin_phase(struct context *context, const char *phase, uint64_t total);
/** From here on the observer is told what the fetcher has received so far. */
void context_count_fetched(struct context *context, const struct fetcher *fetcher);
/** Tells the observer that `done` bytes of the phase are done. */
void context_progress(struct context *context, uint64_t done);

bool context_cancelled(const struct context *context);

/** Whether kernel lockdown is on: kexec then takes only kernels whose signature is trusted. */
bool context_locked_down(struct context *context);

/** Whether Secure Boot is on. -errno: it cannot be told, and *ret is left as it was. */
int context_secure_boot(struct context *context, bool *ret, struct error *error);

/** How sources are reached, as configured. Borrows from the context; `headers` are the caller's. */
struct source_options context_source_options(
	struct context *context, const struct text_list *headers);
