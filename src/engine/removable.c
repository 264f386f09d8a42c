/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/removable.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "engine/records.h"
#include "machine/machine.h"

#if defined(__aarch64__)
#define REMOVABLE_PATH "/EFI/BOOT/BOOTAA64.EFI"
#else
#define REMOVABLE_PATH "/EFI/BOOT/BOOTX64.EFI"
#endif

static int digest_of_file(
	struct context *context, const char *path, uint8_t ret[SHA256_SIZE], struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	int r;

	r = context->machine->ops->esp_read(
		context->machine, context->esp, path, BOOT_FILE_MAX, &bytes, error);
	return r < 0 ? r : sha256_of(bytes.data, bytes.size, ret, error);
}

/* Ours: what a record says we wrote, or the same as a boot file (a factory image has no record). */
static bool is_ours(
	struct context *context, const uint8_t digest[SHA256_SIZE], const struct records *records)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		const struct state *state = &records->of[slot].state;
		uint8_t found[SHA256_SIZE];

		if (state->has_boot_file
			&& memcmp(state->boot_file.sha256, digest, SHA256_SIZE) == 0)
			return true;
		if (records->of[slot].has_boot_file
			&& digest_of_file(context, context->config.boot_file[slot], found, NULL)
				   == 0
			&& memcmp(found, digest, SHA256_SIZE) == 0)
			return true;
	}
	return false;
}

static int refresh(struct context *context, enum slot slot, const struct records *records,
	bool create, struct error *error)
{
	const char *boot_file = context->config.boot_file[slot];
	struct machine *machine = context->machine;
	AUTO_BUFFER struct buffer bytes = { 0 };
	uint8_t digest[SHA256_SIZE];
	bool equal = false;
	int r;

	r = machine->ops->esp_read(machine, context->esp, boot_file, BOOT_FILE_MAX, &bytes, error);
	if (r < 0)
		return r;
	r = machine->ops->esp_compare(
		machine, context->esp, REMOVABLE_PATH, span_of(&bytes), &equal, NULL, error);
	if (r == -ENOENT) {
		if (error)
			*error = (struct error){ 0 };
		if (!create)
			return 0;
	} else if (r < 0 || equal) {
		return r;
	} else {
		r = digest_of_file(context, REMOVABLE_PATH, digest, error);
		if (r < 0)
			return r;
		if (!is_ours(context, digest, records)) {
			report_note(&context->observer.report,
				"%s belongs to somebody else and is left alone", REMOVABLE_PATH);
			return 0;
		}
	}
	r = machine->ops->esp_replace(
		machine, context->esp, REMOVABLE_PATH, span_of(&bytes), error);
	if (r == 0)
		report_note(&context->observer.report, "%s now starts slot %c", REMOVABLE_PATH,
			slot_letter(slot));
	return r;
}

void removable_refresh(
	struct context *context, enum slot slot, const struct records *records, bool create)
{
	struct error why = { 0 };

	if (!context->config.removable_path)
		return;
	if (refresh(context, slot, records, create, &why) < 0)
		report_warning(&context->observer.report,
			"%s was not refreshed (%s): if the firmware loses its boot entries, an "
			"older "
			"system may start",
			REMOVABLE_PATH, why.text);
}
