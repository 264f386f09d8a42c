/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * bistable: image-based A/B updates for UEFI Linux machines, started by reboot or by kexec.
 *
 * Every function returns 0 or -errno and then fills *error (which may be NULL). What is handed out
 * through a `**ret` or a struct with owned members belongs to the caller and is freed with the
 * function named beside it. Nothing here prints; a handle is for one thread at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bistable;

/** What an error means; the values are the exit codes of the command line. */
enum bistable_code {
	BISTABLE_OK = 0,
	BISTABLE_FAILED = 1,  /* failed, the old slot is intact */
	BISTABLE_USAGE = 2,   /* wrong usage or configuration */
	BISTABLE_REFUSED = 3, /* refused by policy */
	BISTABLE_BUSY = 4,    /* another operation is running */
	BISTABLE_NOTHING = 5, /* nothing to do where that matters */
};

struct bistable_error {
	enum bistable_code code;
	int number; /* positive errno */
	char text[1024];
};

enum bistable_event_kind {
	BISTABLE_NOTE,     /* something worth a line */
	BISTABLE_WARNING,  /* something the operator should look at */
	BISTABLE_PROGRESS, /* counters have moved */
};

/** What happens during an operation. Borrowed for the length of the call. */
struct bistable_event {
	enum bistable_event_kind kind;
	const char *text; /* note, warning: one sentence; progress: NULL */
	/* progress: "boot", "compare", "scan", "copy", "system" or "verify" */
	const char *phase;
	uint64_t done;     /* progress: bytes of this phase */
	uint64_t total;    /* progress: bytes of this phase, UINT64_MAX when unknown */
	uint64_t fetched;  /* progress: bytes received from the source so far */
	uint64_t written;  /* progress: bytes written to the slot so far */
	uint64_t kept;     /* progress: bytes that the slot held already */
	uint64_t copied;   /* progress: bytes that are taken from what the machine has */
	uint64_t requests; /* progress: sent to the server so far */
};

struct bistable_options {
	const char *config; /* configuration file instead of the usual ones; NULL */
	const char *root;   /* work on a tree instead of this machine; NULL */
	void (*event)(void *context, const struct bistable_event *event); /* may be NULL */
	/** Polled often; true ends the operation at the next safe point. May be NULL. */
	bool (*cancelled)(void *context);
	void *context;
};

/** Reads the configuration and looks at the machine. bistable_close() frees *ret. */
int bistable_open(const struct bistable_options *options, struct bistable **ret,
	struct bistable_error *error);
/** NULL is fine. */
void bistable_close(struct bistable *bistable);

/** "1.0.0" */
const char *bistable_version(void);

/** How the target slot is started. */
enum bistable_activation {
	BISTABLE_ACTIVATE_DEFAULT, /* what the configuration says */
	BISTABLE_ACTIVATE_NONE,
	BISTABLE_ACTIVATE_REBOOT,
	BISTABLE_ACTIVATE_KEXEC,      /* falls back to reboot, saying why */
	BISTABLE_ACTIVATE_KEXEC_ONLY, /* fails instead */
};

/** "default", "none", "reboot", "kexec", "kexec-only". */
const char *bistable_activation_name(enum bistable_activation activation);
/** False if `name` is none of these but "default". */
bool bistable_activation_from_name(const char *name, enum bistable_activation *ret);

struct bistable_install_options {
	const char *source; /* URL, path, or "-" for standard input */
	enum bistable_activation activation;
	char slot; /* 'A' or 'B'; 0: the one that is not running */
	bool dry_run;
	bool allow_unsigned;
	bool allow_downgrade;       /* to an older version or epoch than the running system's */
	bool force;                 /* also while the running slot is an unconfirmed trial */
	const char *const *headers; /* "K: V" lines for HTTP, ending with NULL; may be NULL */
};

/** What install, rollback and activate did. Free with bistable_result_done(). */
struct bistable_result {
	char slot;     /* 'A' or 'B' */
	char *version; /* NULL: unknown */
	char *signer;  /* of a signature that was verified; NULL */
	char signer_sha256[65];
	bool unsigned_bundle;                /* nothing vouches for it */
	bool dry_run;                        /* nothing was changed */
	bool nothing;                        /* of a repair: nothing was wrong */
	enum bistable_activation activation; /* what was done: NONE, REBOOT or KEXEC */
	char *fallback;                      /* why it is not the kexec that was asked for; NULL */
	const char *command;  /* that starts it in an orderly way: "systemctl kexec"; NULL: none */
	bool reboot_is_kexec; /* `systemctl reboot` starts what is staged (systemd >= 253) */
	bool chunked;         /* a bundle of format 1: the next three count */
	uint64_t kept;        /* bytes of the payloads that the slot held already */
	uint64_t copied;    /* bytes of the payloads that were taken from the running slot, or from
			       old boot files */
	uint64_t to_fetch;  /* bytes of the bundle that held the rest of the payloads */
	uint64_t fetched;   /* bytes received from the source, all in all */
	uint64_t requests;  /* that were sent to the server */
	uint64_t written;   /* bytes written to the slot's partitions and the ESP */
	uint64_t boot_size; /* bytes; UINT64_MAX when unknown (dry run of a stream) */
	uint64_t system_size; /* bytes; UINT64_MAX when unknown */
	double seconds;
};

/** Also for a zero-initialised result. */
void bistable_result_done(struct bistable_result *result);

/**
 * Installs a bundle into the target slot and activates it. Whatever happens, the old slot stays
 * startable; a target that was touched and not completed stays inactive.
 */
int bistable_install(struct bistable *bistable, const struct bistable_install_options *options,
	struct bistable_result *ret, struct bistable_error *error);

/**
 * Puts the other slot right where it is not as it was installed: from the running slot and from the
 * bundle that it was installed from, at options->source (NULL: where it came from). What the slot
 * is (confirmed, bad) stays; nothing is activated. Refused when the bundle is another one.
 */
int bistable_repair(struct bistable *bistable, const struct bistable_install_options *options,
	struct bistable_result *ret, struct bistable_error *error);

/**
 * Starts the other slot next, if it is complete (else BISTABLE_NOTHING). Refused where it was never
 * confirmed and the last attempt to start it failed, unless `force`.
 */
int bistable_rollback(struct bistable *bistable, enum bistable_activation activation, bool force,
	struct bistable_result *ret, struct bistable_error *error);

/**
 * Starts the other slot next, as the end of an install would have done; refused when it is not
 * complete or was marked bad. `force`: also where a slot's boot file is not what was installed.
 */
int bistable_activate(struct bistable *bistable, enum bistable_activation activation, bool force,
	struct bistable_result *ret, struct bistable_error *error);

/**
 * Whether bistable_restart() would be refused now: inhibitors of logind forbid a restart, and
 * *error names who and why. Nothing chosen: 0.
 */
int bistable_restart_check(struct bistable *bistable, const struct bistable_result *result,
	struct bistable_error *error);

/**
 * Restarts the machine into what `result` of the functions above chose (nothing chosen: does
 * nothing). Through logind or systemd where that is PID 1, and then returns once the restart is
 * under way. `force`: whoever forbids it.
 */
int bistable_restart(struct bistable *bistable, const struct bistable_result *result, bool force,
	struct bistable_error *error);

/**
 * The machine goes down for the kernel that is staged for kexec: when the old slot comes up again,
 * the attempt has failed; without this, it counts as not started. *ret_slot: 'A', 'B', or 0: this
 * boot has staged nothing.
 */
int bistable_mark_started(struct bistable *bistable, char *ret_slot, struct bistable_error *error);

/** Confirms the running slot: the default for cold boots from now on. *ret_slot: 'A' or 'B'. */
int bistable_mark_good(
	struct bistable *bistable, bool force, char *ret_slot, struct bistable_error *error);

/** Marks a slot bad ('A', 'B'; 0: the other one): not started again until the next install. */
int bistable_mark_bad(
	struct bistable *bistable, char slot, char *ret_slot, struct bistable_error *error);

/** One attempt to start a slot. */
struct bistable_attempt {
	const char *how;     /* "reboot" or "kexec" */
	int64_t time;        /* seconds since the epoch */
	const char *outcome; /* "pending": still to come; "running": a trial runs now; "confirmed";
				"failed"; "not-started": another start came first */
};

struct bistable_slot {
	bool state_known;          /* false: the record cannot be read (see notes) */
	char *version;             /* NULL: unknown */
	char *source;              /* NULL: unknown */
	char *root_hash;           /* dm-verity, lower-case hex; NULL: none, or unknown */
	char *signer;              /* that the install verified; NULL: none, or unknown */
	char signer_sha256[65];    /* of the certificate; "": none */
	char image_sha256[65];     /* "": unknown */
	char boot_file_sha256[65]; /* as bound to the slot; "": unknown */
	int64_t epoch;             /* -1: unknown */
	int64_t installed;         /* seconds since 1970; 0: unknown */
	bool complete;
	bool entry_known; /* false: no firmware, or not readable */
	bool entry_present;
	uint16_t entry_number;
	bool entry_active;
	struct bistable_attempt *attempts; /* oldest first */
	size_t attempt_count;
	bool tried_unconfirmed; /* was started (or meant to be), and did not get confirmed */
	bool confirmed;
	bool bad;
	bool cold_boot_proven;
};

/** Free with bistable_status_free(). */
struct bistable_status {
	bool efi;
	const char *compatible; /* by the configuration; NULL: any; lasts as long as the handle */
	char running;           /* 'A', 'B' or 0: unknown */
	char default_slot;      /* what a cold boot starts; 0: unknown or foreign */
	char next_slot;         /* what the next orderly restart starts; 0: unknown or foreign */
	const char *next_how;   /* "kexec", "reboot" (BootNext) or "default" */
	bool kexec_booted;
	char *boot_loader; /* that the firmware started; NULL: none that is known of */
	bool secure_boot_known;
	bool secure_boot;
	bool kexec_known;   /* false: not to this user, and kexec_reason says why */
	char *kexec_reason; /* why kexec cannot work here; NULL: it can */
	bool esp_known;
	uint64_t esp_free;             /* bytes */
	uint64_t esp_size;             /* bytes */
	struct bistable_slot slots[2]; /* A, B */
	char **notes;                  /* sentences, ending with NULL */
	size_t note_count;
};

/** Takes no lock; works without privileges as far as the files allow. */
int bistable_status(
	struct bistable *bistable, struct bistable_status **ret, struct bistable_error *error);
/** NULL is fine. */
void bistable_status_free(struct bistable_status *status);

/** How bad a finding is. */
enum bistable_level { BISTABLE_LEVEL_OK, BISTABLE_LEVEL_WARNING, BISTABLE_LEVEL_PROBLEM };

/** "ok", "warning", "problem". */
const char *bistable_level_name(enum bistable_level level);

/** One thing that was looked at. */
struct bistable_check {
	const char *group; /* "Machine", "Firmware", … */
	const char *name;  /* short and stable: "boot-order" */
	enum bistable_level level;
	char *what;         /* what was found, one sentence */
	const char *advice; /* what to do, one sentence; NULL: nothing */
};

/** Bytes of a slot's image that are not as they were installed: from `start` to before `end`. */
struct bistable_damage {
	char slot; /* 'A' or 'B' */
	uint64_t start, end;
};

/** Free with bistable_report_free(). */
struct bistable_report {
	enum bistable_level worst;
	struct bistable_check *checks; /* always the same ones in the same order */
	size_t check_count;
	struct bistable_damage *damage; /* that bistable_verify() found, by slot and place */
	size_t damage_count;
};

/** Looks for what is wrong or will be. Takes no lock, changes nothing, needs no privileges. */
int bistable_doctor(
	struct bistable *bistable, struct bistable_report **ret, struct bistable_error *error);
/**
 * Checks a slot ('A', 'B'; 0: both) against what was installed: signature, boot file and every byte
 * of the image. Takes no lock, changes nothing.
 */
int bistable_verify(struct bistable *bistable, char slot, struct bistable_report **ret,
	struct bistable_error *error);
/** NULL is fine. */
void bistable_report_free(struct bistable_report *report);

struct bistable_uki_section {
	char name[9];
	uint64_t offset; /* in the file */
	uint64_t size;
};

/** Free with bistable_uki_free(). */
struct bistable_uki {
	struct bistable_uki_section *sections;
	size_t section_count;
	char *cmdline;            /* bound, when a slot was given */
	bool bound;               /* a slot was given, and the placeholder stood there */
	const char *architecture; /* "x86-64", "arm64", "riscv64", "loongarch64"; NULL: other */
	char *version;            /* NULL: none stated */
	uint64_t kernel_size;
	char kernel_sha256[65];
	uint64_t initrd_size; /* 0: none */
	char initrd_sha256[65];
	char **kexec_reasons; /* ends with NULL; none: kexec is possible */
	size_t kexec_reason_count;
};

/** Looks into a UKI at a path, URL or "-". slot: 'A', 'B', or 0 to leave the command line unbound.
 */
int bistable_uki_inspect(struct bistable *bistable, const char *file, char slot,
	struct bistable_uki **ret, struct bistable_error *error);
/** NULL is fine. */
void bistable_uki_free(struct bistable_uki *uki);

/** How a bundle's payloads are compressed. */
enum bistable_compression {
	BISTABLE_COMPRESS_ZSTD,
	BISTABLE_COMPRESS_DEFLATE, /* any unzip can extract it */
	BISTABLE_COMPRESS_NONE,
};

/** "zstd", "deflate", "none". */
const char *bistable_compression_name(enum bistable_compression compression);
/** False if `name` is none of these. */
bool bistable_compression_from_name(const char *name, enum bistable_compression *ret);

#define BISTABLE_LEVEL_DEFAULT INT32_MIN

/** Seconds since 1970: a clock that says less (2026-01-01) is wrong, for this did not exist then.
 */
#define BISTABLE_EXISTS_SINCE 1767225600

struct bistable_bundle_options {
	const char *uki;          /* path */
	const char *image;        /* path */
	const char *output;       /* path */
	const char *compatible;   /* what systems it is for */
	const char *version;      /* NULL: as the UKI says */
	const char *architecture; /* NULL: as the UKI says */
	const char *description;  /* NULL: none */
	uint64_t epoch;
	int64_t created;   /* seconds since 1970; what is in the bundle has this time */
	int64_t not_after; /* the same; 0: none */
	enum bistable_compression compression;
	int level;             /* BISTABLE_LEVEL_DEFAULT; zstd: 1 to 22, deflate: 1 to 9 */
	uint32_t chunk_size;   /* bytes, a power of two from 4 KiB to 1 MiB; 0: the default */
	unsigned threads;      /* 0: as many as there are processors; does not change the result */
	const char *sign_key;  /* path of a PEM file, or a pkcs11: URI; NULL: not signed */
	const char *sign_cert; /* path of a PEM file: the signer's certificate, intermediates */
};

struct bistable_bundle_payload {
	char *role;
	char *name;          /* of its entry in the ZIP */
	uint64_t size;       /* bytes */
	uint64_t compressed; /* bytes */
	char sha256[65];
	uint32_t chunk_size; /* bytes */
	uint64_t chunk_count;
	char slot; /* 'A' or 'B'; 0: for either */
	bool optional;
	char root_hash[129]; /* "": none */
};

/** What a bundle says of itself. Free with bistable_bundle_free(). */
struct bistable_bundle {
	char *compatible;
	char *architecture;
	char *version;
	char *description; /* NULL: none */
	uint64_t epoch;
	int64_t created;   /* seconds since 1970 */
	int64_t not_after; /* the same; 0: none */
	char **requires;   /* ends with NULL */
	size_t require_count;
	struct bistable_bundle_payload *payloads;
	size_t payload_count;
	const char *compression; /* "zstd", "deflate", "none": of the first payload */
	uint64_t size;           /* bytes of the file; UINT64_MAX: unknown */
	bool is_signed;
	char *signer; /* of a signature that was verified; NULL: it was not */
	char signer_sha256[65];
	int64_t signer_not_after; /* seconds since 1970 */
};

/** NULL is fine. */
void bistable_bundle_free(struct bistable_bundle *bundle);

/** Makes a bundle. The output appears whole or not at all. */
int bistable_bundle_create(struct bistable *bistable, const struct bistable_bundle_options *options,
	struct bistable_bundle **ret, struct bistable_error *error);

/**
 * Reads what the head of a bundle at a path, URL or "-" says. `keyring`: path of a PEM file with
 * certificates that its signature is verified against; NULL: it is not verified.
 */
int bistable_bundle_inspect(struct bistable *bistable, const char *file, const char *keyring,
	struct bistable_bundle **ret, struct bistable_error *error);

/** Checks every byte of a bundle at a path, or a URL that can be read at any place. */
int bistable_bundle_verify(struct bistable *bistable, const char *file, const char *keyring,
	struct bistable_bundle **ret, struct bistable_error *error);

/** Replaces the signature of the bundle at a path; `output` NULL: in place. */
int bistable_bundle_sign(struct bistable *bistable, const char *file, const char *output,
	const char *key, const char *cert, struct bistable_bundle **ret,
	struct bistable_error *error);
