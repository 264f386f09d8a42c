/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "format/cmdline.h"
#include "format/filekind.h"
#include "format/kexecplan.h"
#include "format/uki.h"
#include "source/source.h"

DEFINE_CLEANUP(uki_freep, struct bistable_uki *, bistable_uki_free)

#define READ_SIZE (1u << 20)

static int read_all(struct source *source, struct buffer *out, struct error *error)
{
	size_t got = 1;
	int r = 0;

	while (r == 0 && got > 0) {
		if (out->size > BOOT_FILE_MAX)
			return error_failed(error, EFBIG,
				"%s is %s and larger than %u bytes: boot files of that size are "
				"refused",
				source->name, filekind_name(filekind_of(span_of(out))),
				BOOT_FILE_MAX);
		r = buffer_reserve(out, READ_SIZE, error);
		if (r == 0)
			r = source->ops->read(
				source, out->data + out->size, READ_SIZE, &got, error);
		if (r == 0)
			out->size += got;
	}
	return r;
}

static int fill_sections(const struct uki *uki, struct bistable_uki *ret, struct error *error)
{
	ret->sections = calloc(uki->pe.section_count + 1, sizeof(*ret->sections));
	if (!ret->sections)
		return error_memory(error);
	ret->section_count = uki->pe.section_count;
	for (size_t i = 0; i < uki->pe.section_count; i++) {
		const struct pe_section section = pe_section(&uki->pe, i);

		_Static_assert(sizeof(ret->sections[i].name) == sizeof(section.name), "names");
		memcpy(ret->sections[i].name, section.name, sizeof(section.name));
		ret->sections[i].offset = section.raw_offset;
		ret->sections[i].size = pe_section_bytes(uki->file, &section).size;
	}
	return 0;
}

static int hash_part(
	struct span part, uint64_t *ret_size, char ret_hex[SHA256_TEXT_SIZE], struct error *error)
{
	uint8_t digest[SHA256_SIZE];
	int r;

	*ret_size = part.size;
	r = sha256_of(part.data, part.size, digest, error);
	if (r == 0)
		text_hex(digest, SHA256_SIZE, ret_hex);
	return r;
}

/* Warnings of the image, and why install would refuse what is in it. */
static int warn(struct context *context, const struct uki *uki, struct error *error)
{
	AUTO_TEXT_LIST struct text_list warnings = { 0 };
	struct error why = { 0 };
	int r;

	r = uki_warnings(uki, &warnings, error);
	if (r == 0 && uki_check_kernel(uki, &why) < 0)
		r = text_list_add(&warnings, error, "the UKI cannot be installed: %s", why.text);
	for (size_t i = 0; r == 0 && i < warnings.count; i++)
		report_warning(&context->observer.report, "%s", warnings.items[i]);
	return r;
}

static void note_unbound(struct context *context, const char *cmdline, enum slot slot)
{
	enum slot named = SLOT_NONE;

	if (cmdline_slot(cmdline, context->config.cmdline_match, &named, NULL) < 0)
		named = SLOT_NONE;
	report_note(&context->observer.report,
		"the UKI's command line has no placeholder %s ([slots] placeholder): nothing "
		"was bound to slot %c%s",
		context->config.placeholder, slot_letter(slot),
		named == SLOT_NONE ? ""
		: named == slot    ? ", which it names already"
				   : "; it names the other slot");
}

static int fill_cmdline(struct context *context, const struct uki *uki, enum slot slot,
	struct kexec_plan *plan, struct bistable_uki *ret, struct error *error)
{
	int r = uki_cmdline(uki, &ret->cmdline, error);

	if (r < 0 || slot == SLOT_NONE)
		return r;
	ret->bound = strcmp(ret->cmdline, plan->cmdline) != 0;
	if (!ret->bound)
		note_unbound(context, ret->cmdline, slot);
	free(ret->cmdline);
	ret->cmdline = TAKE(plan->cmdline);
	return 0;
}

static int fill_plan(struct context *context, const struct uki *uki, enum slot slot,
	struct bistable_uki *ret, struct error *error)
{
	AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
	int r;

	/* Without a slot the plan is made for A, which is as good as B; only the text stays
	 * unbound. */
	r = kexec_plan_make(uki, context->config.placeholder,
		context->config.bound[slot == SLOT_NONE ? SLOT_A : slot], NULL, &plan, error);
	if (r == 0)
		r = fill_cmdline(context, uki, slot, &plan, ret, error);
	ret->kexec_reasons = plan.reasons.items;
	ret->kexec_reason_count = plan.reasons.count;
	plan.reasons = (struct text_list){ 0 };
	return r;
}

static int fill_uki(struct context *context, const struct uki *uki, enum slot slot,
	struct bistable_uki *ret, struct error *error)
{
	int r;

	ret->architecture = pe_machine_name(uki->pe.machine);
	r = fill_sections(uki, ret, error);
	if (r == 0)
		r = hash_part(uki->kernel, &ret->kernel_size, ret->kernel_sha256, error);
	if (r == 0 && uki->initrd.size > 0)
		r = hash_part(uki->initrd, &ret->initrd_size, ret->initrd_sha256, error);
	if (r == 0)
		r = uki_version(uki, &ret->version, error);
	if (r == 0)
		r = warn(context, uki, error);
	return r < 0 ? r : fill_plan(context, uki, slot, ret, error);
}

int inspect_uki(struct context *context, const char *file, enum slot slot,
	struct bistable_uki **ret, struct error *error)
{
	const struct source_options options = context_source_options(
		context, &context->config.headers);
	CLEANUP(uki_freep) struct bistable_uki *result = calloc(1, sizeof(*result));
	AUTO_BUFFER struct buffer bytes = { 0 };
	AUTO_SOURCE struct source *source = NULL;
	struct uki uki;
	int r;

	if (!result)
		return error_memory(error);
	r = source_open(file, &options, &source, error);
	if (r == 0)
		r = read_all(source, &bytes, error);
	if (r < 0)
		return r;
	r = uki_parse_any(span_of(&bytes), &uki, error);
	if (r < 0) {
		error_prefix(error, "%s", source->name);
		return r;
	}
	r = fill_uki(context, &uki, slot, result, error);
	if (r < 0)
		return r;
	*ret = TAKE(result);
	return 0;
}

void bistable_uki_free(struct bistable_uki *uki)
{
	if (!uki)
		return;
	for (size_t i = 0; i < uki->kexec_reason_count; i++)
		free(uki->kexec_reasons[i]);
	free(uki->kexec_reasons);
	free(uki->sections);
	free(uki->cmdline);
	free(uki->version);
	free(uki);
}
