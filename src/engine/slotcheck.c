/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/slotcheck.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "engine/bootfile.h"
#include "engine/checklist.h"
#include "engine/chunkcheck.h"
#include "engine/context.h"
#include "engine/receipt.h"
#include "engine/records.h"
#include "engine/trust.h"
#include "machine/machine.h"

#define CHECKS_MAX 8

#define INSTALL_AGAIN "Install into this slot again."
#define UNREADABLE                                                                           \
	"'bistable mark-good --force' writes that of the running slot anew; into the other " \
	"one, install again."
#define REPAIR                                                                            \
	"'bistable repair' puts a slot right that does not run: start the other one for " \
	"that, if need be."

/** One slot on its way. */
struct slotcheck {
	struct context *context;
	enum slot slot;
	struct bistable_report *report;
	struct record record;
	struct receipt receipt;
	bool has_receipt;
};

static void slotcheck_done(struct slotcheck *check)
{
	record_done(&check->record);
	receipt_done(&check->receipt);
}

DEFINE_CLEANUP(report_freep, struct bistable_report *, bistable_report_free)

__attribute__((format(printf, 6, 7))) static int conclude(struct slotcheck *check, const char *name,
	enum bistable_level level, const char *advice, struct error *error, const char *format, ...)
{
	static const char *const groups[] = { [SLOT_A] = "Slot A", [SLOT_B] = "Slot B" };
	struct bistable_check *next = &check->report->checks[check->report->check_count];
	va_list arguments;
	int r;

	next->group = groups[check->slot];
	next->name = name;
	va_start(arguments, format);
	r = checklist_conclude(check->report, level, advice, error, format, arguments);
	va_end(arguments);
	return r;
}

/* --- signature --- */

static int check_signature(struct slotcheck *check, struct error *error)
{
	const struct trust_settings settings = {
		.allow_unsigned = true,
		.taken = &check->record,
	};
	struct trust trust = { 0 };
	struct error why = { 0 };
	int r;

	if (check->receipt.signature.size == 0)
		return conclude(check, "signature", BISTABLE_LEVEL_OK, NULL, error,
			"Its bundle carried no signature.");
	r = trust_verify(check->context, &settings, span_of(&check->receipt.manifest_bytes),
		span_of(&check->receipt.signature), &trust, &why);
	if (r == -ENOMEM)
		return error_memory(error);
	if (r < 0)
		r = conclude(check, "signature", BISTABLE_LEVEL_PROBLEM,
			"Look after the keyring; if that is sound, " INSTALL_AGAIN, error, "%s.",
			why.text);
	else if (trust.verified)
		r = conclude(check, "signature", BISTABLE_LEVEL_OK, NULL, error, "Signed by %s.",
			trust.signer.subject);
	else
		r = conclude(check, "signature", BISTABLE_LEVEL_WARNING,
			"Put the certificates that you trust there.", error,
			"There is no keyring '%s' to verify its signature against.",
			check->context->config.keyring);
	trust_done(&trust);
	return r;
}

static int read_receipt(struct slotcheck *check, struct error *error)
{
	struct error why = { 0 };
	int r;

	r = receipt_read(check->context, check->slot, &check->receipt, &why);
	check->has_receipt = r == 0;
	if (r == 0)
		return check_signature(check, error);
	if (r == -ENOMEM)
		return error_memory(error);
	if (r == -ENOENT && check->record.state.created > 0)
		return conclude(check, "signature", BISTABLE_LEVEL_PROBLEM, REPAIR, error,
			"The receipt is missing.");
	if (r == -ENOENT)
		return conclude(check, "signature", BISTABLE_LEVEL_OK, NULL, error,
			"There is no receipt: it came in a plain bundle, or from the factory.");
	return conclude(check, "signature", BISTABLE_LEVEL_PROBLEM, REPAIR, error,
		"The receipt cannot be used: %s.", why.text);
}

/* --- boot file --- */

/* Whether the boot file is the one that was installed. -ENODATA: there is nothing to compare with.
 */
static int compare_boot(struct slotcheck *check, bool *ret, struct error *error)
{
	struct context *context = check->context;
	const struct state *state = &check->record.state;
	const struct manifest_payload *payload = NULL;
	uint8_t digest[SHA256_SIZE];
	int r;

	if (check->has_receipt)
		payload = manifest_find(&check->receipt.manifest, MANIFEST_ROLE_BOOT, check->slot);
	if (payload)
		return bootfile_is(context, check->slot, payload->sha256, NULL, ret, error);
	if (!state->has_boot_file)
		return -ENODATA;
	r = context->machine->ops->esp_digest(context->machine, context->esp,
		context->config.boot_file[check->slot], digest, NULL, error);
	*ret = r == 0 && memcmp(digest, state->boot_file.sha256, SHA256_SIZE) == 0;
	return r;
}

static int check_boot(struct slotcheck *check, struct error *error)
{
	struct error why = { 0 };
	bool same = false;
	int r;

	r = compare_boot(check, &same, &why);
	if (r == -ENOMEM)
		return error_memory(error);
	if (r == -ENODATA)
		return conclude(check, "boot-file", BISTABLE_LEVEL_WARNING, NULL, error,
			"Nothing tells what the boot file was when it left the factory.");
	if (r < 0)
		return conclude(
			check, "boot-file", BISTABLE_LEVEL_PROBLEM, REPAIR, error, "%s.", why.text);
	if (!same)
		return conclude(check, "boot-file", BISTABLE_LEVEL_PROBLEM, REPAIR, error,
			"%s is not the file that was installed.",
			check->context->config.boot_file[check->slot]);
	return conclude(check, "boot-file", BISTABLE_LEVEL_OK, NULL, error,
		"%s is as it was installed.", check->context->config.boot_file[check->slot]);
}

/* --- image --- */

/* The image's size and digest by receipt or record. False: nothing tells. */
static bool find_image(
	const struct slotcheck *check, uint64_t *ret_size, const uint8_t **ret_sha256)
{
	const struct state *state = &check->record.state;
	const struct manifest_payload *payload = NULL;

	if (check->has_receipt)
		payload = manifest_find(
			&check->receipt.manifest, MANIFEST_ROLE_SYSTEM, check->slot);
	if (payload) {
		*ret_size = payload->size;
		*ret_sha256 = payload->sha256;
		return true;
	}
	for (size_t i = 0; i < state->payload_count; i++) {
		if (strcmp(state->payloads[i].role, MANIFEST_ROLE_SYSTEM) != 0)
			continue;
		*ret_size = state->payloads[i].size;
		*ret_sha256 = state->payloads[i].sha256;
		return true;
	}
	return false;
}

static int add_damage(void *opaque, uint64_t start, uint64_t end, struct error *error)
{
	struct slotcheck *check = opaque;
	struct bistable_report *report = check->report;
	struct bistable_damage *grown;

	grown = reallocarray(report->damage, report->damage_count + 1, sizeof(*grown));
	if (!grown)
		return error_memory(error);
	report->damage = grown;
	grown[report->damage_count++] = (struct bistable_damage){
		.slot = slot_letter(check->slot),
		.start = start,
		.end = end,
	};
	return 0;
}

static uint64_t count_damage(const struct slotcheck *check, size_t from)
{
	uint64_t bytes = 0;

	for (size_t i = from; i < check->report->damage_count; i++)
		bytes += check->report->damage[i].end - check->report->damage[i].start;
	return bytes;
}

static int report_image(
	struct slotcheck *check, uint64_t size, size_t damage_before, struct error *error)
{
	const char *device = check->context->config.system_device[check->slot];
	uint64_t bytes = count_damage(check, damage_before);
	size_t places = check->report->damage_count - damage_before;
	char all[16], wrong[16];

	text_size(size, all);
	text_size(bytes, wrong);
	if (places == 0)
		return conclude(check, "image", BISTABLE_LEVEL_OK, NULL, error,
			"The %s on %s are as they were installed.", all, device);
	return conclude(check, "image", BISTABLE_LEVEL_PROBLEM, REPAIR, error,
		"%s of the %s on %s, in %zu place%s, are not what was installed.", wrong, all,
		device, places, places == 1 ? "" : "s");
}

/* Chunk by chunk where the chunk map was kept, else as a whole. */
static int compare_image(struct slotcheck *check, struct partition *partition, uint64_t size,
	const uint8_t *sha256, struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	const struct manifest_payload *payload = NULL;
	struct chunkmap map;
	bool same;
	int r;

	if (check->has_receipt)
		payload = manifest_find(
			&check->receipt.manifest, MANIFEST_ROLE_SYSTEM, check->slot);
	if (payload && receipt_find_map(check->context, check->slot, payload, &bytes, &map))
		return chunkcheck_chunks(check->context, partition, &map, add_damage, check, error);
	r = chunkcheck_whole(check->context, partition, size, sha256, &same, error);
	return r < 0 || same ? r : add_damage(check, 0, size, error);
}

static int check_image(struct slotcheck *check, struct error *error)
{
	struct context *context = check->context;
	struct machine *machine = context->machine;
	size_t before = check->report->damage_count;
	struct partition *partition = NULL;
	struct error why = { 0 };
	const uint8_t *sha256;
	uint64_t size;
	int r;

	if (!find_image(check, &size, &sha256))
		return conclude(check, "image", BISTABLE_LEVEL_WARNING, NULL, error,
			"Nothing tells what the image was when it left the factory.");
	r = machine->ops->partition_open(machine, context->config.system_device[check->slot],
		PARTITION_READ, &partition, &why);
	if (r == 0 && machine->ops->partition_size(machine, partition) < size)
		r = error_failed(&why, EFBIG, "the partition is smaller than the image");
	if (r == 0)
		r = compare_image(check, partition, size, sha256, &why);
	machine->ops->partition_close(machine, partition);
	if (r == -ENOMEM || r == -ECANCELED)
		return error_pass(error, &why);
	return r < 0 ? conclude(
		       check, "image", BISTABLE_LEVEL_PROBLEM, REPAIR, error, "%s.", why.text)
		     : report_image(check, size, before, error);
}

static int check_slot(struct context *context, enum slot slot, struct bistable_report *report,
	struct error *error)
{
	CLEANUP(slotcheck_done)
	struct slotcheck check = { .context = context, .slot = slot, .report = report };
	int r;

	r = record_read(context, slot, &check.record, error);
	if (r == 0 && !check.record.readable)
		r = conclude(&check, "state", BISTABLE_LEVEL_PROBLEM, UNREADABLE, error,
			"Its record cannot be used, and the slot counts as incomplete: %s.",
			check.record.why);
	if (r < 0)
		return r;
	/* A boot file that is missing is told of below. What cannot be told is looked for. */
	if (check.record.readable && !record_complete(&check.record)
		&& !(check.record.exists && check.record.state.complete))
		return conclude(&check, "state", BISTABLE_LEVEL_WARNING, INSTALL_AGAIN, error,
			"It holds no complete system.");
	r = read_receipt(&check, error);
	if (r == 0)
		r = check_boot(&check, error);
	return r < 0 ? r : check_image(&check, error);
}

int slotcheck_run(
	struct context *context, enum slot slot, struct bistable_report **ret, struct error *error)
{
	AUTO_CONTEXT_CLOSE struct context *open = context;
	CLEANUP(report_freep) struct bistable_report *report = calloc(1, sizeof(*report));
	int r;

	(void)open;
	if (!report)
		return error_memory(error);
	report->checks = calloc(CHECKS_MAX, sizeof(*report->checks));
	if (!report->checks)
		return error_memory(error);
	r = context_open(context, true, NULL, error);
	for (enum slot each = SLOT_A; r == 0 && each < SLOT_COUNT; each++)
		if (slot == SLOT_NONE || each == slot)
			r = check_slot(context, each, report, error);
	if (r < 0)
		return r;
	*ret = TAKE(report);
	return 0;
}
