/* SPDX-License-Identifier: Apache-2.0 */
#include "source/listing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "source/input.h"
#include "source/source.h"

int listing_read_local(struct input *input, struct zip_entry *ret, struct error *error)
{
	uint64_t offset = input->position;
	struct span bytes;
	struct zip_entry entry;
	size_t size;
	int r;

	r = input_need(input, ZIP_LOCAL_SIZE, &bytes, error);
	if (r == 0)
		r = zip_local_size(bytes, offset, &size, error);
	if (r == 0)
		r = input_need(input, size, &bytes, error);
	if (r == 0)
		r = zip_read_local(bytes, offset, &entry, error);
	if (r < 0)
		return r;
	if (zip_entry_is_encrypted(&entry) || zip_entry_has_descriptor(&entry))
		return error_failed(error, EBADMSG,
			"the entry at byte %" PRIu64 " %s, which no entry of a bundle of format 1 "
			"is",
			offset,
			zip_entry_is_encrypted(&entry) ? "is encrypted"
						       : "is followed by a data descriptor");
	input_consume(input, size);
	*ret = entry;
	return 0;
}

static int read_end(struct input *input, struct zip_end *ret, struct error *error)
{
	uint64_t size = input->source->size;
	uint64_t tail_size = size < ZIP_TAIL_MAX ? size : ZIP_TAIL_MAX;
	struct span tail;
	int r;

	r = input_seek(input, size - tail_size, error);
	if (r == 0)
		r = input_need(input, (size_t)tail_size, &tail, error);
	return r < 0 ? r : zip_read_end(tail, size - tail_size, ret, error);
}

int listing_add(struct listing *listing, const struct zip_entry *entry, struct error *error)
{
	struct listing_entry *slot = &listing->entries[listing->count];

	slot->name = strndup((const char *)entry->name.data, entry->name.size);
	if (!slot->name)
		return error_memory(error);
	listing->count++;
	slot->data = 0;
	slot->entry = *entry;
	slot->entry.name.data = (const uint8_t *)slot->name;
	if (strlen(slot->name) == entry->name.size)
		return 0;
	return error_failed(error, EBADMSG,
		"the entry at byte %" PRIu64 " has a name with a NUL in it", entry->local_offset);
}

int listing_read_central(struct input *input, struct listing *listing, struct error *error)
{
	struct zip_entry entry;
	struct span bytes;
	size_t size;
	int r;

	r = input_need(input, ZIP_CENTRAL_SIZE, &bytes, error);
	if (r == 0)
		r = zip_central_size(bytes, input->position, &size, error);
	if (r == 0)
		r = input_need(input, size, &bytes, error);
	if (r == 0)
		r = zip_read_central(bytes, input->position, &entry, error);
	if (r == 0)
		r = listing_add(listing, &entry, error);
	if (r == 0)
		input_consume(input, size);
	return r;
}

/* Compares one entry with its local header. `at` is where that must lie, and moves behind it. */
static int check_place(
	struct input *input, struct listing_entry *entry, uint64_t *at, struct error *error)
{
	struct zip_entry local;
	int r;

	if (entry->entry.local_offset != *at)
		return error_failed(error, EBADMSG,
			"by the central directory '%s' begins at byte %" PRIu64
			", but what comes before it ends at byte %" PRIu64,
			entry->name, entry->entry.local_offset, *at);
	r = input_seek(input, *at, error);
	if (r == 0)
		r = listing_read_local(input, &local, error);
	if (r == 0)
		r = zip_check_local(&local, &entry->entry, error);
	if (r < 0)
		return r;
	entry->data = input->position;
	if (__builtin_add_overflow(entry->data, entry->entry.compressed, at))
		return error_failed(error, EBADMSG, "'%s' is larger than any file", entry->name);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int listing_check_names(const struct listing *listing, struct error *error)
{
	AUTO_FREE char **names = calloc(listing->count + 1, sizeof(*names));

	if (!names)
		return error_memory(error);
	for (size_t i = 0; i < listing->count; i++)
		names[i] = listing->entries[i].name;
	qsort(names, listing->count, sizeof(*names), compare_names);
	for (size_t i = 1; i < listing->count; i++)
		if (strcmp(names[i - 1], names[i]) == 0)
			return error_failed(error, EBADMSG, "two entries are named '%s'", names[i]);
	return 0;
}

static int check_places(
	struct input *input, struct listing *listing, uint64_t end, struct error *error)
{
	uint64_t at = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < listing->count; i++)
		r = check_place(input, &listing->entries[i], &at, error);
	if (r == 0 && at != end)
		return error_failed(error, EBADMSG,
			"the last entry ends at byte %" PRIu64
			", but the central directory begins at byte %" PRIu64,
			at, end);
	return r;
}

int listing_read_directory(
	struct input *input, struct listing *ret, uint64_t *ret_start, struct error *error)
{
	AUTO_LISTING struct listing listing = { 0 };
	struct zip_end end;
	int r;

	r = read_end(input, &end, error);
	if (r < 0)
		return r;
	listing.entries = calloc((size_t)end.entries + 1, sizeof(*listing.entries));
	if (!listing.entries)
		return error_memory(error);
	r = input_seek(input, end.offset, error);
	for (uint64_t i = 0; r == 0 && i < end.entries; i++)
		r = listing_read_central(input, &listing, error);
	if (r == 0 && input->position != end.start)
		return error_failed(error, EBADMSG,
			"the central directory does not have the %" PRIu64
			" entries that the end record says",
			end.entries);
	if (r == 0)
		r = listing_check_names(&listing, error);
	if (r < 0)
		return r;
	*ret = listing;
	*ret_start = end.offset;
	listing = (struct listing){ 0 };
	return 0;
}

int listing_read(struct input *input, struct listing *ret, struct error *error)
{
	AUTO_LISTING struct listing listing = { 0 };
	uint64_t start;
	int r;

	r = listing_read_directory(input, &listing, &start, error);
	if (r == 0)
		r = check_places(input, &listing, start, error);
	if (r < 0)
		return r;
	*ret = listing;
	listing = (struct listing){ 0 };
	return 0;
}

void listing_done(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->entries[i].name);
	free(listing->entries);
	*listing = (struct listing){ 0 };
}

const struct listing_entry *listing_find(const struct listing *listing, const char *name)
{
	for (size_t i = 0; i < listing->count; i++)
		if (strcmp(listing->entries[i].name, name) == 0)
			return &listing->entries[i];
	return NULL;
}
