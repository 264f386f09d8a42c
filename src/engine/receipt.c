/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/receipt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/crc.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "format/zip.h"
#include "format/zip_write.h"
#include "machine/machine.h"

#define MAP_SIZE_MAX (256u << 20)

/* --- a ZIP of two stored entries --- */

static int append_entry(struct buffer *zip, struct buffer *directory, const char *name,
	struct span bytes, int64_t time, struct error *error)
{
	const struct zip_entry entry = {
		.method = ZIP_METHOD_STORED,
		.crc = crc32_gzip_refl(0, bytes.data, bytes.size),
		.compressed = bytes.size,
		.size = bytes.size,
		.local_offset = zip->size,
		.name = { (const uint8_t *)name, strlen(name) },
	};
	int r;

	r = zip_write_local(zip, &entry, zip_dos_time(time), error);
	if (r == 0)
		r = buffer_append(zip, bytes.data, bytes.size, error);
	return r < 0 ? r : zip_write_central(directory, &entry, zip_dos_time(time), error);
}

static int format(struct span manifest, struct span signature, int64_t time, struct buffer *zip,
	struct error *error)
{
	AUTO_BUFFER struct buffer directory = { 0 };
	struct zip_end end = { .entries = signature.size > 0 ? 2 : 1 };
	int r;

	r = append_entry(zip, &directory, MANIFEST_NAME, manifest, time, error);
	if (r == 0 && signature.size > 0)
		r = append_entry(zip, &directory, MANIFEST_SIGNATURE_NAME, signature, time, error);
	end.offset = zip->size;
	end.size = directory.size;
	end.start = end.offset + end.size;
	if (r == 0)
		r = buffer_append(zip, directory.data, directory.size, error);
	return r < 0 ? r : zip_write_end(zip, &end, error);
}

static int damaged(const char *what, struct error *error)
{
	return error_failed(error, EBADMSG, "it is damaged: %s", what);
}

/* Takes the entry of this name at *offset, which moves behind it; false: another one is there. */
static int take_entry(struct span zip, const char *name, uint64_t *offset, struct buffer *out,
	bool *ret_found, struct error *error)
{
	struct zip_entry entry;
	struct span rest, data;
	int r;

	*ret_found = false;
	if (!span_slice(zip, *offset, zip.size - *offset, &rest) || rest.size < ZIP_LOCAL_SIZE
		|| le32(rest.data) != ZIP_LOCAL_MAGIC)
		return 0;
	r = zip_read_local(rest, *offset, &entry, error);
	if (r < 0 || !zip_entry_is_named(&entry, name))
		return r;
	if (entry.method != ZIP_METHOD_STORED || entry.compressed != entry.size
		|| !span_slice(rest, entry.header_size, entry.size, &data))
		return damaged("an entry is cut off", error);
	if (crc32_gzip_refl(0, data.data, data.size) != entry.crc)
		return damaged("a CRC-32 differs", error);
	*offset += entry.header_size + entry.size;
	*ret_found = true;
	return buffer_append(out, data.data, data.size, error);
}

static int parse(struct span zip, struct receipt *receipt, struct error *error)
{
	uint64_t offset = 0;
	bool found;
	int r;

	r = take_entry(zip, MANIFEST_NAME, &offset, &receipt->manifest_bytes, &found, error);
	if (r == 0 && !found)
		r = damaged("there is no manifest", error);
	if (r == 0)
		r = take_entry(
			zip, MANIFEST_SIGNATURE_NAME, &offset, &receipt->signature, &found, error);
	if (r == 0)
		r = manifest_parse(span_of(&receipt->manifest_bytes), &receipt->manifest, error);
	return r;
}

/* --- on the ESP --- */

int receipt_write(struct context *context, enum slot slot, struct span manifest,
	struct span signature, int64_t created, struct error *error)
{
	const char *path = context->config.receipt_file[slot];
	AUTO_BUFFER struct buffer wanted = { 0 }, present = { 0 };
	struct machine *machine = context->machine;
	int r;

	r = format(manifest, signature, created, &wanted, error);
	if (r < 0)
		return r;
	if (machine->ops->esp_read(machine, context->esp, path, RECEIPT_SIZE_MAX, &present, NULL)
			== 0
		&& span_equal(span_of(&wanted), span_of(&present)))
		return 0;
	return machine->ops->esp_replace(machine, context->esp, path, span_of(&wanted), error);
}

int receipt_read(struct context *context, enum slot slot, struct receipt *ret, struct error *error)
{
	const char *path = context->config.receipt_file[slot];
	AUTO_RECEIPT struct receipt receipt = { 0 };
	AUTO_BUFFER struct buffer zip = { 0 };
	int r;

	r = context->machine->ops->esp_read(
		context->machine, context->esp, path, RECEIPT_SIZE_MAX, &zip, error);
	if (r < 0)
		return r;
	r = parse(span_of(&zip), &receipt, error);
	if (r < 0) {
		error_prefix(error, "%s", path);
		return r;
	}
	*ret = receipt;
	receipt = (struct receipt){ 0 };
	return 0;
}

void receipt_done(struct receipt *receipt)
{
	buffer_done(&receipt->manifest_bytes);
	buffer_done(&receipt->signature);
	manifest_done(&receipt->manifest);
}

/* --- the chunk map --- */

static char *map_path(const struct context *context, enum slot slot)
{
	return text_format("%s/slot-%c.system" MANIFEST_CHUNKS_SUFFIX, context->config.state_dir,
		slot_letter(slot) - 'A' + 'a');
}

int receipt_remove(struct context *context, enum slot slot, struct error *error)
{
	AUTO_FREE char *path = map_path(context, slot);
	struct machine *machine = context->machine;

	if (!path)
		return error_memory(error);
	/* A map without a receipt is no one's: it may stay where it cannot be removed. */
	machine->ops->file_remove(machine, path, NULL);
	return machine->ops->esp_remove(
		machine, context->esp, context->config.receipt_file[slot], error);
}

void receipt_keep_map(struct context *context, enum slot slot, struct span map)
{
	AUTO_FREE char *path = map_path(context, slot);
	AUTO_BUFFER struct buffer present = { 0 };
	struct machine *machine = context->machine;
	struct error why = { 0 };

	if (path && machine->ops->file_read(machine, path, MAP_SIZE_MAX, &present, NULL) == 0
		&& span_equal(map, span_of(&present)))
		return;
	if (path && machine->ops->file_replace(machine, path, map, false, &why) < 0)
		report_note(&context->observer.report,
			"The next install has to scan this slot, since its chunk map is not kept: "
			"%s",
			why.text);
}

bool receipt_find_map(struct context *context, enum slot slot,
	const struct manifest_payload *payload, struct buffer *ret_bytes, struct chunkmap *ret)
{
	AUTO_FREE char *path = map_path(context, slot);
	AUTO_BUFFER struct buffer bytes = { 0 };
	uint8_t digest[SHA256_SIZE];

	if (!path
		|| context->machine->ops->file_read(
			   context->machine, path, MAP_SIZE_MAX, &bytes, NULL)
			   < 0
		|| sha256_of(bytes.data, bytes.size, digest, NULL) < 0
		|| memcmp(digest, payload->chunks_sha256, SHA256_SIZE) != 0
		|| chunkmap_parse(span_of(&bytes), payload->size, payload->chunk_size, ret, NULL)
			   < 0)
		return false;
	*ret_bytes = buffer_take(&bytes);
	return true;
}
