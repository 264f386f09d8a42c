/* SPDX-License-Identifier: Apache-2.0 */
#include "format/devicepath.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"

/* UEFI 2.10 §10.3.1: type, subtype, length of the whole node (u16). */
#define NODE_HEADER_SIZE 4

#define TYPE_MEDIA 0x04
#define TYPE_END   0x7f

#define SUBTYPE_HD         0x01
#define SUBTYPE_FILE       0x04
#define SUBTYPE_END_ENTIRE 0xff

/* §10.3.5.1, offsets from the start of the node. */
#define HD_NUMBER         4
#define HD_START          8
#define HD_SIZE           16
#define HD_SIGNATURE      24
#define HD_FORMAT         40
#define HD_SIGNATURE_TYPE 41
#define HD_NODE_SIZE      42

#define HD_FORMAT_GPT          2
#define HD_SIGNATURE_TYPE_GUID 2

/* Bytes of UTF-16 with the NUL. vfat allows 255 units a name; no boot file lies this deep. */
#define FILE_PATH_SIZE_MAX 2048

static bool is_separator(char c)
{
	return c == '/' || c == '\\';
}

static char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void put_node_header(uint8_t *node, uint8_t type, uint8_t subtype, size_t size)
{
	node[0] = type;
	node[1] = subtype;
	put_le16(node + 2, (uint16_t)size);
}

/* Adds `part` to a path of single backslashes that starts with one. */
static int append_path(struct buffer *path, const char *part, struct error *error)
{
	int r;

	while (*part) {
		size_t length = 0;

		while (is_separator(*part))
			part++;
		while (part[length] && !is_separator(part[length]))
			length++;
		if (length == 0)
			break;
		r = buffer_append(path, "\\", 1, error);
		if (r == 0)
			r = buffer_append(path, part, length, error);
		if (r < 0)
			return r;
		part += length;
	}
	return 0;
}

/* The File() node's text: UTF-16LE with its NUL. */
static int encode_path(const char *path, struct buffer *ret, struct error *error)
{
	AUTO_BUFFER struct buffer plain = { 0 };
	AUTO_FREE uint8_t *units = NULL;
	size_t size;
	int r;

	r = append_path(&plain, path, error);
	if (r < 0)
		return r;
	if (plain.size == 0)
		return error_failed(error, EINVAL, "boot file path '%s' names no file", path);
	r = buffer_append(&plain, NULL, 1, error);
	if (r == 0)
		r = text_to_utf16((const char *)plain.data, &units, &size, error);
	if (r < 0)
		return r;
	if (size + 2 > FILE_PATH_SIZE_MAX)
		return error_failed(error, EINVAL,
			"boot file path of %zu characters is too long for a boot entry (at most "
			"%d)",
			size / 2, FILE_PATH_SIZE_MAX / 2 - 1);
	r = buffer_append(ret, units, size, error);
	return r < 0 ? r : buffer_append(ret, NULL, 2, error);
}

int devicepath_append_file(
	struct buffer *out, const struct devicepath_hd *hd, const char *path, struct error *error)
{
	AUTO_BUFFER struct buffer text = { 0 };
	uint8_t node[HD_NODE_SIZE] = { 0 }, header[NODE_HEADER_SIZE];
	int r;

	r = encode_path(path, &text, error);
	if (r == 0)
		r = buffer_reserve(out, HD_NODE_SIZE + 2 * NODE_HEADER_SIZE + text.size, error);
	if (r < 0)
		return r;

	put_node_header(node, TYPE_MEDIA, SUBTYPE_HD, HD_NODE_SIZE);
	put_le32(node + HD_NUMBER, hd->partition_number);
	put_le64(node + HD_START, hd->start);
	put_le64(node + HD_SIZE, hd->size);
	memcpy(node + HD_SIGNATURE, hd->partuuid.bytes, sizeof(hd->partuuid.bytes));
	node[HD_FORMAT] = HD_FORMAT_GPT;
	node[HD_SIGNATURE_TYPE] = HD_SIGNATURE_TYPE_GUID;

	/* The room is reserved: none of these can fail half-way. */
	buffer_append(out, node, sizeof(node), NULL);
	put_node_header(header, TYPE_MEDIA, SUBTYPE_FILE, NODE_HEADER_SIZE + text.size);
	buffer_append(out, header, sizeof(header), NULL);
	buffer_append(out, text.data, text.size, NULL);
	put_node_header(header, TYPE_END, SUBTYPE_END_ENTIRE, NODE_HEADER_SIZE);
	buffer_append(out, header, sizeof(header), NULL);
	return 0;
}

static bool is_gpt_hd(struct span node)
{
	return node.data[0] == TYPE_MEDIA && node.data[1] == SUBTYPE_HD && node.size >= HD_NODE_SIZE
	       && node.data[HD_SIGNATURE_TYPE] == HD_SIGNATURE_TYPE_GUID;
}

static void read_hd(struct span node, struct devicepath_target *target)
{
	target->has_hd = true;
	target->hd.partition_number = le32(node.data + HD_NUMBER);
	target->hd.start = le64(node.data + HD_START);
	target->hd.size = le64(node.data + HD_SIZE);
	memcpy(target->hd.partuuid.bytes, node.data + HD_SIGNATURE,
		sizeof(target->hd.partuuid.bytes));
}

static int read_file(struct span node, struct buffer *path, struct error *error)
{
	AUTO_FREE char *part = NULL;
	/* A stray last byte is no character. */
	size_t size = (node.size - NODE_HEADER_SIZE) & ~(size_t)1;
	int r;

	r = text_from_utf16(node.data + NODE_HEADER_SIZE, size, &part, error);
	return r < 0 ? r : append_path(path, part, error);
}

/* The node at `offset`; every node's length is checked before its bytes are. */
static int node_at(struct span list, size_t offset, struct span *ret, struct error *error)
{
	struct span header;

	if (!span_slice(list, offset, NODE_HEADER_SIZE, &header))
		return error_failed(error, EBADMSG,
			"device path: no End node in %zu bytes (cut off at offset %zu)", list.size,
			offset);
	if (le16(header.data + 2) < NODE_HEADER_SIZE
		|| !span_slice(list, offset, le16(header.data + 2), ret))
		return error_failed(error, EBADMSG,
			"device path: the node at offset %zu says it has %u bytes, of %zu left",
			offset, le16(header.data + 2), list.size - offset);
	return 0;
}

int devicepath_parse(struct span list, struct devicepath_target *ret, struct error *error)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	AUTO_BUFFER struct buffer path = { 0 };
	struct span node;
	int r;

	for (size_t offset = 0;; offset += node.size) {
		r = node_at(list, offset, &node, error);
		if (r < 0)
			return r;
		/* The end of an instance ends the first path as well. */
		if (node.data[0] == TYPE_END)
			break;
		if (is_gpt_hd(node))
			read_hd(node, &target);
		if (node.data[0] == TYPE_MEDIA && node.data[1] == SUBTYPE_FILE)
			r = read_file(node, &path, error);
		if (r < 0)
			return r;
	}
	if (path.size > 0) {
		r = buffer_append(&path, NULL, 1, error);
		if (r < 0)
			return r;
		target.path = (char *)TAKE(path.data);
	}
	*ret = target;
	target.path = NULL;
	return 0;
}

void devicepath_set_place(uint8_t *list, size_t size, const struct devicepath_hd *place)
{
	struct span whole = { list, size }, node;
	uint8_t *last = NULL;

	for (size_t offset = 0; node_at(whole, offset, &node, NULL) == 0; offset += node.size) {
		if (node.data[0] == TYPE_END)
			break;
		if (is_gpt_hd(node))
			last = list + offset;
	}
	if (!last)
		return;
	put_le32(last + HD_NUMBER, place->partition_number);
	put_le64(last + HD_START, place->start);
	put_le64(last + HD_SIZE, place->size);
}

/* The next character for comparing; a run of separators is one. */
static char next_folded(const char **p)
{
	char c = **p;

	if (c == '\0')
		return c;
	(*p)++;
	if (!is_separator(c))
		return ascii_lower(c);
	while (is_separator(**p))
		(*p)++;
	return '\\';
}

bool devicepath_same_file(const char *a, const char *b)
{
	char x, y;

	if (!a || !b)
		return false;
	while (is_separator(*a))
		a++;
	while (is_separator(*b))
		b++;
	do {
		x = next_folded(&a);
		y = next_folded(&b);
	} while (x == y && x);
	return x == y;
}

void devicepath_target_done(struct devicepath_target *target)
{
	free(target->path);
	*target = (struct devicepath_target){ 0 };
}
