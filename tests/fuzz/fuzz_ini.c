/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration text: the pairs that are read, written plainly, are read again. */
#include <ctype.h>

#include "base/cleanup.h"
#include "format/ini.h"
#include "fuzz.h"

static void check_part(const char *text)
{
	size_t length = strlen(text);

	must(!strchr(text, '\n'));
	must(length == 0
		|| (!isspace((unsigned char)text[0]) && !isspace((unsigned char)text[length - 1])));
}

static int collect(
	void *context, const char *section, const char *key, const char *value, struct error *error)
{
	const char *const parts[] = { "[", section, "]\n", key, "=", value, "\n" };

	check_part(section);
	check_part(key);
	check_part(value);
	must(!strchr(key, '='));
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		must(buffer_append(context, parts[i], strlen(parts[i]), error) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *text = text_of(data, size), *plain = NULL;
	AUTO_BUFFER struct buffer once = { 0 };
	AUTO_BUFFER struct buffer twice = { 0 };
	struct error error = { 0 };
	size_t line = 0;

	if (!succeeded(ini_parse(text, collect, &once, &line, &error), &error)) {
		must(line >= 1 && line <= size + 1);
		return 0;
	}
	plain = text_of(once.data ? once.data : (const uint8_t *)"", once.size);
	must(ini_parse(plain, collect, &twice, NULL, &error) == 0);
	must(span_equal(span_of(&once), span_of(&twice)));
	return 0;
}
