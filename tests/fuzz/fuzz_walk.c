/* SPDX-License-Identifier: Apache-2.0 */
/* A bundle of format 1, walked through with random access, with the directory asked for in the
 * middle, and as a stream, in pieces of several sizes: all say the same, and what a listing says.
 */
#include <errno.h>

#include "fuzz.h"
#include "memory_source.h"
#include "source/input.h"
#include "source/walk.h"

#define EARLY_AT 2u

/** How it is walked through. */
struct way {
	bool seekable;
	size_t piece;
	size_t check_at; /* entries, after which the directory is asked for; 0: none */
	size_t taste;    /* bytes of the data that are read */
};

static int walk_all(struct walk *walk, const struct way *way, struct error *error)
{
	const struct listing_entry *entry;
	uint64_t end = 0;
	int r;

	while ((r = walk_next(walk, &entry, error)) > 0) {
		uint64_t size = entry->entry.compressed;
		uint8_t byte;

		must(entry->entry.local_offset == end && entry->data == walk->input->position);
		must(entry->data >= end + ZIP_LOCAL_SIZE);
		must(*entry->name && strlen(entry->name) == entry->entry.name.size);
		end = entry->data + size;
		must(end >= entry->data);
		if (walk->entries.count == way->check_at)
			r = walk_check(walk, error);
		for (size_t i = 0; r > 0 && i < way->taste && i < size; i++)
			if (input_read(walk->input, &byte, 1, error) < 0)
				return -EBADMSG;
		if (r < 0)
			return r;
	}
	return r;
}

static int run(struct span zip, const struct way *way, struct listing *ret)
{
	struct memory_source memory = memory_source(zip, way->seekable, way->piece);
	struct error error = { 0 };
	struct input input;
	struct walk walk;
	int r;

	must(input_init(&input, &memory.source, NULL) == 0);
	walk_init(&walk, &input);
	r = walk_all(&walk, way, &error);
	must(r == 0 || r == -EBADMSG);
	if (succeeded(r, &error)) {
		must(walk.entries.count == walk.directory.count);
		*ret = walk.entries;
		walk.entries = (struct listing){ 0 };
	}
	walk_done(&walk);
	input_done(&input);
	return r;
}

static int list(struct span zip, struct listing *ret)
{
	struct memory_source memory = memory_source(zip, true, 4096);
	struct input input;
	int r;

	must(input_init(&input, &memory.source, NULL) == 0);
	r = listing_read(&input, ret, NULL);
	input_done(&input);
	return r;
}

static void must_be_same(const struct listing *a, const struct listing *b)
{
	must(a->count == b->count);
	for (size_t i = 0; i < a->count; i++) {
		const struct listing_entry *x = &a->entries[i], *y = &b->entries[i];

		must(strcmp(x->name, y->name) == 0 && x->data == y->data);
		must(x->entry.local_offset == y->entry.local_offset);
		must(x->entry.method == y->entry.method && x->entry.crc == y->entry.crc);
		must(x->entry.compressed == y->entry.compressed && x->entry.size == y->entry.size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct way ways[] = {
		{ true, SIZE_MAX, 0, 3 },
		{ true, 61, EARLY_AT, 0 },
		{ false, SIZE_MAX, 0, 0 },
		{ false, 7, EARLY_AT, 5 },
	};
	AUTO_LISTING struct listing first = { 0 }, listed = { 0 };
	struct span zip = { data, size };
	int r = run(zip, &ways[0], &first);

	for (size_t i = 1; i < sizeof(ways) / sizeof(*ways); i++) {
		AUTO_LISTING struct listing other = { 0 };

		must(run(zip, &ways[i], &other) == r);
		must_be_same(&first, &other);
	}
	/* Without an entry, a listing is content. */
	if (list(zip, &listed) == 0 && listed.count > 0) {
		must(r == 0);
		must_be_same(&first, &listed);
	} else {
		must(r < 0);
	}
	return 0;
}
