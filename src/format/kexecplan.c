/* SPDX-License-Identifier: Apache-2.0 */
#include "format/kexecplan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/cmdline.h"
#include "format/kernel.h"
#include "format/pe.h"
#include "format/uki.h"

/* The kernel needs its NUL and puts "elfcorehdr=0x... " before it:
 * arch/x86/kernel/kexec-bzimage64.c reserves 30 bytes for that whether it is a crash kernel or not.
 */
#define CMDLINE_RESERVED 31

static int add_section_reasons(
	const struct uki *uki, struct text_list *reasons, struct error *error)
{
	const struct {
		bool present;
		const char *reason;
	} checks[] = {
		{ uki->ucode.data,
			"the UKI has a .ucode section, which only the firmware's stub loads" },
		{ uki->profile.data,
			"the UKI has a .profile section, and only the firmware's stub chooses a "
			"profile" },
		{ uki->pcrsig.data, "the UKI has a .pcrsig section, which only the firmware's stub "
				    "hands to the "
				    "initrd" },
		{ uki->pcrpkey.data,
			"the UKI has a .pcrpkey section, which only the firmware's stub hands to "
			"the initrd" },
		{ uki->device_tree,
			"the UKI has a device tree or firmware section (.dtb, .dtbauto, .efifw), "
			"which only the firmware's stub installs" },
	};
	int r;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		if (!checks[i].present)
			continue;
		r = text_list_add(reasons, error, "%s", checks[i].reason);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_companion_reasons(
	const struct text_list *companions, struct text_list *reasons, struct error *error)
{
	for (size_t i = 0; companions && i < companions->count; i++) {
		int r = text_list_add(reasons, error,
			"the file %s on the ESP is one that only the firmware's stub adds",
			companions->items[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int add_cmdline_reasons(const struct kexec_plan *plan, const struct kernel *kernel,
	const char *placeholder, struct text_list *reasons, struct error *error)
{
	size_t length = strlen(plan->cmdline), limit = 0;
	int r;

	if (placeholder && *placeholder && strstr(plan->cmdline, placeholder)) {
		r = text_list_add(reasons, error,
			"the command line still holds the placeholder %s, which is bound to no "
			"slot",
			placeholder);
		if (r < 0)
			return r;
	}
	if (!kernel)
		return 0;
	if (kernel->cmdline_size > CMDLINE_RESERVED)
		limit = kernel->cmdline_size - CMDLINE_RESERVED;
	if (length <= limit)
		return 0;
	return text_list_add(reasons, error,
		"the command line has %zu characters, and the kernel takes at most %zu at a kexec",
		length, limit);
}

/* What kexec_file_load does not check but the machine would die of. *ret_kernel is set only when
 * the kernel is complete. */
static int add_kernel_reasons(struct span bytes, struct kernel *kernel, bool *ret_complete,
	struct text_list *reasons, struct error *error)
{
	uint64_t extent = pe_extent(bytes);
	struct error reason = { 0 };
	int r;

	*ret_complete = kernel_parse(bytes, kernel, &reason) == 0;
	if (!*ret_complete) {
		r = text_list_add(
			reasons, error, "the UKI's .linux cannot be started: %s", reason.text);
		if (r < 0)
			return r;
	}
	if (extent <= bytes.size)
		return 0;
	return text_list_add(reasons, error,
		"the kernel's PE headers speak of %" PRIu64 " bytes, but .linux holds %zu", extent,
		bytes.size);
}

static int bind(
	struct kexec_plan *plan, const char *placeholder, const char *bound, struct error *error)
{
	if (!placeholder || !bound)
		return 0;
	return cmdline_bind(
		(uint8_t *)plan->cmdline, strlen(plan->cmdline), placeholder, bound, NULL, error);
}

static int add_machine_reason(const struct uki *uki, struct text_list *reasons, struct error *error)
{
	const char *name = pe_machine_name(uki->pe.machine);

	return text_list_add(reasons, error, "the UKI is for %s, and this machine is %s",
		name ? name : "another machine type", pe_machine_name(PE_MACHINE_NATIVE));
}

static int add_reasons(const struct uki *uki, const char *placeholder,
	const struct text_list *companions, struct kexec_plan *plan, struct error *error)
{
	struct kernel kernel;
	bool complete;
	int r;

	r = add_kernel_reasons(plan->kernel, &kernel, &complete, &plan->reasons, error);
	if (r == 0)
		r = add_cmdline_reasons(
			plan, complete ? &kernel : NULL, placeholder, &plan->reasons, error);
	if (r == 0)
		r = add_section_reasons(uki, &plan->reasons, error);
	return r < 0 ? r : add_companion_reasons(companions, &plan->reasons, error);
}

int kexec_plan_make(const struct uki *uki, const char *placeholder, const char *bound,
	const struct text_list *companions, struct kexec_plan *ret, struct error *error)
{
	AUTO_KEXEC_PLAN struct kexec_plan plan = { .kernel = uki->kernel, .initrd = uki->initrd };
	int r;

	r = uki_cmdline(uki, &plan.cmdline, error);
	if (r < 0)
		return r;
	r = bind(&plan, placeholder, bound, error);
	if (r < 0)
		return r;
	if (uki->pe.machine != PE_MACHINE_NATIVE)
		r = add_machine_reason(uki, &plan.reasons, error);
	else
		r = add_reasons(uki, placeholder, companions, &plan, error);
	if (r < 0)
		return r;
	*ret = plan;
	plan = (struct kexec_plan){ 0 };
	return 0;
}

void kexec_plan_done(struct kexec_plan *plan)
{
	free(plan->cmdline);
	text_list_done(&plan->reasons);
	*plan = (struct kexec_plan){ 0 };
}
