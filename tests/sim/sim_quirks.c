/* SPDX-License-Identifier: Apache-2.0 */

/* What firmware in the wild does at power on, beside starting something. */

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "format/bootorder.h"
#include "format/devicepath.h"
#include "format/loadopt.h"
#include "sim.h"

/* Numbers that only firmware gives out here. */
#define NUMBER_HIDDEN    0x0000
#define NUMBER_DANGLING  0x0042
#define NUMBER_DEFAULT   0x0050
#define NUMBER_OWN       0x0060 /* and one more */
#define NUMBER_INVALID   0x007a /* and the next one, which cannot be read */
#define NUMBER_DUPLICATE 0x00f0

#define RESET_EVERY 4 /* power cycles */

static const uint8_t plain_entry[] = { 1, 0, 0, 0, 4, 0, 'F', 0, 'W', 0, 0, 0, 0x7f, 0xff, 4, 0 };
static const uint8_t trailing[] = { 0, 0, 'B', 'O' };
static const uint8_t after_end[] = { 4, 6, 6, 0, 0xab, 0xcd, 0x7f, 0xff, 4, 0 };

#define SPAN(array) ((struct span){ array, sizeof(array) })

struct sim_variable *sim_entry(struct sim *sim, uint16_t number)
{
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++) {
		uint16_t own;

		if (sim->variables[i].used && bootorder_entry_number(sim->variables[i].name, &own)
			&& own == number)
			return &sim->variables[i];
	}
	return NULL;
}

static bool parse(const struct sim_variable *variable, struct loadopt *ret)
{
	return loadopt_parse(span_of(&variable->data), ret, NULL) == 0;
}

static bool on_our_esp(struct sim *sim, const struct devicepath_target *target)
{
	struct esp_location location;

	sim_machine(sim)->ops->esp_location(&sim->machine, NULL, &location, NULL);
	return target->has_hd && guid_equal(&target->hd.partuuid, &location.partuuid);
}

enum slot sim_entry_slot(struct sim *sim, const struct sim_variable *variable)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	struct loadopt option;

	if (!parse(variable, &option) || devicepath_parse(option.device_paths, &target, NULL) < 0
		|| !on_our_esp(sim, &target))
		return SLOT_NONE;
	if (devicepath_same_file(target.path, "/EFI/metropolis/boot-a.efi"))
		return SLOT_A;
	return devicepath_same_file(target.path, "/EFI/metropolis/boot-b.efi") ? SLOT_B : SLOT_NONE;
}

static void get_order(struct sim *sim, struct bootorder *order)
{
	struct buffer *variable = sim_variable(sim, "BootOrder");

	order->count = 0;
	if (variable)
		assert(bootorder_parse(span_of(variable), order, NULL) == 0);
}

static void put_order(struct sim *sim, const struct bootorder *order)
{
	AUTO_BUFFER struct buffer bytes = { 0 };

	assert(bootorder_format(order, &bytes, NULL) == 0);
	sim_put_variable(sim, "BootOrder", span_of(&bytes));
}

static void list(struct sim *sim, uint16_t number, bool first)
{
	struct bootorder order;

	get_order(sim, &order);
	if (bootorder_find(&order, number) >= 0)
		return;
	if (first && order.count > 0)
		bootorder_put_before(&order, number, order.numbers[0]);
	else
		bootorder_put_after(&order, number, number);
	put_order(sim, &order);
}

static void put_entry(struct sim *sim, uint16_t number, struct span bytes)
{
	struct sim_variable *present = sim_entry(sim, number);
	char name[16];

	snprintf(name, sizeof(name), "Boot%04X", number);
	sim_put_variable(sim, present ? present->name : name, bytes);
}

static void drop_entry(struct sim *sim, uint16_t number, bool from_order)
{
	struct bootorder order;

	get_order(sim, &order);
	if (from_order && bootorder_remove(&order, number))
		put_order(sim, &order);
	sim_remove_variable(sim, sim_entry(sim, number)->name);
}

/* Calls `visit` for every entry, which may remove or change it. */
static void each_entry(
	struct sim *sim, void (*visit)(struct sim *sim, struct sim_variable *v, uint16_t number))
{
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++) {
		uint16_t number;

		if (sim->variables[i].used
			&& bootorder_entry_number(sim->variables[i].name, &number))
			visit(sim, &sim->variables[i], number);
	}
}

static void drop_with_disk(struct sim *sim, struct sim_variable *variable, uint16_t number)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	struct loadopt option;

	if (parse(variable, &option) && devicepath_parse(option.device_paths, &target, NULL) == 0
		&& target.has_hd)
		drop_entry(sim, number, true);
}

static bool time_for_reset(const struct sim *sim)
{
	return sim->cycles % RESET_EVERY == 0;
}

static void setup_reset(struct sim *sim)
{
	if (!time_for_reset(sim))
		return;
	sim_put_variable(sim, "BootOrder", span_of(&sim->first_order));
	sim_remove_variable(sim, "BootNext");
	each_entry(sim, drop_with_disk);
}

static void drop_other_disk(struct sim *sim, struct sim_variable *variable, uint16_t number)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	struct loadopt option;

	if (parse(variable, &option) && devicepath_parse(option.device_paths, &target, NULL) == 0
		&& target.has_hd && !on_our_esp(sim, &target))
		drop_entry(sim, number, true);
}

/* Another disk's entries always; ours when the disk is slow to come up. */
static void drop_unmountable(struct sim *sim)
{
	each_entry(sim, time_for_reset(sim) ? drop_with_disk : drop_other_disk);
}

static bool same_path(const struct sim_variable *a, const struct sim_variable *b)
{
	struct loadopt x, y;

	return parse(a, &x) && parse(b, &y) && span_equal(x.device_paths, y.device_paths);
}

/* A path that leads nowhere, or the same as of an entry with a lower number. */
static void drop_if_duplicate(struct sim *sim, struct sim_variable *variable, uint16_t number)
{
	static const char *const files[] = { "/EFI/metropolis/boot-a.efi",
		"/EFI/metropolis/boot-b.efi" };
	enum slot slot = sim_entry_slot(sim, variable);

	if (slot != SLOT_NONE && !sim_file(sim, files[slot])) {
		drop_entry(sim, number, true);
		return;
	}
	for (uint16_t other = 0; other < number; other++) {
		struct sim_variable *before = sim_entry(sim, other);

		if (before && same_path(before, variable)) {
			drop_entry(sim, number, true);
			return;
		}
	}
}

static void drop_duplicates(struct sim *sim)
{
	each_entry(sim, drop_if_duplicate);
}

static void drop_if_inactive(struct sim *sim, struct sim_variable *variable, uint16_t number)
{
	struct loadopt option;

	if (parse(variable, &option) && !(option.attributes & LOADOPT_ACTIVE))
		drop_entry(sim, number, false);
}

static void drop_inactive(struct sim *sim)
{
	each_entry(sim, drop_if_inactive);
}

/* The first listed entry that names a boot file, or NULL. */
static struct sim_variable *first_of_ours(struct sim *sim)
{
	struct bootorder order;

	get_order(sim, &order);
	for (size_t i = 0; i < order.count; i++) {
		struct sim_variable *variable = sim_entry(sim, order.numbers[i]);

		if (variable && sim_entry_slot(sim, variable) != SLOT_NONE)
			return variable;
	}
	return NULL;
}

static void duplicate_ours(struct sim *sim)
{
	struct sim_variable *first = first_of_ours(sim);

	if (!first || sim_entry(sim, NUMBER_DUPLICATE))
		return;
	put_entry(sim, NUMBER_DUPLICATE, span_of(&first->data));
	list(sim, NUMBER_DUPLICATE, false);
}

static void overwrite_if_unlisted(struct sim *sim, struct sim_variable *variable, uint16_t number)
{
	struct bootorder order;

	get_order(sim, &order);
	if (bootorder_find(&order, number) < 0)
		sim_put_variable(sim, variable->name, SPAN(plain_entry));
}

static void overwrite_unlisted(struct sim *sim)
{
	each_entry(sim, overwrite_if_unlisted);
}

static void revert_order(struct sim *sim)
{
	sim_put_variable(sim, "BootOrder", span_of(&sim->first_order));
}

/* Locked once both slots are listed. */
static void lock_order(struct sim *sim)
{
	const struct buffer *now = sim_variable(sim, "BootOrder");

	if (sim->locked_order.size > 0)
		sim_put_variable(sim, "BootOrder", span_of(&sim->locked_order));
	else if (first_of_ours(sim))
		assert(buffer_append(&sim->locked_order, now->data, now->size, NULL) == 0);
}

/* Unreadable once; if nobody has made it anew by the next power on, the firmware does. */
static void break_order(struct sim *sim)
{
	static const uint8_t own[] = { 3, 0 };

	if (sim->order_unreadable)
		sim_put_variable(sim, "BootOrder", SPAN(own));
	sim->order_unreadable = !sim->order_was_unreadable;
	sim->order_was_unreadable = true;
}

static void let_order_dangle(struct sim *sim)
{
	list(sim, NUMBER_DANGLING, true);
}

/* Whatever is not on the disk that bootindex= names. */
static void prune_order(struct sim *sim)
{
	struct bootorder order, kept = { .count = 0 };

	get_order(sim, &order);
	for (size_t i = 0; i < order.count; i++) {
		struct sim_variable *variable = sim_entry(sim, order.numbers[i]);

		if (variable && sim_entry_slot(sim, variable) != SLOT_NONE)
			kept.numbers[kept.count++] = order.numbers[i];
	}
	put_order(sim, &kept);
}

/* The network entry is a default: when it is not listed, it is made once more. */
static void recreate_defaults(struct sim *sim)
{
	struct bootorder order;

	get_order(sim, &order);
	if (bootorder_find(&order, 3) >= 0 || bootorder_find(&order, NUMBER_DEFAULT) >= 0)
		return;
	put_entry(sim, NUMBER_DEFAULT, SPAN(plain_entry));
	list(sim, NUMBER_DEFAULT, false);
}

/* First of all, for the file of the entry that it starts, and spelt in its own way. */
static void add_own_entry(struct sim *sim)
{
	static const char *const files[] = { "\\EFI\\METROPOLIS\\BOOT-A.EFI",
		"\\EFI\\METROPOLIS\\BOOT-B.EFI" };
	struct sim_variable *first = first_of_ours(sim);
	AUTO_BUFFER struct buffer paths = { 0 }, bytes = { 0 };
	struct esp_location location;
	struct devicepath_hd hd;
	struct loadopt option;
	enum slot slot;

	if (!first)
		return;
	slot = sim_entry_slot(sim, first);
	if (sim_entry(sim, (uint16_t)(NUMBER_OWN + slot)))
		return;
	sim_machine(sim)->ops->esp_location(&sim->machine, NULL, &location, NULL);
	hd = (struct devicepath_hd){ 1, location.start, location.size, location.partuuid };
	assert(devicepath_append_file(&paths, &hd, files[slot], NULL) == 0);
	option = (struct loadopt){
		.attributes = LOADOPT_ACTIVE,
		.description = { (const uint8_t *)"O\0S", 4 },
		.device_paths = span_of(&paths),
	};
	assert(loadopt_format(&option, &bytes, NULL) == 0);
	put_entry(sim, (uint16_t)(NUMBER_OWN + slot), span_of(&bytes));
	list(sim, (uint16_t)(NUMBER_OWN + slot), true);
}

static void reformat(struct sim *sim, struct sim_variable *variable, const struct loadopt *option)
{
	AUTO_BUFFER struct buffer bytes = { 0 };

	assert(loadopt_format(option, &bytes, NULL) == 0);
	sim_put_variable(sim, variable->name, span_of(&bytes));
}

static void append_data_to(struct sim *sim, struct sim_variable *variable, uint16_t number)
{
	struct loadopt option;

	(void)number;
	if (!parse(variable, &option) || option.optional_data.size > 0)
		return;
	option.optional_data = SPAN(trailing);
	reformat(sim, variable, &option);
}

static void append_data(struct sim *sim)
{
	each_entry(sim, append_data_to);
}

static void append_path_to(struct sim *sim, struct sim_variable *variable, uint16_t number)
{
	AUTO_BUFFER struct buffer paths = { 0 };
	struct loadopt option;
	struct span tail;

	(void)number;
	if (!parse(variable, &option))
		return;
	if (option.device_paths.size >= sizeof(after_end)
		&& span_slice(option.device_paths, option.device_paths.size - sizeof(after_end),
			sizeof(after_end), &tail)
		&& span_equal(tail, SPAN(after_end)))
		return;
	assert(buffer_append(&paths, option.device_paths.data, option.device_paths.size, NULL)
		== 0);
	assert(buffer_append(&paths, after_end, sizeof(after_end), NULL) == 0);
	option.device_paths = span_of(&paths);
	reformat(sim, variable, &option);
}

static void append_paths(struct sim *sim)
{
	each_entry(sim, append_path_to);
}

static void rename_to_lower(struct sim *sim, struct sim_variable *variable, uint16_t number)
{
	(void)sim;
	snprintf(variable->name, sizeof(variable->name), "Boot%04x", number);
}

static void lower_case(struct sim *sim)
{
	each_entry(sim, rename_to_lower);
}

static void add_invalid(struct sim *sim)
{
	put_entry(sim, NUMBER_INVALID, (struct span){ trailing, 3 });
	put_entry(sim, NUMBER_INVALID + 1, SPAN(plain_entry));
	list(sim, NUMBER_INVALID, false);
	list(sim, NUMBER_INVALID + 1, false);
}

static void add_hidden(struct sim *sim)
{
	put_entry(sim, NUMBER_HIDDEN, SPAN(plain_entry));
	list(sim, NUMBER_HIDDEN, false);
}

bool sim_hides(const struct sim *sim, const char *name)
{
	return sim->quirks & SIM_QUIRK_HIDES_ENTRY && strcmp(name, "Boot0000") == 0;
}

static void refuse_a_write(struct sim *sim)
{
	sim->refuses_write = true;
}

/* In the order in which they happen at power on. */
const struct sim_quirk_row sim_quirks[SIM_QUIRK_COUNT] = {
	{ SIM_QUIRK_SETUP_RESET, "entries lost on a setup reset", "Boot Loader Specification", true,
		setup_reset },
	{ SIM_QUIRK_DROPS_UNMOUNTABLE, "entries deleted whose file system cannot be mounted",
		"rauc#1855", true, drop_unmountable },
	{ SIM_QUIRK_DROPS_DUPLICATES, "duplicate or invalid-path entries deleted",
		"efibootmgr#19, talos#11829", false, drop_duplicates },
	{ SIM_QUIRK_DROPS_INACTIVE, "inactive entries vanish", "efibootmgr#34", false,
		drop_inactive },
	{ SIM_QUIRK_DUPLICATES_OURS, "entries duplicated", "efibootmgr#19", false, duplicate_ours },
	{ SIM_QUIRK_OVERWRITES_UNLISTED, "an unlisted Boot#### is overwritten",
		"rhboot/fwupdate#55", false, overwrite_unlisted },
	{ SIM_QUIRK_ORDER_REVERTED, "BootOrder reverted", "efibootmgr#130, #209, fwupd#2066", true,
		revert_order },
	{ SIM_QUIRK_ORDER_LOCKED, "boot-order lock undoes changes at the next boot", "fwupd#891",
		true, lock_order },
	{ SIM_QUIRK_ORDER_IGNORED, "boot-order lock undoes changes at once", "fwupd#891", true,
		NULL },
	{ SIM_QUIRK_ORDER_UNREADABLE, "BootOrder unreadable, then replaced", "efibootmgr#205",
		false, break_order },
	{ SIM_QUIRK_ORDER_DANGLES, "BootOrder lists entries that do not exist", "nixpkgs#498696",
		false, let_order_dangle },
	{ SIM_QUIRK_PRUNES_ORDER, "BootOrder pruned", "QemuBootOrderLib.c", false, prune_order },
	{ SIM_QUIRK_RECREATES_DEFAULTS, "omitted default entries re-created", "efibootmgr 73f3963",
		false, recreate_defaults },
	{ SIM_QUIRK_ADDS_OWN_ENTRY, "own entry for our file, in other case", "fwupd#5938", false,
		add_own_entry },
	{ SIM_QUIRK_APPENDS_DATA, "trailing OptionalData appears", "efibootmgr e8ce9fe", false,
		append_data },
	{ SIM_QUIRK_PATHS_AFTER_END, "more device paths after End", "monogon f025d1b2", false,
		append_paths },
	{ SIM_QUIRK_LOWER_CASE, "lower-case hex in variable names", "efibootmgr 2108aa8", false,
		lower_case },
	{ SIM_QUIRK_INVALID_ENTRIES, "unreadable or invalid entries",
		"monogon 9563673b, efibootmgr 5ed580e", false, add_invalid },
	{ SIM_QUIRK_HIDES_ENTRY, "duplicate enumeration hides Boot####", "efibootmgr#115", false,
		add_hidden },
	{ SIM_QUIRK_NEXT_NEEDS_ORDER, "BootNext ignored unless listed in BootOrder", "fwupd#6070",
		false, NULL },
	{ SIM_QUIRK_TRANSIENT_EINVAL, "transient EINVAL on write", "Dasharo/dasharo-issues#303",
		false, refuse_a_write },
};

void sim_quirks_boot(struct sim *sim)
{
	const struct buffer *order = sim_variable(sim, "BootOrder");

	if (!sim->quirks)
		return;
	if (sim->cycles++ == 0 && order)
		assert(buffer_append(&sim->first_order, order->data, order->size, NULL) == 0);
	for (size_t i = 0; i < SIM_QUIRK_COUNT; i++)
		if (sim->quirks & sim_quirks[i].quirk && sim_quirks[i].boot)
			sim_quirks[i].boot(sim);
}
