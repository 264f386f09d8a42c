/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/slot.h"

struct context;
struct error;
struct state;

/**
 * Notes in a slot's state where it comes from: `source` as it was given, a path made absolute. What
 * a URL holds besides its place (user, password, query) may be secret: the state, which others can
 * read, has it without that, and the whole goes into a file of the state directory that is root's
 * alone. That the file cannot be written is told and does no harm. -ENOMEM.
 */
int origin_keep(struct context *context, enum slot slot, const char *source, struct state *state,
	struct error *error);

/** The source as it was given, owned by the caller. ERROR_USAGE: it is not known, or not any more.
 */
int origin_find(struct context *context, enum slot slot, const struct state *state, char **ret,
	struct error *error);
