/* SPDX-License-Identifier: Apache-2.0 */
#include "make_zip.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>

#include "format/zip.h"

struct made {
	uint32_t crc;
	uint64_t compressed, size;
	uint64_t offset;
};

static void append(struct buffer *out, const void *data, size_t size)
{
	int r = buffer_append(out, data, size, NULL);

	assert(r == 0);
	(void)r;
}

static void append_number(struct buffer *out, uint64_t value, size_t width)
{
	uint8_t bytes[8];

	put_le64(bytes, value);
	append(out, bytes, width);
}

static void append_deflated(struct buffer *out, struct span data)
{
	struct isal_zstream stream;
	size_t capacity = data.size + data.size / 8 + 1000;
	uint8_t *packed = malloc(capacity);
	int r;

	isal_deflate_stateless_init(&stream);
	stream.end_of_stream = 1;
	stream.next_in = (uint8_t *)data.data;
	stream.avail_in = (uint32_t)data.size;
	stream.next_out = packed;
	stream.avail_out = (uint32_t)capacity;
	r = isal_deflate_stateless(&stream);
	assert(r == COMP_OK);
	(void)r;
	append(out, packed, stream.total_out);
	free(packed);
}

static bool has_descriptor(const struct zip_recipe *recipe)
{
	return recipe->style >= ZIP_STYLE_DESCRIPTOR;
}

static bool is_wide(const struct zip_recipe *recipe)
{
	return recipe->style == ZIP_STYLE_ZIP64 || recipe->style >= ZIP_STYLE_WIDE;
}

static void append_local(
	struct buffer *out, const struct zip_recipe *recipe, const struct made *made)
{
	bool later = has_descriptor(recipe), wide = is_wide(recipe);

	append_number(out, ZIP_LOCAL_MAGIC, 4);
	append_number(out, 45, 2);
	append_number(out, (later ? 8u : 0) | recipe->flags, 2);
	append_number(out, recipe->method, 2);
	append_number(out, 0, 4);
	append_number(out, later ? 0 : made->crc ^ recipe->local_crc_error, 4);
	append_number(out, wide ? UINT32_MAX : later ? 0 : made->compressed, 4);
	append_number(out, wide ? UINT32_MAX : later ? 0 : made->size, 4);
	append_number(out, strlen(recipe->name), 2);
	append_number(out, wide ? 20 : 0, 2);
	append(out, recipe->name, strlen(recipe->name));
	if (!wide)
		return;
	append_number(out, 0x100001, 4);
	append_number(out, later ? 0 : made->size, 8);
	append_number(out, later ? 0 : made->compressed, 8);
}

static void append_descriptor(
	struct buffer *out, const struct zip_recipe *recipe, const struct made *made)
{
	size_t width = is_wide(recipe) ? 8 : 4;

	if (recipe->style == ZIP_STYLE_DESCRIPTOR || recipe->style == ZIP_STYLE_WIDE)
		append_number(out, ZIP_DESCRIPTOR_MAGIC, 4);
	append_number(out, made->crc ^ recipe->local_crc_error, 4);
	append_number(out, made->compressed, width);
	append_number(out, made->size, width);
}

static struct made append_entry(struct buffer *out, const struct zip_recipe *recipe)
{
	struct buffer packed = { 0 };
	struct made made = {
		.crc = crc32_gzip_refl(0, recipe->data.data, recipe->data.size) ^ recipe->crc_error,
		.size = recipe->data.size + (uint64_t)recipe->size_error,
		.offset = out->size,
	};

	if (recipe->method == ZIP_METHOD_DEFLATE)
		append_deflated(&packed, recipe->data);
	else
		append(&packed, recipe->data.data, recipe->data.size);
	append(&packed, NULL, recipe->trailing);
	made.compressed = packed.size;
	append_local(out, recipe, &made);
	append(out, packed.data, packed.size);
	if (has_descriptor(recipe))
		append_descriptor(out, recipe, &made);
	buffer_done(&packed);
	return made;
}

static void append_central(
	struct buffer *out, const struct zip_recipe *recipe, const struct made *made)
{
	const char *name = recipe->central_name ? recipe->central_name : recipe->name;
	bool wide = is_wide(recipe);

	append_number(out, ZIP_CENTRAL_MAGIC, 4);
	append_number(out, 45, 2);
	append_number(out, 45, 2);
	append_number(out, (has_descriptor(recipe) ? 8u : 0) | recipe->flags, 2);
	append_number(out, recipe->method, 2);
	append_number(out, 0, 4);
	append_number(out, made->crc ^ recipe->central_crc_error, 4);
	append_number(out, wide ? UINT32_MAX : made->compressed, 4);
	append_number(out, wide ? UINT32_MAX : made->size, 4);
	append_number(out, strlen(name), 2);
	append_number(out, wide ? 28 : 0, 2);
	append(out, NULL, 10);
	append_number(out, wide ? UINT32_MAX : made->offset, 4);
	append(out, name, strlen(name));
	if (!wide)
		return;
	append_number(out, 0x180001, 4);
	append_number(out, made->size, 8);
	append_number(out, made->compressed, 8);
	append_number(out, made->offset, 8);
}

static void append_end64(struct buffer *out, uint64_t count, uint64_t directory)
{
	uint64_t offset = out->size;

	append_number(out, ZIP_END64_MAGIC, 4);
	append_number(out, ZIP_END64_SIZE - 12, 8);
	append_number(out, 0x2d002d, 4);
	append(out, NULL, 8);
	append_number(out, count, 8);
	append_number(out, count, 8);
	append_number(out, offset - directory, 8);
	append_number(out, directory, 8);
	append_number(out, ZIP_LOCATOR64_MAGIC, 4);
	append(out, NULL, 4);
	append_number(out, offset, 8);
	append_number(out, 1, 4);
}

void make_zip(const struct zip_recipe *recipes, size_t count, bool zip64, struct buffer *out)
{
	struct made *made = calloc(count + 1, sizeof(*made));
	uint64_t directory, end, listed = 0;

	for (size_t i = 0; i < count; i++)
		made[i] = append_entry(out, &recipes[i]);
	directory = out->size;
	for (size_t i = 0; i < count; i++) {
		if (recipes[i].unlisted)
			continue;
		append_central(out, &recipes[i], &made[i]);
		listed++;
	}
	end = out->size;
	if (zip64)
		append_end64(out, listed, directory);
	append_number(out, ZIP_END_MAGIC, 4);
	append(out, NULL, 4);
	append_number(out, zip64 ? UINT16_MAX : listed, 2);
	append_number(out, zip64 ? UINT16_MAX : listed, 2);
	append_number(out, zip64 ? UINT32_MAX : end - directory, 4);
	append_number(out, zip64 ? UINT32_MAX : directory, 4);
	append_number(out, 0, 2);
	free(made);
}
