/* SPDX-License-Identifier: Apache-2.0 */
#include "format/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/chunkmap.h"

#define FORMAT 1

DEFINE_CLEANUP(cleanup_json, json_t *, json_decref)
#define AUTO_JSON CLEANUP(cleanup_json)

static const char *const known_roles[] = { MANIFEST_ROLE_BOOT, MANIFEST_ROLE_SYSTEM };

#define KNOWN_ROLES (sizeof(known_roles) / sizeof(*known_roles))

bool manifest_role_known(const char *role)
{
	for (size_t i = 0; i < KNOWN_ROLES; i++)
		if (strcmp(role, known_roles[i]) == 0)
			return true;
	return false;
}

const struct manifest_payload *manifest_find(
	const struct manifest *manifest, const char *role, enum slot slot)
{
	for (size_t i = 0; i < manifest->payload_count; i++) {
		const struct manifest_payload *payload = &manifest->payloads[i];

		if (strcmp(payload->role, role) == 0
			&& (payload->slot == SLOT_NONE || payload->slot == slot))
			return payload;
	}
	return NULL;
}

void manifest_done(struct manifest *manifest)
{
	free(manifest->compatible);
	free(manifest->architecture);
	free(manifest->version);
	free(manifest->description);
	text_list_done(&manifest->requires);
	for (size_t i = 0; i < MANIFEST_PAYLOADS_MAX; i++)
		free(manifest->payloads[i].name);
	*manifest = (struct manifest){ 0 };
}

static int bad_key(const char *key, const char *wanted, struct error *error)
{
	return error_failed(error, EBADMSG, "'%s' is not %s", key, wanted);
}

/* DEL and C1 (U+0080 … U+009F) drive terminals as much as C0 does. */
static bool has_control(const char *text)
{
	for (const uint8_t *p = (const uint8_t *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
			return true;
	return false;
}

/* The text of `item`, borrowed, if it has 1 to `max` bytes and no control character; else NULL. */
static const char *text_in(const json_t *item, size_t max)
{
	const char *text = json_string_value(item);

	if (!text || !*text || json_string_length(item) > max || has_control(text))
		return NULL;
	return text;
}

static int read_text(
	const json_t *object, const char *key, size_t max, char **ret, struct error *error)
{
	const char *text = text_in(json_object_get(object, key), max);

	if (!text)
		return error_failed(error, EBADMSG,
			"'%s' is not a text of 1 to %zu bytes without control characters", key,
			max);
	*ret = strdup(text);
	return *ret ? 0 : error_memory(error);
}

static int read_number(
	const json_t *object, const char *key, uint64_t max, uint64_t *ret, struct error *error)
{
	const json_t *item = json_object_get(object, key);
	json_int_t value = json_integer_value(item);

	if (!json_is_integer(item) || value < 0 || (uint64_t)value > max)
		return error_failed(error, EBADMSG,
			"'%s' is not a whole number from 0 to %" PRIu64 "", key, max);
	*ret = (uint64_t)value;
	return 0;
}

static int read_digest(const json_t *object, const char *key, uint8_t ret[32], struct error *error)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && text_unhex(text, ret, 32)
		       ? 0
		       : bad_key(key, "a SHA-256 in 64 hex digits", error);
}

static int read_time(const json_t *object, const char *key, int64_t *ret, struct error *error)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && manifest_time_parse(text, ret)
		       ? 0
		       : bad_key(key, "a time like 2026-11-23T10:00:00Z", error);
}

/* --- payloads --- */

/* A word of lower-case letters, digits and '-'. */
static int read_role(const json_t *object, struct manifest_payload *payload, struct error *error)
{
	const char *role = text_in(json_object_get(object, "role"), sizeof(payload->role) - 1);

	if (!role || role[strspn(role, "abcdefghijklmnopqrstuvwxyz0123456789-")])
		return bad_key("role", "1 to 15 lower-case letters, digits and '-'", error);
	memcpy(payload->role, role, strlen(role) + 1);
	return 0;
}

/* ASCII, so that it means the same whatever a ZIP's code page, and a file of one folder. */
static bool name_is_good(const char *name)
{
	static const char characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					 "0123456789._+-";

	return *name != '.' && !name[strspn(name, characters)] && strcmp(name, MANIFEST_NAME) != 0
	       && strcmp(name, MANIFEST_SIGNATURE_NAME) != 0
	       && !text_ends_with(name, MANIFEST_CHUNKS_SUFFIX);
}

static int read_name(const json_t *object, struct manifest_payload *payload, struct error *error)
{
	const char *name = text_in(json_object_get(object, "name"), MANIFEST_NAME_MAX);

	if (!name || !name_is_good(name))
		return bad_key("name",
			"a file name of 1 to 64 letters, digits and '.', '_', '+', '-' that no "
			"other part of a bundle has",
			error);
	payload->name = strdup(name);
	return payload->name ? 0 : error_memory(error);
}

static int read_sizes(const json_t *object, struct manifest_payload *payload, struct error *error)
{
	uint64_t chunk_size = 0, map_size;
	int r;

	r = read_number(object, "size", CHUNKMAP_PAYLOAD_MAX, &payload->size, error);
	if (r == 0)
		r = read_number(object, "chunk_size", CHUNKMAP_CHUNK_MAX, &chunk_size, error);
	if (r < 0)
		return r;
	payload->chunk_size = (uint32_t)chunk_size;
	if (chunkmap_bytes(payload->size, payload->chunk_size, &map_size, NULL) < 0)
		return payload->size == 0
			       ? bad_key("size", "a size from 1 byte to 1 TiB", error)
			       : bad_key("chunk_size", "a power of two from 4 KiB to 1 MiB", error);
	return 0;
}

static int read_optional(
	const json_t *object, struct manifest_payload *payload, struct error *error)
{
	const json_t *item = json_object_get(object, "optional");

	if (item && !json_is_boolean(item))
		return bad_key("optional", "true or false", error);
	payload->optional = json_is_true(item);
	if (manifest_role_known(payload->role) || payload->optional)
		return 0;
	return error_set(error, ERROR_REFUSED, EOPNOTSUPP,
		"the role '%s' is not known to this version of bistable: update bistable first",
		payload->role);
}

static int read_slot(const json_t *object, struct manifest_payload *payload, struct error *error)
{
	const json_t *item = json_object_get(object, "slot");
	const char *text = json_string_value(item);

	payload->slot = SLOT_NONE;
	if (!item)
		return 0;
	if (strcmp(payload->role, MANIFEST_ROLE_BOOT) != 0)
		return error_failed(error, EBADMSG, "only a boot payload can say 'slot', not '%s'",
			payload->role);
	if (!text || (strcmp(text, "A") != 0 && strcmp(text, "B") != 0))
		return bad_key("slot", "\"A\" or \"B\"", error);
	payload->slot = slot_from_letter(*text);
	return 0;
}

bool manifest_takes_root_hash(const char *root_hash)
{
	uint8_t bytes[64];
	size_t size = strlen(root_hash) / 2;

	return (size == 32 || size == 48 || size == 64) && text_unhex(root_hash, bytes, size);
}

static int read_verity(const json_t *object, struct manifest_payload *payload, struct error *error)
{
	const json_t *verity = json_object_get(object, "verity");
	const char *hash = json_string_value(json_object_get(verity, "root_hash"));
	uint8_t bytes[64];

	if (!verity)
		return 0;
	if (!hash || !manifest_takes_root_hash(hash))
		return bad_key("verity", "{\"root_hash\": 64, 96 or 128 hex digits}", error);
	text_unhex(hash, bytes, strlen(hash) / 2);
	text_hex(bytes, strlen(hash) / 2, payload->root_hash);
	return 0;
}

static int read_payload(const json_t *object, struct manifest_payload *payload, struct error *error)
{
	static int (*const readers[])(const json_t *object, struct manifest_payload *payload,
		struct error *error) = { read_role, read_optional, read_name, read_sizes, read_slot,
		read_verity };
	int r;

	if (!json_is_object(object))
		return error_failed(error, EBADMSG, "it is not an object");
	for (size_t i = 0; i < sizeof(readers) / sizeof(*readers); i++) {
		r = readers[i](object, payload, error);
		if (r < 0)
			return r;
	}
	r = read_digest(object, "sha256", payload->sha256, error);
	if (r == 0)
		r = read_digest(object, "chunks_sha256", payload->chunks_sha256, error);
	return r;
}

/* Two that one slot could take for one role, or that one entry would have to hold. */
static int check_pair(
	const struct manifest_payload *a, const struct manifest_payload *b, struct error *error)
{
	if (strcmp(a->name, b->name) == 0)
		return error_failed(error, EBADMSG, "two payloads are named '%s'", a->name);
	if (strcmp(a->role, b->role) == 0
		&& (a->slot == b->slot || a->slot == SLOT_NONE || b->slot == SLOT_NONE))
		return error_failed(
			error, EBADMSG, "two payloads have the role '%s' for one slot", a->role);
	return 0;
}

static int check_payloads(const struct manifest *manifest, struct error *error)
{
	int r;

	for (size_t i = 0; i < manifest->payload_count; i++)
		for (size_t j = 0; j < i; j++) {
			r = check_pair(&manifest->payloads[j], &manifest->payloads[i], error);
			if (r < 0)
				return r;
		}
	for (size_t i = 0; i < KNOWN_ROLES; i++)
		if (!manifest_find(manifest, known_roles[i], SLOT_A)
			&& !manifest_find(manifest, known_roles[i], SLOT_B))
			return error_failed(error, EBADMSG,
				"a payload with the role '%s' is missing", known_roles[i]);
	return 0;
}

static int read_payloads(const json_t *object, struct manifest *manifest, struct error *error)
{
	const json_t *list = json_object_get(object, "payloads");
	int r;

	if (!json_is_array(list) || json_array_size(list) > MANIFEST_PAYLOADS_MAX)
		return bad_key("payloads", "a list of at most 16 payloads", error);
	for (size_t i = 0; i < json_array_size(list); i++) {
		manifest->payload_count++;
		r = read_payload(json_array_get(list, i), &manifest->payloads[i], error);
		if (r < 0) {
			error_prefix(error, "payload %zu", i + 1);
			return r;
		}
	}
	return check_payloads(manifest, error);
}

/* --- the whole --- */

static int read_format(const json_t *object, struct error *error)
{
	uint64_t format;
	int r = read_number(object, "format", INT64_MAX, &format, error);

	if (r < 0 || format == FORMAT)
		return r;
	return error_set(error, ERROR_REFUSED, EOPNOTSUPP,
		"the bundle has format %" PRIu64
		", and this version of bistable knows only 1: update bistable first",
		format);
}

/* Format 1 as it stands has no extensions yet, so that any word asks for too much. */
static int read_requires(const json_t *object, struct error *error)
{
	const json_t *list = json_object_get(object, "requires");
	const char *word;

	if (!list)
		return 0;
	if (!json_is_array(list))
		return bad_key("requires", "a list of texts", error);
	if (json_array_size(list) == 0)
		return 0;
	word = text_in(json_array_get(list, 0), MANIFEST_TEXT_MAX);
	if (!word)
		return bad_key("requires", "a list of texts", error);
	return error_set(error, ERROR_REFUSED, EOPNOTSUPP,
		"the bundle requires '%s', which this version of bistable does not know: update "
		"bistable first",
		word);
}

static int read_texts(const json_t *object, struct manifest *manifest, struct error *error)
{
	int r;

	r = read_text(object, "compatible", MANIFEST_TEXT_MAX, &manifest->compatible, error);
	if (r == 0)
		r = read_text(
			object, "architecture", MANIFEST_TEXT_MAX, &manifest->architecture, error);
	if (r == 0)
		r = read_text(object, "version", MANIFEST_TEXT_MAX, &manifest->version, error);
	if (r == 0 && json_object_get(object, "description"))
		r = read_text(object, "description", MANIFEST_DESCRIPTION_MAX,
			&manifest->description, error);
	return r;
}

static int read_times(const json_t *object, struct manifest *manifest, struct error *error)
{
	int r;

	r = read_time(object, "created", &manifest->created, error);
	if (r < 0 || !json_object_get(object, "not_after"))
		return r;
	r = read_time(object, "not_after", &manifest->not_after, error);
	if (r == 0 && manifest->not_after <= manifest->created)
		return bad_key("not_after", "later than 'created'", error);
	return r;
}

static int read_manifest(const json_t *object, struct manifest *manifest, struct error *error)
{
	int r;

	r = read_format(object, error);
	if (r == 0)
		r = read_requires(object, error);
	if (r == 0)
		r = read_texts(object, manifest, error);
	if (r == 0)
		r = read_number(object, "epoch", INT64_MAX, &manifest->epoch, error);
	if (r == 0)
		r = read_times(object, manifest, error);
	if (r == 0)
		r = read_payloads(object, manifest, error);
	return r;
}

/* jansson quotes what it stumbled over, whatever that is. */
static int not_json(json_error_t *json, struct error *error)
{
	for (char *p = json->text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
	return error_failed(
		error, EBADMSG, "line %d, column %d: %s", json->line, json->column, json->text);
}

static int parse_json(struct span bytes, struct manifest *manifest, struct error *error)
{
	AUTO_JSON json_t *object = NULL;
	json_error_t json;

	if (bytes.size == 0)
		return error_failed(error, EBADMSG, "it is empty");
	if (bytes.size > MANIFEST_SIZE_MAX)
		return error_failed(error, EBADMSG, "it has %zu bytes, more than %u", bytes.size,
			MANIFEST_SIZE_MAX);
	object = json_loadb((const char *)bytes.data, bytes.size, JSON_REJECT_DUPLICATES, &json);
	if (!object)
		return not_json(&json, error);
	if (!json_is_object(object))
		return error_failed(error, EBADMSG, "it is not an object");
	return read_manifest(object, manifest, error);
}

static int parse(struct span bytes, struct manifest *manifest, struct error *error)
{
	int r = parse_json(bytes, manifest, error);

	if (r < 0)
		error_prefix(error, MANIFEST_NAME);
	return r;
}

int manifest_check(struct span bytes, struct error *error)
{
	AUTO_MANIFEST struct manifest manifest = { 0 };

	return parse(bytes, &manifest, error);
}

int manifest_parse(struct span bytes, struct manifest *ret, struct error *error)
{
	AUTO_MANIFEST struct manifest manifest = { 0 };
	int r = parse(bytes, &manifest, error);

	if (r == -EBADMSG)
		error_advise(error, "make the bundle again");
	if (r < 0)
		return r;
	*ret = manifest;
	manifest = (struct manifest){ 0 };
	return 0;
}
