/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"

/* Which of this process's limits it was, where there is one: nobody guesses it. */
static void append_limit(struct error *error)
{
	char limit[LIMITS_TEXT_MAX];
	size_t used = strlen(error->text);

	if (error->number != EMFILE && error->number != ENOMEM)
		return;
	limits_explain(error->number, limit);
	if (!strstr(error->text, limit))
		snprintf(error->text + used, sizeof(error->text) - used, "%s", limit);
}

int error_set(struct error *error, enum error_kind kind, int number, const char *format, ...)
{
	va_list arguments;

	if (number == 0)
		number = EIO;
	if (!error)
		return -number;

	error->kind = kind;
	error->number = number;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	append_limit(error);
	return -number;
}

int error_memory(struct error *error)
{
	return error_failed(error, ENOMEM, "out of memory");
}

int error_pass(struct error *error, const struct error *from)
{
	int number = from->number ? from->number : EIO;

	if (error) {
		*error = *from;
		error->number = number;
	}
	return -number;
}

void error_prefix(struct error *error, const char *format, ...)
{
	char old[ERROR_TEXT_MAX];
	va_list arguments;
	size_t used;

	if (!error || error->kind == ERROR_NONE)
		return;

	memcpy(old, error->text, sizeof(old));
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text) - 2, format, arguments);
	va_end(arguments);
	used = strlen(error->text);
	error->text[used++] = ':';
	error->text[used++] = ' ';
	/* What does not fit is cut off: the place comes first. */
	memcpy(error->text + used, old, sizeof(old) - used);
	error->text[sizeof(old) - 1] = '\0';
}

void error_advise(struct error *error, const char *advice)
{
	size_t used = error ? strlen(error->text) : 0;

	if (error)
		snprintf(error->text + used, sizeof(error->text) - used, ": %s", advice);
}

void error_name(struct error *error, const char *name)
{
	if (error && !strstr(error->text, name))
		error_prefix(error, "'%s'", name);
}
