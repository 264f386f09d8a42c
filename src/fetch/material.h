/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/bytes.h"

struct error;
struct source_options;

/** The files that TLS needs, in memory. Zero-initialised means none; material_done() frees them. */
struct material {
	struct buffer ca, cert, key;
};

/**
 * Reads the files that `options` name, and where they name no CAs those that libcurl would take.
 * ERROR_USAGE, with the file, for one that cannot be read.
 */
int material_read(const struct source_options *options, struct material *ret, struct error *error);
void material_done(struct material *material);

#define AUTO_MATERIAL __attribute__((cleanup(material_done)))
