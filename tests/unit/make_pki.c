/* SPDX-License-Identifier: Apache-2.0 */
#include "make_pki.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(condition) ((condition) ? (void)0 : must_failed(__LINE__, #condition))

static void must_failed(int line, const char *condition)
{
	fprintf(stderr, "make_pki.c:%d: %s\n", line, condition);
	abort();
}

EVP_PKEY *pki_rsa(unsigned int bits)
{
	EVP_PKEY *key = EVP_RSA_gen(bits);

	must(key);
	return key;
}

EVP_PKEY *pki_ec(const char *curve)
{
	EVP_PKEY *key = EVP_EC_gen(curve);

	must(key);
	return key;
}

static void set_name(X509 *certificate, const struct pki_wish *wish)
{
	X509_NAME *name = X509_get_subject_name(certificate);

	must(X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_UTF8, (const uint8_t *)wish->name, -1, -1, 0));
	must(X509_set_issuer_name(certificate,
		wish->issuer ? X509_get_subject_name(wish->issuer->certificate) : name));
}

static void set_time(ASN1_TIME *place, int64_t wanted, int64_t usual)
{
	must(ASN1_TIME_set(place, (time_t)(wanted ? wanted : usual)));
}

static void set_serial(ASN1_INTEGER *place)
{
	uint8_t bytes[8];
	uint64_t serial;

	must(RAND_bytes(bytes, sizeof(bytes)) == 1);
	serial = le64(bytes);
	must(ASN1_INTEGER_set_uint64(place, serial >> 1 | 1));
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, NULL, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	must(extension && X509_add_ext(certificate, extension, -1));
	X509_EXTENSION_free(extension);
}

static void add_extensions(X509 *certificate, const struct pki_wish *wish)
{
	char constraints[64];

	snprintf(constraints, sizeof(constraints), "critical,CA:%s%s%s",
		wish->ca ? "TRUE" : "FALSE", wish->path_length ? ",pathlen:" : "",
		wish->path_length ? wish->path_length : "");
	add_extension(certificate, NID_basic_constraints, constraints);
	add_extension(certificate, NID_subject_key_identifier, "hash");
	if (wish->key_usage)
		add_extension(certificate, NID_key_usage, wish->key_usage);
	if (wish->purpose)
		add_extension(certificate, NID_ext_key_usage, wish->purpose);
}

struct identity pki_identity(const struct pki_wish *wish)
{
	struct identity made = { wish->key ? wish->key : pki_ec("P-256"), X509_new() };
	X509 *certificate = made.certificate;

	must(certificate && X509_set_version(certificate, X509_VERSION_3));
	set_serial(X509_get_serialNumber(certificate));
	set_name(certificate, wish);
	set_time(X509_getm_notBefore(certificate), wish->from, PKI_NOW - PKI_YEAR);
	set_time(X509_getm_notAfter(certificate), wish->until, PKI_NOW + PKI_YEAR);
	must(X509_set_pubkey(certificate, made.key));
	add_extensions(certificate, wish);
	must(X509_sign(certificate, wish->issuer ? wish->issuer->key : made.key,
		wish->digest ? wish->digest : EVP_sha256()));
	return made;
}

void pki_identity_done(struct identity *identity)
{
	EVP_PKEY_free(identity->key);
	X509_free(identity->certificate);
	*identity = (struct identity){ 0 };
}

static void add_bio(struct buffer *pem, BIO *bio)
{
	char *data;
	long size = BIO_get_mem_data(bio, &data);

	must(size > 0 && buffer_append(pem, data, (size_t)size, NULL) == 0);
	BIO_free(bio);
}

void pki_add_certificate(struct buffer *pem, const X509 *certificate)
{
	BIO *bio = BIO_new(BIO_s_mem());

	must(bio && PEM_write_bio_X509(bio, certificate));
	add_bio(pem, bio);
}

void pki_add_key(struct buffer *pem, EVP_PKEY *key, const char *passphrase)
{
	BIO *bio = BIO_new(BIO_s_mem());

	must(bio
		&& PEM_write_bio_PKCS8PrivateKey(bio, key, passphrase ? EVP_aes_128_cbc() : NULL,
			passphrase, passphrase ? (int)strlen(passphrase) : 0, NULL, NULL));
	add_bio(pem, bio);
}

void pki_add_crl(struct buffer *pem, const struct identity *issuer, const X509 *revoked,
	int64_t from, int64_t until)
{
	ASN1_TIME *last = ASN1_TIME_set(NULL, (time_t)from);
	ASN1_TIME *next = ASN1_TIME_set(NULL, (time_t)until);
	BIO *bio = BIO_new(BIO_s_mem());
	X509_CRL *crl = X509_CRL_new();

	must(bio && crl && last && next && X509_CRL_set_version(crl, X509_CRL_VERSION_2));
	must(X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->certificate)));
	must(X509_CRL_set1_lastUpdate(crl, last) && X509_CRL_set1_nextUpdate(crl, next));
	if (revoked) {
		X509_REVOKED *entry = X509_REVOKED_new();

		must(entry && X509_REVOKED_set_revocationDate(entry, last));
		must(X509_REVOKED_set_serialNumber(
			entry, (ASN1_INTEGER *)X509_get0_serialNumber(revoked)));
		must(X509_CRL_add0_revoked(crl, entry));
	}
	must(X509_CRL_sign(crl, issuer->key, EVP_sha256()) && PEM_write_bio_X509_CRL(bio, crl));
	add_bio(pem, bio);
	X509_CRL_free(crl);
	ASN1_TIME_free(last);
	ASN1_TIME_free(next);
}

void pki_add_message(struct buffer *der, CMS_ContentInfo *cms)
{
	uint8_t *bytes = NULL;
	int size = i2d_CMS_ContentInfo(cms, &bytes);

	must(size > 0 && buffer_append(der, bytes, (size_t)size, NULL) == 0);
	OPENSSL_free(bytes);
}

static void add_signer(CMS_ContentInfo *cms, const struct identity *signer,
	const struct pki_signing *how, unsigned int flags)
{
	const EVP_MD *digest = how->digest ? how->digest : EVP_sha256();
	CMS_SignerInfo *info = CMS_add1_signer(cms, signer->certificate, signer->key, digest,
		flags | (how->pss ? CMS_KEY_PARAM : 0));

	must(info);
	if (how->pss)
		must(EVP_PKEY_CTX_set_rsa_padding(
			     CMS_SignerInfo_get0_pkey_ctx(info), RSA_PKCS1_PSS_PADDING)
			> 0);
}

void pki_sign(struct buffer *der, struct span content, const struct pki_signing *how)
{
	unsigned int flags = CMS_BINARY | CMS_PARTIAL | how->flags
			     | (how->embedded ? 0 : CMS_DETACHED);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
	BIO *bytes = BIO_new_mem_buf(content.data, (int)content.size);

	must(cms && bytes);
	add_signer(cms, how->signer, how, flags);
	if (how->second)
		add_signer(cms, how->second, how, flags);
	for (size_t i = 0; i < 4 && how->extra[i]; i++)
		must(CMS_add1_cert(cms, (X509 *)how->extra[i]));
	must(CMS_final(cms, bytes, NULL, flags));
	pki_add_message(der, cms);
	CMS_ContentInfo_free(cms);
	BIO_free(bytes);
}
