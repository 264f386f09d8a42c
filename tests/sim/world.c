/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <isa-l/crc.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "boot/boot.h"
#include "boot/entries.h"
#include "crypto/sha256.h"
#include "engine/activate.h"
#include "engine/confirm.h"
#include "engine/context.h"
#include "engine/inspect.h"
#include "engine/install.h"
#include "engine/repair.h"
#include "engine/restart.h"
#include "engine/slotcheck.h"
#include "engine/status.h"
#include "format/cmdline.h"
#include "format/devicepath.h"
#include "format/verity.h"
#include "make_uki.h"
#include "maker/maker.h"

static void append(struct buffer *buffer, const void *data, size_t size)
{
	assert_int_equal(buffer_append(buffer, data, size, NULL), 0);
}

static void hash(const void *salt, size_t salt_size, const uint8_t *data, size_t size, uint8_t *out)
{
	AUTO_SHA256 struct sha256 *sha = NULL;

	assert_int_equal(sha256_new(&sha, NULL), 0);
	assert_int_equal(sha256_update(sha, salt, salt_size, NULL), 0);
	assert_int_equal(sha256_update(sha, data, size, NULL), 0);
	assert_int_equal(sha256_final(sha, out, NULL), 0);
}

#define SALT_TEXT "salty salt salty"

/* What tells the kernel of the tree: a table, or only its root hash. */
static void name_tree(const struct verity *verity, bool table, const char *root, char out[400])
{
	char salt[2 * sizeof(SALT_TEXT)];

	text_hex(verity->salt, verity->salt_size, salt);
	if (table)
		snprintf(out, 400,
			" dm-mod.create=\"s,,,ro,0 %llu verity 1 PARTLABEL=METROPOLIS-SYSTEM-X "
			"PARTLABEL=METROPOLIS-SYSTEM-X %u %u %llu %llu sha256 %s %s\"",
			(unsigned long long)verity->data_blocks * 8, verity->data_block_size,
			verity->hash_block_size, (unsigned long long)verity->data_blocks,
			(unsigned long long)verity->data_blocks * verity->data_block_size
				/ verity->hash_block_size,
			root, salt);
	else
		snprintf(out, 400, " roothash=%s", root);
}

/*
 * Appends superblock (without a table) and tree to the image; 64 hash blocks of data make two
 * levels of 512 bytes. `parameter`: what the command line says of it.
 */
static void add_tree(struct buffer *image, const struct system_faults *faults, char parameter[400])
{
	enum { BLOCK = 4096, HASH_BLOCK = 512, SALT = 16 };
	struct verity verity = {
		.data_block_size = BLOCK,
		.hash_block_size = HASH_BLOCK,
		.data_blocks = image->size / BLOCK,
		.algorithm = "sha256",
		.salt = SALT_TEXT,
		.salt_size = SALT,
	};
	uint8_t superblock[HASH_BLOCK] = "verity", root[SHA256_SIZE];
	char root_hex[SHA256_TEXT_SIZE];
	AUTO_BUFFER struct buffer tree = { 0 };
	struct verity_layout layout;
	const uint8_t *below = image->data;
	uint64_t count = verity.data_blocks;
	size_t below_size = BLOCK;

	put_le32(superblock + 8, 1);
	put_le32(superblock + 12, 1);
	memcpy(superblock + 32, "sha256", 6);
	put_le32(superblock + 64, BLOCK);
	put_le32(superblock + 68, HASH_BLOCK);
	put_le64(superblock + 72, verity.data_blocks);
	put_le16(superblock + 80, SALT);
	memcpy(superblock + 88, verity.salt, SALT);

	assert_int_equal(verity_lay_out(&verity, SHA256_SIZE, &layout, NULL), 0);
	assert_true(layout.level_count >= 2);
	append(&tree, NULL, layout.total_blocks * HASH_BLOCK);
	for (size_t level = 0; level < layout.level_count; level++) {
		uint8_t *out = tree.data + layout.level_start[level] * HASH_BLOCK;

		for (uint64_t i = 0; i < count; i++)
			hash(verity.salt, SALT, below + i * below_size, below_size,
				out + i * SHA256_SIZE);
		below = out;
		below_size = HASH_BLOCK;
		count = layout.level_blocks[level];
	}
	hash(verity.salt, SALT, below, HASH_BLOCK, root);
	text_hex(root, SHA256_SIZE, root_hex);
	if (faults->wrong_tree)
		tree.data[layout.level_start[0] * HASH_BLOCK + 5] ^= 1;
	if (faults->wrong_data)
		image->data[image->size / 2] ^= 1;
	if (faults->wrong_root)
		root_hex[7] = root_hex[7] == '0' ? '1' : '0';
	name_tree(&verity, faults->table, root_hex, parameter);
	if (!faults->table)
		append(image, superblock, HASH_BLOCK);
	append(image, tree.data, tree.size);
}

static void add_entry(struct buffer *zip, struct buffer *directory, const char *name,
	struct span data, bool wrong_crc)
{
	uint32_t crc = crc32_gzip_refl(0, data.data, data.size) ^ (wrong_crc ? 1 : 0);
	uint8_t local[30] = "PK\3\4", central[46] = "PK\1\2";

	put_le16(local + 4, 20);
	put_le32(local + 14, crc);
	put_le32(local + 18, (uint32_t)data.size);
	put_le32(local + 22, (uint32_t)data.size);
	put_le16(local + 26, (uint16_t)strlen(name));
	put_le16(central + 4, 20);
	memcpy(central + 6, local + 4, 24);
	put_le32(central + 42, (uint32_t)zip->size);
	append(zip, local, sizeof(local));
	append(zip, name, strlen(name));
	append(zip, data.data, data.size);
	append(directory, central, sizeof(central));
	append(directory, name, strlen(name));
}

static void write_file(char path[64], const char *pattern, struct span bytes)
{
	int fd;

	strcpy(path, pattern);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes.data, bytes.size), (ssize_t)bytes.size);
	close(fd);
}

static void write_bundle(struct system *system, const struct system_faults *faults)
{
	AUTO_BUFFER struct buffer zip = { 0 }, directory = { 0 };
	uint8_t end[22] = "PK\5\6";

	add_entry(
		&zip, &directory, "verity_rootfs.img", span_of(&system->image), faults->wrong_crc);
	add_entry(&zip, &directory, "kernel_efi.efi", span_of(&system->uki), false);
	put_le16(end + 8, 2);
	put_le16(end + 10, 2);
	put_le32(end + 12, (uint32_t)directory.size);
	put_le32(end + 16, (uint32_t)zip.size);
	append(&zip, directory.data, directory.size);
	append(&zip, end, sizeof(end));

	write_file(system->path, "/tmp/bistable-sim-XXXXXX", span_of(&zip));
}

static void write_chunked_bundle(struct system *system, const struct system_faults *faults)
{
	const struct maker_observer observer = { 0 };
	struct bistable_bundle *bundle = NULL;
	char uki[64], image[64];
	struct error error = { 0 };
	struct bistable_bundle_options options = {
		.uki = uki,
		.image = image,
		.output = system->path,
		.compatible = "sim",
		.created = 1000000000,
		.level = BISTABLE_LEVEL_DEFAULT,
		.chunk_size = faults->small ? 4096 : 32768,
		.threads = 1,
	};

	write_file(uki, "/tmp/bistable-sim-uki-XXXXXX", span_of(&system->uki));
	write_file(image, "/tmp/bistable-sim-image-XXXXXX", span_of(&system->image));
	write_file(system->path, "/tmp/bistable-sim-XXXXXX", (struct span){ 0 });
	world_ok(maker_create(&options, &observer, &bundle, &error), &error);
	bistable_bundle_free(bundle);
	unlink(uki);
	unlink(image);
}

/* Blocks of another image: `count` of them from `from` on, put to `to`. */
static void take_blocks(struct buffer *image, uint8_t seed, size_t from, size_t to, size_t count)
{
	enum { BLOCK = 4096 };
	AUTO_BUFFER struct buffer other = make_pattern((uint32_t)image->size, seed);

	memcpy(image->data + to * BLOCK, other.data + from * BLOCK, count * BLOCK);
}

static void relate(struct buffer *image, uint8_t seed)
{
	size_t blocks = image->size / 4096;

	if (seed == 1)
		return;
	take_blocks(image, 1, blocks / 8, blocks / 20 * seed, blocks / 5);
	take_blocks(image, (uint8_t)(seed - 1), blocks / 2, blocks / 2, blocks / 8);
	take_blocks(image, 1, blocks * 3 / 4, blocks * 3 / 4, blocks / 8);
}

static struct buffer make_broken_uki(const char *cmdline)
{
	const struct make_section sections[] = {
		{ .name = ".cmdline", .data = cmdline, .size = (uint32_t)strlen(cmdline) },
		{ .name = ".initrd", .size = 512 },
		{ 0 },
	};

	return make_pe(&(struct make_pe){ .sections = sections });
}

struct system system_new(const char *version, uint8_t seed, const struct system_faults *faults)
{
	static const struct system_faults none;
	char hex[SHA256_TEXT_SIZE], tree[400] = "", cmdline[1200];
	struct system system = { .version = version };
	uint8_t digest[SHA256_SIZE];

	if (!faults)
		faults = &none;
	system.image = make_pattern(faults->image_too_large ? SIM_PARTITION_SIZE + 1
				    : faults->small         ? WORLD_IMAGE_SIZE / 16
							    : WORLD_IMAGE_SIZE,
		seed);
	if (faults->chunked)
		relate(&system.image, seed);
	if (faults->empty_image)
		system.image.size = 0;
	if (faults->verity)
		add_tree(&system.image, faults, tree);
	if (faults->short_tree)
		system.image.size -= 512;
	assert_int_equal(sha256_of(system.image.data, system.image.size, digest, NULL), 0);
	text_hex(digest, SHA256_SIZE, hex);
	snprintf(cmdline, sizeof(cmdline),
		"root=PARTLABEL=METROPOLIS-SYSTEM-%c sim.image=%s sim.size=%zu%s%s",
		faults->names_a ? 'A' : 'X', hex, system.image.size, tree,
		faults->also ? faults->also : "");
	system.uki = faults->no_kernel ? make_broken_uki(cmdline)
		     : faults->osrel   ? make_large_uki(cmdline, version, faults->osrel)
				       : make_uki(cmdline, version, seed);
	if (faults->chunked)
		write_chunked_bundle(&system, faults);
	else
		write_bundle(&system, faults);
	return system;
}

void system_done(struct system *system)
{
	buffer_done(&system->image);
	buffer_done(&system->uki);
	if (*system->path)
		unlink(system->path);
}

/* Bytes of a boot entry for a file on the ESP, or on another disk's. */
static void make_entry(struct sim *sim, const char *description, const char *path, bool active,
	bool other_disk, struct buffer *out)
{
	AUTO_BUFFER struct buffer paths = { 0 };
	AUTO_FREE uint8_t *text = NULL;
	struct esp_location location;
	struct devicepath_hd hd;
	struct loadopt option;
	size_t size;

	sim_machine(sim)->ops->esp_location(&sim->machine, NULL, &location, NULL);
	location.partuuid.bytes[0] ^= other_disk;
	hd = (struct devicepath_hd){ 1, location.start, location.size, location.partuuid };
	assert_int_equal(devicepath_append_file(&paths, &hd, path, NULL), 0);
	assert_int_equal(text_to_utf16(description, &text, &size, NULL), 0);
	option = (struct loadopt){
		.attributes = active ? LOADOPT_ACTIVE : 0,
		.description = { text, size },
		.device_paths = span_of(&paths),
	};
	assert_int_equal(loadopt_format(&option, out, NULL), 0);
}

#define FOREIGN_COUNT 3

static const uint16_t foreign_numbers[FOREIGN_COUNT] = { 0x0003, 0x0005, 0x000a };

/*
 * A network entry of the firmware; one of a cloned disk, which is like ours but for its PARTUUID;
 * and one with attributes, paths and data that nobody here knows.
 */
static void foreign_entry(struct sim *sim, size_t which, struct buffer *out)
{
	static const uint8_t odd[] = { 1, 0, 0, 0x80, 8, 0, 'O', 0, 'd', 0, 'd', 0, 0, 0, 0x7f,
		0xff, 4, 0, 0x7f, 0xff, 4, 0, 0xde, 0xad, 0xbe, 0xef, 0 };
	static const uint8_t network[] = { 1, 0, 0, 0, 4, 0, 'P', 0, 'X', 0, 'E', 0, 0, 0, 0x7f,
		0xff, 4, 0 };

	if (which == 0)
		append(out, network, sizeof(network));
	else if (which == 1)
		make_entry(sim, "Metropolis Slot B", "/EFI/metropolis/boot-b.efi", true, true, out);
	else
		append(out, odd, sizeof(odd));
}

struct sim *world_new(const struct system *system)
{
	static const uint8_t order[] = { 3, 0, 5, 0, 0x0a, 0 };
	struct sim *sim = sim_new();
	AUTO_BUFFER struct buffer uki = { 0 };

	for (size_t i = 0; i < FOREIGN_COUNT; i++) {
		AUTO_BUFFER struct buffer bytes = { 0 };
		char name[16];

		snprintf(name, sizeof(name), "Boot%04X", foreign_numbers[i]);
		foreign_entry(sim, i, &bytes);
		sim_put_variable(sim, name, span_of(&bytes));
	}
	sim_put_variable(sim, "BootOrder", (struct span){ order, sizeof(order) });
	append(&uki, system->uki.data, system->uki.size);
	assert_int_equal(cmdline_bind(uki.data, uki.size, "METROPOLIS-SYSTEM-X",
				 "METROPOLIS-SYSTEM-A", NULL, NULL),
		0);
	sim_put_file(sim, "/EFI/metropolis/boot-a.efi", span_of(&uki));
	sim_put_file(sim, "/EFI/BOOT/BOOTX64.EFI", span_of(&uki));
	sim_put_image(sim, SLOT_A, span_of(&system->image));
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	return sim;
}

/* The notes of the last operation: test programs are the one place where this is no harm. */
static char notes[8192];

static void take_note(void *context, bool warning, const char *text)
{
	(void)context, (void)warning;
	strncat(notes, text, sizeof(notes) - strlen(notes) - 2);
	strcat(notes, "\n");
}

const char *world_notes(void)
{
	return notes;
}

static struct context *open_context(struct sim *sim)
{
	struct observer observer = { .report = { take_note, NULL } };
	struct context *context = NULL;
	struct error error = { 0 };

	notes[0] = '\0';
	if (context_new(sim_machine(sim), NULL, &observer, &context, &error) < 0)
		fail_msg("%s", error.text);
	/* Its operations are counted: they come in one order. */
	context->threads = 1;
	return context;
}

DEFINE_CLEANUP(context_freep, struct context *, context_free)

/* What a cold boot may start after an operation. */
struct rest {
	struct sim *sim;
	enum slot before;  /* what it would have started before it */
	enum slot besides; /* what the operation was to let it start; SLOT_NONE: nothing else */
	const char *operation;
};

/*
 * Checked after every operation, whatever came of it: power may fail right now. A trial is never
 * what starts then.
 */
static void check_rest(struct rest *rest)
{
	enum slot now = sim_cold_start(rest->sim);
	bool new_machine = rest->before == SLOT_NONE && now == rest->sim->started;

	if (now != rest->before && now != rest->besides && !new_machine
		&& (now == SLOT_NONE || now != rest->sim->confirmed))
		fail_msg("after %s in slot %c a cold boot would start slot %c, and slot %c before "
			 "(confirmed: %c): %s",
			rest->operation, slot_letter(rest->sim->running), slot_letter(now),
			slot_letter(rest->before), slot_letter(rest->sim->confirmed), notes);
}

#define CHECK_REST(sim, besides) \
	CLEANUP(check_rest) struct rest rest = { sim, sim_cold_start(sim), besides, __func__ }

int world_install(struct sim *sim, const struct system *system,
	const struct bistable_install_options *options, struct bistable_result *result,
	struct error *error)
{
	CLEANUP(context_freep) struct context *context = open_context(sim);
	struct bistable_install_options own = *options;
	struct bistable_result ignored = { 0 };
	CHECK_REST(sim, options->force ? sim->running : SLOT_NONE);
	int r;

	own.source = system->path;
	r = install_run(context, &own, result ? result : &ignored, error);
	bistable_result_done(&ignored);
	return r;
}

int world_repair(struct sim *sim, const struct system *system, struct bistable_result *result,
	struct error *error)
{
	CLEANUP(context_freep) struct context *context = open_context(sim);
	const struct bistable_install_options options = {
		.source = system ? system->path : NULL,
	};
	struct bistable_result ignored = { 0 };
	CHECK_REST(sim, SLOT_NONE);
	int r;

	r = repair_run(context, &options, result ? result : &ignored, error);
	bistable_result_done(&ignored);
	return r;
}

int world_mark_good(struct sim *sim, bool force, struct error *error)
{
	CLEANUP(context_freep) struct context *context = open_context(sim);
	CHECK_REST(sim, sim->running);
	enum slot slot;
	int r;

	r = confirm_mark_good(context, force, &slot, error);
	if (r == 0)
		sim->confirmed = slot;
	return r;
}

int world_mark_bad(struct sim *sim, enum slot slot, struct error *error)
{
	CLEANUP(context_freep) struct context *context = open_context(sim);
	enum slot bad = slot == SLOT_NONE ? slot_other(sim->running) : slot;
	CHECK_REST(sim, slot_other(bad));
	int r;

	r = confirm_mark_bad(context, slot, &slot, error);
	if (r == 0 && sim->confirmed == bad)
		sim->confirmed = slot_other(bad);
	return r;
}

static int start_other(
	struct sim *sim, enum bistable_activation how, bool back, bool force, struct error *error)
{
	CLEANUP(context_freep) struct context *context = open_context(sim);
	struct bistable_result result = { 0 };
	CHECK_REST(sim, SLOT_NONE);
	int r;

	r = activate_other(context, how, back, force, &result, error);
	bistable_result_done(&result);
	return r;
}

int world_rollback(struct sim *sim, enum bistable_activation how, struct error *error)
{
	return start_other(sim, how, true, false, error);
}

int world_activate(struct sim *sim, enum bistable_activation how, struct error *error)
{
	return start_other(sim, how, false, false, error);
}

int world_rollback_by_force(struct sim *sim, enum bistable_activation how, struct error *error)
{
	return start_other(sim, how, true, true, error);
}

enum slot world_mark_started(struct sim *sim)
{
	CLEANUP(context_freep) struct context *context = open_context(sim);
	CHECK_REST(sim, SLOT_NONE);
	struct error error = { 0 };
	enum slot slot;

	world_ok(restart_mark_started(context, &slot, &error), &error);
	return slot;
}

struct bistable_report *world_verify(struct sim *sim, enum slot slot)
{
	CLEANUP(context_freep) struct context *context = open_context(sim);
	struct bistable_report *report = NULL;
	struct error error = { 0 };

	world_ok(slotcheck_run(context, slot, &report, &error), &error);
	return report;
}

struct bistable_status *world_status(struct sim *sim)
{
	CLEANUP(context_freep) struct context *context = open_context(sim);
	struct bistable_status *status = NULL;
	struct error error = { 0 };

	if (status_read(context, &status, &error) < 0)
		fail_msg("%s", error.text);
	return status;
}

static void read_order(struct sim *sim, struct bootorder *order)
{
	struct buffer *variable = sim_variable(sim, "BootOrder");

	assert_non_null(variable);
	assert_int_equal(bootorder_parse(span_of(variable), order, NULL), 0);
}

void world_check_foreign(struct sim *sim)
{
	struct bootorder order;
	long last = -1;

	read_order(sim, &order);
	for (size_t i = 0; i < FOREIGN_COUNT; i++) {
		long place = bootorder_find(&order, foreign_numbers[i]);
		AUTO_BUFFER struct buffer wanted = { 0 };
		char name[16];

		snprintf(name, sizeof(name), "Boot%04X", foreign_numbers[i]);
		foreign_entry(sim, i, &wanted);
		assert_non_null(sim_variable(sim, name));
		assert_true(span_equal(span_of(sim_variable(sim, name)), span_of(&wanted)));
		assert_true(place > last);
		last = place;
	}
}

static struct entries read_entries(struct sim *sim)
{
	const struct boot_settings settings = {
		.machine = sim_machine(sim),
		.boot_files = { "/EFI/metropolis/boot-a.efi", "/EFI/metropolis/boot-b.efi" },
		.descriptions = { "Metropolis Slot A", "Metropolis Slot B" },
	};
	struct esp_location location;
	struct entries entries;

	settings.machine->ops->esp_location(settings.machine, NULL, &location, NULL);
	assert_int_equal(entries_read(&settings, &location, false, &entries, NULL), 0);
	return entries;
}

void world_check_order(struct sim *sim)
{
	AUTO_ENTRIES struct entries entries = read_entries(sim);
	struct bootorder order = entries.order;

	assert_false(bootorder_dedup(&order));
	for (size_t i = 0; i < entries.count; i++)
		if (entries.items[i].slot != SLOT_NONE)
			assert_true(bootorder_find(&order, entries.items[i].number) >= 0);
}

long world_place(struct sim *sim, enum slot slot)
{
	AUTO_ENTRIES struct entries entries = read_entries(sim);
	struct entry *entry = entries_of_slot(&entries, slot);

	return entry ? bootorder_find(&entries.order, entry->number) : -1;
}

void world_ok(int r, const struct error *error)
{
	if (r < 0)
		fail_msg("%s", error->text);
}

void world_must_install(struct sim *sim, const struct system *system,
	const struct bistable_install_options *options)
{
	struct error error = { 0 };

	world_ok(world_install(sim, system, options, NULL, &error), &error);
	world_check_foreign(sim);
	world_check_order(sim);
}

void world_must_mark_good(struct sim *sim)
{
	struct error error = { 0 };

	world_ok(world_mark_good(sim, false, &error), &error);
	world_check_foreign(sim);
	world_check_order(sim);
}

void world_add_entry(
	struct sim *sim, uint16_t number, const char *description, const char *path, bool active)
{
	AUTO_BUFFER struct buffer bytes = { 0 }, order = { 0 };
	struct buffer *present = sim_variable(sim, "BootOrder");
	uint8_t first[2];
	char name[16];

	make_entry(sim, description, path, active, false, &bytes);
	snprintf(name, sizeof(name), "Boot%04X", number);
	sim_put_variable(sim, name, span_of(&bytes));
	put_le16(first, number);
	append(&order, first, 2);
	append(&order, present->data, present->size);
	sim_put_variable(sim, "BootOrder", span_of(&order));
}
