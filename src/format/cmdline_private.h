/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of cmdline.h share. */

#include "format/cmdline.h"

#define CMDLINE_BLANKS " \t\n\v\f\r"

/** One kernel parameter; borrows the command line. */
struct cmdline_parameter {
	const char *name;
	size_t name_length;
	const char *value; /* NULL: it has none */
	size_t value_length;
};

/** The next parameter, as next_arg() of the kernel's lib/cmdline.c splits. False at the end. */
bool cmdline_next(const char **cursor, struct cmdline_parameter *ret);

/** Whether it has this name, which is written with '_'; the kernel takes '-' for the same. */
bool cmdline_is(const struct cmdline_parameter *parameter, const char *name);
