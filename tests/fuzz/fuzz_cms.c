/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keyring, its CRLs, a content and a signature of it. The input begins with the sizes of the
 * first three (2 bytes each) and a byte of which bit 0 asks for the purpose.
 */
#include "crypto/cms.h"
#include "fuzz.h"

#include <errno.h>

#define HEADER 7
#define NOW    INT64_C(1800000000)

/* The next `size` bytes, or as many as there are. */
static struct span take(struct span *rest, size_t size)
{
	struct span taken = { rest->data, size < rest->size ? size : rest->size };

	*rest = (struct span){ rest->data + taken.size, rest->size - taken.size };
	return taken;
}

static bool verify(const struct keyring *keyring, struct span content, struct span signature,
	const struct cms_policy *policy, struct cms_signer *who)
{
	struct error error = { 0 };
	int r = cms_verify(keyring, content, signature, policy, who, &error);

	if (succeeded(r, &error))
		return true;
	must(r == -EKEYREJECTED && error.kind == ERROR_REFUSED);
	must(!who->subject);
	return false;
}

/* What holds for one content and one signature holds for no other. */
static void check_others(const struct keyring *keyring, struct span content, struct span signature,
	const struct cms_policy *policy)
{
	AUTO_BUFFER struct buffer longer = { 0 };
	AUTO_BUFFER struct buffer trailing = { 0 };
	struct cms_signer who = { 0 };

	must(buffer_append(&longer, content.data, content.size, NULL) == 0);
	must(buffer_append(&longer, "x", 1, NULL) == 0);
	must(!verify(keyring, span_of(&longer), signature, policy, &who));
	longer.size--;
	if (longer.size > 0) {
		longer.data[longer.size / 2] ^= 1;
		must(!verify(keyring, span_of(&longer), signature, policy, &who));
	}
	must(buffer_append(&trailing, signature.data, signature.size, NULL) == 0);
	must(buffer_append(&trailing, "x", 1, NULL) == 0);
	must(!verify(keyring, content, span_of(&trailing), policy, &who));
	must(!verify(keyring, content, signature, &(struct cms_policy){ .now = INT64_C(1) << 40 },
		&who));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_KEYRING struct keyring *keyring = NULL;
	AUTO_CMS_SIGNER struct cms_signer who = { 0 };
	struct cms_policy policy = { .now = NOW };
	struct span rest = { data, size }, header, certificates, crls, content;
	struct error error = { 0 };

	header = take(&rest, HEADER);
	if (header.size < HEADER)
		return 0;
	policy.check_purpose = header.data[6] & 1;
	certificates = take(&rest, le16(header.data));
	crls = take(&rest, le16(header.data + 2));
	content = take(&rest, le16(header.data + 4));
	if (!succeeded(keyring_new(certificates, &keyring, &error), &error)) {
		must(error.kind == ERROR_USAGE && !keyring);
		return 0;
	}
	if (crls.size > 0 && !succeeded(keyring_add_crls(keyring, crls, &error), &error)) {
		must(error.kind == ERROR_USAGE);
		return 0;
	}
	if (!verify(keyring, content, rest, &policy, &who))
		return 0;
	must(rest.size <= CMS_SIZE_MAX);
	must(*who.subject && is_printable(who.subject));
	must(strlen(who.fingerprint) == 64 && who.not_after >= NOW);
	check_others(keyring, content, rest, &policy);
	return 0;
}
