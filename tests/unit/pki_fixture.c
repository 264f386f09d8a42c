/* SPDX-License-Identifier: Apache-2.0 */
#include "pki_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static const uint8_t content_bytes[] = "{\"format\": 1}\n\r\n\n\0 and \xff";
const struct span content = { content_bytes, sizeof(content_bytes) };

const struct cms_policy policy = { .check_purpose = true, .now = PKI_NOW };

EVP_PKEY *pki_share(EVP_PKEY *key)
{
	assert_true(EVP_PKEY_up_ref(key));
	return key;
}

struct identity issue(const char *name, const struct identity *issuer, EVP_PKEY *key)
{
	return pki_identity(&(struct pki_wish){ .name = name,
		.issuer = issuer,
		.key = key,
		.key_usage = "digitalSignature",
		.purpose = "codeSigning" });
}

struct identity issue_ca(const char *name, const struct identity *issuer, EVP_PKEY *key)
{
	return pki_identity(&(struct pki_wish){ .name = name,
		.issuer = issuer,
		.key = key,
		.ca = true,
		.key_usage = "keyCertSign,cRLSign" });
}

int pki_set_up(void **state)
{
	struct pki *pki = calloc(1, sizeof(*pki));

	assert_non_null(pki);
	pki->root = issue_ca("Root", NULL, NULL);
	pki->other_root = issue_ca("Other Root", NULL, NULL);
	pki->intermediate = issue_ca("Intermediate", &pki->root, NULL);
	pki->signer = issue("Signer", &pki->root, NULL);
	pki->by_other = issue("Stranger", &pki->other_root, NULL);
	pki->deep = issue("Deep", &pki->intermediate, NULL);
	pki->alone = issue("Alone", NULL, NULL);
	pki->rsa = pki_rsa(2048);
	pki_add_certificate(&pki->pem, pki->root.certificate);
	*state = pki;
	return keyring_new(span_of(&pki->pem), &pki->keyring, NULL);
}

int pki_tear_down(void **state)
{
	struct pki *pki = *state;

	pki_identity_done(&pki->root);
	pki_identity_done(&pki->other_root);
	pki_identity_done(&pki->intermediate);
	pki_identity_done(&pki->signer);
	pki_identity_done(&pki->by_other);
	pki_identity_done(&pki->deep);
	pki_identity_done(&pki->alone);
	EVP_PKEY_free(pki->rsa);
	buffer_done(&pki->pem);
	keyring_free(pki->keyring);
	free(pki);
	return 0;
}

int verify_with(const struct keyring *keyring, const struct pki_signing *how,
	const struct cms_policy *rules, struct cms_signer *ret, struct error *error)
{
	AUTO_BUFFER struct buffer der = { 0 };

	pki_sign(&der, content, how);
	return cms_verify(keyring, content, span_of(&der), rules, ret, error);
}

void expect_good(const struct keyring *keyring, const struct pki_signing *how,
	const struct cms_policy *rules)
{
	AUTO_CMS_SIGNER struct cms_signer who = { 0 };
	struct error error = { 0 };

	if (verify_with(keyring, how, rules, &who, &error) != 0)
		fail_msg("%s", error.text);
	assert_non_null(who.subject);
	assert_int_equal(ERR_peek_error(), 0);
}

void check_refusal(int r, const struct cms_signer *who, const struct error *error, const char *says)
{
	if (r != -EKEYREJECTED || error->kind != ERROR_REFUSED || !strstr(error->text, says))
		fail_msg("%d '%s' does not say '%s'", r, error->text, says);
	assert_non_null(strchr(error->text, ':'));
	assert_null(strchr(error->text, '\n'));
	assert_null(who->subject);
	assert_int_equal(ERR_peek_error(), 0);
}

void expect_refused(const struct keyring *keyring, const struct pki_signing *how,
	const struct cms_policy *rules, const char *says)
{
	struct cms_signer who = { 0 };
	struct error error = { 0 };
	int r = verify_with(keyring, how, rules, &who, &error);

	check_refusal(r, &who, &error, says);
}

struct keyring *keyring_of(const struct buffer *certificates, const struct buffer *crls)
{
	struct keyring *keyring = NULL;
	struct error error = { 0 };

	if (keyring_new(span_of(certificates), &keyring, &error) != 0
		|| (crls && keyring_add_crls(keyring, span_of(crls), &error) != 0))
		fail_msg("%s", error.text);
	return keyring;
}
