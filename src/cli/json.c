/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bistable/bistable.h>

json_t *json_text(const char *text)
{
	json_t *value;
	char *ascii;

	if (!text)
		return json_null();
	value = json_string(text);
	if (value)
		return value;
	ascii = strdup(text);
	if (!ascii)
		return NULL;
	for (char *p = ascii; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	value = json_string(ascii);
	free(ascii);
	return value;
}

json_t *json_slot(char slot)
{
	char text[2] = { slot, '\0' };

	return slot ? json_string(text) : json_null();
}

json_t *json_size(uint64_t bytes)
{
	return bytes == UINT64_MAX ? json_null() : json_integer((json_int_t)bytes);
}

json_t *json_texts(char *const *texts, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		if (json_array_append_new(array, json_text(texts[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static int write_json(json_t *value, size_t flags, struct bistable_error *error)
{
	int r = value ? json_dumpf(value, stdout, flags) : -1;

	json_decref(value);
	if (r == 0 || ferror(stdout))
		return 0; /* main() looks at the stream at the end */
	*error = (struct bistable_error){ BISTABLE_FAILED, ENOMEM, "out of memory" };
	return -ENOMEM;
}

int json_write_document(json_t *document, struct bistable_error *error)
{
	int r = write_json(document, JSON_INDENT(2), error);

	fputc('\n', stdout);
	return r;
}

int json_write_line(json_t *object, struct bistable_error *error)
{
	int r = write_json(object, JSON_COMPACT, error);

	fputc('\n', stdout);
	fflush(stdout);
	return r;
}

json_t *json_error(const struct bistable_error *error)
{
	return json_pack("{s:i, s:i, s:o}", "code", (int)error->code, "errno", error->number,
		"text", json_text(error->text));
}
