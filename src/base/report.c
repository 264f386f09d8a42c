/* SPDX-License-Identifier: Apache-2.0 */
#include "base/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"

static void tell(const struct report *report, bool warning, const char *format, va_list arguments)
	__attribute__((format(printf, 3, 0)));

static void tell(const struct report *report, bool warning, const char *format, va_list arguments)
{
	char text[ERROR_TEXT_MAX];

	if (!report->note)
		return;
	vsnprintf(text, sizeof(text), format, arguments);
	report->note(report->context, warning, text);
}

void report_note(const struct report *report, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	tell(report, false, format, arguments);
	va_end(arguments);
}

void report_warning(const struct report *report, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	tell(report, true, format, arguments);
	va_end(arguments);
}
