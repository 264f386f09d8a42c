/* SPDX-License-Identifier: Apache-2.0 */
/* Roots, signers and a keyring for the tests of cms.h, and what such a test asks. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "crypto/cms.h"
#include "make_pki.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/** What is signed: with both kinds of line ends, since S/MIME would make them one. */
extern const struct span content;

/** At PKI_NOW, for code signing. */
extern const struct cms_policy policy;

/** Everything is valid at PKI_NOW. */
struct pki {
	struct identity root, other_root, intermediate; /* that of the first root */
	struct identity signer;                         /* of the root, for code signing */
	struct identity by_other;                       /* of the other root */
	struct identity deep;                           /* of the intermediate */
	struct identity alone;                          /* self-signed, no CA */
	EVP_PKEY *rsa;                                  /* 2048 bits: they take long to make */
	struct buffer pem;                              /* the root */
	struct keyring *keyring;                        /* of it */
};

/** Of a group: *state is a struct pki. */
int pki_set_up(void **state);
int pki_tear_down(void **state);

/** One more owner of `key`, for pki_wish.key. */
EVP_PKEY *pki_share(EVP_PKEY *key);

/** A signer, and a CA; issuer NULL: self-signed; key NULL: a new one, else taken over. */
struct identity issue(const char *name, const struct identity *issuer, EVP_PKEY *key);
struct identity issue_ca(const char *name, const struct identity *issuer, EVP_PKEY *key);

/** A keyring of these certificates and CRLs (NULL: none). */
struct keyring *keyring_of(const struct buffer *certificates, const struct buffer *crls);

/** Signs `content` as said and verifies that. */
int verify_with(const struct keyring *keyring, const struct pki_signing *how,
	const struct cms_policy *rules, struct cms_signer *ret, struct error *error);
void expect_good(const struct keyring *keyring, const struct pki_signing *how,
	const struct cms_policy *rules);
void expect_refused(const struct keyring *keyring, const struct pki_signing *how,
	const struct cms_policy *rules, const char *says);
/** One sentence that says `says`, then what to do; nothing written, nothing left behind. */
void check_refusal(
	int r, const struct cms_signer *who, const struct error *error, const char *says);
