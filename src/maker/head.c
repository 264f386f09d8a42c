/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/head.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include <isa-l/crc.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "format/zip.h"
#include "maker/content.h"
#include "source/input.h"
#include "source/listing.h"
#include "source/source.h"

#define READ_STEP (1u << 20) /* memory grows with what has really come */

/* Reads the data of a stored entry of at most `most` bytes, whose header was read. */
static int read_stored(struct input *input, const struct zip_entry *entry, const char *name,
	uint64_t most, struct buffer *out, struct error *error)
{
	uint64_t left = entry->size;
	int r = 0;

	if (entry->method != ZIP_METHOD_STORED || entry->compressed != entry->size)
		return error_failed(error, EBADMSG,
			"'%s' (at byte %" PRIu64 ") is compressed; it must be stored", name,
			entry->local_offset);
	if (entry->size == 0 || entry->size > most)
		return error_failed(error, EBADMSG,
			"'%s' (at byte %" PRIu64 ") has %" PRIu64 " bytes; 1 to %" PRIu64
			" are allowed",
			name, entry->local_offset, entry->size, most);
	while (r == 0 && left > 0) {
		size_t part = left < READ_STEP ? (size_t)left : READ_STEP;

		r = buffer_reserve(out, part, error);
		if (r == 0)
			r = input_read(input, out->data + out->size, part, error);
		out->size += r == 0 ? part : 0;
		left -= part;
	}
	if (r == 0 && crc32_gzip_refl(0, out->data, out->size) != entry->crc)
		return error_failed(error, EBADMSG,
			"'%s' (at byte %" PRIu64 ") is damaged: its CRC-32 differs", name,
			entry->local_offset);
	return r;
}

static int read_manifest(struct input *input, struct head *head, struct error *error)
{
	struct zip_entry entry;
	int r;

	r = listing_read_local(input, &entry, error);
	if (r < 0)
		return r;
	if (!zip_entry_is_named(&entry, MANIFEST_NAME))
		return error_failed(error, EBADMSG,
			"its first entry is no '%s': it is no bundle of format 1 (a plain bundle "
			"has no manifest)",
			MANIFEST_NAME);
	return read_stored(
		input, &entry, MANIFEST_NAME, MANIFEST_SIZE_MAX, &head->manifest_bytes, error);
}

static int check_signature(const struct keyring *keyring, struct head *head, struct error *error)
{
	struct cms_policy policy = { .now = (int64_t)time(NULL) };

	if (!keyring)
		return 0;
	if (head->signature.size == 0)
		return error_set(error, ERROR_REFUSED, EKEYREJECTED, "it is not signed");
	return cms_verify(keyring, span_of(&head->manifest_bytes), span_of(&head->signature),
		&policy, &head->signer, error);
}

static int twice(const char *name, const struct zip_entry *entry, struct error *error)
{
	return error_failed(
		error, EBADMSG, "a second '%s' at byte %" PRIu64, name, entry->local_offset);
}

static int read_map(struct input *input, const struct zip_entry *entry, int i, struct head *head,
	struct error *error)
{
	const struct manifest_payload *payload = &head->manifest.payloads[i];
	AUTO_FREE char *name = text_format("%s%s", payload->name, MANIFEST_CHUNKS_SUFFIX);
	uint8_t digest[SHA256_SIZE];
	uint64_t size;
	int r;

	if (!name)
		return error_memory(error);
	if (head->map_bytes[i].size > 0)
		return twice(name, entry, error);
	r = chunkmap_bytes(payload->size, payload->chunk_size, &size, error);
	if (r < 0)
		return r;
	if (entry->size != size)
		return error_failed(error, EBADMSG,
			"'%s' has %" PRIu64 " bytes; the chunk map of a payload of %" PRIu64
			" bytes in chunks of %u has %" PRIu64,
			name, entry->size, payload->size, payload->chunk_size, size);
	r = read_stored(input, entry, name, HEAD_MAP_MAX, &head->map_bytes[i], error);
	if (r == 0)
		r = sha256_of(head->map_bytes[i].data, head->map_bytes[i].size, digest, error);
	if (r < 0)
		return r;
	if (memcmp(digest, payload->chunks_sha256, SHA256_SIZE) != 0)
		return error_failed(error, EBADMSG,
			"'%s' does not have the SHA-256 that the manifest gives for it", name);
	r = chunkmap_parse(span_of(&head->map_bytes[i]), payload->size, payload->chunk_size,
		&head->maps[i], error);
	if (r < 0)
		error_prefix(error, "'%s'", name);
	return r;
}

static bool entry_is_map_of(const struct zip_entry *entry, const char *payload)
{
	size_t length = strlen(payload);

	return entry->name.size == length + strlen(MANIFEST_CHUNKS_SUFFIX)
	       && memcmp(entry->name.data, payload, length) == 0
	       && memcmp(entry->name.data + length, MANIFEST_CHUNKS_SUFFIX,
			  strlen(MANIFEST_CHUNKS_SUFFIX))
			  == 0;
}

int head_payload_named(const struct head *head, const struct zip_entry *entry)
{
	for (size_t i = 0; i < head->manifest.payload_count; i++)
		if (zip_entry_is_named(entry, head->manifest.payloads[i].name))
			return (int)i;
	return -1;
}

int head_map_named(const struct head *head, const struct zip_entry *entry)
{
	for (size_t i = 0; i < head->manifest.payload_count; i++)
		if (entry_is_map_of(entry, head->manifest.payloads[i].name))
			return (int)i;
	return -1;
}

static int check_maps(const struct head *head, struct error *error)
{
	for (size_t i = 0; i < head->manifest.payload_count; i++)
		if (head->map_bytes[i].size == 0)
			return error_failed(error, EBADMSG,
				"there is no chunk map '%s%s' before the first payload",
				head->manifest.payloads[i].name, MANIFEST_CHUNKS_SUFFIX);
	return 0;
}

/* Reads the maps, beginning with the entry whose header was read, up to the first payload. */
static int read_maps(
	struct input *input, struct zip_entry entry, struct head *head, struct error *error)
{
	int r = 0;

	while (head_payload_named(head, &entry) < 0) {
		int i = head_map_named(head, &entry);

		if (zip_entry_is_named(&entry, MANIFEST_NAME))
			return twice(MANIFEST_NAME, &entry, error);
		if (zip_entry_is_named(&entry, MANIFEST_SIGNATURE_NAME))
			return error_failed(error, EBADMSG,
				"'%s' at byte %" PRIu64 " is not the second entry, or not the only "
				"one of that name",
				MANIFEST_SIGNATURE_NAME, entry.local_offset);
		r = i >= 0 ? read_map(input, &entry, i, head, error)
			   : input_skip(input, entry.compressed, error);
		if (r == 0)
			r = listing_read_local(input, &entry, error);
		if (r < 0)
			return r;
	}
	head->method = entry.method;
	return check_maps(head, error);
}

static int read_parts(
	struct input *input, const struct keyring *keyring, struct head *head, struct error *error)
{
	struct zip_entry entry;
	bool is_signed;
	int r;

	r = read_manifest(input, head, error);
	if (r == 0)
		r = listing_read_local(input, &entry, error);
	if (r < 0)
		return r;
	is_signed = zip_entry_is_named(&entry, MANIFEST_SIGNATURE_NAME);
	if (is_signed)
		r = read_stored(input, &entry, MANIFEST_SIGNATURE_NAME, MANIFEST_SIGNATURE_SIZE_MAX,
			&head->signature, error);
	/* Nothing is parsed that somebody else may have written. */
	if (r == 0)
		r = check_signature(keyring, head, error);
	if (r == 0)
		r = manifest_parse(span_of(&head->manifest_bytes), &head->manifest, error);
	if (r == 0 && is_signed)
		r = listing_read_local(input, &entry, error);
	return r < 0 ? r : read_maps(input, entry, head, error);
}

int head_read(
	struct input *input, const struct keyring *keyring, struct head *ret, struct error *error)
{
	AUTO_HEAD struct head head = { 0 };
	int r;

	r = read_parts(input, keyring, &head, error);
	if (r < 0)
		return r;
	*ret = head;
	head = (struct head){ 0 };
	return 0;
}

void head_done(struct head *head)
{
	buffer_done(&head->manifest_bytes);
	buffer_done(&head->signature);
	cms_signer_done(&head->signer);
	manifest_done(&head->manifest);
	for (size_t i = 0; i < MANIFEST_PAYLOADS_MAX; i++)
		buffer_done(&head->map_bytes[i]);
	*head = (struct head){ 0 };
}

int head_open_keyring(const char *path, struct keyring **ret, struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	int r;

	if (!path) {
		*ret = NULL;
		return 0;
	}
	r = content_of_file(path, KEYRING_SIZE_MAX, &bytes, error);
	if (r < 0)
		return r;
	r = keyring_new(span_of(&bytes), ret, error);
	if (r < 0)
		error_prefix(error, "keyring '%s'", path);
	return r;
}
