/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/** How an entry's CRC and sizes are told. */
enum zip_style {
	ZIP_STYLE_PLAIN,      /* in the local header */
	ZIP_STYLE_ZIP64,      /* in its ZIP64 field */
	ZIP_STYLE_DESCRIPTOR, /* behind the data: signature, 32 bits */
	ZIP_STYLE_UNSIGNED,   /* no signature, 32 bits */
	ZIP_STYLE_WIDE,       /* signature, 64 bits, zeroes in the ZIP64 field */
	ZIP_STYLE_WIDE_UNSIGNED,
	ZIP_STYLE_COUNT,
};

/** One entry of a ZIP to be made; what is zero is as it should be. */
struct zip_recipe {
	const char *name;
	struct span data;
	unsigned method; /* 8 compresses; others are written as they are */
	enum zip_style style;
	/* What is wrong about it. */
	uint16_t flags;     /* more flags */
	uint32_t crc_error; /* xor, everywhere */
	int64_t size_error; /* added, everywhere */
	unsigned trailing;  /* bytes of rubbish behind the compressed data, counted as part of it */
	uint32_t local_crc_error;   /* xor, only before or behind the data */
	uint32_t central_crc_error; /* xor, only in the central directory */
	const char *central_name;   /* another name in the central directory */
	bool unlisted;              /* not in the central directory */
};

/** Appends a ZIP of `count` entries to `out`; `zip64`: with ZIP64 end records. */
void make_zip(const struct zip_recipe *recipes, size_t count, bool zip64, struct buffer *out);
