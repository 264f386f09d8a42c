/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>

#include "base/error.h"
#include "source/bundle_private.h"
#include "source/source.h"

#define ADVICE                                                                                  \
	"make the bundle with known sizes (a zip tool that writes to a file), or give it as a " \
	"file "                                                                                 \
	"or from a server that supports Range"

/* A stored entry of unknown size has no end that could be seen, except when it is empty. */
static int check_streamable(
	struct bundle *bundle, const struct zip_entry *entry, int role, struct error *error)
{
	bool unsized = zip_entry_has_descriptor(entry)
		       && (entry->compressed == 0 || entry->size == 0);
	static const struct zip_actual empty;
	const char *what = role >= 0 ? bundle_role_name(role) : "an entry";
	struct span data;
	size_t size;
	int r;

	if (!zip_entry_has_descriptor(entry))
		return 0;
	if (zip_entry_is_encrypted(entry)
		|| (entry->method != ZIP_METHOD_STORED && entry->method != ZIP_METHOD_DEFLATE))
		return error_failed(error, EOPNOTSUPP,
			"'%s' cannot be streamed: %s at byte %" PRIu64
			" does not say where it ends; " ADVICE,
			bundle->input.source->name, what, entry->local_offset);
	if (entry->method == ZIP_METHOD_DEFLATE || !unsized)
		return 0;
	r = input_peek(&bundle->input, ZIP_DESCRIPTOR_PEEK, &data, error);
	if (r < 0)
		return r;
	if (zip_check_descriptor(data, bundle->input.position, &empty, &size, NULL) == 0)
		return 0;
	return error_failed(error, EOPNOTSUPP,
		"'%s' cannot be streamed: %s at byte %" PRIu64
		" is stored without its size; " ADVICE,
		bundle->input.source->name, what, entry->local_offset);
}

static int begin_payload(
	struct bundle *bundle, const struct zip_entry *entry, int role, struct error *error)
{
	struct bundle_part *part = &bundle->parts[role];
	int r;

	if (part->found)
		return error_failed(error, EBADMSG,
			"'%s': a second %s at byte %" PRIu64 "; a bundle has one",
			bundle->input.source->name, bundle_role_name(role), entry->local_offset);
	r = bundle_check_supported(bundle, entry, role, error);
	if (r < 0)
		return r;
	r = check_streamable(bundle, entry, role, error);
	if (r < 0)
		return r;
	part->found = true;
	part->entry = *entry;
	entry_begin(bundle, entry, false);
	return 0;
}

/* Passes over an entry that is none of ours. */
static int skip_entry(struct bundle *bundle, const struct zip_entry *entry, struct error *error)
{
	int r;

	r = check_streamable(bundle, entry, -1, error);
	if (r < 0)
		return r;
	if (!zip_entry_has_descriptor(entry))
		return input_skip(&bundle->input, entry->compressed, error);
	bundle->current = -1;
	entry_begin(bundle, entry, false);
	return entry_drain(bundle, error);
}

/* The directory's word on a payload must be what went by. */
static int check_listed(struct bundle *bundle, const struct zip_entry *central, struct error *error)
{
	int role = bundle_role_of(central);
	struct bundle_part *part;
	bool same;

	if (role < 0)
		return 0;
	part = &bundle->parts[role];
	same = part->found && !part->listed && central->local_offset == part->entry.local_offset
	       && central->method == part->entry.method && !zip_entry_is_encrypted(central)
	       && central->crc == part->actual.crc && central->size == part->actual.size
	       && central->compressed == part->actual.compressed;
	if (!same)
		return error_failed(error, EBADMSG,
			"'%s': the ZIP's central directory (at byte %" PRIu64
			") and its contents disagree about %s",
			bundle->input.source->name, bundle->input.position, bundle_role_name(role));
	part->listed = true;
	return 0;
}

static int walk_directory(struct bundle *bundle, uint64_t *ret_entries, struct error *error)
{
	struct input *input = &bundle->input;
	uint64_t start = input->position, entries = 0;
	struct span data;
	int r;

	for (;;) {
		struct zip_entry entry;

		r = input_need(input, 4, &data, error);
		if (r < 0)
			return r;
		if (le32(data.data) != ZIP_CENTRAL_MAGIC)
			break;
		if (++entries > bundle->entries || input->position - start > ZIP_DIRECTORY_MAX)
			return error_failed(error, EBADMSG,
				"'%s': the ZIP's central directory lists more than the %" PRIu64
				" entries that are there",
				input->source->name, bundle->entries);
		r = bundle_peek_central(bundle, &entry, error);
		if (r < 0)
			return r;
		r = check_listed(bundle, &entry, error);
		if (r < 0)
			return r;
		input_consume(input, entry.header_size);
	}
	*ret_entries = entries;
	return 0;
}

static int check_complete(struct bundle *bundle, struct error *error)
{
	for (int role = 0; role < BUNDLE_ROLE_COUNT; role++) {
		const struct bundle_part *part = &bundle->parts[role];

		if (!part->found)
			return error_failed(error, EBADMSG,
				"'%s' is a ZIP without '%s' at its top level: not a bundle, or "
				"zipped with its folder (zip -j leaves that out)",
				bundle->input.source->name, bundle_role_name(role));
		if (!part->listed)
			return error_failed(error, EBADMSG,
				"'%s': %s is not in the ZIP's central directory",
				bundle->input.source->name, bundle_role_name(role));
	}
	return 0;
}

/* After the last entry: the central directory and the end records, up to the source's end. */
static int sequence_finish(struct bundle *bundle, struct error *error)
{
	struct input *input = &bundle->input;
	uint64_t start = input->position, entries = 0;
	struct zip_end end;
	struct span tail;
	int r;

	r = walk_directory(bundle, &entries, error);
	if (r < 0)
		return r;
	r = input_peek(input, ZIP_TAIL_MAX + 1, &tail, error);
	if (r < 0)
		return r;
	if (le32(tail.data) != ZIP_END64_MAGIC && le32(tail.data) != ZIP_END_MAGIC)
		return error_failed(error, EBADMSG,
			"'%s' is damaged: no ZIP header at byte %" PRIu64 ", where one must be",
			input->source->name, input->position);
	r = bundle_failed(bundle, zip_read_end(tail, input->position, &end, error), error);
	if (r < 0)
		return r;
	if (end.start != input->position || end.offset != start || end.entries != entries
		|| entries != bundle->entries)
		return error_failed(error, EBADMSG,
			"'%s': the ZIP's end record at byte %" PRIu64
			" does not fit what lies before it",
			input->source->name, end.start);
	input_consume(input, tail.size);
	r = check_complete(bundle, error);
	if (r < 0)
		return r;
	bundle->finished = true;
	return 0;
}

/* Ends the current payload and keeps what it turned out to be. */
static int end_payload(struct bundle *bundle, struct error *error)
{
	int r;

	if (bundle->current < 0)
		return 0;
	r = entry_drain(bundle, error);
	if (r < 0)
		return r;
	bundle->parts[bundle->current].actual = bundle->reader.actual;
	bundle->current = -1;
	return 0;
}

/* The next local entry: 1 and its role when it is a payload, 2 when it was passed over. */
static int next_entry(struct bundle *bundle, int *ret, struct error *error)
{
	struct zip_entry entry;
	int role, r;

	r = bundle_read_local(bundle, &entry, &role, error);
	if (r < 0)
		return r;
	if (++bundle->entries > ZIP_ENTRIES_MAX)
		return error_failed(error, EBADMSG, "'%s' has more than %u entries",
			bundle->input.source->name, ZIP_ENTRIES_MAX);
	if (role < 0) {
		r = skip_entry(bundle, &entry, error);
		return r < 0 ? r : 2;
	}
	r = begin_payload(bundle, &entry, role, error);
	if (r < 0)
		return r;
	*ret = role;
	return 1;
}

int sequence_next(struct bundle *bundle, int *ret, struct error *error)
{
	int r;

	r = end_payload(bundle, error);
	if (r < 0)
		return r;
	do {
		struct span data;

		r = input_need(&bundle->input, 4, &data, error);
		if (r < 0)
			return r;
		if (le32(data.data) != ZIP_LOCAL_MAGIC)
			return sequence_finish(bundle, error);
		r = next_entry(bundle, ret, error);
	} while (r == 2);
	return r;
}
