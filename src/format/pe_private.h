/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "format/pe.h"

#define PE_SECTION_HEADER_SIZE 40
#define PE_DIRECTORIES_MAX     16

/** What to do about an image that firmware does not load: the end of a message. */
#define PE_ADVICE                                                                          \
	"build it with ukify, or compute section addresses from the stub's ImageBase and " \
	"SectionAlignment"

/**
 * The data directories that EDK2's loader walks: base relocations (PeCoffLoaderRelocateImage),
 * debug data (PeCoffLoaderGetImageInfo, PeCoffLoaderLoadImage) and resources (the same). Sections
 * are known to lie in file and image. -EBADMSG.
 */
int pe_check_directories(struct span file, const struct pe *pe, struct error *error);
