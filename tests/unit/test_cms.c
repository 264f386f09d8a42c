/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "pki_fixture.h"

/* --- good --- */

static void test_keys(void **state)
{
	const struct pki *pki = *state;
	EVP_PKEY *const keys[] = { pki_share(pki->rsa), pki_rsa(3072), pki_ec("P-256"),
		pki_ec("P-384"), pki_ec("P-521") };
	const EVP_MD *const digests[] = { EVP_sha256(), EVP_sha384(), EVP_sha512() };

	for (size_t i = 0; i < COUNT(keys); i++) {
		struct identity signer = issue("Signer", &pki->root, keys[i]);

		for (size_t j = 0; j < COUNT(digests); j++)
			expect_good(pki->keyring,
				&(struct pki_signing){ .signer = &signer, .digest = digests[j] },
				&policy);
		pki_identity_done(&signer);
	}
}

static void test_pss(void **state)
{
	const struct pki *pki = *state;
	struct identity signer = issue("Signer", &pki->root, pki_share(pki->rsa));
	struct pki_signing how = { .signer = &signer, .pss = true };

	expect_good(pki->keyring, &how, &policy);
	how.digest = EVP_sha384();
	expect_good(pki->keyring, &how, &policy);
	how.digest = EVP_sha1();
	expect_refused(pki->keyring, &how, &policy, "digest SHA1");
	pki_identity_done(&signer);
}

/* An RSA root, and an intermediate that the message brings along. */
static void test_rsa_chain(void **state)
{
	const struct pki *pki = *state;
	struct identity root = issue_ca("RSA root", NULL, pki_share(pki->rsa));
	struct identity middle = issue_ca("RSA middle", &root, pki_share(pki->rsa));
	struct identity signer = issue("RSA signer", &middle, pki_share(pki->rsa));
	AUTO_BUFFER struct buffer pem = { 0 };
	AUTO_KEYRING struct keyring *keyring = NULL;

	pki_add_certificate(&pem, root.certificate);
	keyring = keyring_of(&pem, NULL);
	expect_good(keyring,
		&(struct pki_signing){ .signer = &signer, .extra = { middle.certificate } },
		&policy);
	expect_refused(keyring, &(struct pki_signing){ .signer = &signer }, &policy,
		"leads to no root of the keyring");
	pki_identity_done(&root);
	pki_identity_done(&middle);
	pki_identity_done(&signer);
}

static void test_who(void **state)
{
	const struct pki *pki = *state;
	AUTO_CMS_SIGNER struct cms_signer who = { 0 };
	struct identity odd = issue("J\u00f6rg\n\x1b[2J, O=x", &pki->root, NULL);
	AUTO_FREE uint8_t *der = NULL;
	uint8_t digest[32];
	char text[65];
	int size;

	assert_int_equal(verify_with(pki->keyring, &(struct pki_signing){ .signer = &pki->signer },
				 &policy, &who, NULL),
		0);
	assert_string_equal(who.subject, "CN=Signer");
	assert_int_equal(who.not_after, PKI_NOW + PKI_YEAR);
	size = i2d_X509(pki->signer.certificate, &der);
	assert_int_equal(sha256_of(der, (size_t)size, digest, NULL), 0);
	text_hex(digest, 32, text);
	assert_string_equal(who.fingerprint, text);
	cms_signer_done(&who);
	assert_null(who.subject);
	/* A name does not drive the terminal. */
	assert_int_equal(verify_with(pki->keyring, &(struct pki_signing){ .signer = &odd }, &policy,
				 &who, NULL),
		0);
	assert_string_equal(who.subject, "CN=J\\C3\\B6rg\\0A\\1B[2J\\, O=x");
	pki_identity_done(&odd);
}

/* Several roots, an intermediate in the keyring, a signer that is its own root. */
static void test_keyrings(void **state)
{
	const struct pki *pki = *state;
	AUTO_BUFFER struct buffer pem = { 0 };
	AUTO_KEYRING struct keyring *keyring = NULL;
	const struct identity *const good[] = { &pki->signer, &pki->by_other, &pki->deep,
		&pki->alone };

	assert_int_equal(buffer_append(&pem, "comment\n", 8, NULL), 0);
	pki_add_certificate(&pem, pki->intermediate.certificate);
	pki_add_certificate(&pem, pki->other_root.certificate);
	pki_add_certificate(&pem, pki->root.certificate);
	pki_add_certificate(&pem, pki->root.certificate);
	pki_add_certificate(&pem, pki->alone.certificate);
	keyring = keyring_of(&pem, NULL);
	for (size_t i = 0; i < COUNT(good); i++) {
		expect_good(keyring, &(struct pki_signing){ .signer = good[i] }, &policy);
		expect_good(keyring,
			&(struct pki_signing){
				.signer = good[i], .flags = CMS_USE_KEYID | CMS_NOATTR },
			&policy);
	}
	expect_refused(pki->keyring, &(struct pki_signing){ .signer = &pki->alone }, &policy,
		"'CN=Alone' leads to no root");
	expect_refused(pki->keyring, &(struct pki_signing){ .signer = &pki->by_other }, &policy,
		"'CN=Stranger' leads to no root");
	expect_refused(pki->keyring, &(struct pki_signing){ .signer = &pki->deep }, &policy,
		"'CN=Deep' leads to no root");
	/* The root that comes along is trusted by nobody. */
	expect_refused(pki->keyring,
		&(struct pki_signing){
			.signer = &pki->by_other, .extra = { pki->other_root.certificate } },
		&policy, "leads to no root");
}

/* The certificate may lie in the keyring instead of the message. */
static void test_signer_in_keyring(void **state)
{
	const struct pki *pki = *state;
	AUTO_BUFFER struct buffer pem = { 0 };
	AUTO_KEYRING struct keyring *keyring = NULL;
	struct pki_signing how = { .signer = &pki->signer, .flags = CMS_NOCERTS };

	expect_refused(pki->keyring, &how, &policy,
		"the signer's certificate is neither in the signature nor in the keyring");
	pki_add_certificate(&pem, pki->root.certificate);
	pki_add_certificate(&pem, pki->signer.certificate);
	keyring = keyring_of(&pem, NULL);
	expect_good(keyring, &how, &policy);
}

/* --- refused --- */

static void test_wrong_content(void **state)
{
	const struct pki *pki = *state;
	static const unsigned int flags[] = { 0, CMS_NOATTR };

	for (size_t i = 0; i < COUNT(flags); i++) {
		AUTO_BUFFER struct buffer der = { 0 };
		uint8_t other[64];

		pki_sign(&der, content,
			&(struct pki_signing){ .signer = &pki->signer, .flags = flags[i] });
		for (size_t j = 0; j <= content.size + 1; j++) {
			struct span changed = { other, content.size };
			struct cms_signer who = { 0 };
			struct error error = { 0 };
			int r;

			memcpy(other, content.data, content.size);
			other[content.size] = 'x';
			if (j < content.size)
				other[j] ^= 1;
			else
				changed.size += j == content.size ? 1 : -1;
			r = cms_verify(pki->keyring, changed, span_of(&der), &policy, &who, &error);
			check_refusal(r, &who, &error, "does not fit what it is to sign");
		}
	}
}

/* Signed by one who only says to be the signer. */
static void test_wrong_key(void **state)
{
	const struct pki *pki = *state;
	AUTO_BUFFER struct buffer der = { 0 };
	CMS_ContentInfo *cms;
	struct cms_signer who = { 0 };
	struct error error = { 0 };
	ASN1_OCTET_STRING *signature;
	const uint8_t *at;
	int r;

	pki_sign(&der, content, &(struct pki_signing){ .signer = &pki->signer });
	at = der.data;
	cms = d2i_CMS_ContentInfo(NULL, &at, (long)der.size);
	assert_non_null(cms);
	signature = CMS_SignerInfo_get0_signature(
		sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0));
	signature->data[signature->length - 1] ^= 1;
	der.size = 0;
	pki_add_message(&der, cms);
	CMS_ContentInfo_free(cms);
	r = cms_verify(pki->keyring, content, span_of(&der), &policy, &who, &error);
	check_refusal(r, &who, &error, "does not fit what it is to sign");
}

static void test_messages(void **state)
{
	const struct pki *pki = *state;
	const struct {
		struct pki_signing how;
		const char *says;
	} rows[] = {
		{ { .signer = &pki->signer, .embedded = true }, "carries a content of its own" },
		{ { .signer = &pki->signer, .second = &pki->by_other }, "2 signers signed" },
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		expect_refused(pki->keyring, &rows[i].how, &policy, rows[i].says);
}

static void refuse_message(const struct pki *pki, CMS_ContentInfo *cms, const char *says)
{
	AUTO_BUFFER struct buffer der = { 0 };
	struct cms_signer who = { 0 };
	struct error error = { 0 };
	int r;

	assert_non_null(cms);
	pki_add_message(&der, cms);
	CMS_ContentInfo_free(cms);
	r = cms_verify(pki->keyring, content, span_of(&der), &policy, &who, &error);
	check_refusal(r, &who, &error, says);
}

static void test_other_messages(void **state)
{
	const struct pki *pki = *state;
	BIO *bytes = BIO_new_mem_buf(content.data, (int)content.size);
	CMS_ContentInfo *cms;

	refuse_message(pki, CMS_data_create(bytes, CMS_BINARY), "another kind of CMS message");
	refuse_message(pki, CMS_digest_create(bytes, EVP_sha256(), CMS_BINARY),
		"another kind of CMS message");
	/* Certificates only. */
	cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_DETACHED);
	assert_true(CMS_add1_cert(cms, pki->signer.certificate));
	refuse_message(pki, cms, "nobody signed");
	/* A content that claims to be something else. */
	cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_DETACHED | CMS_BINARY);
	assert_true(CMS_set1_eContentType(cms, OBJ_nid2obj(NID_id_smime_ct_TSTInfo)));
	refuse_message(pki, cms, "not over plain data");
	BIO_free(bytes);
}

static void refuse_bytes(const struct pki *pki, struct span bytes, const char *says)
{
	struct cms_signer who = { 0 };
	struct error error = { 0 };
	int r = cms_verify(pki->keyring, content, bytes, &policy, &who, &error);

	check_refusal(r, &who, &error, says);
}

static void test_bytes(void **state)
{
	const struct pki *pki = *state;
	AUTO_BUFFER struct buffer der = { 0 };
	AUTO_BUFFER struct buffer large = { 0 };
	size_t size;

	pki_sign(&der, content, &(struct pki_signing){ .signer = &pki->signer });
	size = der.size;
	refuse_bytes(pki, (struct span){ 0 }, "is empty");
	refuse_bytes(pki, (struct span){ (const uint8_t *)"random bytes", 12 }, "no CMS message");
	refuse_bytes(pki, (struct span){ (const uint8_t *)"\x30\x80\0\0", 4 }, "no CMS message");
	for (size_t i = 1; i < size; i++) {
		AUTO_BUFFER struct buffer cut = { 0 };

		assert_int_equal(buffer_append(&cut, der.data, i, NULL), 0);
		refuse_bytes(pki, span_of(&cut), "no CMS message");
	}
	assert_int_equal(buffer_append(&der, "\0", 1, NULL), 0);
	refuse_bytes(pki, span_of(&der), "bytes follow the signature");
	assert_int_equal(buffer_append(&der, der.data, 4, NULL), 0);
	refuse_bytes(pki, span_of(&der), "bytes follow the signature");
	assert_int_equal(buffer_append(&large, NULL, CMS_SIZE_MAX + 1, NULL), 0);
	refuse_bytes(pki, span_of(&large), "65537 bytes, more than 65536");
}

/* One bit wrong, anywhere: never another verdict than refused, or the same signer. */
static void test_flipped(void **state)
{
	const struct pki *pki = *state;
	AUTO_BUFFER struct buffer der = { 0 };
	AUTO_CMS_SIGNER struct cms_signer good = { 0 };
	size_t refusals = 0;

	pki_sign(&der, content, &(struct pki_signing){ .signer = &pki->signer });
	assert_int_equal(cms_verify(pki->keyring, content, span_of(&der), &policy, &good, NULL), 0);
	for (size_t i = 0; i < der.size; i++) {
		AUTO_CMS_SIGNER struct cms_signer who = { 0 };
		struct error error = { 0 };
		int r;

		der.data[i] ^= (uint8_t)(1u << i % 8);
		r = cms_verify(pki->keyring, content, span_of(&der), &policy, &who, &error);
		if (r == 0)
			assert_string_equal(who.fingerprint, good.fingerprint);
		else
			assert_int_equal(r, -EKEYREJECTED);
		refusals += r != 0;
		der.data[i] ^= (uint8_t)(1u << i % 8);
	}
	assert_true(refusals > der.size * 9 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_pss),
		cmocka_unit_test(test_rsa_chain),
		cmocka_unit_test(test_who),
		cmocka_unit_test(test_keyrings),
		cmocka_unit_test(test_signer_in_keyring),
		cmocka_unit_test(test_wrong_content),
		cmocka_unit_test(test_wrong_key),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_other_messages),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_flipped),
	};

	return cmocka_run_group_tests_name("cms", tests, pki_set_up, pki_tear_down);
}
