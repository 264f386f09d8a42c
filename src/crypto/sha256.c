/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/sha256.h"

#include <errno.h>
#include <stdlib.h>

#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/error.h"

struct sha256 {
	EVP_MD_CTX *context;
};

static int failed(struct error *error)
{
	return error_failed(error, ENOMEM, "OpenSSL could not compute a SHA-256");
}

int sha256_new(struct sha256 **ret, struct error *error)
{
	AUTO_SHA256 struct sha256 *hash = calloc(1, sizeof(*hash));

	if (!hash)
		return error_memory(error);
	hash->context = EVP_MD_CTX_new();
	if (!hash->context)
		return error_memory(error);
	if (EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1)
		return failed(error);
	*ret = TAKE(hash);
	return 0;
}

int sha256_reset(struct sha256 *hash, struct error *error)
{
	/* Without naming it again, OpenSSL does not look for it again: that shows with blocks. */
	return EVP_DigestInit_ex(hash->context, NULL, NULL) == 1 ? 0 : failed(error);
}

int sha256_update(struct sha256 *hash, const void *data, size_t size, struct error *error)
{
	return EVP_DigestUpdate(hash->context, data, size) == 1 ? 0 : failed(error);
}

int sha256_final(struct sha256 *hash, uint8_t ret[SHA256_SIZE], struct error *error)
{
	return EVP_DigestFinal_ex(hash->context, ret, NULL) == 1 ? 0 : failed(error);
}

void sha256_free(struct sha256 *hash)
{
	if (!hash)
		return;
	EVP_MD_CTX_free(hash->context);
	free(hash);
}

int sha256_of(const void *data, size_t size, uint8_t ret[SHA256_SIZE], struct error *error)
{
	return EVP_Digest(data, size, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : failed(error);
}
