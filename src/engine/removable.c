/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/removable.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "engine/espfile.h"
#include "engine/records.h"
#include "machine/machine.h"

/* Ours: what a record says we wrote, or the same as a boot file (a factory image has no record). */
static bool is_ours(
	struct context *context, const uint8_t digest[SHA256_SIZE], const struct records *records)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		const struct state *state = &records->of[slot].state;
		uint8_t found[SHA256_SIZE];

		if ((state->has_boot_file
			    && memcmp(state->boot_file.sha256, digest, SHA256_SIZE) == 0)
			|| (state->has_removable
				&& memcmp(state->removable_sha256, digest, SHA256_SIZE) == 0)
			|| (espfile_digest(context, context->config.boot_file[slot], found, NULL)
					== 0
				&& memcmp(found, digest, SHA256_SIZE) == 0))
			return true;
	}
	return false;
}

int removable_look(struct context *context, const struct records *records,
	struct removable_view *ret, struct error *error)
{
	struct removable_view view = { .path = REMOVABLE_PATH };
	uint8_t present[SHA256_SIZE], found[SHA256_SIZE];
	struct error why = { 0 };
	int r;

	r = espfile_digest(context, REMOVABLE_PATH, present, &why);
	if (r < 0 && r != -ENOENT) {
		if (error)
			*error = why;
		return r;
	}
	view.present = r == 0;
	view.ours = view.present && is_ours(context, present, records);
	for (enum slot slot = SLOT_A; view.ours && slot < SLOT_COUNT; slot++)
		view.same[slot] = espfile_digest(
					  context, context->config.boot_file[slot], found, NULL)
					  == 0
				  && memcmp(found, present, SHA256_SIZE) == 0;
	*ret = view;
	return 0;
}

static int copy_boot_file(struct context *context, enum slot slot,
	const uint8_t digest[SHA256_SIZE], struct error *error)
{
	const char *path = context->config.boot_file[slot];
	struct machine *machine = context->machine;
	AUTO_BUFFER struct buffer bytes = { 0 };
	uint8_t found[SHA256_SIZE];
	int r;

	r = machine->ops->esp_read(machine, context->esp, path, BOOT_FILE_MAX, &bytes, error);
	if (r == 0)
		r = sha256_of(bytes.data, bytes.size, found, error);
	if (r == 0 && memcmp(found, digest, SHA256_SIZE) != 0)
		r = error_failed(
			error, EIO, "%s reads differently each time: the medium is failing", path);
	espfile_forget(context);
	if (r == 0)
		r = machine->ops->esp_replace(
			machine, context->esp, REMOVABLE_PATH, span_of(&bytes), error);
	if (r == 0)
		report_note(&context->observer.report, "%s now starts slot %c", REMOVABLE_PATH,
			slot_letter(slot));
	return r;
}

static void keep(struct state *remember, const uint8_t digest[SHA256_SIZE])
{
	if (!remember)
		return;
	memcpy(remember->removable_sha256, digest, SHA256_SIZE);
	remember->has_removable = true;
}

static int refresh(struct context *context, enum slot slot, const struct records *records,
	bool create, struct state *remember, struct error *error)
{
	const struct state *state = &records->of[slot].state;
	uint8_t wanted[SHA256_SIZE], present[SHA256_SIZE];
	int r;

	r = espfile_digest(context, context->config.boot_file[slot], wanted, error);
	if (r < 0)
		return r;
	/* What lies on the removable path may be the last good copy of it. */
	if (state->has_boot_file && memcmp(wanted, state->boot_file.sha256, SHA256_SIZE) != 0)
		return error_failed(error, EIO, "%s is not the file that was installed",
			context->config.boot_file[slot]);
	r = espfile_digest(context, REMOVABLE_PATH, present, error);
	if (r == -ENOENT && !create)
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && memcmp(present, wanted, SHA256_SIZE) != 0) {
		if (!is_ours(context, present, records)) {
			report_note(&context->observer.report,
				"%s belongs to somebody else and is left alone", REMOVABLE_PATH);
			return 0;
		}
		keep(remember, present);
		r = -ENOENT;
	}
	if (r == -ENOENT)
		r = copy_boot_file(context, slot, wanted, error);
	if (r == 0)
		keep(remember, wanted);
	return r;
}

void removable_refresh(struct context *context, enum slot slot, const struct records *records,
	bool create, struct state *remember)
{
	struct error why = { 0 };

	if (!context->config.removable_path)
		return;
	if (refresh(context, slot, records, create, remember, &why) < 0)
		report_warning(&context->observer.report,
			"%s was not refreshed (%s): if the firmware loses its boot entries, an "
			"older system may start",
			REMOVABLE_PATH, why.text);
}
