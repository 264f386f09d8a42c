/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Systems to install on the simulated machine, and the engine's operations in one call each. */

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "bistable/bistable.h"
#include "sim.h"

#define WORLD_IMAGE_SIZE (1280u << 10)

/** One system: an image, its UKI with the placeholder, and the bundle of both in a file. */
struct system {
	struct buffer image;
	struct buffer uki;
	char path[64];
	const char *version;
};

/** What may be wrong with a system; zero-initialised: nothing. */
struct system_faults {
	bool image_too_large;
	bool no_kernel; /* the UKI has no .linux */
	bool empty_image;
	bool wrong_crc;  /* of the image */
	bool verity;     /* the image carries a hash tree, and the UKI names its root hash */
	bool wrong_root; /* with verity: the UKI names another one */
	bool wrong_tree; /* with verity: one leaf hash is wrong */
	bool short_tree; /* with verity: the tree's end is cut off */
	bool wrong_data; /* with verity: one byte of the data is wrong */
	bool table; /* nothing wrong: a table says where the tree is, instead of a superblock */
	const char *
		also; /* nothing wrong: more of the command line, with a blank before; NULL: none */
	bool names_a; /* the UKI's command line is bound to slot A already */
	uint32_t osrel; /* nothing wrong: if not 0, a large UKI (make_large_uki()) */
	bool small;     /* nothing wrong: a small image, for tests that install often */
	bool chunked;   /* nothing wrong: a bundle of format 1, whose image shares blocks with that
			   of seed 1, in other and in the same places, and with that of seed - 1 */
};

/** Systems with different seeds differ. Free with system_done(), which removes the file. */
struct system system_new(const char *version, uint8_t seed, const struct system_faults *faults);
void system_done(struct system *system);

#define AUTO_SYSTEM __attribute__((cleanup(system_done)))

/** Puts `system` into slot A as a factory does, with foreign boot entries around, and starts it. */
struct sim *world_new(const struct system *system);

/** The operations of bistable on the simulated machine, as one process each. */
int world_install(struct sim *sim, const struct system *system,
	const struct bistable_install_options *options, struct bistable_result *result,
	struct error *error);
/** `system` NULL: from where the slot came from. */
int world_repair(struct sim *sim, const struct system *system, struct bistable_result *result,
	struct error *error);
int world_mark_good(struct sim *sim, bool force, struct error *error);
int world_mark_bad(struct sim *sim, enum slot slot, struct error *error);
int world_rollback(struct sim *sim, enum bistable_activation how, struct error *error);
int world_rollback_by_force(struct sim *sim, enum bistable_activation how, struct error *error);
int world_activate(struct sim *sim, enum bistable_activation how, struct error *error);
/** As when the machine goes down for kexec. The slot that is started then. */
enum slot world_mark_started(struct sim *sim);
/** Free with bistable_report_free(). Fails the test when there is none. SLOT_NONE: both slots. */
struct bistable_report *world_verify(struct sim *sim, enum slot slot);
/** Free with bistable_status_free(). Fails the test when there is none. */
struct bistable_status *world_status(struct sim *sim);

DEFINE_CLEANUP(world_status_freep, struct bistable_status *, bistable_status_free)

#define AUTO_STATUS CLEANUP(world_status_freep)

/** Fails the test with the error's text when r < 0. */
void world_ok(int r, const struct error *error);
/** What has to work, with the foreign entries and BootOrder checked afterwards. */
void world_must_install(struct sim *sim, const struct system *system,
	const struct bistable_install_options *options);
void world_must_mark_good(struct sim *sim);

/** Notes and warnings of the last operation, in one text. */
const char *world_notes(void);

/** Fails the test unless the foreign entries are as they were and keep their order. */
void world_check_foreign(struct sim *sim);
/** Fails the test unless no number is listed twice and every entry of ours is listed. */
void world_check_order(struct sim *sim);
/** Adds a boot entry for a file on the ESP, first in BootOrder, as firmware does by itself. */
void world_add_entry(
	struct sim *sim, uint16_t number, const char *description, const char *path, bool active);
/** The place of a slot's entry in BootOrder, or -1. */
long world_place(struct sim *sim, enum slot slot);
