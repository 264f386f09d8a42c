/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/ui.h>

#include "base/error.h"
#include "base/text.h"
#include "crypto/cms.h"
#include "crypto/cms_private.h"

#define FLAGS (CMS_DETACHED | CMS_BINARY | CMS_NOSMIMECAP | CMS_PARTIAL)

DEFINE_CLEANUP(free_key, EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(free_store_info, OSSL_STORE_INFO *, OSSL_STORE_INFO_free)

static void close_store(OSSL_STORE_CTX **store)
{
	OSSL_STORE_close(*store);
}

#define unusable(error, ...) error_set(error, ERROR_USAGE, EINVAL, __VA_ARGS__)

/* PINs come from the URI (pin-source=): there is nobody to ask. */
static int read_token_key(const char *uri, EVP_PKEY **ret, struct error *error)
{
	CLEANUP(close_store)
	OSSL_STORE_CTX *store = OSSL_STORE_open(uri, UI_null(), NULL, NULL, NULL);

	if (!store)
		return unusable(error,
			"%s: OpenSSL has no provider that opens it (%s): install and configure "
			"a PKCS#11 provider",
			uri, cms_reason());
	OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY);
	while (!OSSL_STORE_eof(store)) {
		CLEANUP(free_store_info) OSSL_STORE_INFO *info = OSSL_STORE_load(store);

		if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY) {
			*ret = OSSL_STORE_INFO_get1_PKEY(info);
			return *ret ? 0 : error_memory(error);
		}
		if (!info && OSSL_STORE_error(store))
			break;
	}
	return unusable(error,
		"%s: it leads to no private key (%s): check the URI, and give the PIN in it", uri,
		cms_reason());
}

static int read_key(const char *key, EVP_PKEY **ret, struct error *error)
{
	AUTO_BIO BIO *file = NULL;

	if (text_starts_with(key, "pkcs11:"))
		return read_token_key(key, ret, error);
	file = BIO_new_file(key, "r");
	if (file)
		*ret = PEM_read_bio_PrivateKey(file, NULL, cms_no_passphrase, NULL);
	return *ret ? 0
		    : unusable(error,
			    "%s: no key can be read from it (%s): give a private key in PEM, "
			    "without passphrase",
			    key, cms_reason());
}

/*
 * *ret is what to embed, the signer's certificate first. Roots are left out: a receiver trusts none
 * of those that come along. So is what is there twice, which CMS does not take.
 */
static int read_chain(const char *path, cms_certificates **ret, struct error *error)
{
	AUTO_CERTIFICATES cms_certificates *all = sk_X509_new_null();
	AUTO_CERTIFICATES cms_certificates *chosen = sk_X509_new_null();
	AUTO_BIO BIO *file = BIO_new_file(path, "r");

	if (!all || !chosen)
		return error_memory(error);
	if (!file || !cms_read_certificates(file, all) || sk_X509_num(all) == 0)
		return unusable(error,
			"%s: no certificate can be read from it (%s): give the signer's "
			"certificate in PEM, then its intermediates",
			path, cms_reason());
	if (!X509_add_cert(chosen, sk_X509_value(all, 0), X509_ADD_FLAG_UP_REF)
		|| !X509_add_certs(chosen, all,
			X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP | X509_ADD_FLAG_NO_SS))
		return error_memory(error);
	*ret = TAKE(chosen);
	return 0;
}

static int check_key(EVP_PKEY *key, X509 *signer, const char *cert, struct error *error)
{
	char text[CMS_TEXT_SIZE];

	if (!cms_key_is_good(X509_get0_pubkey(signer), text))
		return unusable(error,
			"%s: the key of the certificate is too weak or unknown (%s): use RSA of "
			"2048 bits or more, or ECDSA of 256 bits or more",
			cert, text);
	if (X509_check_private_key(signer, key) != 1)
		return unusable(error,
			"%s: the first certificate does not belong to the key that signs: put the "
			"signer's first",
			cert);
	return 0;
}

/* As strong as the curve, as RFC 5753 advises. */
static const EVP_MD *digest_for(EVP_PKEY *key)
{
	int bits = EVP_PKEY_get_base_id(key) == EVP_PKEY_EC ? EVP_PKEY_get_bits(key) : 0;

	return bits > 384 ? EVP_sha512() : bits > 256 ? EVP_sha384() : EVP_sha256();
}

static int append_der(CMS_ContentInfo *cms, struct buffer *ret, struct error *error)
{
	int size = i2d_CMS_ContentInfo(cms, NULL);
	uint8_t *end;
	int r;

	if (size <= 0)
		return error_memory(error);
	if (size > (int)CMS_SIZE_MAX)
		return unusable(error,
			"the signature would have %d bytes, more than %u: give fewer intermediates",
			size, CMS_SIZE_MAX);
	r = buffer_reserve(ret, (size_t)size, error);
	if (r < 0)
		return r;
	end = ret->data + ret->size;
	ret->size += (size_t)i2d_CMS_ContentInfo(cms, &end);
	return 0;
}

static int make(struct span content, EVP_PKEY *key, cms_certificates *certificates,
	struct buffer *ret, struct error *error)
{
	AUTO_CMS CMS_ContentInfo *cms = CMS_sign(NULL, NULL, certificates, NULL, FLAGS);
	AUTO_BIO BIO *bytes = NULL;

	if (content.size > INT32_MAX)
		return unusable(error, "what is to be signed is too large");
	bytes = cms_reader(content);
	if (!cms || !bytes)
		return error_memory(error);
	if (!CMS_add1_signer(
		    cms, sk_X509_value(certificates, 0), key, digest_for(key), FLAGS | CMS_NOCERTS)
		|| CMS_final(cms, bytes, NULL, FLAGS) != 1)
		return unusable(error, "the key cannot sign (%s): try another one", cms_reason());
	return append_der(cms, ret, error);
}

int cms_sign(struct span content, const char *key, const char *cert, struct buffer *ret,
	struct error *error)
{
	CMS_ERRORS_STAY_HERE;
	CLEANUP(free_key) EVP_PKEY *private = NULL;
	AUTO_CERTIFICATES cms_certificates *certificates = NULL;
	int r;

	r = read_key(key, &private, error);
	if (r == 0)
		r = read_chain(cert, &certificates, error);
	if (r == 0)
		r = check_key(private, sk_X509_value(certificates, 0), cert, error);
	if (r == 0)
		r = make(content, private, certificates, ret, error);
	return r;
}
