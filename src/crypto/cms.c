/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/cms.h"

#include <errno.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/text.h"
#include "crypto/cms_private.h"

#define CHAIN_DEPTH_MAX 8 /* intermediates between signer and root */

/* 112 bits: no SHA-1 or MD5 under the certificates (the keys' own rule is in cms_key_is_good()). */
#define SECURITY_LEVEL 2

DEFINE_CLEANUP(free_store_context, X509_STORE_CTX *, X509_STORE_CTX_free)

#define refused(error, ...) error_set(error, ERROR_REFUSED, EKEYREJECTED, __VA_ARGS__)

#define SIGN_AGAIN "sign the bundle again"

void cms_signer_done(struct cms_signer *signer)
{
	free(signer->subject);
	*signer = (struct cms_signer){ 0 };
}

/* --- the message --- */

static int read_message(struct span signature, CMS_ContentInfo **ret, struct error *error)
{
	AUTO_CMS CMS_ContentInfo *cms = NULL;
	const uint8_t *end = signature.data;

	if (signature.size == 0)
		return refused(error, "the signature is empty: " SIGN_AGAIN);
	if (signature.size > CMS_SIZE_MAX)
		return refused(error, "the signature has %zu bytes, more than %u: " SIGN_AGAIN,
			signature.size, CMS_SIZE_MAX);
	cms = d2i_CMS_ContentInfo(NULL, &end, (long)signature.size);
	if (!cms)
		return refused(error, "the signature is no CMS message in DER: " SIGN_AGAIN
				      " (openssl cms -sign -binary -outform DER)");
	if (end != signature.data + signature.size)
		return refused(error, "bytes follow the signature at offset %zu: " SIGN_AGAIN,
			(size_t)(end - signature.data));
	*ret = TAKE(cms);
	return 0;
}

static int check_shape(CMS_ContentInfo *cms, struct error *error)
{
	ASN1_OCTET_STRING **content;
	int signers;

	if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
		return refused(error, "the signature is another kind of CMS message: " SIGN_AGAIN);
	content = CMS_get0_content(cms);
	if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data || !content)
		return refused(error, "the signature is not over plain data: " SIGN_AGAIN);
	if (*content)
		return refused(error,
			"the signature carries a content of its own: " SIGN_AGAIN ", detached");
	signers = sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms));
	if (signers < 1)
		return refused(error, "nobody signed: " SIGN_AGAIN);
	if (signers > 1)
		return refused(error, "%d signers signed: " SIGN_AGAIN " with one key", signers);
	return 0;
}

static int check_digest(CMS_SignerInfo *info, struct error *error)
{
	const ASN1_OBJECT *object;
	X509_ALGOR *algorithm;
	int digest;

	CMS_SignerInfo_get0_algs(info, NULL, NULL, &algorithm, NULL);
	X509_ALGOR_get0(&object, NULL, NULL, algorithm);
	digest = OBJ_obj2nid(object);
	if (digest == NID_sha256 || digest == NID_sha384 || digest == NID_sha512)
		return 0;
	return refused(error,
		"the signature is made with the digest %s: " SIGN_AGAIN " with SHA-256 or better",
		OBJ_nid2sn(digest));
}

/* *ret is borrowed of the message. */
static int find_signer(
	const struct keyring *keyring, CMS_ContentInfo *cms, X509 **ret, struct error *error)
{
	CMS_SignerInfo *info = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
	X509 *signer = NULL;
	int r = check_digest(info, error);

	if (r < 0)
		return r;
	if (CMS_set1_signers_certs(cms, keyring->certificates, 0) == 1)
		CMS_SignerInfo_get0_algs(info, NULL, &signer, NULL, NULL);
	if (!signer)
		return refused(error,
			"the signer's certificate is neither in the signature nor in the "
			"keyring: " SIGN_AGAIN " with the certificate included");
	*ret = signer;
	return 0;
}

/* --- trust --- */

static int check_key(X509 *certificate, const char *subject, struct error *error)
{
	char key[CMS_TEXT_SIZE];

	if (cms_key_is_good(X509_get0_pubkey(certificate), key))
		return 0;
	return refused(error,
		"the key of '%.300s' is too weak or unknown (%s): sign with RSA of 2048 bits or "
		"more, or ECDSA of 256 bits or more",
		subject, key);
}

static int64_t seconds_of(const ASN1_TIME *time)
{
	struct tm tm;

	return ASN1_TIME_to_tm(time, &tm) ? (int64_t)timegm(&tm) : 0;
}

static void write_time(int64_t time, char out[32])
{
	time_t seconds = (time_t)time;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(out, 32, "an unknown time");
}

static int wrong_time(
	X509 *certificate, const char *subject, bool early, int64_t now, struct error *error)
{
	const ASN1_TIME *limit = early ? X509_get0_notBefore(certificate)
				       : X509_get0_notAfter(certificate);
	char limit_text[32], now_text[32];

	write_time(seconds_of(limit), limit_text);
	write_time(now, now_text);
	return refused(error,
		"the certificate '%.300s' %s %s, and it is %s: set the clock if it is wrong, "
		"else " SIGN_AGAIN " with a certificate that is valid",
		subject, early ? "is valid only from" : "expired on", limit_text, now_text);
}

static int no_chain(
	int reason, X509 *certificate, const struct cms_policy *policy, struct error *error)
{
	AUTO_FREE char *subject = cms_subject(certificate);

	if (!subject)
		return error_memory(error);
	switch (reason) {
	case X509_V_ERR_OUT_OF_MEM:
		return error_memory(error);
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return wrong_time(certificate, subject, false, cms_policy_time(policy), error);
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return wrong_time(certificate, subject, true, cms_policy_time(policy), error);
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		return refused(error,
			"the certificate '%.300s' leads to no root of the keyring: " SIGN_AGAIN
			" with a key that the keyring trusts, or add its root to the keyring",
			subject);
	case X509_V_ERR_EE_KEY_TOO_SMALL:
	case X509_V_ERR_CA_KEY_TOO_SMALL:
		return check_key(certificate, subject, error);
	case X509_V_ERR_CA_MD_TOO_WEAK:
		return refused(error,
			"the certificate '%.300s' is signed with a weak digest: have it issued "
			"again with SHA-256 or better",
			subject);
	default:
		return refused(error,
			"the certificate '%.300s' cannot be trusted (%s): have it issued again",
			subject, X509_verify_cert_error_string(reason));
	}
}

/* Both the message and the keyring may hold what leads to a root. Not owned, but for the list. */
static cms_certificates *all_certificates(const struct keyring *keyring, CMS_ContentInfo *cms)
{
	AUTO_CERTIFICATES cms_certificates *list = CMS_get1_certs(cms);

	if (!list)
		list = sk_X509_new_null();
	if (!list || !X509_add_certs(list, keyring->certificates, X509_ADD_FLAG_UP_REF))
		return NULL;
	return TAKE(list);
}

static int build_chain(const struct keyring *keyring, CMS_ContentInfo *cms, X509 *signer,
	const struct cms_policy *policy, cms_certificates **ret, struct error *error)
{
	AUTO_CERTIFICATES cms_certificates *helpers = all_certificates(keyring, cms);
	CLEANUP(free_store_context) X509_STORE_CTX *context = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *rules;
	X509 *at_fault;

	if (!helpers || !context || !X509_STORE_CTX_init(context, keyring->roots, signer, helpers))
		return error_memory(error);
	rules = X509_STORE_CTX_get0_param(context);
	X509_VERIFY_PARAM_set_time(rules, (time_t)cms_policy_time(policy));
	X509_VERIFY_PARAM_set_depth(rules, CHAIN_DEPTH_MAX);
	X509_VERIFY_PARAM_set_auth_level(rules, SECURITY_LEVEL);
	if (X509_verify_cert(context) != 1) {
		at_fault = X509_STORE_CTX_get_current_cert(context);
		return no_chain(X509_STORE_CTX_get_error(context), at_fault ? at_fault : signer,
			policy, error);
	}
	*ret = X509_STORE_CTX_get1_chain(context);
	return *ret ? 0 : error_memory(error);
}

static bool is_revoked(const struct keyring *keyring, X509 *certificate)
{
	for (int i = 0; i < sk_X509_CRL_num(keyring->crls); i++) {
		X509_REVOKED *entry;

		/* 2: the CA took it back. */
		if (X509_CRL_get0_by_cert(sk_X509_CRL_value(keyring->crls, i), &entry, certificate)
			== 1)
			return true;
	}
	return false;
}

/* OpenSSL's level lets EC keys below 256 bits pass. */
static int check_chain(const struct keyring *keyring, cms_certificates *chain, struct error *error)
{
	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *certificate = sk_X509_value(chain, i);
		AUTO_FREE char *subject = cms_subject(certificate);
		int r;

		if (!subject)
			return error_memory(error);
		r = check_key(certificate, subject, error);
		if (r < 0)
			return r;
		if (is_revoked(keyring, certificate))
			return refused(error,
				"the certificate '%.300s' is revoked: " SIGN_AGAIN
				" with another one",
				subject);
	}
	return 0;
}

/* Both extensions have a say: without an extended key usage it was not issued for this. */
static int check_purpose(X509 *signer, const char *subject, struct error *error)
{
	if ((X509_get_extension_flags(signer) & EXFLAG_XKUSAGE)
		&& (X509_get_extended_key_usage(signer) & XKU_CODE_SIGN)
		&& (X509_get_key_usage(signer) & KU_DIGITAL_SIGNATURE))
		return 0;
	return refused(error,
		"the certificate '%.300s' is not meant for code signing: sign the bundle with one "
		"that is, or switch the check of the purpose off",
		subject);
}

static int check_trust(const struct keyring *keyring, CMS_ContentInfo *cms, X509 *signer,
	const struct cms_policy *policy, const char *subject, struct error *error)
{
	AUTO_CERTIFICATES cms_certificates *chain = NULL;
	int r;

	r = check_key(signer, subject, error);
	if (r == 0)
		r = build_chain(keyring, cms, signer, policy, &chain, error);
	if (r == 0)
		r = check_chain(keyring, chain, error);
	if (r == 0 && policy->check_purpose)
		r = check_purpose(signer, subject, error);
	return r;
}

/* --- the whole --- */

static int check_signature(
	CMS_ContentInfo *cms, struct span content, const char *subject, struct error *error)
{
	AUTO_BIO BIO *bytes = NULL, *reader = NULL;

	if (content.size > INT32_MAX)
		return refused(error, "what is signed is too large");
	bytes = cms_reader(content);
	/* OpenSSL copies a reader of memory, and loses the copy when it fails (3.0.19). */
	reader = BIO_new(BIO_f_null());
	if (!bytes || !reader)
		return error_memory(error);
	BIO_push(reader, bytes);
	/* The chain was judged before, by our rules. */
	if (CMS_verify(cms, NULL, NULL, reader, NULL, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) == 1)
		return 0;
	return refused(error,
		"the signature of '%.300s' does not fit what it is to sign (%s): the manifest was "
		"changed, or the signature belongs to another one",
		subject, cms_reason());
}

static int describe(X509 *signer, struct cms_signer *ret, struct error *error)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned int size;

	if (!X509_digest(signer, EVP_sha256(), digest, &size) || size != 32)
		return error_memory(error);
	text_hex(digest, 32, ret->fingerprint);
	ret->not_after = seconds_of(X509_get0_notAfter(signer));
	return 0;
}

int cms_verify(const struct keyring *keyring, struct span content, struct span signature,
	const struct cms_policy *policy, struct cms_signer *ret, struct error *error)
{
	CMS_ERRORS_STAY_HERE;
	AUTO_CMS_SIGNER struct cms_signer who = { 0 };
	AUTO_CMS CMS_ContentInfo *cms = NULL;
	X509 *signer = NULL;
	int r;

	r = read_message(signature, &cms, error);
	if (r == 0)
		r = check_shape(cms, error);
	if (r == 0)
		r = find_signer(keyring, cms, &signer, error);
	if (r < 0)
		return r;
	who.subject = cms_subject(signer);
	if (!who.subject)
		return error_memory(error);
	r = check_trust(keyring, cms, signer, policy, who.subject, error);
	if (r == 0)
		r = check_signature(cms, content, who.subject, error);
	if (r == 0)
		r = describe(signer, &who, error);
	if (r < 0)
		return r;
	*ret = who;
	who = (struct cms_signer){ 0 };
	return 0;
}
