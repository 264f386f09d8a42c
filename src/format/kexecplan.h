/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/text.h"

struct error;
struct uki;

/** How a UKI is started by kexec, or why it cannot be. Borrows kernel and initrd from the UKI. */
struct kexec_plan {
	struct span kernel;
	struct span initrd; /* empty: none */
	char *cmdline;
	struct text_list reasons; /* why kexec would not do what a firmware boot does, each a clause
				     for users; empty: possible */
};

/**
 * Plans the kexec of `uki`. `placeholder` in its command line is replaced by `bound` (NULL: left
 * alone), and a placeholder that stays is a reason; `placeholder` NULL: there is none.
 * `companions`: paths of files on the ESP that the stub would add (addons, credentials,
 * extensions), each a reason; may be NULL. Reasons also come from sections the plan does not
 * reproduce (.ucode .profile .pcrsig .pcrpkey .dtb* .efifw), from a kernel that is not complete and
 * from a command line longer than the kernel takes (x86: cmdline_size - 31).
 * *ret belongs to the caller (kexec_plan_done). 0, -ENOMEM, -EINVAL (bad placeholder).
 */
int kexec_plan_make(const struct uki *uki, const char *placeholder, const char *bound,
	const struct text_list *companions, struct kexec_plan *ret, struct error *error);

static inline bool kexec_plan_possible(const struct kexec_plan *plan)
{
	return plan->reasons.count == 0;
}

/** The plan may be zero-initialised or half-built. */
void kexec_plan_done(struct kexec_plan *plan);

#define AUTO_KEXEC_PLAN __attribute__((cleanup(kexec_plan_done)))
