/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/archive.h"

#include <isa-l/crc.h>

#include "format/zip_write.h"
#include "maker/output.h"

static int begin_entry(struct archive *archive, const struct zip_entry *entry, struct error *error)
{
	struct zip_entry placed = *entry;
	AUTO_BUFFER struct buffer header = { 0 };
	int r;

	placed.local_offset = archive->output->position;
	r = zip_write_local(&header, &placed, archive->time, error);
	if (r == 0)
		r = zip_write_central(&archive->directory, &placed, archive->time, error);
	if (r == 0)
		r = output_write(archive->output, header.data, header.size, error);
	archive->entries++;
	return r;
}

int archive_add(struct archive *archive, const char *name, struct span bytes, struct error *error)
{
	struct zip_entry entry = {
		.method = ZIP_METHOD_STORED,
		.crc = crc32_gzip_refl(0, bytes.data, bytes.size),
		.compressed = bytes.size,
		.size = bytes.size,
		.name = { (const uint8_t *)name, strlen(name) },
	};
	int r;

	r = begin_entry(archive, &entry, error);
	return r < 0 ? r : output_write(archive->output, bytes.data, bytes.size, error);
}

int archive_copy(struct archive *archive, const struct zip_entry *entry, const char *file_name,
	int fd, uint64_t offset, struct error *error)
{
	int r;

	r = begin_entry(archive, entry, error);
	if (r < 0)
		return r;
	return output_copy(archive->output, file_name, fd, offset, entry->compressed, error);
}

int archive_finish(struct archive *archive, struct error *error)
{
	struct zip_end end = {
		.entries = archive->entries,
		.offset = archive->output->position,
		.size = archive->directory.size,
		.start = archive->output->position + archive->directory.size,
	};
	int r;

	r = zip_write_end(&archive->directory, &end, error);
	if (r < 0)
		return r;
	return output_write(
		archive->output, archive->directory.data, archive->directory.size, error);
}

void archive_done(struct archive *archive)
{
	buffer_done(&archive->directory);
}
