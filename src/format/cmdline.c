/* SPDX-License-Identifier: Apache-2.0 */
#include "format/cmdline_private.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"

static bool is_blank(char c)
{
	return c && strchr(CMDLINE_BLANKS, c);
}

/* The parameter's value between `value` and `end`, without the quotes around it. */
static void take_value(struct cmdline_parameter *parameter, const char *value, const char *end)
{
	if (value < end && *value == '"') {
		value++;
		if (value < end && end[-1] == '"')
			end--;
	}
	parameter->value = value;
	parameter->value_length = (size_t)(end - value);
}

bool cmdline_next(const char **cursor, struct cmdline_parameter *ret)
{
	const char *begin = *cursor + strspn(*cursor, CMDLINE_BLANKS), *end, *equals = NULL;
	bool whole_quoted = *begin == '"', in_quote = whole_quoted;

	if (!*begin)
		return false;
	if (whole_quoted)
		begin++;
	for (end = begin; *end && (in_quote || !is_blank(*end)); end++) {
		if (*end == '=' && !equals && end > begin)
			equals = end;
		if (*end == '"')
			in_quote = !in_quote;
	}
	*cursor = end;

	if (whole_quoted && end > begin && end[-1] == '"')
		end--;
	*ret = (struct cmdline_parameter){ .name = begin };
	ret->name_length = (size_t)((equals ? equals : end) - begin);
	if (equals)
		take_value(ret, equals + 1, end);
	return true;
}

bool cmdline_is(const struct cmdline_parameter *parameter, const char *name)
{
	if (parameter->name_length != strlen(name))
		return false;
	for (size_t i = 0; i < parameter->name_length; i++)
		if ((parameter->name[i] == '-' ? '_' : parameter->name[i]) != name[i])
			return false;
	return true;
}

static int slot_of_parameter(const char *cmdline, enum slot *ret, struct error *error)
{
	struct cmdline_parameter parameter;
	enum slot found = SLOT_NONE;

	while (cmdline_next(&cmdline, &parameter)) {
		enum slot slot = SLOT_NONE;

		if (!cmdline_is(&parameter, "bistable.slot"))
			continue;
		if (parameter.value && parameter.value_length == 1)
			slot = slot_from_letter(parameter.value[0]);
		if (slot == SLOT_NONE)
			return error_failed(error, EINVAL,
				"kernel command line: bistable.slot= is '%.*s', not A or B",
				(int)(parameter.value_length < 32 ? parameter.value_length : 32),
				parameter.value ? parameter.value : "");
		if (found != SLOT_NONE && found != slot)
			return error_failed(error, EINVAL,
				"kernel command line: bistable.slot= names both slots");
		found = slot;
	}
	*ret = found;
	return 0;
}

static bool occurs(const char *cmdline, const char *text)
{
	size_t length = strlen(text);

	for (const char *p = cmdline; (p = strstr(p, text)); p++) {
		char after = p[length];

		if (!isalnum((unsigned char)after) && after != '-' && after != '_')
			return true;
	}
	return false;
}

static int slot_of_pattern(
	const char *cmdline, const char *pattern, enum slot *ret, struct error *error)
{
	AUTO_FREE char *text_a = slot_expand(pattern, SLOT_A);
	AUTO_FREE char *text_b = slot_expand(pattern, SLOT_B);
	bool a, b;

	if (!text_a || !text_b)
		return error_memory(error);
	if (strcmp(text_a, text_b) == 0)
		return error_set(error, ERROR_USAGE, EINVAL,
			"the command line pattern '%s' does not tell the slots apart: it needs %%s",
			pattern);
	a = occurs(cmdline, text_a);
	b = occurs(cmdline, text_b);
	if (a && b)
		return error_failed(error, EINVAL,
			"kernel command line names both slots: '%s' and '%s'", text_a, text_b);
	*ret = a ? SLOT_A : b ? SLOT_B : SLOT_NONE;
	return 0;
}

int cmdline_slot(const char *cmdline, const char *pattern, enum slot *ret, struct error *error)
{
	enum slot slot = SLOT_NONE;
	int r;

	r = slot_of_parameter(cmdline, &slot, error);
	if (r < 0)
		return r;
	if (slot == SLOT_NONE && pattern && *pattern) {
		r = slot_of_pattern(cmdline, pattern, &slot, error);
		if (r < 0)
			return r;
	}
	*ret = slot;
	return 0;
}

int cmdline_bind(uint8_t *bytes, size_t size, const char *placeholder, const char *bound,
	size_t *ret_count, struct error *error)
{
	size_t length = strlen(placeholder), count = 0;
	uint8_t *end = size > 0 ? bytes + size : bytes, *p = bytes;

	if (length == 0)
		return error_set(error, ERROR_USAGE, EINVAL, "the placeholder is empty");
	if (strlen(bound) != length)
		return error_set(error, ERROR_USAGE, EINVAL,
			"the placeholder '%s' and '%s', which replaces it, differ in length: a "
			"command line is changed in place",
			placeholder, bound);

	while (size > 0 && (p = memmem(p, (size_t)(end - p), placeholder, length))) {
		memcpy(p, bound, length);
		p += length;
		count++;
	}
	if (ret_count)
		*ret_count = count;
	return 0;
}
