/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

/** Where library code tells the user what it noticed or repaired. */
struct report {
	void (*note)(void *context, bool warning, const char *text); /* one sentence; may be NULL */
	void *context;
};

void report_note(const struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void report_warning(const struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
