/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "pki_fixture.h"

/* --- keyrings that cannot be used --- */

static void check_unusable(int r, const struct error *error, const char *says)
{
	assert_int_equal(r, -EINVAL);
	assert_int_equal(error->kind, ERROR_USAGE);
	if (!strstr(error->text, says))
		fail_msg("'%s' does not say '%s'", error->text, says);
	assert_int_equal(ERR_peek_error(), 0);
}

static void expect_unusable(struct span certificates, const char *says)
{
	struct keyring *keyring = NULL;
	struct error error = { 0 };

	check_unusable(keyring_new(certificates, &keyring, &error), &error, says);
	assert_null(keyring);
}

static void expect_bad_crls(const struct pki *pki, struct span crls, const char *says)
{
	AUTO_KEYRING struct keyring *keyring = keyring_of(&pki->pem, NULL);
	struct error error = { 0 };

	check_unusable(keyring_add_crls(keyring, crls, &error), &error, says);
}

static void test_bad_keyrings(void **state)
{
	const struct pki *pki = *state;
	const struct span none = { 0 };
	AUTO_BUFFER struct buffer pem = { 0 };
	AUTO_BUFFER struct buffer crl = { 0 };
	AUTO_BUFFER struct buffer large = { 0 };

	expect_unusable(none, "holds no certificate");
	expect_unusable((struct span){ (const uint8_t *)"hello\n", 6 }, "no certificate");
	pki_add_key(&pem, pki->root.key, NULL);
	expect_unusable(span_of(&pem), "holds no certificate");
	pki_add_certificate(&pem, pki->intermediate.certificate);
	expect_unusable(span_of(&pem), "holds no root certificate");
	pki_add_certificate(&pem, pki->root.certificate);
	pem.size -= 40; /* the last block is cut */
	expect_unusable(span_of(&pem), "holds a damaged certificate");
	pem.size = 0;
	pki_add_certificate(&pem, pki->root.certificate);
	pki_add_certificate(&pem, pki->root.certificate);
	pem.data[100] = '!';
	expect_unusable(span_of(&pem), "holds a damaged certificate");
	assert_int_equal(buffer_append(&large, NULL, KEYRING_SIZE_MAX + 1, NULL), 0);
	expect_unusable(span_of(&large), "more than 4 MiB");
	expect_bad_crls(pki, span_of(&large), "more than 4 MiB");
	expect_bad_crls(pki, none, "holds no CRL");
	expect_bad_crls(pki, span_of(&pki->pem), "holds no CRL");
	pki_add_crl(&crl, &pki->other_root, NULL, PKI_NOW, PKI_NOW + 1);
	expect_bad_crls(pki, span_of(&crl), "no certificate of the keyring signed");
	crl.size = 0;
	/* The right name, another key. */
	pki_add_crl(&crl, &(struct identity){ pki->signer.key, pki->root.certificate }, NULL,
		PKI_NOW, PKI_NOW + 1);
	expect_bad_crls(pki, span_of(&crl), "no certificate of the keyring signed");
	crl.size = 0;
	pki_add_crl(&crl, &pki->root, NULL, PKI_NOW, PKI_NOW + 1);
	crl.size -= 10;
	expect_bad_crls(pki, span_of(&crl), "holds a damaged CRL");
	keyring_free(NULL);
}

/* --- signing --- */

/* A file that only this process has. */
struct scratch {
	int fd;
	char path[32];
};

static struct scratch scratch_of(const struct buffer *bytes)
{
	struct scratch scratch = { .fd = memfd_create("pem", MFD_CLOEXEC) };

	assert_true(scratch.fd >= 0);
	assert_int_equal(write(scratch.fd, bytes->data, bytes->size), bytes->size);
	snprintf(scratch.path, sizeof(scratch.path), "/proc/self/fd/%d", scratch.fd);
	return scratch;
}

static void scratch_done(struct scratch *scratch)
{
	close(scratch->fd);
}

#define AUTO_SCRATCH CLEANUP(scratch_done)

static int sign_with(
	const struct identity *signer, const X509 *more[4], struct buffer *out, struct error *error)
{
	AUTO_BUFFER struct buffer key_pem = { 0 };
	AUTO_BUFFER struct buffer cert_pem = { 0 };

	pki_add_key(&key_pem, signer->key, NULL);
	pki_add_certificate(&cert_pem, signer->certificate);
	for (size_t i = 0; i < 4 && more[i]; i++)
		pki_add_certificate(&cert_pem, more[i]);
	AUTO_SCRATCH struct scratch key = scratch_of(&key_pem);
	AUTO_SCRATCH struct scratch cert = scratch_of(&cert_pem);
	return cms_sign(content, key.path, cert.path, out, error);
}

static void test_sign(void **state)
{
	const struct pki *pki = *state;
	const X509 *none[4] = { 0 };
	EVP_PKEY *const keys[] = { pki_share(pki->rsa), pki_ec("P-256"), pki_ec("P-384"),
		pki_ec("P-521") };
	static const int digests[] = { NID_sha256, NID_sha256, NID_sha384, NID_sha512 };

	for (size_t i = 0; i < COUNT(keys); i++) {
		struct identity signer = issue("Signer", &pki->root, keys[i]);
		AUTO_BUFFER struct buffer der = { 0 };
		AUTO_CMS_SIGNER struct cms_signer who = { 0 };
		const uint8_t *at;
		CMS_ContentInfo *cms;
		X509_ALGOR *digest;

		assert_int_equal(buffer_append(&der, "x", 1, NULL), 0);
		assert_int_equal(sign_with(&signer, none, &der, NULL), 0);
		assert_int_equal(
			cms_verify(pki->keyring, content,
				(struct span){ der.data + 1, der.size - 1 }, &policy, &who, NULL),
			0);
		at = der.data + 1;
		cms = d2i_CMS_ContentInfo(NULL, &at, (long)der.size - 1);
		CMS_SignerInfo_get0_algs(sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0),
			NULL, NULL, &digest, NULL);
		assert_int_equal(OBJ_obj2nid(digest->algorithm), digests[i]);
		CMS_ContentInfo_free(cms);
		pki_identity_done(&signer);
	}
}

/* Intermediates go along, once; roots do not. */
static void test_sign_chain(void **state)
{
	const struct pki *pki = *state;
	const X509 *more[4] = { pki->root.certificate, pki->intermediate.certificate,
		pki->intermediate.certificate, pki->deep.certificate };
	AUTO_BUFFER struct buffer der = { 0 };
	AUTO_CMS_SIGNER struct cms_signer who = { 0 };
	struct stack_st_X509 *embedded;
	CMS_ContentInfo *cms;
	const uint8_t *at;

	assert_int_equal(sign_with(&pki->deep, more, &der, NULL), 0);
	assert_int_equal(cms_verify(pki->keyring, content, span_of(&der), &policy, &who, NULL), 0);
	assert_string_equal(who.subject, "CN=Deep");
	at = der.data;
	cms = d2i_CMS_ContentInfo(NULL, &at, (long)der.size);
	embedded = CMS_get1_certs(cms);
	assert_int_equal(sk_X509_num(embedded), 2);
	sk_X509_pop_free(embedded, X509_free);
	CMS_ContentInfo_free(cms);
}

static void expect_unsigned(const char *key, const char *cert, const char *says)
{
	AUTO_BUFFER struct buffer der = { 0 };
	struct error error = { 0 };

	assert_int_equal(cms_sign(content, key, cert, &der, &error), -EINVAL);
	assert_int_equal(error.kind, ERROR_USAGE);
	if (!strstr(error.text, says))
		fail_msg("'%s' does not say '%s'", error.text, says);
	assert_int_equal(der.size, 0);
	assert_int_equal(ERR_peek_error(), 0);
}

static void test_sign_refuses(void **state)
{
	const struct pki *pki = *state;
	struct identity weak = issue("Weak", &pki->root, pki_rsa(1024));
	AUTO_BUFFER struct buffer key_pem = { 0 };
	AUTO_BUFFER struct buffer locked_pem = { 0 };
	AUTO_BUFFER struct buffer weak_key_pem = { 0 };
	AUTO_BUFFER struct buffer cert_pem = { 0 };
	AUTO_BUFFER struct buffer weak_pem = { 0 };
	AUTO_BUFFER struct buffer many_pem = { 0 };

	pki_add_key(&key_pem, pki->signer.key, NULL);
	pki_add_key(&locked_pem, pki->signer.key, "secret");
	pki_add_key(&weak_key_pem, weak.key, NULL);
	pki_add_certificate(&cert_pem, pki->signer.certificate);
	pki_add_certificate(&weak_pem, weak.certificate);
	pki_add_certificate(&many_pem, pki->signer.certificate);
	for (int i = 0; i < 200; i++) {
		struct identity other = issue(
			"Intermediate", &pki->root, pki_share(pki->signer.key));

		pki_add_certificate(&many_pem, other.certificate);
		pki_identity_done(&other);
	}
	AUTO_SCRATCH struct scratch key = scratch_of(&key_pem);
	AUTO_SCRATCH struct scratch cert = scratch_of(&cert_pem);
	AUTO_SCRATCH struct scratch locked = scratch_of(&locked_pem);
	AUTO_SCRATCH struct scratch weak_key = scratch_of(&weak_key_pem);
	AUTO_SCRATCH struct scratch weak_cert = scratch_of(&weak_pem);
	AUTO_SCRATCH struct scratch many = scratch_of(&many_pem);
	AUTO_SCRATCH struct scratch cut = scratch_of(
		&(struct buffer){ .data = cert_pem.data, .size = cert_pem.size - 40 });

	expect_unsigned("/nonexistent", cert.path, "/nonexistent: no key can be read");
	expect_unsigned(cert.path, cert.path, "no key can be read");
	expect_unsigned(locked.path, cert.path, "without passphrase");
	expect_unsigned(key.path, "/nonexistent", "/nonexistent: no certificate can be read");
	expect_unsigned(key.path, key.path, "no certificate can be read");
	expect_unsigned(key.path, cut.path, "no certificate can be read");
	expect_unsigned(key.path, weak_cert.path, "too weak or unknown (RSA with 1024 bits)");
	expect_unsigned(weak_key.path, cert.path, "does not belong to the key");
	expect_unsigned(weak_key.path, weak_cert.path, "too weak");
	expect_unsigned("pkcs11:token=t;object=o", cert.path, "no provider that opens it");
	expect_unsigned(key.path, many.path, "more than 65536");
	pki_identity_done(&weak);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_keyrings),
		cmocka_unit_test(test_sign),
		cmocka_unit_test(test_sign_chain),
		cmocka_unit_test(test_sign_refuses),
	};

	return cmocka_run_group_tests_name("cms_sign", tests, pki_set_up, pki_tear_down);
}
