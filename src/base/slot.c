/* SPDX-License-Identifier: Apache-2.0 */
#include "base/slot.h"

#include <stdlib.h>
#include <string.h>

char *slot_expand(const char *pattern, enum slot slot)
{
	char *text = malloc(strlen(pattern) + 1), *out = text;

	if (!text)
		return NULL;
	for (const char *p = pattern; *p; p++) {
		if (p[0] == '%' && (p[1] == 's' || p[1] == 'l' || p[1] == '%')) {
			p++;
			*out++ = *p == 's'   ? slot_letter(slot)
				 : *p == 'l' ? (char)(slot_letter(slot) | 0x20)
					     : '%';
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
	return text;
}
