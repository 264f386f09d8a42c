/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "source/input.h"

struct error;
struct source;
struct source_options;

/** A bundle that is being read. opened_done() closes it. */
struct opened {
	struct source *source;
	struct input input;
};

/** `options` as for source_open(). */
int opened_open(const char *file, const struct source_options *options, struct opened *ret,
	struct error *error);
/** Puts the source's name before the message of a failed `r`, unless it is there. Returns `r`. */
int opened_failed(const struct opened *opened, int r, struct error *error);
void opened_done(struct opened *opened);

#define AUTO_OPENED __attribute__((cleanup(opened_done)))
