/* SPDX-License-Identifier: Apache-2.0 */
#include "format/loadopt.h"

#include <errno.h>

#include "base/error.h"
#include "base/text.h"

/* Attributes (u32) and FilePathListLength (u16); the description follows. */
#define HEADER_SIZE 6

/* Bytes of UTF-16 before the first NUL unit; `text.size` if there is none. */
static size_t utf16_size(struct span text)
{
	size_t size = 0;

	while (size + 2 <= text.size && le16(text.data + size) != 0)
		size += 2;
	return size + 2 <= text.size ? size : text.size;
}

int loadopt_parse(struct span bytes, struct loadopt *ret, struct error *error)
{
	struct loadopt option;
	struct span rest;
	size_t size;

	if (bytes.size > LOADOPT_SIZE_MAX)
		return error_failed(error, EBADMSG,
			"load option of %zu bytes is too large (at most %d)", bytes.size,
			LOADOPT_SIZE_MAX);
	if (!span_slice(bytes, HEADER_SIZE, bytes.size - HEADER_SIZE, &rest))
		return error_failed(
			error, EBADMSG, "load option of %zu bytes is cut off", bytes.size);

	size = utf16_size(rest);
	if (size == rest.size)
		return error_failed(error, EBADMSG,
			"load option: the description of %zu bytes has no end", rest.size);
	option.attributes = le32(bytes.data);
	option.description = (struct span){ rest.data, size };
	rest = (struct span){ rest.data + size + 2, rest.size - size - 2 };

	size = le16(bytes.data + 4);
	if (!span_slice(rest, 0, size, &option.device_paths))
		return error_failed(error, EBADMSG,
			"load option: device paths of %zu bytes, but only %zu bytes are left", size,
			rest.size);
	option.optional_data = (struct span){ rest.data + size, rest.size - size };
	*ret = option;
	return 0;
}

int loadopt_format(const struct loadopt *option, struct buffer *out, struct error *error)
{
	uint8_t header[HEADER_SIZE];
	size_t size;
	int r;

	if (option->description.size % 2 != 0
		|| utf16_size(option->description) != option->description.size)
		return error_failed(error, EINVAL,
			"load option: the description is not UTF-16 text without NUL");
	if (option->device_paths.size > UINT16_MAX)
		return error_failed(error, EINVAL,
			"load option: device paths of %zu bytes are too large",
			option->device_paths.size);
	if (__builtin_add_overflow(
		    HEADER_SIZE + 2 + option->device_paths.size, option->description.size, &size)
		|| __builtin_add_overflow(size, option->optional_data.size, &size)
		|| size > LOADOPT_SIZE_MAX)
		return error_failed(error, EINVAL, "load option is too large (at most %d bytes)",
			LOADOPT_SIZE_MAX);
	r = buffer_reserve(out, size, error);
	if (r < 0)
		return r;

	put_le32(header, option->attributes);
	put_le16(header + 4, (uint16_t)option->device_paths.size);
	/* The room is reserved: none of these can fail half-way. */
	buffer_append(out, header, sizeof(header), NULL);
	buffer_append(out, option->description.data, option->description.size, NULL);
	buffer_append(out, NULL, 2, NULL);
	buffer_append(out, option->device_paths.data, option->device_paths.size, NULL);
	buffer_append(out, option->optional_data.data, option->optional_data.size, NULL);
	return 0;
}

int loadopt_description(const struct loadopt *option, char **ret, struct error *error)
{
	return text_from_utf16(option->description.data, option->description.size, ret, error);
}
