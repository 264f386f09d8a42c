/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest: what is read is within its bounds, and written such that the same is read again. */
#include "format/chunkmap.h"
#include "format/manifest.h"
#include "fuzz.h"

static void check_payload(const struct manifest *manifest, const struct manifest_payload *payload)
{
	uint64_t bytes;

	must(*payload->role && is_printable(payload->role));
	must(manifest_role_known(payload->role) || payload->optional);
	must(*payload->name && strlen(payload->name) <= MANIFEST_NAME_MAX);
	must(!strpbrk(payload->name, "/\\ ") && is_printable(payload->name));
	must(strcmp(payload->name, MANIFEST_NAME) != 0);
	must(chunkmap_bytes(payload->size, payload->chunk_size, &bytes, NULL) == 0);
	must(strlen(payload->root_hash) % 32 == 0);
	for (enum slot slot = SLOT_A; slot <= SLOT_B; slot++)
		if (payload->slot == SLOT_NONE || payload->slot == slot)
			must(manifest_find(manifest, payload->role, slot) == payload);
}

static void check_manifest(const struct manifest *manifest)
{
	must(is_printable(manifest->compatible) && *manifest->compatible);
	must(is_printable(manifest->architecture) && *manifest->architecture);
	must(is_printable(manifest->version) && *manifest->version);
	must(!manifest->description || is_printable(manifest->description));
	must(manifest->epoch <= INT64_MAX && manifest->created >= 0);
	must(manifest->not_after == 0 || manifest->not_after > manifest->created);
	must(manifest->payload_count >= 2 && manifest->payload_count <= MANIFEST_PAYLOADS_MAX);
	for (size_t i = 0; i < manifest->payload_count; i++)
		check_payload(manifest, &manifest->payloads[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_MANIFEST struct manifest manifest = { 0 };
	AUTO_MANIFEST struct manifest again = { 0 };
	AUTO_BUFFER struct buffer once = { 0 };
	AUTO_BUFFER struct buffer twice = { 0 };
	struct error error = { 0 };

	if (!succeeded(manifest_parse((struct span){ data, size }, &manifest, &error), &error)) {
		must(is_printable(error.text));
		must(manifest.payload_count == 0);
		return 0;
	}
	must(size <= MANIFEST_SIZE_MAX);
	check_manifest(&manifest);
	must(manifest_format(&manifest, &once, &error) == 0);
	must(manifest_parse(span_of(&once), &again, &error) == 0);
	must(again.epoch == manifest.epoch && again.created == manifest.created);
	must(again.not_after == manifest.not_after);
	must(strcmp(again.version, manifest.version) == 0);
	must(again.payload_count == manifest.payload_count);
	must(manifest_format(&again, &twice, &error) == 0);
	must(span_equal(span_of(&once), span_of(&twice)));
	return 0;
}
