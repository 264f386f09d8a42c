/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct error;

#define CMS_SIZE_MAX     (64u << 10) /* of a signature */
#define KEYRING_SIZE_MAX (4u << 20)  /* of its PEM text, and of the CRLs */

/** Whom to trust: root certificates, intermediates that lead to them, and revocations. */
struct keyring;

/**
 * Reads PEM certificates. Self-signed ones are the roots (a signer's own among them: then only it
 * is trusted); the others only help to reach them. *ret belongs to the caller. ERROR_USAGE,
 * -EINVAL: no certificate, none that is a root, a damaged block; -ENOMEM.
 */
int keyring_new(struct span certificates, struct keyring **ret, struct error *error);

/**
 * Reads PEM CRLs, one at least: what they list is not trusted any more. ERROR_USAGE, -EINVAL: none,
 * a damaged block, one whose issuer's certificate is not in the keyring; -ENOMEM. After an error
 * the keyring is only good to be freed.
 */
int keyring_add_crls(struct keyring *keyring, struct span crls, struct error *error);

/** NULL is fine. */
void keyring_free(struct keyring *keyring);

static inline void keyring_freep(struct keyring **keyring)
{
	keyring_free(*keyring);
}

#define AUTO_KEYRING __attribute__((cleanup(keyring_freep)))

struct cms_policy {
	bool check_purpose; /* the signer must be meant for code signing (extended key usage) */
	int64_t now;        /* what the clock says, in seconds since 1970 */
	/*
	 * A time that has certainly passed: when the running system was built. 0: unknown. A
	 * machine whose clock lost its battery wakes up in the past, so that the later of the two
	 * counts.
	 */
	int64_t earliest;
};

/** When certificates (and a bundle's not_after) are judged: the later of `now` and `earliest`. */
static inline int64_t cms_policy_time(const struct cms_policy *policy)
{
	return policy->now > policy->earliest ? policy->now : policy->earliest;
}

/** Who signed. Zero-initialised means nobody. */
struct cms_signer {
	char *subject;        /* RFC 4514, printable ASCII; owned */
	char fingerprint[65]; /* SHA-256 of the certificate, lower-case hex */
	int64_t not_after;    /* of the certificate, in seconds since 1970 */
};

/** Frees the text and leaves the signer empty. */
void cms_signer_done(struct cms_signer *signer);

#define AUTO_CMS_SIGNER __attribute__((cleanup(cms_signer_done)))

/**
 * Verifies a detached CMS SignedData (RFC 5652) in DER over exactly the bytes of `content`.
 *
 * Refused (-EKEYREJECTED, ERROR_REFUSED), each with its own sentence: nothing, too much, no CMS,
 * bytes behind it; another CMS type than SignedData over plain data; embedded content; no signature
 * or more than one (one signer stands for a bundle: a new key replaces the signature); no signer
 * certificate; a digest other than SHA-256, -384, -512; a chain of certificates that ends at no
 * root of the keyring, is expired, not yet valid, revoked, signed with a weak digest, or holds a
 * weak key (RSA below 2048 bits, EC below 256 bits, other kinds); a signer not meant for code
 * signing, if the policy asks; a signature that does not fit `content`.
 *
 * Certificates are judged at cms_policy_time(). Revocation is not: who is listed in a CRL of the
 * keyring is revoked whatever the dates of that CRL, and an issuer without a CRL revokes nobody.
 * Otherwise a machine that was off for long could never fetch the update that brings a new CRL.
 * CRLs inside of the signature are ignored.
 *
 * *ret is written on success only and ends with cms_signer_done(). Also -ENOMEM.
 */
int cms_verify(const struct keyring *keyring, struct span content, struct span signature,
	const struct cms_policy *policy, struct cms_signer *ret, struct error *error);

/**
 * Signs `content`: appends to *ret a detached CMS SignedData in DER, with SHA-256 (SHA-384 and
 * SHA-512 for larger EC keys). `key` is the path of an unencrypted PEM private key or a "pkcs11:"
 * URI, which takes a provider of OpenSSL's for it; `cert` is the path of a PEM file: first the
 * signer's certificate, then intermediates to embed. ERROR_USAGE: what cannot be read or does not
 * fit together, or is too weak for cms_verify(); -ENOMEM.
 */
int cms_sign(struct span content, const char *key, const char *cert, struct buffer *ret,
	struct error *error);
