/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <bistable/bistable.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "format/zip.h"
#include "maker/head.h"

DEFINE_CLEANUP(bundle_freep, struct bistable_bundle *, bistable_bundle_free)

static int duplicate(const char *text, char **ret, struct error *error)
{
	if (!text)
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : error_memory(error);
}

static int fill_texts(
	const struct manifest *manifest, struct bistable_bundle *bundle, struct error *error)
{
	struct text_list requires = { 0 };
	int r;

	r = duplicate(manifest->compatible, &bundle->compatible, error);
	if (r == 0)
		r = duplicate(manifest->architecture, &bundle->architecture, error);
	if (r == 0)
		r = duplicate(manifest->version, &bundle->version, error);
	if (r == 0)
		r = duplicate(manifest->description, &bundle->description, error);
	for (size_t i = 0; r == 0 && i < manifest->requires.count; i++)
		r = text_list_add(&requires, error, "%s", manifest->requires.items[i]);
	bundle->requires = requires.items;
	bundle->require_count = requires.count;
	return r;
}

static int fill_payload(const struct manifest_payload *from, const struct chunkmap *map,
	struct bistable_bundle_payload *to, struct error *error)
{
	int r;

	_Static_assert(sizeof(to->root_hash) == sizeof(from->root_hash), "same field");
	to->size = from->size;
	to->compressed = map->compressed_size;
	to->chunk_size = from->chunk_size;
	to->chunk_count = map->chunk_count;
	to->slot = from->slot == SLOT_NONE ? 0 : slot_letter(from->slot);
	to->optional = from->optional;
	text_hex(from->sha256, SHA256_SIZE, to->sha256);
	memcpy(to->root_hash, from->root_hash, sizeof(to->root_hash));
	r = duplicate(from->role, &to->role, error);
	return r < 0 ? r : duplicate(from->name, &to->name, error);
}

static int fill_signer(
	const struct cms_signer *signer, struct bistable_bundle *bundle, struct error *error)
{
	_Static_assert(sizeof(bundle->signer_sha256) == sizeof(signer->fingerprint), "same field");
	memcpy(bundle->signer_sha256, signer->fingerprint, sizeof(signer->fingerprint));
	bundle->signer_not_after = signer->not_after;
	return duplicate(signer->subject, &bundle->signer, error);
}

static const char *compression_of(uint16_t method)
{
	switch (method) {
	case ZIP_METHOD_ZSTD:
		return bistable_compression_name(BISTABLE_COMPRESS_ZSTD);
	case ZIP_METHOD_DEFLATE:
		return bistable_compression_name(BISTABLE_COMPRESS_DEFLATE);
	case ZIP_METHOD_STORED:
		return bistable_compression_name(BISTABLE_COMPRESS_NONE);
	default:
		return "unknown";
	}
}

int head_describe(
	const struct head *head, uint64_t size, struct bistable_bundle **ret, struct error *error)
{
	CLEANUP(bundle_freep) struct bistable_bundle *bundle = calloc(1, sizeof(*bundle));
	const struct manifest *manifest = &head->manifest;
	int r;

	if (!bundle)
		return error_memory(error);
	bundle->payloads = calloc(manifest->payload_count + 1, sizeof(*bundle->payloads));
	if (!bundle->payloads)
		return error_memory(error);
	bundle->epoch = manifest->epoch;
	bundle->created = manifest->created;
	bundle->not_after = manifest->not_after;
	bundle->compression = compression_of(head->method);
	bundle->size = size;
	bundle->is_signed = head->signature.size > 0;
	r = fill_texts(manifest, bundle, error);
	for (size_t i = 0; r == 0 && i < manifest->payload_count; i++) {
		bundle->payload_count++;
		r = fill_payload(
			&manifest->payloads[i], &head->maps[i], &bundle->payloads[i], error);
	}
	if (r == 0)
		r = fill_signer(&head->signer, bundle, error);
	if (r < 0)
		return r;
	*ret = TAKE(bundle);
	return 0;
}

const char *bistable_compression_name(enum bistable_compression compression)
{
	static const char *const names[] = {
		[BISTABLE_COMPRESS_ZSTD] = "zstd",
		[BISTABLE_COMPRESS_DEFLATE] = "deflate",
		[BISTABLE_COMPRESS_NONE] = "none",
	};

	return names[compression];
}

bool bistable_compression_from_name(const char *name, enum bistable_compression *ret)
{
	for (int i = BISTABLE_COMPRESS_ZSTD; i <= BISTABLE_COMPRESS_NONE; i++) {
		if (strcmp(name, bistable_compression_name((enum bistable_compression)i)) == 0) {
			*ret = (enum bistable_compression)i;
			return true;
		}
	}
	return false;
}

void bistable_bundle_free(struct bistable_bundle *bundle)
{
	if (!bundle)
		return;
	for (size_t i = 0; i < bundle->payload_count; i++) {
		free(bundle->payloads[i].role);
		free(bundle->payloads[i].name);
	}
	for (size_t i = 0; i < bundle->require_count; i++)
		free(bundle->requires[i]);
	free(bundle->payloads);
	free(bundle->requires);
	free(bundle->compatible);
	free(bundle->architecture);
	free(bundle->version);
	free(bundle->description);
	free(bundle->signer);
	free(bundle);
}
