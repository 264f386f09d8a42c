/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "crypto/cms.h"

struct context;
struct error;
struct manifest;
struct record;

/** What this system takes, beyond what its configuration says. */
struct trust_settings {
	bool allow_unsigned;          /* also, if the configuration says so */
	bool allow_downgrade;         /* the same */
	const struct record *running; /* of the running slot; NULL: none runs */
	/*
	 * What was taken once: certificates are judged by when it was installed, and its not_after
	 * is of no matter any more. NULL: both are judged by now.
	 */
	const struct record *taken;
};

/**
 * A time that has certainly passed, in seconds since 1970: this program was written by then, and
 * what `running` (NULL: nothing known) was installed from had been made.
 */
int64_t trust_earliest(const struct record *running);

/** Who vouches for a bundle. Zero-initialised: nobody. */
struct trust {
	bool verified; /* the signature was, against the keyring */
	struct cms_signer signer;
};

void trust_done(struct trust *trust);

/**
 * Verifies the signature (empty: none) over the bytes of a manifest against the configured keyring
 * and CRL, before anything parses them. ERROR_REFUSED: not signed, or by nobody known
 * (cms_verify()); ERROR_USAGE: the keyring or the CRL. Without a keyring, and when unsigned bundles
 * are allowed, it is said that nobody vouches.
 */
int trust_verify(struct context *context, const struct trust_settings *settings,
	struct span manifest, struct span signature, struct trust *ret, struct error *error);

/**
 * Whether the bundle is one for this system, now: compatible, architecture, epoch and version not
 * older than the running system's (without a record of that, it is said), not_after. Each refusal
 * is ERROR_REFUSED with a sentence of its own.
 */
int trust_manifest(struct context *context, const struct trust_settings *settings,
	const struct manifest *manifest, struct error *error);

/** What signs a bundle without a signature: nothing does. ERROR_REFUSED unless it is allowed. */
int trust_unsigned(
	struct context *context, const struct trust_settings *settings, struct error *error);
