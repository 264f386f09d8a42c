/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdarg.h>

#include "bistable/bistable.h"

struct error;

/**
 * Ends the check at hand, the report's next one, whose group and name are set. There is room for
 * it. `advice` has to last (a constant; NULL: none). 0 or -ENOMEM.
 */
int checklist_conclude(struct bistable_report *report, enum bistable_level level,
	const char *advice, struct error *error, const char *format, va_list arguments)
	__attribute__((format(printf, 5, 0)));
