/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/bootfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "engine/espfile.h"
#include "engine/records.h"
#include "fetch/fetcher.h"
#include "format/manifest.h"
#include "machine/machine.h"
#include "maker/treematch.h"

#define READ_SIZE (256u << 10)

/* Beside the boot file: folders, the state record, and its replacement in the making. */
#define SPACE_MARGIN (256u << 10)

static int read_payload(struct context *context, struct fetcher *fetcher,
	const struct bundle_payload *payload, struct buffer *out, struct error *error)
{
	bool known = payload->size != BUNDLE_SIZE_UNKNOWN;
	int r;

	if (known && payload->size > BOOT_FILE_MAX)
		return error_failed(error, EFBIG,
			"%s is %llu bytes: boot files over %u bytes are refused", payload->name,
			(unsigned long long)payload->size, BOOT_FILE_MAX);
	r = buffer_reserve(out, known ? (size_t)payload->size + 1 : READ_SIZE, error);
	if (r < 0)
		return r;
	context_begin_phase(context, "boot", known ? payload->size : UINT64_MAX);
	for (;;) {
		size_t got;

		if (context_cancelled(context))
			return error_failed(error, ECANCELED, "interrupted");
		if (out->size > BOOT_FILE_MAX)
			return error_failed(error, EFBIG,
				"%s goes on beyond %u bytes: boot files of that size are refused",
				payload->name, BOOT_FILE_MAX);
		if (out->size == out->capacity) {
			r = buffer_reserve(out, READ_SIZE, error);
			if (r < 0)
				return r;
		}
		r = fetcher_read(
			fetcher, out->data + out->size, out->capacity - out->size, &got, error);
		if (r < 0 || got == 0)
			return r;
		out->size += got;
		context_count_fetched(context, fetcher);
		context_progress(context, out->size);
	}
}

/* Secure Boot checks the whole file: a bound copy of a signed UKI would not start. */
static int check_signature(struct context *context, const struct uki *uki, struct error *error)
{
	struct machine *machine = context->machine;
	AUTO_BUFFER struct buffer value = { 0 };
	struct error why = { 0 };
	uint32_t attributes;
	int r;

	if (!uki->has_signature || !machine->ops->efi_available(machine))
		return 0;
	r = machine->ops->variable_read(machine, "SecureBoot", &attributes, &value, &why);
	if (r == -ENOENT || (r == 0 && value.size == 1 && value.data[0] == 0))
		return 0;
	if (r < 0)
		return error_failed(error, -r,
			"the UKI is signed and must be bound to its slot, but it cannot be told "
			"whether Secure Boot is on: %s",
			why.text);
	return error_set(error, ERROR_REFUSED, EPERM,
		"the UKI is signed, Secure Boot is on, and its command line holds the placeholder "
		"%s: binding it would break the signature. Build a UKI for each slot, or one that "
		"finds its root by root hash",
		context->config.placeholder);
}

static int bind_to(
	struct context *context, enum slot slot, struct bootfile *file, struct error *error)
{
	AUTO_FREE char *cmdline = NULL;
	enum slot named = SLOT_NONE;
	size_t count = 0;
	int r;

	r = uki_bind(&file->uki, file->bytes.data, context->config.placeholder,
		context->config.bound[slot], &count, error);
	if (r == 0 && count > 0)
		r = check_signature(context, &file->uki, error);
	if (r == 0)
		r = uki_cmdline(&file->uki, &cmdline, error);
	if (r == 0)
		r = cmdline_slot(cmdline, context->config.cmdline_match, &named, error);
	if (r == 0 && named != SLOT_NONE && named != slot)
		return error_failed(error, EINVAL,
			"the UKI's command line names slot %c, but it would be installed into "
			"slot %c",
			slot_letter(named), slot_letter(slot));
	if (r == 0)
		r = cmdline_verity(cmdline, &file->verity, error);
	if (r == 0)
		treematch_tell_foreign(&file->verity, &context->observer.report);
	if (r == 0 && count == 0 && named == SLOT_NONE && file->verity.count == 0)
		report_warning(&context->observer.report,
			"the UKI's command line has neither the placeholder %s nor a root hash: "
			"it is written unchanged, and nothing tells it which slot is its own: %s",
			context->config.placeholder, cmdline);
	return r;
}

static int warn(struct context *context, const struct uki *uki, struct error *error)
{
	AUTO_TEXT_LIST struct text_list warnings = { 0 };
	int r = uki_warnings(uki, &warnings, error);

	for (size_t i = 0; r == 0 && i < warnings.count; i++)
		report_warning(&context->observer.report, "%s", warnings.items[i]);
	return r;
}

static int check(
	struct context *context, enum slot slot, struct bootfile *file, struct error *error)
{
	int r;

	strcpy(file->payload.role, "boot");
	file->payload.size = file->bound.size = file->bytes.size;
	r = sha256_of(file->bytes.data, file->bytes.size, file->payload.sha256, error);
	if (r == 0)
		r = uki_parse(span_of(&file->bytes), &file->uki, error);
	if (r == 0)
		r = uki_check_kernel(&file->uki, error);
	if (r == 0)
		r = warn(context, &file->uki, error);
	if (r == 0)
		r = bind_to(context, slot, file, error);
	if (r == 0)
		r = uki_version(&file->uki, &file->version, error);
	if (r == 0)
		r = sha256_of(file->bytes.data, file->bytes.size, file->bound.sha256, error);
	return r;
}

int bootfile_check(struct context *context, enum slot slot, struct bootfile *file, const char *name,
	struct error *error)
{
	int r = check(context, slot, file, error);

	if (r < 0)
		error_prefix(error, "%s in the bundle", name);
	return r;
}

int bootfile_read(struct context *context, struct fetcher *fetcher,
	const struct bundle_payload *payload, enum slot slot, struct bootfile *ret,
	struct error *error)
{
	AUTO_BOOTFILE struct bootfile file = { 0 };
	int r;

	r = read_payload(context, fetcher, payload, &file.bytes, error);
	if (r == 0)
		r = bootfile_check(context, slot, &file, payload->name, error);
	if (r < 0)
		return r;
	*ret = file;
	file = (struct bootfile){ 0 };
	return 0;
}

static bool was_installed(const struct record *record, const struct manifest_payload *payload)
{
	const struct state *state = &record->state;

	for (size_t i = 0; record->readable && i < state->payload_count; i++)
		if (strcmp(state->payloads[i].role, payload->role) == 0
			&& state->payloads[i].size == payload->size
			&& memcmp(state->payloads[i].sha256, payload->sha256, SHA256_SIZE) == 0)
			return true;
	return false;
}

static int has_digest(const struct buffer *bytes, const uint8_t sha256[SHA256_SIZE], bool *ret,
	struct error *error)
{
	uint8_t digest[SHA256_SIZE];
	int r = sha256_of(bytes->data, bytes->size, digest, error);

	*ret = r == 0 && memcmp(digest, sha256, SHA256_SIZE) == 0;
	return r;
}

/* How often `from` stood in the command lines of a UKI; -1: it cannot be replaced there. */
static int replace(struct buffer *bytes, const char *from, const char *to)
{
	struct uki uki;
	size_t count;

	if (uki_parse(span_of(bytes), &uki, NULL) < 0)
		return 0;
	return uki_bind(&uki, bytes->data, from, to, &count, NULL) < 0 ? -1 : (int)count;
}

int bootfile_is(struct context *context, enum slot slot, const uint8_t sha256[SHA256_SIZE],
	struct buffer *ret_bytes, bool *ret, struct error *error)
{
	const char *placeholder = context->config.placeholder, *bound = context->config.bound[slot];
	AUTO_BUFFER struct buffer bytes = { 0 };
	int r;

	*ret = false;
	r = context->machine->ops->esp_read(context->machine, context->esp,
		context->config.boot_file[slot], BOOT_FILE_MAX, &bytes, error);
	/* One that was built for its slot lies there as it came. */
	if (r == 0)
		r = has_digest(&bytes, sha256, ret, error);
	if (r < 0)
		return r;
	if (!*ret && replace(&bytes, bound, placeholder) > 0)
		r = has_digest(&bytes, sha256, ret, error);
	/* One that still has the placeholder finds no system, unless it is bound now. */
	else if (*ret && !ret_bytes)
		*ret = replace(&bytes, placeholder, bound) == 0;
	if (*ret && ret_bytes)
		*ret_bytes = buffer_take(&bytes);
	return r;
}

bool bootfile_find(struct context *context, enum slot slot, const struct record *record,
	const struct manifest_payload *payload, struct buffer *ret)
{
	bool is = false;

	/* Whatever is wrong with the file, the bundle has it, too. */
	return was_installed(record, payload)
	       && bootfile_is(context, slot, payload->sha256, ret, &is, NULL) == 0 && is;
}

/* Bytes of a file on the ESP; 0 when it is absent. */
static uint64_t size_on_esp(struct context *context, const char *path)
{
	uint64_t size = 0;

	context->machine->ops->esp_digest(context->machine, context->esp, path, NULL, &size, NULL);
	return size;
}

int bootfile_check_space(struct context *context, enum slot slot, uint64_t size,
	bool *ret_remove_first, struct error *error)
{
	const char *path = context->config.boot_file[slot];
	AUTO_FREE char *leftover = text_format("%s" MACHINE_NEW_SUFFIX, path);
	struct machine *machine = context->machine;
	struct esp_space space;
	char need[16], have[16], why[LIMITS_ERROR_MAX];
	int r;

	if (!leftover)
		return error_memory(error);
	text_size(size + SPACE_MARGIN, need);
	if (size > limits_file_size())
		return error_failed(error, EFBIG,
			"the boot file needs %s and cannot be written: %s", need,
			limits_strerror(EFBIG, why));
	r = machine->ops->esp_space(machine, context->esp, &space, error);
	if (r < 0)
		return r;
	*ret_remove_first = false;
	space.free += size_on_esp(context, leftover);
	if (space.free >= size + SPACE_MARGIN)
		return 0;
	if (space.free + size_on_esp(context, path) >= size + SPACE_MARGIN) {
		*ret_remove_first = true;
		return 0;
	}
	text_size(space.free, have);
	return error_failed(error, ENOSPC,
		"the EFI System Partition has %s free, but the boot file needs %s: remove what is "
		"not needed there, or make the partition larger",
		have, need);
}

int bootfile_is_present(struct context *context, enum slot slot, const struct bootfile *file,
	bool *ret, struct error *error)
{
	uint8_t digest[SHA256_SIZE];
	struct error why = { 0 };
	int r;

	r = espfile_digest(context, context->config.boot_file[slot], digest, &why);
	if (r < 0 && r != -ENOENT) {
		if (error)
			*error = why;
		return r;
	}
	*ret = r == 0 && memcmp(digest, file->bound.sha256, SHA256_SIZE) == 0;
	return 0;
}

int bootfile_write(
	struct context *context, enum slot slot, const struct bootfile *file, struct error *error)
{
	const char *path = context->config.boot_file[slot];
	struct machine *machine = context->machine;
	bool remove_first;
	int r;

	espfile_forget(context);
	r = bootfile_check_space(context, slot, file->bytes.size, &remove_first, error);
	/* Nothing starts the target any more: its old boot file is no loss. */
	if (r == 0 && remove_first)
		r = machine->ops->esp_remove(machine, context->esp, path, error);
	if (r == 0)
		r = machine->ops->esp_replace(
			machine, context->esp, path, span_of(&file->bytes), error);
	return r;
}

void bootfile_done(struct bootfile *file)
{
	buffer_done(&file->bytes);
	free(file->version);
	*file = (struct bootfile){ 0 };
}
