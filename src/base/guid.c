/* SPDX-License-Identifier: Apache-2.0 */
#include "base/guid.h"

#include <string.h>

#include "base/text.h"

/* Where each byte of the text form lies: the first three fields are little-endian. */
static const uint8_t place[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

static bool dash_before(int byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

bool guid_from_text(const char *text, struct guid *ret)
{
	struct guid guid;

	if (strlen(text) != GUID_TEXT_SIZE - 1)
		return false;
	for (int i = 0; i < 16; i++) {
		char digits[3];

		if (dash_before(i) && *text++ != '-')
			return false;
		memcpy(digits, text, 2);
		digits[2] = '\0';
		if (!text_unhex(digits, &guid.bytes[place[i]], 1))
			return false;
		text += 2;
	}
	*ret = guid;
	return true;
}

void guid_to_text(const struct guid *guid, char out[GUID_TEXT_SIZE])
{
	for (int i = 0; i < 16; i++) {
		if (dash_before(i))
			*out++ = '-';
		text_hex(&guid->bytes[place[i]], 1, out);
		out += 2;
	}
}

bool guid_equal(const struct guid *a, const struct guid *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}
