/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"

struct bistable_bundle;
struct bistable_bundle_options;
struct error;
struct source_options;

/** How the front end follows the work. */
struct maker_observer {
	struct report report;
	/** Bytes of a phase ("boot", "system"); may be NULL. */
	void (*progress)(void *context, const char *phase, uint64_t done, uint64_t total);
	/** Polled often; true ends the work with -ECANCELED. May be NULL. */
	bool (*cancelled)(void *context);
	void *context;
};

void maker_progress(
	const struct maker_observer *observer, const char *phase, uint64_t done, uint64_t total);
/** 0, or -ECANCELED when the front end wants an end. */
int maker_check_cancelled(const struct maker_observer *observer, struct error *error);

/**
 * Makes a bundle of format 1. Equal inputs and options (`threads` does not count) give equal bytes
 * but for the signature. The output appears whole, flushed, under its name, or not at all.
 * -EINVAL (ERROR_USAGE): options that cannot be; -EINVAL, -EBADMSG: the UKI; -EBADMSG
 * (ERROR_REFUSED): UKI and image do not belong together; those of files. *ret (bistable.h) belongs
 * to the caller (bistable_bundle_free).
 */
int maker_create(const struct bistable_bundle_options *options,
	const struct maker_observer *observer, struct bistable_bundle **ret, struct error *error);

/**
 * Reads the head of a bundle (manifest, signature, chunk maps) at a path, URL or "-", and nothing
 * behind it. With `keyring` (path of a PEM file; NULL: none) the signature is verified, first.
 */
int maker_inspect(const char *file, const struct source_options *options, const char *keyring,
	struct bistable_bundle **ret, struct error *error);

/**
 * Checks all of a bundle, which can be read at any place: structure, signature (with `keyring`),
 * digests, every frame and hint, and that UKI and manifest name one root hash. -EBADMSG says what
 * is wrong where.
 */
int maker_verify(const char *file, const struct source_options *options, const char *keyring,
	const struct maker_observer *observer, struct bistable_bundle **ret, struct error *error);

/**
 * Signs the manifest of the bundle at `path` anew: a new file at `output` (may be `path`) with the
 * same bytes but for the signature. The frames are not looked at.
 */
int maker_sign(const char *path, const char *output, const char *key, const char *cert,
	const struct maker_observer *observer, struct bistable_bundle **ret, struct error *error);
