/* SPDX-License-Identifier: Apache-2.0 */
#include "format/fatname.h"

#include <string.h>
#include <strings.h>

#include "base/text.h"

void fatname_trim(char *name)
{
	size_t length = strlen(name);

	while (length > 0 && (name[length - 1] == ' ' || name[length - 1] == '.'))
		length--;
	name[length] = '\0';
}

void fatname_find(
	const struct text_list *names, const char *name, const char **ret, const char **ret_other)
{
	const char *found = NULL, *other = NULL;

	for (size_t i = 0; i < names->count; i++) {
		const char *entry = names->items[i];

		if (strcasecmp(entry, name) != 0)
			continue;
		if (!found) {
			found = entry;
		} else if (strcmp(entry, name) == 0) {
			other = found;
			found = entry;
		} else {
			other = entry;
		}
	}
	*ret = found;
	*ret_other = other;
}

bool fatname_clash(const struct text_list *names, const char **ret, const char **ret_other)
{
	for (size_t i = 0; i < names->count; i++) {
		fatname_find(names, names->items[i], ret, ret_other);
		if (*ret_other)
			return true;
	}
	return false;
}
