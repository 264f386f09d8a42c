/* SPDX-License-Identifier: Apache-2.0 */
#include "format/ini.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (isspace((unsigned char)*text))
		text++;
	while (end > text && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return text;
}

static int wrong(const char *what, struct error *error)
{
	return error_set(error, ERROR_USAGE, EINVAL, "%s", what);
}

/* "[section]": the name is cut out of the line. */
static int read_section(char *line, const char **ret, struct error *error)
{
	char *name = trim(line), *end = name + strlen(name) - 1;

	if (*end != ']')
		return wrong("a section's name ends with ']'", error);
	*end = '\0';
	*ret = trim(name + 1);
	return 0;
}

int ini_parse(char *text,
	int (*handle)(void *context, const char *section, const char *key, const char *value,
		struct error *error),
	void *context, size_t *ret_line, struct error *error)
{
	const char *section = "";
	size_t none = 0, *number = ret_line ? ret_line : &none;
	char *line, *equals;
	int r = 0;

	*number = 0;
	while (r == 0 && (line = strsep(&text, "\n"))) {
		++*number;
		if (*line == '#' || *line == ';' || !*trim(line))
			continue;
		equals = strchr(line, '=');
		if (isspace((unsigned char)*line)) {
			r = wrong("the line begins with a blank", error);
		} else if (*line == '[') {
			r = read_section(line, &section, error);
		} else if (!equals) {
			r = wrong("neither a [section] nor 'key = value'", error);
		} else {
			*equals = '\0';
			r = handle(context, section, trim(line), trim(equals + 1), error);
		}
	}
	if (r == 0)
		*number = 0;
	return r;
}
