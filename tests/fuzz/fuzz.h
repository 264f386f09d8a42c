/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

/** One run of a target, called by libFuzzer or by replay.c. Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** An invariant: what does not hold ends the process, whatever the build type. */
#define must(condition) ((condition) ? (void)0 : must_failed(__FILE__, __LINE__, #condition))

static inline void must_failed(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, condition);
	abort();
}

/** A result is 0, or a failure that says what is wrong. Returns whether it is 0. */
static inline bool succeeded(int r, const struct error *error)
{
	must(r <= 0);
	if (r == 0)
		return true;
	must(error->kind != ERROR_NONE);
	must(error->number == -r);
	must(error->text[0] && memchr(error->text, '\0', sizeof(error->text)));
	return false;
}

static inline bool lies_inside(struct span part, struct span whole)
{
	return part.size == 0
	       || (part.data >= whole.data && part.size <= whole.size
		       && (size_t)(part.data - whole.data) <= whole.size - part.size);
}

/** Up to the first NUL, as a string of its own: reading past its end is seen. */
static inline char *text_of(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);

	must(text);
	return text;
}

static inline bool is_printable(const char *text)
{
	for (; *text; text++)
		if ((uint8_t)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}
