/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_source.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

static int memory_read(
	struct source *source, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct memory_source *memory = (struct memory_source *)source;
	uint64_t left = memory->data.size - source->position;

	if (memory->fail_at && source->position >= memory->fail_at)
		return error_failed(error, EIO, "the line is dead");
	size = size < memory->piece ? size : memory->piece;
	size = size < left ? size : (size_t)left;
	if (size > 0)
		memcpy(data, memory->data.data + source->position, size);
	source->position += size;
	*ret_got = size;
	return 0;
}

static int memory_seek(struct source *source, uint64_t offset, struct error *error)
{
	if (!source->seekable || offset > source->size)
		return error_failed(error, ESPIPE, "a seek that must not be");
	source->position = offset;
	return 0;
}

static const struct source_ops memory_ops = { .read = memory_read, .seek = memory_seek };

struct memory_source memory_source(struct span data, bool seekable, size_t piece)
{
	return (struct memory_source){
		.source = { .ops = &memory_ops,
			.name = (char *)"memory",
			.size = seekable ? data.size : SOURCE_SIZE_UNKNOWN,
			.seekable = seekable },
		.data = data,
		.piece = piece,
	};
}
