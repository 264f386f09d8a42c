/* SPDX-License-Identifier: Apache-2.0 */
#include "format/bootorder.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

int bootorder_parse(struct span bytes, struct bootorder *ret, struct error *error)
{
	if (bytes.size % 2 != 0 || bytes.size / 2 > BOOTORDER_MAX)
		return error_failed(error, EBADMSG,
			"BootOrder of %zu bytes is not a list of at most %d entry numbers",
			bytes.size, BOOTORDER_MAX);
	ret->count = bytes.size / 2;
	for (size_t i = 0; i < ret->count; i++)
		ret->numbers[i] = le16(bytes.data + 2 * i);
	return 0;
}

int bootorder_format(const struct bootorder *order, struct buffer *out, struct error *error)
{
	uint8_t bytes[2 * BOOTORDER_MAX];

	for (size_t i = 0; i < order->count; i++)
		put_le16(bytes + 2 * i, order->numbers[i]);
	return buffer_append(out, bytes, 2 * order->count, error);
}

long bootorder_find(const struct bootorder *order, uint16_t number)
{
	for (size_t i = 0; i < order->count; i++)
		if (order->numbers[i] == number)
			return (long)i;
	return -1;
}

static void remove_at(struct bootorder *order, size_t position)
{
	memmove(order->numbers + position, order->numbers + position + 1,
		(order->count - position - 1) * sizeof(*order->numbers));
	order->count--;
}

static bool insert_at(struct bootorder *order, size_t position, uint16_t number)
{
	if (order->count >= BOOTORDER_MAX)
		return false;
	memmove(order->numbers + position + 1, order->numbers + position,
		(order->count - position) * sizeof(*order->numbers));
	order->numbers[position] = number;
	order->count++;
	return true;
}

bool bootorder_put_before(struct bootorder *order, uint16_t number, uint16_t mark)
{
	long from = bootorder_find(order, number), to = bootorder_find(order, mark);

	if (from < 0)
		return insert_at(order, to < 0 ? order->count : (size_t)to, number);
	if (to < 0 || from <= to)
		return false;
	remove_at(order, (size_t)from);
	return insert_at(order, (size_t)to, number);
}

bool bootorder_put_after(struct bootorder *order, uint16_t number, uint16_t mark)
{
	long after = bootorder_find(order, mark);

	if (bootorder_find(order, number) >= 0)
		return false;
	return insert_at(order, after < 0 ? order->count : (size_t)after + 1, number);
}

bool bootorder_remove(struct bootorder *order, uint16_t number)
{
	size_t kept = 0, before = order->count;

	for (size_t i = 0; i < order->count; i++)
		if (order->numbers[i] != number)
			order->numbers[kept++] = order->numbers[i];
	order->count = kept;
	return kept != before;
}

bool bootorder_dedup(struct bootorder *order)
{
	uint8_t seen[(UINT16_MAX + 1) / 8] = { 0 };
	size_t kept = 0, before = order->count;

	for (size_t i = 0; i < order->count; i++) {
		uint16_t number = order->numbers[i];
		uint8_t bit = (uint8_t)(1u << (number % 8));

		if (seen[number / 8] & bit)
			continue;
		seen[number / 8] |= bit;
		order->numbers[kept++] = number;
	}
	order->count = kept;
	return kept != before;
}

bool bootorder_entry_number(const char *variable, uint16_t *ret)
{
	uint8_t digits[2];

	if (!text_starts_with(variable, "Boot")
		|| !text_unhex(variable + strlen("Boot"), digits, sizeof(digits)))
		return false;
	*ret = (uint16_t)(digits[0] << 8 | digits[1]);
	return true;
}
