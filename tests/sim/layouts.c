/* SPDX-License-Identifier: Apache-2.0 */
#include "layouts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "make_uki.h"
#include "patient.h"
#include "world.h"

#define TYPE2   "/EFI/Linux/acme-1.efi"
#define LOADER  "/EFI/systemd/systemd-bootx64.efi"
#define MANAGER "Linux Boot Manager"

static void move(struct sim *sim, const char *from, const char *to)
{
	struct buffer *file = sim_file(sim, from);
	AUTO_BUFFER struct buffer copy = { 0 };

	assert_non_null(file);
	assert_int_equal(buffer_append(&copy, file->data, file->size, NULL), 0);
	sim_remove_file(sim, from);
	sim_put_file(sim, to, span_of(&copy));
}

static void put_systemd_boot(struct sim *sim, const char *path)
{
	const struct make_section sections[] = {
		{ .name = ".text", .size = 4096 },
		{ .name = ".sdmagic", .data = SIM_SYSTEMD_BOOT, .size = strlen(SIM_SYSTEMD_BOOT) },
		{ 0 },
	};
	AUTO_BUFFER struct buffer loader = make_pe(&(struct make_pe){ .sections = sections });

	sim_put_file(sim, path, span_of(&loader));
}

static void remove_variables(struct sim *sim)
{
	for (size_t i = 0; i < SIM_VARIABLES_MAX; i++)
		if (sim->variables[i].used)
			sim_remove_variable(sim, sim->variables[i].name);
}

/* --- */

static void usual(struct sim *sim)
{
	(void)sim;
}

static void no_removable(struct sim *sim)
{
	world_add_entry(sim, 0x20, "Metropolis Slot A", BOOT_A, true);
	sim_remove_file(sim, BOOTX);
}

static void removable_only(struct sim *sim)
{
	sim_remove_file(sim, BOOT_A);
}

static void removable_without_variables(struct sim *sim)
{
	sim_remove_file(sim, BOOT_A);
	remove_variables(sim);
}

static void removable_by_entry(struct sim *sim)
{
	sim_remove_file(sim, BOOT_A);
	world_add_entry(sim, 0x20, "UEFI OS", BOOTX, true);
}

static void dead_entries(struct sim *sim)
{
	sim_remove_file(sim, BOOT_A);
	world_add_entry(sim, 0x41, "Metropolis Slot B", BOOT_B, true);
	world_add_entry(sim, 0x40, "Metropolis Slot A", BOOT_A, true);
}

static void other_first(struct sim *sim)
{
	world_add_entry(sim, 0x40, "Metropolis Slot A", BOOT_A, true);
	world_add_entry(sim, 0x41, "Metropolis Slot B", BOOT_B, true);
}

static void damaged(struct sim *sim)
{
	sim_put_file(sim, BOOT_A, TEXT("MZ and not much more"));
	world_add_entry(sim, 0x40, "Metropolis Slot A", BOOT_A, true);
}

/* Of an earlier system, which is gone. */
static void stale(struct sim *sim)
{
	AUTO_BUFFER struct buffer old = make_uki(
		"root=PARTLABEL=METROPOLIS-SYSTEM-A sim.image=00 sim.size=1 roothash="
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
		"0", 9);

	sim_put_file(sim, BOOT_A, span_of(&old));
}

static void type2_by_entry(struct sim *sim)
{
	move(sim, BOOT_A, TYPE2);
	sim_remove_file(sim, BOOTX);
	world_add_entry(sim, 0x20, "Acme", TYPE2, true);
}

static void systemd_boot(struct sim *sim)
{
	move(sim, BOOT_A, TYPE2);
	put_systemd_boot(sim, LOADER);
	put_systemd_boot(sim, BOOTX);
	world_add_entry(sim, 0x20, MANAGER, LOADER, true);
}

static void systemd_boot_by_removable(struct sim *sim)
{
	move(sim, BOOT_A, TYPE2);
	put_systemd_boot(sim, BOOTX);
}

const struct layout layouts[] = {
	{ "as we make it", usual, true, false },
	{ "nothing on the removable path", no_removable, true, false },
	{ "only the removable path", removable_only, true, false },
	{ "only the removable path, no variables", removable_without_variables, true, false },
	{ "only the removable path, with an entry", removable_by_entry, true, false },
	{ "entries of ours whose files are not there", dead_entries, true, false },
	{ "the other slot's entry comes first", other_first, true, false },
	{ "a damaged boot file", damaged, true, false },
	{ "a boot file of another system", stale, false, false },
	{ "a UKI in /EFI/Linux, with an entry", type2_by_entry, true, false },
	{ "systemd-boot", systemd_boot, true, true },
	{ "systemd-boot on the removable path", systemd_boot_by_removable, true, true },
};

const size_t layout_count = sizeof(layouts) / sizeof(layouts[0]);

struct sim *layout_new(const struct layout *layout, const struct system *system)
{
	struct sim *sim = world_new(system);

	layout->lay(sim);
	if (sim_power_cycle(sim) != SLOT_A)
		fail_msg("%s: slot A does not start", layout->name);
	return sim;
}
