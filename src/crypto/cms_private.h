/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of cms.h share. */
#pragma once

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/bytes.h"
#include "base/cleanup.h"

struct error;

typedef STACK_OF(X509) cms_certificates;
typedef STACK_OF(X509_CRL) cms_crls;

struct keyring {
	X509_STORE *roots;
	cms_certificates *certificates; /* all of them, roots too */
	cms_crls *crls;
};

#define CMS_RSA_BITS_MIN 2048
#define CMS_EC_BITS_MIN  256

#define CMS_TEXT_SIZE 256 /* of a name or a key in a message */

/** "RSA with 1024 bits" into `out`. Returns whether the key is of a kind and size to rely on. */
bool cms_key_is_good(EVP_PKEY *key, char out[CMS_TEXT_SIZE]);

/** The subject as RFC 4514 has it, in printable ASCII. Owned; NULL when out of memory. */
char *cms_subject(X509 *certificate);

/** Why OpenSSL's last call failed, in its words. */
const char *cms_reason(void);

/** For PEM: there is nobody to ask for a passphrase. Always -1. */
int cms_no_passphrase(char *buffer, int size, int writing, void *opaque);

/**
 * Appends the certificates of a PEM text to `list`, as far as there are any. False when one of them
 * is damaged; ERR_peek_last_error() tells.
 */
bool cms_read_certificates(BIO *pem, cms_certificates *list);

static inline void cms_free_certificates(cms_certificates **list)
{
	sk_X509_pop_free(*list, X509_free);
}

#define AUTO_CERTIFICATES CLEANUP(cms_free_certificates)

static inline void cms_free_bio(BIO **bio)
{
	BIO_free(*bio);
}

#define AUTO_BIO CLEANUP(cms_free_bio)

/** Reads borrowed bytes, at most INT_MAX of them. NULL when out of memory. */
static inline BIO *cms_reader(struct span bytes)
{
	return BIO_new_mem_buf(bytes.size > 0 ? (const void *)bytes.data : "", (int)bytes.size);
}

DEFINE_CLEANUP(cms_free_cms, CMS_ContentInfo *, CMS_ContentInfo_free)
#define AUTO_CMS CLEANUP(cms_free_cms)

/* What OpenSSL queues in here must not be taken for the error of a later call of somebody else. */
static inline void cms_forget_errors(int *mark)
{
	(void)mark;
	ERR_pop_to_mark();
}

#define CMS_ERRORS_STAY_HERE       \
	CLEANUP(cms_forget_errors) \
	__attribute__((unused)) int errors_mark_ = ERR_set_mark()
