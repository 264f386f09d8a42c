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
#include "pki_fixture.h"

static void test_time(void **state)
{
	const struct pki *pki = *state;
	const int64_t first = PKI_NOW - PKI_YEAR, last = PKI_NOW + PKI_YEAR;
	const struct {
		int64_t now, earliest;
		const char *says;
	} rows[] = {
		{ first, 0, NULL },
		{ last - 1, 0, NULL },
		{ first - 1, 0,
			"valid only from 2026-01-15 08:00:00 UTC, and it is 2026-01-15 "
			"07:59:59 UTC" },
		{ last + 1, 0, "expired on 2028-01-15 08:00:00 UTC" },
		/* A clock without battery: not before the running system was built. */
		{ 0, 0, "valid only from" },
		{ 0, PKI_NOW, NULL },
		{ -1, PKI_NOW, NULL },
		{ 0, first - 1, "valid only from" },
		{ 0, last + 1, "expired on" },
		{ last + 1, PKI_NOW, "expired on" },
		{ PKI_NOW, first - 1, NULL },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct cms_policy rules = { true, rows[i].now, rows[i].earliest };
		struct pki_signing how = { .signer = &pki->signer };

		if (rows[i].says)
			expect_refused(pki->keyring, &how, &rules, rows[i].says);
		else
			expect_good(pki->keyring, &how, &rules);
	}
}

/* An issuer that has expired takes all with it. */
static void test_issuer_time(void **state)
{
	const struct pki *pki = *state;
	struct identity old = pki_identity(&(struct pki_wish){
		.name = "Old CA", .issuer = &pki->root, .ca = true, .until = PKI_NOW - 1 });
	struct identity signer = issue("Signer", &old, NULL);

	expect_refused(pki->keyring,
		&(struct pki_signing){ .signer = &signer, .extra = { old.certificate } }, &policy,
		"'CN=Old CA' expired on 2027-01-15 07:59:59 UTC");
	pki_identity_done(&old);
	pki_identity_done(&signer);
}

static void test_purpose(void **state)
{
	const struct pki *pki = *state;
	static const struct {
		const char *key_usage, *purpose;
		bool good;
	} rows[] = {
		{ "digitalSignature", "codeSigning", true },
		{ NULL, "codeSigning", true },
		{ NULL, "serverAuth,codeSigning", true },
		{ "digitalSignature,keyAgreement", "codeSigning", true },
		{ "digitalSignature", NULL, false },
		{ NULL, NULL, false },
		{ "digitalSignature", "serverAuth", false },
		{ "digitalSignature", "emailProtection,clientAuth", false },
		{ "digitalSignature", "anyExtendedKeyUsage", false },
		{ "keyEncipherment", "codeSigning", false },
	};
	struct cms_policy any = { .now = PKI_NOW };

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct identity signer = pki_identity(&(struct pki_wish){ .name = "Signer",
			.issuer = &pki->root,
			.key_usage = rows[i].key_usage,
			.purpose = rows[i].purpose });
		struct pki_signing how = { .signer = &signer };

		expect_good(pki->keyring, &how, &any);
		if (rows[i].good)
			expect_good(pki->keyring, &how, &policy);
		else
			expect_refused(pki->keyring, &how, &policy,
				"'CN=Signer' is not meant for code signing");
		pki_identity_done(&signer);
	}
}

static void test_weak_keys(void **state)
{
	const struct pki *pki = *state;
	EVP_PKEY *const keys[] = { pki_rsa(1024), pki_ec("P-192"), pki_ec("P-224") };
	static const char *const says[] = { "(RSA with 1024 bits)", "(EC with 192 bits)",
		"(EC with 224 bits)" };

	for (size_t i = 0; i < COUNT(keys); i++) {
		struct identity weak = issue("Weak", &pki->root, keys[i]);

		expect_refused(
			pki->keyring, &(struct pki_signing){ .signer = &weak }, &policy, says[i]);
		pki_identity_done(&weak);
	}
}

/* A good key under a weak one. */
static void test_weak_issuers(void **state)
{
	const struct pki *pki = *state;
	EVP_PKEY *const keys[] = { pki_rsa(1024), pki_ec("P-192"), pki_ec("P-224") };

	for (size_t i = 0; i < COUNT(keys); i++) {
		struct identity weak = issue_ca("Weak CA", &pki->root, keys[i]);
		struct identity signer = issue("Signer", &weak, NULL);

		expect_refused(pki->keyring,
			&(struct pki_signing){ .signer = &signer, .extra = { weak.certificate } },
			&policy, "the key of 'CN=Weak CA' is too weak");
		pki_identity_done(&weak);
		pki_identity_done(&signer);
	}
}

/* RSA throughout: there is no ECDSA with MD5. */
static void test_weak_digests(void **state)
{
	const struct pki *pki = *state;
	const EVP_MD *const digests[] = { EVP_sha1(), EVP_md5(), EVP_sha224() };
	static const char *const says[] = { "digest SHA1", "digest MD5", "digest SHA224" };
	struct identity root = issue_ca("RSA root", NULL, pki_share(pki->rsa));
	struct identity good = issue("Good", &root, pki_share(pki->rsa));
	AUTO_BUFFER struct buffer pem = { 0 };
	AUTO_KEYRING struct keyring *keyring = NULL;

	pki_add_certificate(&pem, root.certificate);
	keyring = keyring_of(&pem, NULL);
	for (size_t i = 0; i < COUNT(digests); i++) {
		struct identity signer = pki_identity(&(struct pki_wish){ .name = "Signer",
			.issuer = &root,
			.purpose = "codeSigning",
			.digest = digests[i] });

		expect_refused(keyring,
			&(struct pki_signing){ .signer = &good, .digest = digests[i] }, &policy,
			says[i]);
		if (i < 2)
			expect_refused(keyring, &(struct pki_signing){ .signer = &signer }, &policy,
				"'CN=Signer' is signed with a weak digest");
		else /* 112 bits do for a certificate */
			expect_good(keyring, &(struct pki_signing){ .signer = &signer }, &policy);
		pki_identity_done(&signer);
	}
	pki_identity_done(&root);
	pki_identity_done(&good);
}

/* OpenSSL 3.0 signs no CMS with such a key, but a certificate of the signer's number can have it.
 */
static void test_other_keys(void **state)
{
	const struct pki *pki = *state;
	struct identity odd = pki_identity(&(struct pki_wish){ .name = "Odd",
		.issuer = &pki->root,
		.key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"),
		.purpose = "codeSigning" });

	assert_true(X509_set_serialNumber(
		odd.certificate, (ASN1_INTEGER *)X509_get0_serialNumber(pki->signer.certificate)));
	assert_true(X509_sign(odd.certificate, pki->root.key, EVP_sha256()));
	expect_refused(pki->keyring,
		&(struct pki_signing){ .signer = &pki->signer,
			.flags = CMS_NOCERTS,
			.extra = { odd.certificate } },
		&policy, "the key of 'CN=Odd' is too weak or unknown (ED25519");
	pki_identity_done(&odd);
}

/* Who is no CA issues nothing, and a limit of the path's length holds. */
static void test_no_ca(void **state)
{
	const struct pki *pki = *state;
	struct identity below = issue("Below", &pki->signer, NULL);
	struct identity last = pki_identity(&(struct pki_wish){
		.name = "Last CA", .issuer = &pki->root, .ca = true, .path_length = "0" });
	struct identity further = issue_ca("Further CA", &last, NULL);
	struct identity signer = issue("Signer", &further, NULL);

	expect_refused(pki->keyring,
		&(struct pki_signing){ .signer = &below, .extra = { pki->signer.certificate } },
		&policy, "cannot be trusted");
	expect_refused(pki->keyring,
		&(struct pki_signing){
			.signer = &signer, .extra = { last.certificate, further.certificate } },
		&policy, "cannot be trusted");
	pki_identity_done(&below);
	pki_identity_done(&last);
	pki_identity_done(&further);
	pki_identity_done(&signer);
}

/* Eight intermediates between signer and root, and no more. */
static void test_long_chain(void **state)
{
	const struct pki *pki = *state;
	struct identity chain[9] = { 0 };
	const struct identity *issuer = &pki->root;
	AUTO_BUFFER struct buffer pem = { 0 };

	pki_add_certificate(&pem, pki->root.certificate);
	for (size_t i = 0; i < COUNT(chain); i++) {
		AUTO_KEYRING struct keyring *keyring = NULL;
		AUTO_FREE char *name = text_format("CA %zu", i + 1);
		struct identity signer;

		chain[i] = issue_ca(name, issuer, NULL);
		issuer = &chain[i];
		signer = issue("Signer", issuer, NULL);
		pki_add_certificate(&pem, issuer->certificate);
		keyring = keyring_of(&pem, NULL);
		if (i + 1 < COUNT(chain))
			expect_good(keyring, &(struct pki_signing){ .signer = &signer }, &policy);
		else
			expect_refused(keyring, &(struct pki_signing){ .signer = &signer }, &policy,
				"chain too long");
		pki_identity_done(&signer);
	}
	for (size_t i = 0; i < COUNT(chain); i++)
		pki_identity_done(&chain[i]);
}

/* A root of the right name with another key. */
static void test_forged_issuer(void **state)
{
	const struct pki *pki = *state;
	struct identity forged = issue_ca("Root", NULL, NULL);
	struct identity signer = issue("Signer", &forged, NULL);
	struct cms_signer who = { 0 };
	struct error error = { 0 };

	assert_int_equal(
		verify_with(pki->keyring,
			&(struct pki_signing){ .signer = &signer, .extra = { forged.certificate } },
			&policy, &who, &error),
		-EKEYREJECTED);
	assert_int_equal(error.kind, ERROR_REFUSED);
	pki_identity_done(&forged);
	pki_identity_done(&signer);
}

/* --- revocation --- */

static void test_revoked(void **state)
{
	const struct pki *pki = *state;
	const struct {
		const struct identity *issuer;
		const X509 *revoked;
		int64_t from, until;
		const char *signer, *deep; /* who is named as revoked; NULL: good */
	} rows[] = {
		{ &pki->root, NULL, PKI_NOW - 9, PKI_NOW + 9, NULL, NULL },
		{ &pki->root, pki->signer.certificate, PKI_NOW - 9, PKI_NOW + 9, "CN=Signer",
			NULL },
		{ &pki->root, pki->intermediate.certificate, PKI_NOW - 9, PKI_NOW + 9, NULL,
			"CN=Intermediate" },
		{ &pki->intermediate, pki->deep.certificate, PKI_NOW - 9, PKI_NOW + 9, NULL,
			"CN=Deep" },
		/* A CRL out of its time still says who was revoked, and nothing else. */
		{ &pki->root, pki->signer.certificate, PKI_NOW - 9, PKI_NOW - 1, "CN=Signer",
			NULL },
		{ &pki->root, pki->signer.certificate, PKI_NOW + 1, PKI_NOW + 9, "CN=Signer",
			NULL },
		{ &pki->root, NULL, PKI_NOW - 9, PKI_NOW - 1, NULL, NULL },
		/* Numbers are the issuer's own. */
		{ &pki->intermediate, pki->signer.certificate, PKI_NOW - 9, PKI_NOW + 9, NULL,
			NULL },
		{ &pki->root, pki->root.certificate, PKI_NOW - 9, PKI_NOW + 9, "CN=Root",
			"CN=Root" },
	};
	AUTO_BUFFER struct buffer pem = { 0 };

	pki_add_certificate(&pem, pki->root.certificate);
	pki_add_certificate(&pem, pki->intermediate.certificate);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct identity *const who[] = { &pki->signer, &pki->deep };
		const char *const says[] = { rows[i].signer, rows[i].deep };
		AUTO_BUFFER struct buffer crls = { 0 };
		AUTO_KEYRING struct keyring *keyring = NULL;

		pki_add_crl(&crls, rows[i].issuer, rows[i].revoked, rows[i].from, rows[i].until);
		keyring = keyring_of(&pem, &crls);
		for (size_t j = 0; j < 2; j++) {
			AUTO_FREE char *text = text_format(
				"'%s' is revoked", says[j] ? says[j] : "");
			struct pki_signing how = { .signer = who[j] };

			if (says[j])
				expect_refused(keyring, &how, &policy, text);
			else
				expect_good(keyring, &how, &policy);
		}
	}
}

/* Each of several lists counts; those that the message brings along do not. */
static void test_several_crls(void **state)
{
	const struct pki *pki = *state;
	AUTO_BUFFER struct buffer crls = { 0 };
	AUTO_KEYRING struct keyring *keyring = NULL;

	pki_add_crl(&crls, &pki->root, NULL, PKI_NOW - 9, PKI_NOW + 9);
	pki_add_crl(&crls, &pki->root, pki->signer.certificate, PKI_NOW - 99, PKI_NOW - 9);
	keyring = keyring_of(&pki->pem, &crls);
	expect_refused(keyring, &(struct pki_signing){ .signer = &pki->signer }, &policy,
		"'CN=Signer' is revoked");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_issuer_time),
		cmocka_unit_test(test_purpose),
		cmocka_unit_test(test_weak_keys),
		cmocka_unit_test(test_weak_issuers),
		cmocka_unit_test(test_weak_digests),
		cmocka_unit_test(test_other_keys),
		cmocka_unit_test(test_no_ca),
		cmocka_unit_test(test_long_chain),
		cmocka_unit_test(test_forged_issuer),
		cmocka_unit_test(test_revoked),
		cmocka_unit_test(test_several_crls),
	};

	return cmocka_run_group_tests_name("cms_trust", tests, pki_set_up, pki_tear_down);
}
