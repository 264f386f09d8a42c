/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, certificates, revocation lists and signatures, made in memory. What fails ends the test. */
#pragma once

#include <openssl/cms.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define PKI_NOW  INT64_C(1800000000) /* 2027-01-15 08:00:00 UTC */
#define PKI_YEAR INT64_C(31536000)

/** Who can issue and sign. */
struct identity {
	EVP_PKEY *key;
	X509 *certificate;
};

EVP_PKEY *pki_rsa(unsigned int bits);
EVP_PKEY *pki_ec(const char *curve);

/** What a certificate is to say; zeroes stand for the usual. */
struct pki_wish {
	const char *name;
	EVP_PKEY *key;                 /* taken over; NULL: a new one on P-256 */
	const struct identity *issuer; /* NULL: itself */
	bool ca;
	const char *key_usage;   /* "digitalSignature"; NULL: none said */
	const char *purpose;     /* "codeSigning"; NULL: none said */
	int64_t from, until;     /* 0: a year before and after PKI_NOW */
	const EVP_MD *digest;    /* NULL: SHA-256 */
	const char *path_length; /* "0"; NULL: without limit */
};

/** A key and its certificate, with a serial number of its own. */
struct identity pki_identity(const struct pki_wish *wish);
void pki_identity_done(struct identity *identity);

/** Appends a PEM block. */
void pki_add_certificate(struct buffer *pem, const X509 *certificate);
void pki_add_key(struct buffer *pem, EVP_PKEY *key, const char *passphrase);
/** A CRL of `issuer` that lists `revoked` (NULL: nobody). */
void pki_add_crl(struct buffer *pem, const struct identity *issuer, const X509 *revoked,
	int64_t from, int64_t until);

/** How a signature is made; zeroes stand for the usual. */
struct pki_signing {
	const struct identity *signer;
	const struct identity *second; /* NULL: nobody */
	const X509 *extra[4];          /* certificates to embed beside the signer's */
	unsigned int flags;            /* beside CMS_BINARY and, unless `embedded`, CMS_DETACHED */
	bool embedded;                 /* the content lies in the message */
	const EVP_MD *digest;          /* NULL: SHA-256 */
	bool pss;                      /* RSASSA-PSS instead of PKCS #1 v1.5 */
};

/** Appends the DER of a CMS SignedData over `content`. */
void pki_sign(struct buffer *der, struct span content, const struct pki_signing *how);

/** Appends the DER of `cms`. */
void pki_add_message(struct buffer *der, CMS_ContentInfo *cms);
