/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include <bistable/bistable.h>

#include "base/error.h"
#include "format/zip_write.h"
#include "maker/archive.h"
#include "maker/content.h"
#include "maker/head.h"
#include "maker/maker.h"
#include "maker/opened.h"
#include "maker/output.h"
#include "source/listing.h"
#include "source/source.h"

/* All entries as they are, with a new one for the signature. */
static int copy_entries(const struct head *head, const struct listing *listing,
	const struct content *from, struct archive *archive, struct error *error)
{
	int r;

	r = archive_add(archive, MANIFEST_NAME, span_of(&head->manifest_bytes), error);
	if (r == 0)
		r = archive_add(archive, MANIFEST_SIGNATURE_NAME, span_of(&head->signature), error);
	for (size_t i = 1; r == 0 && i < listing->count; i++) {
		const struct listing_entry *entry = &listing->entries[i];

		if (zip_entry_is_named(&entry->entry, MANIFEST_SIGNATURE_NAME))
			continue;
		r = archive_copy(archive, &entry->entry, from->name, from->fd, entry->data, error);
	}
	return r < 0 ? r : archive_finish(archive, error);
}

static int read_bundle(
	struct opened *opened, struct head *head, struct listing *listing, struct error *error)
{
	int r;

	r = listing_read(&opened->input, listing, error);
	if (r == 0)
		r = input_seek(&opened->input, 0, error);
	if (r == 0)
		r = head_read(&opened->input, NULL, head, error);
	return opened_failed(opened, r, error);
}

static int write_bundle(const char *path, struct head *head, const struct listing *listing,
	const struct content *from, const struct maker_observer *observer,
	struct bistable_bundle **ret, struct error *error)
{
	AUTO_OUTPUT struct output output = OUTPUT_NONE;
	AUTO_ARCHIVE struct archive archive = { .output = &output };
	struct bistable_bundle *bundle = NULL;
	int r;

	archive.time = zip_dos_time(head->manifest.created);
	r = output_open(path, &output, error);
	if (r == 0)
		r = copy_entries(head, listing, from, &archive, error);
	if (r == 0)
		r = head_describe(head, output.position, &bundle, error);
	if (r == 0)
		r = maker_check_cancelled(observer, error);
	if (r == 0)
		r = output_commit(&output, error);
	if (r < 0)
		bistable_bundle_free(bundle);
	else
		*ret = bundle;
	return r;
}

int maker_sign(const char *path, const char *output, const char *key, const char *cert,
	const struct maker_observer *observer, struct bistable_bundle **ret, struct error *error)
{
	AUTO_CONTENT struct content from = { .fd = -1 };
	AUTO_OPENED struct opened opened = { 0 };
	AUTO_LISTING struct listing listing = { 0 };
	AUTO_HEAD struct head head = { 0 };
	AUTO_BUFFER struct buffer signature = { 0 };
	int r;

	r = content_open(path, &from, error); /* a file: what is none is refused here */
	if (r == 0)
		r = opened_open(path, NULL, &opened, error);
	if (r == 0)
		r = read_bundle(&opened, &head, &listing, error);
	if (r == 0)
		r = cms_sign(span_of(&head.manifest_bytes), key, cert, &signature, error);
	if (r < 0)
		return r;
	buffer_done(&head.signature);
	head.signature = buffer_take(&signature);
	return write_bundle(output ? output : path, &head, &listing, &from, observer, ret, error);
}
