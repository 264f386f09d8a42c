/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>

#include "base/error.h"
#include "source/bundle_private.h"
#include "source/source.h"

static int find_directory(struct bundle *bundle, struct zip_end *ret, struct error *error)
{
	struct input *input = &bundle->input;
	uint64_t size = input->source->size;
	uint64_t tail_size = size < ZIP_TAIL_MAX ? size : ZIP_TAIL_MAX;
	struct span tail;
	int r;

	r = input_seek(input, size - tail_size, error);
	if (r < 0)
		return r;
	r = input_need(input, (size_t)tail_size, &tail, error);
	if (r < 0)
		return r;
	return bundle_failed(bundle, zip_read_end(tail, size - tail_size, ret, error), error);
}

static int add_payload(struct bundle *bundle, const struct zip_entry *entry, struct error *error)
{
	int role = bundle_role_of(entry), r;
	struct bundle_part *part;
	uint64_t least;

	if (role < 0)
		return 0;
	part = &bundle->parts[role];
	if (part->found)
		return error_failed(error, EBADMSG,
			"'%s': two entries are named %s; a bundle has one",
			bundle->input.source->name, bundle_role_name(role));
	r = bundle_check_supported(bundle, entry, role, error);
	if (r < 0)
		return r;
	if (__builtin_add_overflow(entry->local_offset, entry->compressed, &least)
		|| least > bundle->directory)
		return error_failed(error, EBADMSG,
			"'%s': by the central directory, %s lies outside the bundle",
			bundle->input.source->name, bundle_role_name(role));
	part->entry = *entry;
	part->entry.name = (struct span){ 0 };
	part->found = true;
	return 0;
}

static int walk_directory(struct bundle *bundle, const struct zip_end *end, struct error *error)
{
	struct input *input = &bundle->input;
	int r;

	r = input_seek(input, end->offset, error);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < end->entries; i++) {
		struct zip_entry entry;

		r = bundle_peek_central(bundle, &entry, error);
		if (r < 0)
			return r;
		if (entry.header_size > end->start - input->position)
			break;
		r = add_payload(bundle, &entry, error);
		if (r < 0)
			return r;
		input_consume(input, entry.header_size);
	}
	if (input->position != end->start)
		return error_failed(error, EBADMSG,
			"'%s': the ZIP's central directory does not have the %" PRIu64
			" entries that the end record says",
			input->source->name, end->entries);
	return 0;
}

int directory_read(struct bundle *bundle, struct error *error)
{
	struct zip_end end;
	int r;

	r = find_directory(bundle, &end, error);
	if (r < 0)
		return r;
	bundle->directory = end.offset;
	r = walk_directory(bundle, &end, error);
	if (r < 0)
		return r;
	for (int role = 0; role < BUNDLE_ROLE_COUNT; role++)
		if (!bundle->parts[role].found)
			return error_failed(error, EBADMSG,
				"'%s' is a ZIP without '%s' at its top level: not a bundle, or "
				"zipped with its folder (zip -j leaves that out)",
				bundle->input.source->name, bundle_role_name(role));
	return 0;
}

int directory_next(struct bundle *bundle, int *ret, struct error *error)
{
	const struct zip_entry *central = &bundle->parts[bundle->next].entry;
	struct zip_entry local;
	int role, r;

	r = input_seek(&bundle->input, central->local_offset, error);
	if (r < 0)
		return r;
	r = bundle_read_local(bundle, &local, &role, error);
	if (r < 0)
		return r;
	if (role != bundle->next)
		return error_failed(error, EBADMSG,
			"'%s': by the central directory %s lies at byte %" PRIu64
			", but another entry does",
			bundle->input.source->name, bundle_role_name(bundle->next),
			central->local_offset);
	local.name = central->name;
	r = bundle_failed(bundle, zip_check_local(&local, central, error), error);
	if (r < 0)
		return r;
	if (central->compressed > bundle->directory - bundle->input.position)
		return error_failed(error, EBADMSG, "'%s': %s reaches into the central directory",
			bundle->input.source->name, bundle_role_name(role));
	entry_begin(bundle, central, true);
	bundle->next++;
	*ret = role;
	return 1;
}
