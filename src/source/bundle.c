/* SPDX-License-Identifier: Apache-2.0 */
#include "source/bundle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "source/bundle_private.h"
#include "source/source.h"

#define SNIFF_SIZE 512u

/* Every record is looked at in one piece. */
_Static_assert(ZIP_LOCAL_MAX <= INPUT_PEEK_MAX, "local header");
_Static_assert(ZIP_CENTRAL_MAX <= INPUT_PEEK_MAX, "central directory header");
_Static_assert(ZIP_TAIL_MAX + 1 <= INPUT_PEEK_MAX, "end records");

const char *bundle_role_name(int role)
{
	return role == BUNDLE_ROLE_BOOT ? BUNDLE_BOOT_NAME : BUNDLE_SYSTEM_NAME;
}

int bundle_role_of(const struct zip_entry *entry)
{
	for (int role = 0; role < BUNDLE_ROLE_COUNT; role++)
		if (zip_entry_is_named(entry, bundle_role_name(role)))
			return role;
	return -1;
}

int bundle_failed(const struct bundle *bundle, int r, struct error *error)
{
	if (r < 0)
		error_name(error, bundle->input.source->name);
	return r;
}

int bundle_check_supported(
	const struct bundle *bundle, const struct zip_entry *entry, int role, struct error *error)
{
	const char *source = bundle->input.source->name, *name = bundle_role_name(role);

	if (zip_entry_is_encrypted(entry))
		return error_failed(error, EOPNOTSUPP,
			"'%s': %s is encrypted; make the bundle without a password", source, name);
	if (entry->method != ZIP_METHOD_STORED && entry->method != ZIP_METHOD_DEFLATE)
		return error_failed(error, EOPNOTSUPP,
			"'%s': %s is compressed with ZIP method %u; only 0 (stored) and 8 "
			"(deflate) are supported",
			source, name, entry->method);
	if (entry->method == ZIP_METHOD_STORED && entry->compressed != entry->size)
		return error_failed(error, EBADMSG,
			"'%s': %s is stored, but has two different sizes", source, name);
	return 0;
}

int bundle_read_local(
	struct bundle *bundle, struct zip_entry *ret, int *ret_role, struct error *error)
{
	struct input *input = &bundle->input;
	struct zip_entry entry;
	struct span data;
	size_t size;
	int r;

	r = input_need(input, ZIP_LOCAL_SIZE, &data, error);
	if (r < 0)
		return r;
	r = bundle_failed(bundle, zip_local_size(data, input->position, &size, error), error);
	if (r < 0)
		return r;
	r = input_need(input, size, &data, error);
	if (r < 0)
		return r;
	r = bundle_failed(bundle, zip_read_local(data, input->position, &entry, error), error);
	if (r < 0)
		return r;
	*ret_role = bundle_role_of(&entry);
	entry.name = (struct span){ 0 };
	*ret = entry;
	input_consume(input, size);
	return 0;
}

int bundle_peek_central(struct bundle *bundle, struct zip_entry *ret, struct error *error)
{
	struct input *input = &bundle->input;
	struct span data;
	size_t size;
	int r;

	r = input_need(input, ZIP_CENTRAL_SIZE, &data, error);
	if (r < 0)
		return r;
	r = bundle_failed(bundle, zip_central_size(data, input->position, &size, error), error);
	if (r < 0)
		return r;
	r = input_need(input, size, &data, error);
	if (r < 0)
		return r;
	return bundle_failed(bundle, zip_read_central(data, input->position, ret, error), error);
}

/* What a login page or an error page begins with. */
static bool looks_like_html(struct span data)
{
	static const char *const heads[] = { "<!doctype", "<html", "<head", "<body", "<?xml" };
	size_t i = 0;

	if (data.size >= 3 && memcmp(data.data, "\xef\xbb\xbf", 3) == 0)
		i = 3;
	while (i < data.size && strchr(" \t\r\n", data.data[i]) && data.data[i])
		i++;
	for (size_t head = 0; head < sizeof(heads) / sizeof(*heads); head++) {
		size_t length = strlen(heads[head]);

		if (data.size - i >= length
			&& strncasecmp((const char *)data.data + i, heads[head], length) == 0)
			return true;
	}
	return false;
}

int bundle_sniff(struct input *input, struct error *error)
{
	const char *name = input->source->name;
	struct span data;
	int r;

	r = input_peek(input, SNIFF_SIZE, &data, error);
	if (r < 0)
		return r;
	if (data.size == 0)
		return error_failed(error, EBADMSG, "'%s' is empty, not a bundle", name);
	if (looks_like_html(data))
		return error_failed(error, EBADMSG,
			"'%s' is a web page (HTML), not a bundle: check the URL, and whether it "
			"needs a login",
			name);
	if (data.size >= 4 && le32(data.data) == ZIP_END_MAGIC)
		return error_failed(
			error, EBADMSG, "'%s' is a ZIP without entries, not a bundle", name);
	if (data.size < 4 || le32(data.data) != ZIP_LOCAL_MAGIC)
		return error_failed(
			error, EBADMSG, "'%s' is not a bundle: it does not begin like a ZIP", name);
	return 0;
}

int bundle_open_input(struct input *input, struct bundle **ret, struct error *error)
{
	AUTO_BUNDLE struct bundle *bundle = calloc(1, sizeof(*bundle));
	struct source *source = input->source;
	int r;

	if (!bundle)
		return error_memory(error);
	bundle->current = -1;
	bundle->seekable = source->seekable && source->size != SOURCE_SIZE_UNKNOWN;
	bundle->input = *input;
	*input = (struct input){ 0 };
	r = inflate_new(&bundle->inflate, error);
	if (r == 0)
		r = bundle_sniff(&bundle->input, error);
	if (r == 0 && bundle->seekable)
		r = directory_read(bundle, error);
	if (r < 0)
		return r;
	*ret = TAKE(bundle);
	return 0;
}

int bundle_open(struct source *source, struct bundle **ret, struct error *error)
{
	struct input input;
	int r;

	r = input_init(&input, source, error);
	return r < 0 ? r : bundle_open_input(&input, ret, error);
}

bool bundle_payload(const struct bundle *bundle, enum bundle_role role, struct bundle_payload *ret)
{
	if (!bundle->seekable)
		return false;
	*ret = (struct bundle_payload){
		.role = role,
		.name = bundle_role_name((int)role),
		.size = bundle->parts[role].entry.size,
	};
	return true;
}

int bundle_next(struct bundle *bundle, struct bundle_payload *ret, struct error *error)
{
	const struct entry_reader *reader = &bundle->reader;
	int role, r;

	if (bundle->seekable && bundle->next == BUNDLE_ROLE_COUNT)
		bundle->finished = true;
	if (bundle->finished) {
		bundle->current = -1;
		return 0;
	}
	r = bundle->seekable ? directory_next(bundle, &role, error)
			     : sequence_next(bundle, &role, error);
	if (r <= 0)
		return r;
	bundle->current = role;
	*ret = (struct bundle_payload){
		.role = (enum bundle_role)role,
		.name = bundle_role_name(role),
		.size = reader->sized ? reader->declared.size : BUNDLE_SIZE_UNKNOWN,
	};
	return 1;
}

int bundle_read(
	struct bundle *bundle, void *data, size_t size, size_t *ret_got, struct error *error)
{
	if (bundle->current < 0)
		return error_failed(error, EINVAL, "'%s': no payload is being read",
			bundle->input.source->name);
	return entry_read(bundle, data, size, ret_got, error);
}

uint64_t bundle_received(const struct bundle *bundle)
{
	/* The directory is looked at first: its bytes may come twice. */
	uint64_t received = bundle->input.received, size = bundle->input.source->size;

	return received < size ? received : size;
}

void bundle_close(struct bundle *bundle)
{
	if (!bundle)
		return;
	inflate_free(bundle->inflate);
	input_done(&bundle->input);
	free(bundle);
}
