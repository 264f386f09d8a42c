/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include <isa-l/crc.h>

#include "base/error.h"
#include "source/bundle_private.h"
#include "source/source.h"

#define DRAIN_SIZE (16u << 10)

/* What the entry is called in messages. */
static const char *reader_name(const struct bundle *bundle)
{
	return bundle->current >= 0 ? bundle_role_name(bundle->current) : "an unused entry";
}

static int damaged(const struct bundle *bundle, struct error *error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int damaged(const struct bundle *bundle, struct error *error, const char *format, ...)
{
	char why[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	return error_failed(error, EBADMSG,
		"'%s': %s is damaged at byte %" PRIu64 " of the bundle: %s; get the bundle again",
		bundle->input.source->name, reader_name(bundle), bundle->input.position, why);
}

void entry_begin(struct bundle *bundle, const struct zip_entry *entry, bool trusted)
{
	bool descriptor = !trusted && zip_entry_has_descriptor(entry);

	/* With a descriptor, the local header has the sizes or zeroes (APPNOTE 4.4.4, bit 3). */
	bundle->reader = (struct entry_reader){
		.declared = *entry,
		.sized = !descriptor || (entry->compressed != 0 && entry->size != 0),
		.crc_known = !descriptor,
		.has_descriptor = descriptor,
	};
	bundle->reader.declared.name = (struct span){ 0 };
	inflate_reset(bundle->inflate);
}

static uint64_t compressed_left(const struct entry_reader *reader)
{
	return reader->sized ? reader->declared.compressed - reader->actual.compressed : UINT64_MAX;
}

static uint64_t plain_left(const struct entry_reader *reader)
{
	return reader->sized ? reader->declared.size - reader->actual.size : UINT64_MAX;
}

static int read_stored(
	struct bundle *bundle, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct entry_reader *reader = &bundle->reader;
	uint64_t left = compressed_left(reader);
	struct span visible;
	int r;

	/* An unsized one is known to be empty: sequence_next() refuses the others. */
	if (left == 0 || !reader->sized) {
		reader->drained = true;
		*ret_got = 0;
		return 0;
	}
	r = input_need(&bundle->input, 1, &visible, error);
	if (r < 0)
		return r;
	size = size < left ? size : (size_t)left;
	size = size < visible.size ? size : visible.size;
	memcpy(data, visible.data, size);
	input_consume(&bundle->input, size);
	reader->actual.compressed += size;
	*ret_got = size;
	return 0;
}

/* One step of decompression; neither output nor an end means that the data ended too early. */
static int inflate_step(struct bundle *bundle, void *data, size_t size, struct inflate_step *ret,
	struct error *error)
{
	struct entry_reader *reader = &bundle->reader;
	uint64_t left = compressed_left(reader);
	struct inflate_step step = { 0 };
	struct span in;

	do {
		int r = input_peek(&bundle->input, 1, &in, error);

		if (r < 0)
			return r;
		if (in.size > left)
			in.size = (size_t)left;
		if (inflate_run(bundle->inflate, in, data, size, &step, NULL) < 0)
			return damaged(bundle, error, "it is not a deflate stream");
		input_consume(&bundle->input, step.consumed);
		reader->actual.compressed += step.consumed;
		left -= step.consumed;
	} while (step.consumed > 0 && step.produced == 0 && !step.ended);
	*ret = step;
	return 0;
}

static int read_deflated(
	struct bundle *bundle, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct entry_reader *reader = &bundle->reader;
	uint64_t left = plain_left(reader);
	struct inflate_step step = { 0 };
	uint8_t excess;
	int r;

	/* When all is there, what remains of the stream must not give another byte. */
	if (left == 0) {
		data = &excess;
		size = 1;
	} else if (size > left) {
		size = (size_t)left;
	}
	r = inflate_step(bundle, data, size, &step, error);
	if (r < 0)
		return r;
	if (left == 0 && step.produced > 0)
		return damaged(bundle, error, "it has more than the declared %" PRIu64 " bytes",
			reader->declared.size);
	if (!step.ended && step.produced == 0) {
		if (compressed_left(reader) == 0)
			return damaged(bundle, error, "its compressed data ends too early");
		return input_need(&bundle->input, 1, &(struct span){ 0 }, error) < 0
			       ? -EBADMSG
			       : damaged(bundle, error, "its compressed data makes no sense");
	}
	if (step.ended) {
		input_unread(&bundle->input, step.unread);
		reader->actual.compressed -= step.unread;
		reader->drained = true;
	}
	*ret_got = step.produced;
	return 0;
}

/* Everything that was declared, before or behind the data, must be what was found. */
static int entry_check(struct bundle *bundle, struct error *error)
{
	struct entry_reader *reader = &bundle->reader;
	const struct zip_actual *actual = &reader->actual;
	struct span data;
	size_t size;
	int r;

	if (reader->sized && actual->size != reader->declared.size)
		return damaged(bundle, error, "it has %" PRIu64 " bytes instead of %" PRIu64,
			actual->size, reader->declared.size);
	if (reader->sized && actual->compressed != reader->declared.compressed)
		return damaged(bundle, error, "%" PRIu64 " bytes lie behind its compressed data",
			reader->declared.compressed - actual->compressed);
	if (reader->crc_known && actual->crc != reader->declared.crc)
		return damaged(bundle, error, "its CRC-32 is %08" PRIx32 " instead of %08" PRIx32,
			actual->crc, reader->declared.crc);
	if (reader->has_descriptor) {
		struct error why = { 0 };

		r = input_peek(&bundle->input, ZIP_DESCRIPTOR_PEEK, &data, error);
		if (r < 0)
			return r;
		if (zip_check_descriptor(data, bundle->input.position, actual, &size, &why) < 0)
			return damaged(bundle, error, "%s", why.text);
		input_consume(&bundle->input, size);
	}
	reader->ended = true;
	return 0;
}

int entry_read(struct bundle *bundle, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct entry_reader *reader = &bundle->reader;
	size_t got = 0;
	int r;

	while (got == 0 && size > 0 && !reader->drained) {
		r = reader->declared.method == ZIP_METHOD_STORED
			    ? read_stored(bundle, data, size, &got, error)
			    : read_deflated(bundle, data, size, &got, error);
		if (r < 0)
			return r;
	}
	reader->actual.size += got;
	reader->actual.crc = crc32_gzip_refl(reader->actual.crc, data, got);
	if (got == 0 && size > 0 && !reader->ended) {
		r = entry_check(bundle, error);
		if (r < 0)
			return r;
	}
	*ret_got = got;
	return 0;
}

int entry_drain(struct bundle *bundle, struct error *error)
{
	uint8_t scratch[DRAIN_SIZE];
	size_t got = 1;

	while (got > 0) {
		int r = entry_read(bundle, scratch, sizeof(scratch), &got, error);

		if (r < 0)
			return r;
	}
	return 0;
}
