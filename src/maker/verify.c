/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/cmdline.h"
#include "format/uki.h"
#include "maker/head.h"
#include "maker/maker.h"
#include "maker/opened.h"
#include "maker/treematch.h"
#include "maker/unpack.h"
#include "source/listing.h"
#include "source/source.h"

#define BOOT_FILE_MAX (256u << 20) /* bytes; install takes no larger one */

static bool is_boot(const struct manifest_payload *payload)
{
	return strcmp(payload->role, MANIFEST_ROLE_BOOT) == 0;
}

/* Structure: which entries there are, and that boot files come before all else. */
static int check_entries(
	const struct head *head, const struct listing *listing, struct error *error)
{
	const struct manifest *manifest = &head->manifest;
	uint64_t last_boot = 0, first_other = UINT64_MAX;

	for (size_t i = 2; i < listing->count; i++)
		if (strcmp(listing->entries[i].name, MANIFEST_SIGNATURE_NAME) == 0)
			return error_failed(error, EBADMSG,
				"'%s' is not the second entry: what it signs was read without it",
				MANIFEST_SIGNATURE_NAME);
	for (size_t i = 0; i < manifest->payload_count; i++) {
		const struct manifest_payload *payload = &manifest->payloads[i];
		const struct listing_entry *entry = listing_find(listing, payload->name);

		if (!entry)
			return error_failed(error, EBADMSG,
				"'%s', which the manifest names, is missing", payload->name);
		if (entry->entry.size != payload->size
			|| entry->entry.compressed != head->maps[i].compressed_size)
			return error_failed(error, EBADMSG,
				"'%s' has %" PRIu64 " bytes (%" PRIu64
				" compressed); manifest and chunk map say %" PRIu64 " (%" PRIu64
				")",
				payload->name, entry->entry.size, entry->entry.compressed,
				payload->size, head->maps[i].compressed_size);
		if (is_boot(payload) && entry->data > last_boot)
			last_boot = entry->data;
		if (!is_boot(payload) && entry->data < first_other)
			first_other = entry->data;
	}
	if (last_boot > first_other)
		return error_failed(
			error, EBADMSG, "a boot file lies behind another payload; it must not");
	return 0;
}

/* A UKI and the manifest must speak of one image and one machine. */
static int check_lock_step(const struct manifest *manifest, const struct manifest_payload *boot,
	struct span bytes, struct error *error)
{
	AUTO_FREE char *cmdline = NULL;
	struct cmdline_verity named;
	const char *machine;
	struct uki uki;
	int r;

	r = uki_parse_any(bytes, &uki, error);
	if (r == 0)
		r = uki_check_kernel(&uki, error);
	if (r == 0)
		r = uki_cmdline(&uki, &cmdline, error);
	if (r == 0)
		r = cmdline_verity(cmdline, &named, error);
	if (r < 0) {
		error_prefix(error, "'%s'", boot->name);
		return r;
	}
	machine = pe_machine_name(uki.pe.machine);
	if (machine && strcmp(machine, manifest->architecture) != 0)
		return error_failed(error, EBADMSG, "'%s' is for %s, the manifest says %s",
			boot->name, machine, manifest->architecture);
	for (size_t i = 0; i < manifest->payload_count; i++) {
		const struct manifest_payload *payload = &manifest->payloads[i];

		if (strcmp(payload->role, MANIFEST_ROLE_SYSTEM) == 0) {
			r = treematch_check_manifest(&named, payload->root_hash, error);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int check_payload(struct opened *opened, const struct head *head,
	const struct listing *listing, size_t i, const struct maker_observer *observer,
	struct error *error)
{
	const struct manifest_payload *payload = &head->manifest.payloads[i];
	const struct listing_entry *entry = listing_find(listing, payload->name);
	AUTO_BUFFER struct buffer bytes = { 0 };
	struct unpack_settings settings = {
		.payload = payload,
		.map = &head->maps[i],
		.method = entry->entry.method,
		.crc = entry->entry.crc,
		.keep = is_boot(payload) ? &bytes : NULL,
		.observer = observer,
	};
	int r;

	if (is_boot(payload) && payload->size > BOOT_FILE_MAX)
		return error_failed(error, EBADMSG,
			"'%s' has %" PRIu64 " bytes; a boot file has at most %u", payload->name,
			payload->size, BOOT_FILE_MAX);
	r = input_seek(&opened->input, entry->data, error);
	if (r == 0)
		r = unpack_check(&opened->input, &settings, error);
	if (r == -EOPNOTSUPP)
		error_prefix(error, "'%s'", payload->name);
	if (r == 0 && is_boot(payload))
		r = check_lock_step(&head->manifest, payload, span_of(&bytes), error);
	return r;
}

static int check_all(struct opened *opened, const struct keyring *keyring,
	const struct maker_observer *observer, struct head *head, struct error *error)
{
	AUTO_LISTING struct listing listing = { 0 };
	int r;

	if (!opened->source->seekable)
		return error_failed(error, ESPIPE,
			"it can only be read once, from its start: give a file, or a server that "
			"honours Range");
	r = head_read(&opened->input, keyring, head, error);
	if (r == 0)
		r = listing_read(&opened->input, &listing, error);
	if (r == 0)
		r = check_entries(head, &listing, error);
	for (size_t i = 0; r == 0 && i < head->manifest.payload_count; i++)
		r = check_payload(opened, head, &listing, i, observer, error);
	return r;
}

int maker_verify(const char *file, const struct source_options *options, const char *keyring_file,
	const struct maker_observer *observer, struct bistable_bundle **ret, struct error *error)
{
	AUTO_KEYRING struct keyring *keyring = NULL;
	AUTO_OPENED struct opened opened = { 0 };
	AUTO_HEAD struct head head = { 0 };
	int r;

	r = head_open_keyring(keyring_file, &keyring, error);
	if (r == 0)
		r = opened_open(file, options, &opened, error);
	if (r < 0)
		return r;
	r = check_all(&opened, keyring, observer, &head, error);
	if (r < 0)
		return opened_failed(&opened, r, error);
	return head_describe(&head, opened.source->size, ret, error);
}
