/* SPDX-License-Identifier: Apache-2.0 */

/* Plain bundles: what a ZIP says of itself, and an image that streams by once. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "engine/context.h"
#include "engine/image.h"
#include "engine/install_private.h"
#include "engine/stream.h"
#include "engine/target.h"
#include "engine/verify.h"
#include "engine/writer.h"
#include "fetch/fetcher.h"
#include "maker/treematch.h"

#define READ_SIZE (256u << 10)

/* What the bundle's directory tells before anything is fetched. */
static int check_sizes(struct install *install, struct error *error)
{
	struct bundle_payload payload;
	int r;

	install->result->boot_size = install->result->system_size = UINT64_MAX;
	if (fetcher_payload(install->fetcher, BUNDLE_ROLE_SYSTEM, &payload)) {
		install->result->system_size = payload.size;
		r = install_check_size(install, payload.name, payload.size, error);
		if (r < 0)
			return r;
	}
	if (fetcher_payload(install->fetcher, BUNDLE_ROLE_BOOT, &payload)) {
		install->result->boot_size = payload.size;
		return install_check_space(install, payload.size, error);
	}
	return 0;
}

/* The next bytes of the image, to where they are checked and written, or (dry run) nowhere. */
static int pass_on(struct install *install, uint8_t *scratch, size_t *ret_got, struct error *error)
{
	struct stream *stream = install->stream;
	uint8_t *data = scratch;
	size_t size = READ_SIZE;
	int r;

	r = scratch ? 0 : stream_room(stream, &data, &size, error);
	if (r == 0)
		r = fetcher_read(install->fetcher, data, size, ret_got, error);
	return r < 0 || scratch ? r : stream_commit(stream, *ret_got, error);
}

/*
 * A table on the command line says all of the tree beforehand, if the boot file came first. Of two
 * trees, only what came tells which one it is.
 */
static int expect_tree(struct install *install, struct error *error)
{
	const struct cmdline_verity *named = &install->boot.verity;
	struct verity_tree tree = { 0 };

	if (named->count != 1 || !cmdline_tree_of_table(&named->trees[0], &tree.verity, &tree.start)
		|| strcmp(tree.verity.algorithm, "sha256") != 0
		|| !text_unhex(named->trees[0].root_hash, tree.root_hash, SHA256_SIZE))
		return 0;
	return stream_expect_tree(install->stream, &tree, error);
}

static int read_system(
	struct install *install, const struct bundle_payload *payload, struct error *error)
{
	struct context *context = install->context;
	bool dry_run = install->options->dry_run;
	AUTO_FREE uint8_t *scratch = dry_run ? malloc(READ_SIZE) : NULL;
	uint64_t done = 0;
	size_t got = 1;
	int r;

	if (dry_run && !scratch)
		return error_memory(error);
	/* In a stream, this is the first that is known of it. */
	r = install_check_size(install, payload->name, payload->size, error);
	if (r == 0 && !dry_run)
		r = stream_open(install->target, &install->stream, error);
	if (r == 0 && !dry_run)
		r = expect_tree(install, error);
	if (r < 0)
		return r;
	context_begin_phase(context, "system", payload->size);
	while (got > 0) {
		if (context_cancelled(context))
			return error_failed(error, ECANCELED, "interrupted");
		r = pass_on(install, scratch, &got, error);
		if (r == 0)
			r = target_check_size(install->target, done += got, error);
		if (r < 0)
			return r;
		context_count_fetched(context, install->fetcher);
		context->progress.written = target_written(install->target);
		context_progress(context, done);
	}
	install->result->system_size = done;
	r = dry_run ? 0 : stream_finish(install->stream, error);
	context->progress.written = target_written(install->target);
	return r;
}

static int read_boot(
	struct install *install, const struct bundle_payload *payload, struct error *error)
{
	int r;

	r = bootfile_read(
		install->context, install->fetcher, payload, install->slot, &install->boot, error);
	if (r < 0)
		return r;
	install->result->boot_size = install->boot.bytes.size;
	/* In a stream its size was not known before. */
	return install_check_space(install, install->boot.bytes.size, error);
}

/* A dry run looks at the boot file only, unless the bundle is a stream: then there is no other way.
 */
static int read_payloads(struct install *install, struct error *error)
{
	bool boot_only = install->options->dry_run && fetcher_is_seekable(install->fetcher);
	struct bundle_payload payload;
	int r;

	while ((r = fetcher_next(install->fetcher, &payload, error)) > 0) {
		r = payload.role == BUNDLE_ROLE_BOOT ? read_boot(install, &payload, error)
						     : read_system(install, &payload, error);
		if (r < 0 || boot_only)
			return r;
	}
	return r;
}

static int verify(struct install *install, struct error *error)
{
	const struct image *image = stream_image(install->stream);
	struct verity_tree tree;
	bool found = false;
	int r = 0;

	if (!image->tree_checked)
		r = verify_find_tree(install->context, install->target, image,
			&install->boot.verity, &tree, &found, error);
	/* By now it was written: not refused, but failed. */
	if (r == -EBADMSG && error)
		error->kind = ERROR_FAILED;
	if (r == 0)
		r = verify_image(install->context, target_partition(install->target), image,
			found ? &tree : NULL, error);
	if (r < 0)
		error_prefix(error, "slot %c, %s", slot_letter(install->slot),
			target_device(install->target));
	return r;
}

int install_plain(struct install *install, struct error *error)
{
	const struct trust_settings settings = install_trust(install);
	const struct image *image;
	int r;

	r = trust_unsigned(install->context, &settings, error);
	if (r == 0)
		r = install_check_same(install, error);
	if (r == 0)
		r = check_sizes(install, error);
	if (r == 0 && !install->options->dry_run)
		r = install_secure_running(install, error);
	if (r == 0)
		r = read_payloads(install, error);
	if (r < 0 || install->options->dry_run)
		return r;
	/* Who fetches looks that both are there. */
	if (!install->stream || install->boot.bytes.size == 0)
		return fetcher_nonsense(install->fetcher, error);
	image = stream_image(install->stream);
	install->system.size = image->size;
	memcpy(install->system.sha256, image->sha256, SHA256_SIZE);
	return verify(install, error);
}
