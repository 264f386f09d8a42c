/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/sha256.h"
#include "format/verity.h"

struct cmdline_verity;
struct error;
struct report;

/** A dm-verity tree inside an image, and the root hash that it must have. */
struct verity_tree {
	struct verity verity;
	uint64_t start; /* byte offset of the tree in the image */
	uint8_t root_hash[SHA256_SIZE];
};

/** An image whose tree is looked for. */
struct treematch_image {
	const char *name; /* for messages: a file or partition */
	uint64_t size;    /* bytes */
	/** Reads exactly `size` bytes into `data`, which is aligned. */
	int (*read)(void *opaque, uint64_t offset, void *data, size_t size, struct error *error);
	void *opaque;
};

/**
 * Which of the trees that the UKI's command line names the image carries, by the tree's top: *ret,
 * and *ret_found. A UKI may name two (of / and /usr), of which the image is one. Looked at are
 * `seen`, which has a superblock right behind its data (NULL: nothing has), and where the command
 * line says. Where no tree is found, or one that is not of SHA-256, that is told. -EBADMSG: the
 * image's tree is none of them (ERROR_REFUSED), or reaches beyond the image. Those of `read`.
 */
int treematch(const struct treematch_image *image, const struct cmdline_verity *named,
	const struct verity_tree *seen, const struct report *report, struct verity_tree *ret,
	bool *ret_found, struct error *error);

/**
 * Whether the root hash that a manifest gives ("": none) is one of those that its UKI names, if it
 * names any. -EBADMSG (ERROR_REFUSED).
 */
int treematch_check_manifest(
	const struct cmdline_verity *named, const char *root_hash, struct error *error);

/** Tells of a root hash on the command line that is not for us to compare. */
void treematch_tell_foreign(const struct cmdline_verity *named, const struct report *report);
