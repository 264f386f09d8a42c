/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <stdlib.h>

#include "base/error.h"

int buffer_reserve(struct buffer *buffer, size_t extra, struct error *error)
{
	size_t wanted, capacity;
	uint8_t *data;

	if (__builtin_add_overflow(buffer->size, extra, &wanted))
		return error_memory(error);
	if (wanted <= buffer->capacity)
		return 0;

	/* Growing by half keeps appending linear without doubling a large boot file. */
	if (__builtin_add_overflow(buffer->capacity, buffer->capacity / 2, &capacity)
		|| capacity < wanted)
		capacity = wanted;
	data = realloc(buffer->data, capacity);
	if (!data)
		return error_memory(error);
	buffer->data = data;
	buffer->capacity = capacity;
	return 0;
}

int buffer_append(struct buffer *buffer, const void *data, size_t size, struct error *error)
{
	int r;

	if (size == 0)
		return 0;
	r = buffer_reserve(buffer, size, error);
	if (r < 0)
		return r;
	if (data)
		memcpy(buffer->data + buffer->size, data, size);
	else
		memset(buffer->data + buffer->size, 0, size);
	buffer->size += size;
	return 0;
}

uint8_t *aligned_new(size_t size)
{
	void *data;

	return posix_memalign(&data, 4096, size) == 0 ? data : NULL;
}

void buffer_done(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){ 0 };
}
