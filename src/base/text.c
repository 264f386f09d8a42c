/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"

#define REPLACEMENT_CHARACTER 0xfffdu

char *text_format(const char *format, ...)
{
	char *text = NULL;
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = vasprintf(&text, format, arguments);
	va_end(arguments);
	return r < 0 ? NULL : text;
}

bool text_starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static const char *text_tail(const char *text, const char *suffix)
{
	size_t length = strlen(text), tail = strlen(suffix);

	return length < tail ? NULL : text + length - tail;
}

bool text_ends_with(const char *text, const char *suffix)
{
	const char *tail = text_tail(text, suffix);

	return tail && strcmp(tail, suffix) == 0;
}

bool text_ends_with_nocase(const char *text, const char *suffix)
{
	const char *tail = text_tail(text, suffix);

	return tail && strcasecmp(tail, suffix) == 0;
}

void text_hex(const uint8_t *data, size_t size, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < size; i++) {
		out[2 * i] = digits[data[i] >> 4];
		out[2 * i + 1] = digits[data[i] & 15];
	}
	out[2 * size] = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool text_unhex(const char *text, uint8_t *out, size_t size)
{
	if (strlen(text) != 2 * size)
		return false;
	for (size_t i = 0; i < size; i++) {
		int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool text_to_u64(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value)
			|| __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return false;
	}
	if (value > max)
		return false;
	*ret = value;
	return true;
}

static size_t utf8_encode(uint32_t c, uint8_t out[4])
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}

int text_from_utf16(const uint8_t *data, size_t size, char **ret, struct error *error)
{
	AUTO_BUFFER struct buffer text = { 0 };
	int r;

	if (size % 2 != 0)
		return error_failed(error, EINVAL, "UTF-16 text of odd size %zu", size);
	for (size_t i = 0; i < size; i += 2) {
		uint32_t c = le16(data + i);
		uint8_t encoded[4];

		if (c == 0)
			break;
		if (c >= 0xd800 && c < 0xdc00 && i + 4 <= size && le16(data + i + 2) >= 0xdc00
			&& le16(data + i + 2) < 0xe000) {
			c = 0x10000 + ((c - 0xd800) << 10) + (le16(data + i + 2) - 0xdc00u);
			i += 2;
		} else if (c >= 0xd800 && c < 0xe000) {
			c = REPLACEMENT_CHARACTER;
		}
		r = buffer_append(&text, encoded, utf8_encode(c, encoded), error);
		if (r < 0)
			return r;
	}
	r = buffer_append(&text, NULL, 1, error);
	if (r < 0)
		return r;
	*ret = (char *)TAKE(text.data);
	return 0;
}

/* Decodes one character; the number of bytes it took, or 0 if they are not UTF-8. */
static size_t utf8_decode(const uint8_t *p, uint32_t *ret)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = p[0] < 0x80       ? 1
			: p[0] >> 5 == 6  ? 2
			: p[0] >> 4 == 14 ? 3
			: p[0] >> 3 == 30 ? 4
					  : 0;
	uint32_t c;

	if (length == 0)
		return 0;
	c = length == 1 ? p[0] : p[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < smallest[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*ret = c;
	return length;
}

int text_to_utf16(const char *text, uint8_t **ret, size_t *ret_size, struct error *error)
{
	AUTO_BUFFER struct buffer out = { 0 };
	const uint8_t *p = (const uint8_t *)text;
	int r;

	r = buffer_reserve(&out, 2 * strlen(text) + 2, error);
	if (r < 0)
		return r;
	while (*p) {
		uint8_t units[4];
		size_t size = 2, length;
		uint32_t c;

		length = utf8_decode(p, &c);
		if (length == 0)
			return error_failed(error, EILSEQ, "'%s' is not UTF-8", text);
		if (c < 0x10000) {
			put_le16(units, (uint16_t)c);
		} else {
			put_le16(units, (uint16_t)(0xd800 + ((c - 0x10000) >> 10)));
			put_le16(units + 2, (uint16_t)(0xdc00 + ((c - 0x10000) & 0x3ff)));
			size = 4;
		}
		r = buffer_append(&out, units, size, error);
		if (r < 0)
			return r;
		p += length;
	}
	*ret_size = out.size;
	*ret = TAKE(out.data);
	return 0;
}

void text_size(uint64_t bytes, char out[16])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(out, 16, "%u B", (unsigned)bytes);
		return;
	}
	for (value /= 1024; value >= 1024 && unit < 5; unit++)
		value /= 1024;
	snprintf(out, 16, "%.1f %s", value, units[unit]);
}

int text_list_add(struct text_list *list, struct error *error, const char *format, ...)
{
	AUTO_FREE char *text = NULL;
	va_list arguments;
	char **items;
	int r;

	va_start(arguments, format);
	r = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (r < 0) {
		text = NULL;
		return error_memory(error);
	}
	items = reallocarray(list->items, list->count + 2, sizeof(*items));
	if (!items)
		return error_memory(error);
	list->items = items;
	items[list->count++] = TAKE(text);
	items[list->count] = NULL;
	return 0;
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void text_list_sort(struct text_list *list)
{
	if (list->count > 1)
		qsort(list->items, list->count, sizeof(*list->items), compare_text);
}

bool text_list_contains(const struct text_list *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i], text) == 0)
			return true;
	return false;
}

int text_list_join(
	const struct text_list *list, const char *between, char **ret, struct error *error)
{
	AUTO_BUFFER struct buffer text = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < list->count; i++) {
		if (i > 0)
			r = buffer_append(&text, between, strlen(between), error);
		if (r == 0)
			r = buffer_append(&text, list->items[i], strlen(list->items[i]), error);
	}
	if (r == 0)
		r = buffer_append(&text, NULL, 1, error);
	if (r < 0)
		return r;
	*ret = (char *)TAKE(text.data);
	return 0;
}

void text_list_done(struct text_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct text_list){ 0 };
}
