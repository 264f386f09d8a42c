/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/chunked.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/crc.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "engine/payload.h"
#include "engine/receipt.h"
#include "format/zip.h"

#define MAP_SIZE_MAX (256u << 20)

void chunked_done(struct chunked *chunked)
{
	buffer_done(&chunked->manifest_bytes);
	buffer_done(&chunked->signature);
	trust_done(&chunked->trust);
	manifest_done(&chunked->manifest);
	buffer_done(&chunked->boot.map_bytes);
	buffer_done(&chunked->system.map_bytes);
	*chunked = (struct chunked){ 0 };
}

/** Reading the head. */
struct reading {
	struct chunked *chunked;
	struct context *context;
	struct fetcher *fetcher;
	const struct trust_settings *settings;
	enum slot slot;
	uint64_t end; /* where the first payload may begin */
	bool ended;   /* there are no more entries */
};

static bool is_named(const struct reading *reading, const char *name)
{
	return strcmp(reading->chunked->entry.name, name) == 0;
}

static int next(struct reading *reading, struct error *error)
{
	int r = fetcher_entry(reading->fetcher, reading->end, &reading->chunked->entry, error);

	if (r > 0)
		return 0;
	return r < 0 ? r : error_failed(error, EBADMSG, "it ends before its first payload");
}

/* Reads the stored entry that the fetcher is at. */
static int read_stored(struct reading *reading, const char *name, uint64_t most, struct buffer *out,
	struct error *error)
{
	const struct fetcher_entry *entry = &reading->chunked->entry;
	int r;

	if (entry->method != ZIP_METHOD_STORED || entry->compressed != entry->size)
		return error_failed(error, EBADMSG, "'%s' is compressed; it must be stored", name);
	if (entry->size == 0 || entry->size > most)
		return error_failed(error, EBADMSG,
			"'%s' has %" PRIu64 " bytes; 1 to %" PRIu64 " are allowed", name,
			entry->size, most);
	r = fetcher_read_entry(reading->fetcher, entry->size, out, error);
	if (r == 0 && crc32_gzip_refl(0, out->data, out->size) != entry->crc)
		return error_failed(error, EBADMSG, "'%s' is damaged: its CRC-32 differs", name);
	return r;
}

/* Nothing is parsed that somebody else may have written. */
static int read_manifest(struct reading *reading, struct error *error)
{
	struct chunked *chunked = reading->chunked;
	int r;

	r = next(reading, error);
	if (r == 0)
		r = read_stored(
			reading, MANIFEST_NAME, MANIFEST_SIZE_MAX, &chunked->manifest_bytes, error);
	if (r == 0)
		r = next(reading, error);
	if (r < 0)
		return r;
	if (is_named(reading, MANIFEST_SIGNATURE_NAME)) {
		r = read_stored(reading, MANIFEST_SIGNATURE_NAME, MANIFEST_SIGNATURE_SIZE_MAX,
			&chunked->signature, error);
		if (r < 0)
			return r;
	}
	r = trust_verify(reading->context, reading->settings, span_of(&chunked->manifest_bytes),
		span_of(&chunked->signature), &chunked->trust, error);
	if (r == 0)
		r = manifest_parse(span_of(&chunked->manifest_bytes), &chunked->manifest, error);
	return r < 0 ? r
		     : trust_manifest(
			     reading->context, reading->settings, &chunked->manifest, error);
}

static int choose(
	struct reading *reading, const char *role, struct chunked_payload *ret, struct error *error)
{
	ret->payload = manifest_find(&reading->chunked->manifest, role, reading->slot);
	if (ret->payload)
		return 0;
	return error_set(error, ERROR_REFUSED, ENOENT, "it has no '%s' for slot %c", role,
		slot_letter(reading->slot));
}

/* Where the chunk maps end, if nothing else lies between: they are fetched in one go. */
static int estimate_end(struct reading *reading, struct error *error)
{
	const struct manifest *manifest = &reading->chunked->manifest;
	const struct fetcher_entry *entry = &reading->chunked->entry;
	uint64_t bytes;
	int r = 0;

	reading->end = entry->data
		       + (is_named(reading, MANIFEST_SIGNATURE_NAME) ? entry->compressed : 0);
	for (size_t i = 0; r == 0 && i < manifest->payload_count; i++) {
		const struct manifest_payload *payload = &manifest->payloads[i];

		r = chunkmap_bytes(payload->size, payload->chunk_size, &bytes, error);
		reading->end += r == 0 ? bytes + ZIP_LOCAL_SIZE + strlen(payload->name)
						 + strlen(MANIFEST_CHUNKS_SUFFIX)
				       : 0;
	}
	return r;
}

static int wrong_map(const char *name, const char *why, struct error *error)
{
	return error_failed(error, EBADMSG, "'%s' %s", name, why);
}

static int read_map(struct reading *reading, struct chunked_payload *payload, struct error *error)
{
	const struct manifest_payload *wanted = payload->payload;
	const char *name = reading->chunked->entry.name;
	uint8_t digest[SHA256_SIZE];
	uint64_t size;
	int r;

	if (payload->map_bytes.size > 0)
		return wrong_map(name, "comes twice", error);
	r = chunkmap_bytes(wanted->size, wanted->chunk_size, &size, error);
	if (r < 0)
		return r;
	if (reading->chunked->entry.size != size)
		return error_failed(error, EBADMSG,
			"'%s' has %" PRIu64 " bytes; the chunk map of %" PRIu64
			" bytes in chunks of %u has %" PRIu64,
			name, reading->chunked->entry.size, wanted->size, wanted->chunk_size, size);
	r = read_stored(reading, name, MAP_SIZE_MAX, &payload->map_bytes, error);
	if (r == 0)
		r = sha256_of(payload->map_bytes.data, payload->map_bytes.size, digest, error);
	if (r < 0)
		return r;
	if (memcmp(digest, wanted->chunks_sha256, SHA256_SIZE) != 0)
		return wrong_map(
			name, "does not have the SHA-256 that the manifest gives for it", error);
	r = chunkmap_parse(span_of(&payload->map_bytes), wanted->size, wanted->chunk_size,
		&payload->map, error);
	if (r < 0)
		error_prefix(error, "'%s'", name);
	return r;
}

/* Whether the entry is the chunk map of this payload. */
static bool is_map_of(const struct reading *reading, const struct manifest_payload *payload)
{
	size_t length = strlen(payload->name);
	const char *name = reading->chunked->entry.name;

	return strncmp(name, payload->name, length) == 0
	       && strcmp(name + length, MANIFEST_CHUNKS_SUFFIX) == 0;
}

static bool is_payload(const struct reading *reading)
{
	const struct manifest *manifest = &reading->chunked->manifest;

	for (size_t i = 0; i < manifest->payload_count; i++)
		if (is_named(reading, manifest->payloads[i].name))
			return true;
	return false;
}

static int check_again(const struct chunked *chunked, struct error *error)
{
	const char *name = chunked->entry.name;

	if (strcmp(name, MANIFEST_NAME) == 0)
		return error_failed(error, EBADMSG, "there is a second '%s'", name);
	if (strcmp(name, MANIFEST_SIGNATURE_NAME) == 0)
		return error_failed(error, EBADMSG,
			"'%s' is not the second entry, or not the only one of that name", name);
	return 0;
}

/* The maps that are wanted, up to the first payload. */
static int read_maps(struct reading *reading, struct error *error)
{
	struct chunked *chunked = reading->chunked;
	int r = 0;

	if (is_named(reading, MANIFEST_SIGNATURE_NAME))
		r = next(reading, error);
	while (r == 0 && !is_payload(reading)) {
		r = check_again(chunked, error);
		if (r == 0 && is_map_of(reading, chunked->boot.payload))
			r = read_map(reading, &chunked->boot, error);
		else if (r == 0 && is_map_of(reading, chunked->system.payload))
			r = read_map(reading, &chunked->system, error);
		if (r == 0)
			r = next(reading, error);
	}
	if (r == 0 && (chunked->boot.map_bytes.size == 0 || chunked->system.map_bytes.size == 0))
		return error_failed(error, EBADMSG,
			"there is no chunk map '%s%s' before the first payload",
			chunked->boot.map_bytes.size == 0 ? chunked->boot.payload->name
							  : chunked->system.payload->name,
			MANIFEST_CHUNKS_SUFFIX);
	return r;
}

static int failed(const struct fetcher *fetcher, int r, struct error *error)
{
	/* Those of the fetcher say where they are from; a refusal need not. */
	if (r == -EBADMSG && error && error->kind == ERROR_FAILED)
		error_name(error, fetcher_name(fetcher));
	return r;
}

int chunked_read_head(struct chunked *chunked, struct context *context, struct fetcher *fetcher,
	const struct trust_settings *settings, enum slot slot, struct error *error)
{
	struct reading reading = {
		.chunked = chunked,
		.context = context,
		.fetcher = fetcher,
		.settings = settings,
		.slot = slot,
	};
	int r;

	r = read_manifest(&reading, error);
	if (r == 0)
		r = choose(&reading, MANIFEST_ROLE_BOOT, &chunked->boot, error);
	if (r == 0)
		r = choose(&reading, MANIFEST_ROLE_SYSTEM, &chunked->system, error);
	if (r == 0)
		r = estimate_end(&reading, error);
	if (r == 0)
		r = read_maps(&reading, error);
	if (r == 0)
		r = fetcher_check(fetcher, error);
	return failed(fetcher, r, error);
}

/* The next entry, which must be none of the head's. 1, 0 or -errno. */
static int go_on(struct chunked *chunked, struct fetcher *fetcher, struct error *error)
{
	int r = fetcher_entry(fetcher, 0, &chunked->entry, error);

	if (r <= 0)
		return r;
	r = check_again(chunked, error);
	return r < 0 ? r : 1;
}

int chunked_go_to(struct chunked *chunked, struct fetcher *fetcher,
	const struct chunked_payload *payload, struct error *error)
{
	const char *name = payload->payload->name;
	int r = 1;

	while (r > 0 && strcmp(chunked->entry.name, name) != 0)
		r = go_on(chunked, fetcher, error);
	if (r == 0)
		r = error_failed(error, EBADMSG,
			"'%s', which the manifest names, is missing or lies before the boot file",
			name);
	if (r < 0)
		return failed(fetcher, r, error);
	return payload_check_entry(
		fetcher, &chunked->entry, payload->payload, &payload->map, error);
}

int chunked_go_to_end(struct chunked *chunked, struct fetcher *fetcher, struct error *error)
{
	int r;

	do
		r = go_on(chunked, fetcher, error);
	while (r > 0);
	return failed(fetcher, r, error);
}

int chunked_write_receipt(
	const struct chunked *chunked, struct context *context, enum slot slot, struct error *error)
{
	int r;

	if (chunked_is_none(chunked))
		return 0;
	r = receipt_write(context, slot, span_of(&chunked->manifest_bytes),
		span_of(&chunked->signature), chunked->manifest.created, error);
	if (r == 0)
		receipt_keep_map(context, slot, span_of(&chunked->system.map_bytes));
	return r;
}
