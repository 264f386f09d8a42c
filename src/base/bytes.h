/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct error;

/** Borrowed bytes. */
struct span {
	const uint8_t *data;
	size_t size;
};

/** Owned, growing bytes. Zero-initialised means empty. */
struct buffer {
	uint8_t *data;
	size_t size;
	size_t capacity;
};

static inline uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t le64(const uint8_t *p)
{
	return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static inline void put_le16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}

static inline void put_le32(uint8_t *p, uint32_t value)
{
	put_le16(p, (uint16_t)value);
	put_le16(p + 2, (uint16_t)(value >> 16));
}

static inline void put_le64(uint8_t *p, uint64_t value)
{
	put_le32(p, (uint32_t)value);
	put_le32(p + 4, (uint32_t)(value >> 32));
}

/** True and *ret = the `size` bytes at `offset` if they lie inside `whole`; else false. */
static inline bool span_slice(struct span whole, uint64_t offset, uint64_t size, struct span *ret)
{
	if (offset > whole.size || size > whole.size - offset)
		return false;
	*ret = (struct span){ whole.data + offset, (size_t)size };
	return true;
}

static inline bool span_equal(struct span a, struct span b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline struct span span_of(const struct buffer *buffer)
{
	return (struct span){ buffer->data, buffer->size };
}

static inline bool all_zero(const uint8_t *data, size_t size)
{
	return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/** Makes room for `extra` more bytes. 0 or -ENOMEM. */
int buffer_reserve(struct buffer *buffer, size_t extra, struct error *error);

/** Appends `size` bytes (data NULL: zeroes). 0 or -ENOMEM. */
int buffer_append(struct buffer *buffer, const void *data, size_t size, struct error *error);

/** `size` bytes aligned to 4096 for direct I/O, owned by the caller (free). NULL: out of memory. */
uint8_t *aligned_new(size_t size);

/** Frees the bytes and leaves the buffer empty. */
void buffer_done(struct buffer *buffer);

#define AUTO_BUFFER __attribute__((cleanup(buffer_done)))

/** Moves the bytes out: yields them and leaves an empty buffer behind. */
static inline struct buffer buffer_take(struct buffer *buffer)
{
	struct buffer taken = *buffer;

	*buffer = (struct buffer){ 0 };
	return taken;
}
