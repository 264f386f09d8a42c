/* SPDX-License-Identifier: Apache-2.0 */
/* The head and the entries of a bundle of format 1, read in pieces of several sizes: the pieces
 * change nothing. What is accepted can be described. */
#include "fuzz.h"
#include "maker/head.h"
#include "memory_source.h"
#include "source/input.h"
#include "source/listing.h"

#include <bistable/bistable.h>

static int read_head(struct span zip, size_t piece, struct buffer *manifest)
{
	struct memory_source memory = memory_source(zip, true, piece);
	AUTO_HEAD struct head head = { 0 };
	struct bistable_bundle *bundle = NULL;
	struct error error = { 0 };
	struct input input;
	int r;

	must(input_init(&input, &memory.source, NULL) == 0);
	r = head_read(&input, NULL, &head, &error);
	if (succeeded(r, &error)) {
		must(head_describe(&head, zip.size, &bundle, NULL) == 0);
		must(bundle->payload_count >= 2);
		for (size_t i = 0; i < bundle->payload_count; i++)
			must(head.maps[i].size == bundle->payloads[i].size);
		bistable_bundle_free(bundle);
		*manifest = buffer_take(&head.manifest_bytes);
	}
	input_done(&input);
	return r;
}

static void read_listing(struct span zip)
{
	struct memory_source memory = memory_source(zip, true, 4096);
	AUTO_LISTING struct listing listing = { 0 };
	struct error error = { 0 };
	struct input input;
	uint64_t end = 0;

	must(input_init(&input, &memory.source, NULL) == 0);
	if (succeeded(listing_read(&input, &listing, &error), &error)) {
		for (size_t i = 0; i < listing.count; i++) {
			const struct listing_entry *entry = &listing.entries[i];

			must(entry->entry.local_offset == end && entry->data > end);
			end = entry->data + entry->entry.compressed;
			must(listing_find(&listing, entry->name) == entry);
		}
		must(end < zip.size);
	}
	input_done(&input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER struct buffer whole = { 0 }, pieces = { 0 };
	struct span zip = { data, size };

	must(read_head(zip, 1u << 20, &whole) == read_head(zip, 7, &pieces));
	must(span_equal(span_of(&whole), span_of(&pieces)));
	read_listing(zip);
	return 0;
}
