/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/** What an error means to the user; the values are the exit codes of the command line. */
enum error_kind {
	ERROR_NONE = 0,
	ERROR_FAILED = 1,  /* the operation failed; the old slot is intact */
	ERROR_USAGE = 2,   /* wrong usage or configuration */
	ERROR_REFUSED = 3, /* refused by policy */
	ERROR_BUSY = 4,    /* another operation holds the lock */
	ERROR_NOTHING = 5, /* nothing to do where that matters */
};

#define ERROR_TEXT_MAX 1024

/** One error, set once where it happens. Owned by the caller; zero-initialised means "none". */
struct error {
	enum error_kind kind;
	int number; /* positive errno */
	char text[ERROR_TEXT_MAX];
};

/**
 * Fills *error (which may be NULL) with a message that says what, where (file, variable, offset,
 * URL), why and what to do. `number` is a positive errno; 0 counts as EIO. Behind EMFILE and ENOMEM
 * it names the limit that this process has (base/limits.h).
 * Returns -number, so that callers can `return error_set(…)`.
 */
int error_set(struct error *error, enum error_kind kind, int number, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/** error_set() of kind ERROR_FAILED. */
#define error_failed(error, number, ...) error_set(error, ERROR_FAILED, number, __VA_ARGS__)

/** error_set() for ENOMEM. Returns -ENOMEM. */
int error_memory(struct error *error);

/**
 * Passes on an error that another thread or call came to. error may be NULL. Returns -number, where
 * 0 counts as EIO: an error never becomes a success.
 */
int error_pass(struct error *error, const struct error *from);

/** Puts "<text>: " before the message of an error that is set. error may be NULL. */
void error_prefix(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** Puts ": <advice>" behind it, what to do. error may be NULL. */
void error_advise(struct error *error, const char *advice);

/** Puts "'<name>': " before it, unless it has the name already. error may be NULL. */
void error_name(struct error *error, const char *name);
