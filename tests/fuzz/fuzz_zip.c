/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a ZIP file, each tried on the same bytes. */
#include "format/zip.h"
#include "fuzz.h"

static void check_entry(const struct zip_entry *entry, struct span data, size_t stated, size_t most)
{
	struct error error = { 0 };

	must(entry->header_size == stated && stated <= most && stated <= data.size);
	must(lies_inside(entry->name, data));
	must(entry->name.size > 0 && entry->name.size <= ZIP_NAME_MAX);
	must(zip_check_local(entry, entry, &error) == 0);
}

static void check_headers(struct span data, uint64_t offset)
{
	struct error error = { 0 }, size_error = { 0 };
	struct zip_entry entry;
	size_t size = 0;
	bool sized = succeeded(zip_local_size(data, offset, &size, &size_error), &size_error);

	if (succeeded(zip_read_local(data, offset, &entry, &error), &error)) {
		must(sized && entry.local_offset == offset);
		check_entry(&entry, data, size, ZIP_LOCAL_MAX);
	}
	sized = succeeded(zip_central_size(data, offset, &size, &size_error), &size_error);
	if (succeeded(zip_read_central(data, offset, &entry, &error), &error)) {
		must(sized);
		check_entry(&entry, data, size, ZIP_CENTRAL_MAX);
	}
}

static void check_end(struct span tail, uint64_t offset)
{
	struct error error = { 0 };
	struct zip_end end;

	if (!succeeded(zip_read_end(tail, offset, &end, &error), &error))
		return;
	must(end.entries <= ZIP_ENTRIES_MAX && end.size <= ZIP_DIRECTORY_MAX);
	must(end.offset <= end.start && end.size == end.start - end.offset);
	must(end.start >= offset && end.start - offset <= tail.size - ZIP_END_SIZE);
	/* Readers look no further back. */
	must(tail.size - (end.start - offset) <= ZIP_TAIL_MAX);
}

/* The first 20 bytes are what was read. */
static void check_descriptor(struct span data, uint64_t offset)
{
	struct error error = { 0 };
	struct zip_actual actual;
	struct span descriptor;
	size_t size;

	if (!span_slice(data, 20, data.size - 20, &descriptor))
		return;
	if (descriptor.size > ZIP_DESCRIPTOR_PEEK)
		descriptor.size = ZIP_DESCRIPTOR_PEEK;
	actual.crc = le32(data.data);
	actual.compressed = le64(data.data + 4);
	actual.size = le64(data.data + 12);
	if (succeeded(zip_check_descriptor(descriptor, offset, &actual, &size, &error), &error)) {
		must(size >= 12 && size + 4 <= descriptor.size);
		must(memmem(descriptor.data, size, data.data, 4));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = { data, size };
	/* Where the bytes are said to lie in the file, up to the end of what can be numbered. */
	const uint64_t offsets[] = { 0, 1000, UINT64_MAX - size };

	for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
		check_headers(bytes, offsets[i]);
		check_end(bytes, offsets[i]);
		check_descriptor(bytes, offsets[i]);
	}
	return 0;
}
