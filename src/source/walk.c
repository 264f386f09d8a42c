/* SPDX-License-Identifier: Apache-2.0 */
#include "source/walk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "source/input.h"
#include "source/source.h"

void walk_init(struct walk *walk, struct input *input)
{
	*walk = (struct walk){ .input = input };
}

void walk_done(struct walk *walk)
{
	listing_done(&walk->entries);
	listing_done(&walk->directory);
}

/* Appends what a local header says. */
static int remember(struct walk *walk, const struct zip_entry *local, struct error *error)
{
	struct listing *entries = &walk->entries;
	struct listing_entry *grown;

	if (entries->count >= ZIP_ENTRIES_MAX)
		return error_failed(error, EBADMSG, "it has more than %u entries", ZIP_ENTRIES_MAX);
	grown = reallocarray(entries->entries, entries->count + 1, sizeof(*grown));
	if (!grown)
		return error_memory(error);
	entries->entries = grown;
	return listing_add(entries, local, error);
}

static bool is_same(const struct listing_entry *a, const struct listing_entry *b)
{
	return strcmp(a->name, b->name) == 0 && a->entry.method == b->entry.method
	       && zip_entry_is_encrypted(&a->entry) == zip_entry_is_encrypted(&b->entry)
	       && a->entry.crc == b->entry.crc && a->entry.compressed == b->entry.compressed
	       && a->entry.size == b->entry.size && a->entry.local_offset == b->entry.local_offset;
}

/* Compares entry `i` with what the directory lists in its place. */
static int compare(const struct walk *walk, size_t i, struct error *error)
{
	const struct listing_entry *entry = &walk->entries.entries[i];

	if (i < walk->directory.count && is_same(entry, &walk->directory.entries[i]))
		return 0;
	return error_failed(error, EBADMSG,
		"the central directory and the local header at byte %" PRIu64
		" disagree about '%s'",
		entry->entry.local_offset, entry->name);
}

/* The end records of a stream, behind its directory. */
static int check_end(const struct walk *walk, struct error *error)
{
	struct input *input = walk->input;
	struct zip_end end;
	struct span tail;
	int r;

	r = input_peek(input, ZIP_TAIL_MAX + 1, &tail, error);
	if (r == 0)
		r = zip_read_end(tail, input->position, &end, error);
	if (r < 0)
		return r;
	if (end.start != input->position || end.offset != walk->directory_start
		|| end.entries != walk->directory.count)
		return error_failed(error, EBADMSG,
			"the ZIP's end record at byte %" PRIu64
			" and the central directory before it disagree",
			end.start);
	input_consume(input, tail.size);
	return 0;
}

/* Of a stream, which has come to its directory: it must list just what went by. */
static int read_directory(struct walk *walk, struct error *error)
{
	struct listing *directory = &walk->directory;
	int r = 0;

	walk->directory_start = walk->input->position;
	directory->entries = calloc(walk->entries.count + 1, sizeof(*directory->entries));
	if (!directory->entries)
		return error_memory(error);
	for (size_t i = 0; r == 0 && i < walk->entries.count; i++)
		r = listing_read_central(walk->input, directory, error);
	if (r == 0)
		r = check_end(walk, error);
	if (r == 0)
		r = listing_check_names(directory, error);
	walk->listed = r == 0;
	return r;
}

static int check_all(const struct walk *walk, struct error *error)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < walk->entries.count; i++)
		r = compare(walk, i, error);
	return r;
}

int walk_check(struct walk *walk, struct error *error)
{
	int r;

	if (walk->listed || !walk->input->source->seekable)
		return 0;
	r = listing_read_directory(walk->input, &walk->directory, &walk->directory_start, error);
	walk->listed = r == 0;
	return r < 0 ? r : check_all(walk, error);
}

/* At the end of a seekable source: all that is listed went by, and nothing else. */
static int check_last(const struct walk *walk, struct error *error)
{
	if (walk->entries.count != walk->directory.count)
		return error_failed(error, EBADMSG,
			"the central directory begins at byte %" PRIu64
			" behind %zu entries, but lists %zu",
			walk->directory_start, walk->entries.count, walk->directory.count);
	if (walk->next != walk->directory_start)
		return error_failed(error, EBADMSG,
			"the last entry ends at byte %" PRIu64
			", but the central directory begins at byte %" PRIu64,
			walk->next, walk->directory_start);
	return 0;
}

/* Of a seekable source: no entry ends behind its end. */
static int check_size(const struct walk *walk, struct error *error)
{
	uint64_t size = walk->input->source->size;

	if (walk->next <= size)
		return 0;
	return error_failed(error, EBADMSG,
		"the bundle is truncated: it ends at byte %" PRIu64 ", in the middle of '%s'", size,
		walk->entries.entries[walk->entries.count - 1].name);
}

/* Goes to where the next header is. 1; 0: there is none, and all is well. */
static int go_on(struct walk *walk, struct error *error)
{
	struct input *input = walk->input;
	struct span magic;
	int r;

	r = input->source->seekable ? check_size(walk, error)
				    : input_skip(input, walk->next - input->position, error);
	if (r == 0 && input->source->seekable)
		r = input_seek(input, walk->next, error);
	if (r == 0)
		r = input_need(input, 4, &magic, error);
	if (r < 0)
		return r;
	if (le32(magic.data) != ZIP_CENTRAL_MAGIC)
		return 1;
	if (!input->source->seekable)
		r = read_directory(walk, error);
	else
		r = walk_check(walk, error);
	if (r == 0)
		r = check_all(walk, error);
	return r < 0 ? r : check_last(walk, error);
}

int walk_next(struct walk *walk, const struct listing_entry **ret, struct error *error)
{
	struct listing_entry *entry;
	struct zip_entry local;
	int r;

	r = go_on(walk, error);
	if (r <= 0)
		return r;
	r = listing_read_local(walk->input, &local, error);
	if (r == 0)
		r = remember(walk, &local, error);
	if (r == 0 && walk->listed)
		r = compare(walk, walk->entries.count - 1, error);
	if (r < 0)
		return r;
	entry = &walk->entries.entries[walk->entries.count - 1];
	entry->data = walk->input->position;
	if (__builtin_add_overflow(entry->data, entry->entry.compressed, &walk->next))
		return error_failed(error, EBADMSG, "'%s' is larger than any file", entry->name);
	*ret = entry;
	return 1;
}
