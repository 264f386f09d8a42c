/* SPDX-License-Identifier: Apache-2.0 */
/* A PE image, the UKI in it, its kernel and the plan of its kexec. */
#include "base/cleanup.h"
#include "format/filekind.h"
#include "format/kernel.h"
#include "format/kexecplan.h"
#include "format/pe.h"
#include "format/uki.h"
#include "fuzz.h"
#include "sim_loader.h"

#define PLACEHOLDER "SYSTEM-X"
#define BOUND       "SYSTEM-A"

static void check_kernel(struct span bytes)
{
	struct error error = { 0 };
	struct kernel kernel;

	if (succeeded(kernel_parse(bytes, &kernel, &error), &error))
		must(kernel.least_size <= bytes.size && kernel.protocol >= 0x20c);
	pe_extent(bytes);
	succeeded(kernel_check_stub(bytes, PE_MACHINE_NATIVE, &error), &error);
}

/* What is accepted, an independent loader takes, too. */
static void check_loader(const struct uki *uki)
{
	AUTO_TEXT_LIST struct text_list warnings = { 0 };
	struct error error = { 0 };

	must(sim_loads(uki->file));
	must(sim_section(uki->file, ".linux").size > 0);
	must(filekind_of(uki->file) == FILEKIND_UKI);
	must(uki_warnings(uki, &warnings, &error) == 0 && warnings.count <= 3);
	succeeded(uki_check_kernel(uki, &error), &error);
}

static void check_pe(struct span file, const struct pe *pe)
{
	must(pe->certificate_size == 0
		|| (uint64_t)pe->certificate_offset + pe->certificate_size <= file.size);
	must(pe_extent(file) > 0 && pe_extent(file) <= file.size);
	for (size_t i = 0; i < pe->section_count; i++) {
		const struct pe_section section = pe_section(pe, i);
		struct span bytes = pe_section_bytes(file, &section);
		char label[9];

		pe_section_label(section.name, label);
		must(strlen(label) == strlen(section.name) && is_printable(label));
		must(bytes.data && lies_inside(bytes, file));
		must(bytes.size
			== (section.raw_size < section.virtual_size ? section.raw_size
								    : section.virtual_size));
		must(section.virtual_address + pe_memory_size(&section) <= pe->size_of_image);
	}
}

static void check_spans(const struct uki *uki)
{
	const struct span spans[] = { uki->kernel, uki->initrd, uki->cmdline, uki->osrel,
		uki->uname, uki->ucode, uki->pcrsig, uki->pcrpkey, uki->profile, uki->sdmagic };

	for (size_t i = 0; i < sizeof(spans) / sizeof(*spans); i++)
		must(lies_inside(spans[i], uki->file));
}

/* A bound UKI is the same image with another text in it. */
static void check_bind(const struct uki *uki)
{
	struct span file = uki->file;
	AUTO_FREE uint8_t *copy = malloc(file.size);
	struct error error = { 0 };
	size_t count, changed = 0;
	struct uki bound;

	must(copy);
	memcpy(copy, file.data, file.size);
	must(uki_bind(uki, copy, PLACEHOLDER, BOUND, &count, &error) == 0);
	for (size_t i = 0; i < file.size; i++)
		changed += copy[i] != file.data[i];
	must(changed == count);
	must(uki_parse((struct span){ copy, file.size }, &bound, &error) == 0);
	must(bound.pe.section_count == uki->pe.section_count);
	must(span_equal(bound.kernel, uki->kernel) && span_equal(bound.initrd, uki->initrd));
	must(bound.cmdline.size == uki->cmdline.size);
	must(!bound.cmdline.size
		|| !memmem(
			bound.cmdline.data, bound.cmdline.size, PLACEHOLDER, strlen(PLACEHOLDER)));
	must(uki_bind(uki, copy, PLACEHOLDER, "longer than it", &count, NULL) < 0);
}

static void check_texts(const struct uki *uki)
{
	AUTO_FREE char *cmdline = NULL;
	AUTO_FREE char *version = NULL;
	struct error error = { 0 };
	size_t length;

	must(uki_cmdline(uki, &cmdline, &error) == 0);
	length = strlen(cmdline);
	must(length <= uki->cmdline.size && is_printable(cmdline));
	must(length == 0 || (cmdline[0] != ' ' && cmdline[length - 1] != ' '));
	must(uki_version(uki, &version, &error) == 0);
	must(!version || (*version && strlen(version) <= uki->osrel.size && is_printable(version)));
}

static void check_plan(const struct uki *uki)
{
	AUTO_KEXEC_PLAN struct kexec_plan plan = { 0 };
	struct error error = { 0 };
	struct kernel kernel;

	must(kexec_plan_make(uki, PLACEHOLDER, BOUND, NULL, &plan, &error) == 0);
	must(span_equal(plan.kernel, uki->kernel) && span_equal(plan.initrd, uki->initrd));
	must(!strstr(plan.cmdline, PLACEHOLDER));
	if (!kexec_plan_possible(&plan))
		return;
	must(kernel_parse(plan.kernel, &kernel, &error) == 0);
	must(strlen(plan.cmdline) + 31 <= kernel.cmdline_size || !*plan.cmdline);
	must(!uki->ucode.data && !uki->profile.data && !uki->device_tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span file = { data, size };
	struct error pe_error = { 0 }, error = { 0 };
	bool is_pe;
	struct pe pe;
	struct uki uki;

	check_kernel(file);
	must(filekind_name(filekind_of(file))[0]);
	is_pe = succeeded(pe_parse(file, &pe, &pe_error), &pe_error);
	if (is_pe)
		check_pe(file, &pe);
	if (!succeeded(uki_parse(file, &uki, &error), &error))
		return 0;
	must(is_pe && uki.kernel.size > 0);
	must(uki.has_signature == (pe.certificate_size > 0));
	check_loader(&uki);
	check_spans(&uki);
	check_kernel(uki.kernel);
	check_bind(&uki);
	check_texts(&uki);
	check_plan(&uki);
	return 0;
}
