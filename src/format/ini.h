/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

struct error;

/**
 * Reads configuration text: "[section]" and "key = value" lines; blank lines and lines beginning
 * with '#' or ';' are skipped. Blanks around keys and values go; the rest of a value is taken as it
 * stands, of any length, with ';' and '#' in it. A line that begins with a blank is an error:
 * elsewhere it would continue the one before. `handle` is given each pair; what it returns below 0
 * ends the reading. `text` is changed while it is read. *ret_line (may be NULL) is the line that is
 * read, from 1, while `handle` runs; afterwards the line at fault, or 0. 0, -EINVAL, or what
 * `handle` returned.
 */
int ini_parse(char *text,
	int (*handle)(void *context, const char *section, const char *key, const char *value,
		struct error *error),
	void *context, size_t *ret_line, struct error *error);
