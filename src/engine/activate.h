/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/slot.h"
#include "bistable/bistable.h"

struct context;
struct error;
struct record;
struct records;
struct startable;
struct uki;

/** Unloads a kernel that is staged for kexec; nothing staged is fine. */
int activate_unstage(struct context *context, struct error *error);

/**
 * Tells the boot backend what it cannot know: which entries of others must come after those of
 * `first` (NULL: none), and which slots had one before. Borrowed until the next call.
 */
void activate_tell_boot(
	struct context *context, const struct startable *first, const struct records *records);

/**
 * What comes before a target may change or be chosen: a staged kexec kernel is unloaded (it may be
 * the target's), both slots have listed boot entries, nothing chosen for the next start names the
 * target. `first` (NULL: no slot) was looked at by startable_look(): it is made to be what a cold
 * boot starts, and that it is so is checked. `first` outlives the session.
 */
int activate_prepare(struct context *context, struct startable *first, enum slot target,
	const struct records *records, struct error *error);

/**
 * Chooses how `slot` starts next and records the attempt. `uki`: the slot's boot file as bound;
 * NULL: it is read from the ESP. Fills activation and fallback of *result. Needs
 * activate_prepare() before it.
 */
int activate_slot(struct context *context, enum slot slot, struct record *record,
	enum bistable_activation how, const struct uki *uki, struct bistable_result *result,
	struct error *error);

/**
 * Starts the other slot next. `back`: as a rollback, which is refused where the other slot failed
 * its trial, and ERROR_NOTHING where it is not complete; else that is ERROR_REFUSED. `force`: also
 * where a slot may not start.
 */
int activate_other(struct context *context, enum bistable_activation how, bool back, bool force,
	struct bistable_result *result, struct error *error);

/**
 * Whether what `how` asks for can be done here: kexec-only fails now rather than when the slot is
 * written, as far as the slot does not matter.
 */
int activate_check(struct context *context, enum bistable_activation how, struct error *error);

/**
 * Why no kernel at all can be staged here: *ret_reason, owned; NULL: one can. *ret_known: false
 * where it takes root to know.
 */
int activate_look_at_kexec(
	struct context *context, bool *ret_known, char **ret_reason, struct error *error);
