/* SPDX-License-Identifier: Apache-2.0 */
/* A BootOrder, and what its changes must leave alone. The first two numbers are the arguments. */
#include <strings.h>

#include "base/cleanup.h"
#include "format/bootorder.h"
#include "fuzz.h"

static bool same_order(const struct bootorder *a, const struct bootorder *b)
{
	return a->count == b->count
	       && memcmp(a->numbers, b->numbers, a->count * sizeof(*a->numbers)) == 0;
}

/* All but `number` are the same ones in the same order. */
static bool same_others(struct bootorder a, struct bootorder b, uint16_t number)
{
	bootorder_remove(&a, number);
	bootorder_remove(&b, number);
	return same_order(&a, &b);
}

static void check_put(const struct bootorder *before, uint16_t number, uint16_t mark)
{
	struct bootorder order = *before;
	bool changed = bootorder_put_before(&order, number, mark);
	bool full = before->count == BOOTORDER_MAX;

	must(changed == !same_order(&order, before) && same_others(order, *before, number));
	must(order.count <= BOOTORDER_MAX);
	must(full || bootorder_find(&order, number) >= 0);
	if (bootorder_find(&order, number) >= 0 && bootorder_find(&order, mark) >= 0)
		must(bootorder_find(&order, number) <= bootorder_find(&order, mark));

	order = *before;
	changed = bootorder_put_after(&order, number, mark);
	must(changed == !same_order(&order, before) && same_others(order, *before, number));
	must(order.count <= BOOTORDER_MAX);
	must(changed == (bootorder_find(before, number) < 0 && !full));
	if (changed && number != mark && bootorder_find(&order, mark) >= 0)
		must(bootorder_find(&order, number) == bootorder_find(&order, mark) + 1);
}

static void check_removal(const struct bootorder *before, uint16_t number)
{
	struct bootorder order = *before;

	must(bootorder_remove(&order, number) == (bootorder_find(before, number) >= 0));
	must(bootorder_find(&order, number) < 0);

	order = *before;
	must(bootorder_dedup(&order) == !same_order(&order, before));
	must(!bootorder_dedup(&order));
	for (size_t i = 0; i < order.count; i++)
		must(bootorder_find(&order, order.numbers[i]) == (long)i);
	for (size_t i = 0; i < before->count; i++)
		must(bootorder_find(&order, before->numbers[i]) >= 0);
}

static void check_name(const uint8_t *data, size_t size)
{
	AUTO_FREE char *name = text_of(data, size);
	char again[9];
	uint16_t number;

	if (!bootorder_entry_number(name, &number))
		return;
	snprintf(again, sizeof(again), "Boot%04X", number);
	must(strncmp(name, "Boot", 4) == 0 && strcasecmp(name, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER struct buffer out = { 0 };
	struct bootorder order = { 0 };
	struct error error = { 0 };

	check_name(data, size);
	if (size < 4)
		return 0;
	if (!succeeded(
		    bootorder_parse((struct span){ data + 4, size - 4 }, &order, &error), &error))
		return 0;
	must(order.count <= BOOTORDER_MAX);
	must(bootorder_format(&order, &out, &error) == 0);
	must(span_equal(span_of(&out), (struct span){ data + 4, size - 4 }));
	check_put(&order, le16(data), le16(data + 2));
	check_removal(&order, le16(data));
	return 0;
}
