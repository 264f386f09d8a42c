/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of install.h share. */

#include <stdbool.h>

#include "base/slot.h"
#include "base/text.h"
#include "bistable/bistable.h"
#include "engine/bootfile.h"
#include "engine/chunked.h"
#include "engine/payload.h"
#include "engine/records.h"
#include "engine/startable.h"
#include "engine/trust.h"
#include "format/state.h"
#include "source/source.h"

struct context;
struct error;
struct fetcher;
struct stream;
struct target;

/** One install on its way. */
struct install {
	struct context *context;
	const struct bistable_install_options *options;
	struct bistable_result *result;
	enum slot running; /* SLOT_NONE: installer media */
	enum slot slot;    /* the target */
	struct records records;
	struct startable startable; /* the running slot */
	char *origin; /* of a repair: where the slot came from; NULL: the options say; owned */
	struct text_list headers;
	struct source_options source_options;
	struct fetcher *fetcher;
	struct target *target;
	bool repair;   /* the slot is to hold what it holds */
	bool keeps;    /* its record is of the same bundle: what it says of the slot stays */
	bool prepared; /* boot entries and BootNext are safe */
	bool begun;    /* the record says incomplete, nothing starts the target */

	/* What is installed. */
	struct bootfile boot;
	struct payload_counts boot_counts; /* of a bundle of format 1 */
	struct state_content system;       /* the image, once it is on the target */
	struct stream *stream;             /* of a plain bundle's image; NULL: none yet */
	struct chunked chunked;            /* a bundle of format 1 */
};

/** What this system takes of bundles. */
struct trust_settings install_trust(const struct install *install);

/** Whatever happens to the target from here on, the running slot is what starts. */
int install_begin(void *opaque, struct error *error);

/**
 * What falls back starts: the running slot's boot file lies where its entry says, and on the
 * removable path, if the slot was confirmed.
 */
int install_secure_running(struct install *install, struct error *error);

/** Whether the ESP has room for a boot file of `size` bytes, and what else is to be put there. */
int install_check_space(struct install *install, uint64_t size, struct error *error);

/** Of a repair: whether this head is the slot's own. ERROR_REFUSED. */
int install_check_same(struct install *install, struct error *error);

/** Whether an image of `size` bytes (UINT64_MAX: unknown) can be put on the target. */
int install_check_size(
	struct install *install, const char *name, uint64_t size, struct error *error);

/**
 * All of a plain bundle up to the boot file, which is checked and in memory: the image is on the
 * target and was verified. A dry run stops before anything is written.
 */
int install_plain(struct install *install, struct error *error);

/** The same of a bundle of format 1. */
int install_chunked(struct install *install, struct error *error);
