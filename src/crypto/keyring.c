/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "crypto/cms.h"
#include "crypto/cms_private.h"

bool cms_key_is_good(EVP_PKEY *key, char out[CMS_TEXT_SIZE])
{
	int kind = key ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE;
	int bits = key ? EVP_PKEY_get_bits(key) : 0;
	bool rsa = kind == EVP_PKEY_RSA || kind == EVP_PKEY_RSA_PSS;
	const char *name = rsa ? "RSA" : kind == EVP_PKEY_EC ? "EC" : OBJ_nid2sn(kind);

	snprintf(out, CMS_TEXT_SIZE, "%s with %d bits", name ? name : "unknown kind", bits);
	return rsa ? bits >= CMS_RSA_BITS_MIN : kind == EVP_PKEY_EC && bits >= CMS_EC_BITS_MIN;
}

char *cms_subject(X509 *certificate)
{
	AUTO_BIO BIO *text = BIO_new(BIO_s_mem());
	char *data;
	long size;

	/* This form escapes control characters and what is not ASCII. */
	if (!text
		|| X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253)
			   < 0)
		return NULL;
	size = BIO_get_mem_data(text, &data);
	return size > 0 ? strndup(data, (size_t)size) : strdup("(no name)");
}

const char *cms_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return reason ? reason : "no reason given";
}

int cms_no_passphrase(char *buffer, int size, int writing, void *opaque)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)opaque;
	return -1;
}

/* After the last block the reader fails as well, but for that it found no further one. */
static bool ended(void)
{
	return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

bool cms_read_certificates(BIO *pem, cms_certificates *list)
{
	X509 *certificate;

	while ((certificate = PEM_read_bio_X509(pem, NULL, cms_no_passphrase, NULL)))
		if (!sk_X509_push(list, certificate)) {
			X509_free(certificate);
			return false;
		}
	return ended();
}

static bool read_crls(BIO *pem, cms_crls *list)
{
	X509_CRL *crl;

	while ((crl = PEM_read_bio_X509_CRL(pem, NULL, cms_no_passphrase, NULL)))
		if (!sk_X509_CRL_push(list, crl)) {
			X509_CRL_free(crl);
			return false;
		}
	return ended();
}

static int bad_keyring(struct error *error, const char *what)
{
	return error_set(error, ERROR_USAGE, EINVAL,
		"the keyring %s: give it PEM certificates, a root among them", what);
}

static int add_roots(struct keyring *keyring, struct error *error)
{
	bool found = false;

	for (int i = 0; i < sk_X509_num(keyring->certificates); i++) {
		X509 *certificate = sk_X509_value(keyring->certificates, i);
		int self_signed = X509_self_signed(certificate, 1);

		if (self_signed < 0)
			return bad_keyring(error, "holds a certificate with a damaged key");
		if (self_signed == 0)
			continue;
		if (!X509_STORE_add_cert(keyring->roots, certificate))
			return error_memory(error);
		found = true;
	}
	return found ? 0 : bad_keyring(error, "holds no root certificate (a self-signed one)");
}

static int add_certificates(struct keyring *keyring, struct span pem, struct error *error)
{
	AUTO_BIO BIO *bio = NULL;

	if (pem.size > KEYRING_SIZE_MAX)
		return bad_keyring(error, "has more than 4 MiB");
	bio = cms_reader(pem);
	if (!bio)
		return error_memory(error);
	if (!cms_read_certificates(bio, keyring->certificates))
		return bad_keyring(error, "holds a damaged certificate");
	if (sk_X509_num(keyring->certificates) == 0)
		return bad_keyring(error, "holds no certificate");
	return add_roots(keyring, error);
}

int keyring_new(struct span certificates, struct keyring **ret, struct error *error)
{
	CMS_ERRORS_STAY_HERE;
	AUTO_KEYRING struct keyring *keyring = calloc(1, sizeof(*keyring));
	int r;

	if (!keyring)
		return error_memory(error);
	keyring->roots = X509_STORE_new();
	keyring->certificates = sk_X509_new_null();
	keyring->crls = sk_X509_CRL_new_null();
	if (!keyring->roots || !keyring->certificates || !keyring->crls)
		return error_memory(error);
	r = add_certificates(keyring, certificates, error);
	if (r == 0)
		*ret = TAKE(keyring);
	return r;
}

static bool is_signed_by_keyring(const struct keyring *keyring, X509_CRL *crl)
{
	for (int i = 0; i < sk_X509_num(keyring->certificates); i++) {
		X509 *issuer = sk_X509_value(keyring->certificates, i);
		EVP_PKEY *key = X509_get0_pubkey(issuer);

		if (X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(issuer)) == 0
			&& key && X509_CRL_verify(crl, key) > 0)
			return true;
	}
	return false;
}

static int bad_crls(struct error *error, const char *what)
{
	return error_set(error, ERROR_USAGE, EINVAL,
		"the revocation list %s: give it PEM CRLs whose issuers are in the keyring", what);
}

int keyring_add_crls(struct keyring *keyring, struct span pem, struct error *error)
{
	CMS_ERRORS_STAY_HERE;
	AUTO_BIO BIO *bio = NULL;

	if (pem.size > KEYRING_SIZE_MAX)
		return bad_crls(error, "has more than 4 MiB");
	bio = cms_reader(pem);
	if (!bio)
		return error_memory(error);
	if (!read_crls(bio, keyring->crls))
		return bad_crls(error, "holds a damaged CRL");
	if (sk_X509_CRL_num(keyring->crls) == 0)
		return bad_crls(error, "holds no CRL");
	for (int i = 0; i < sk_X509_CRL_num(keyring->crls); i++)
		if (!is_signed_by_keyring(keyring, sk_X509_CRL_value(keyring->crls, i)))
			return bad_crls(
				error, "holds a CRL that no certificate of the keyring signed");
	return 0;
}

void keyring_free(struct keyring *keyring)
{
	if (!keyring)
		return;
	X509_STORE_free(keyring->roots);
	sk_X509_pop_free(keyring->certificates, X509_free);
	sk_X509_CRL_pop_free(keyring->crls, X509_CRL_free);
	free(keyring);
}
