/* SPDX-License-Identifier: Apache-2.0 */
/* How a manifest is written, and the times in it. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/manifest.h"

#define LAST_SECOND INT64_C(253402300799) /* of the year 9999 */

bool manifest_time_format(int64_t time, char out[21])
{
	struct tm tm;
	time_t seconds = (time_t)time;

	if (time < 0 || time > LAST_SECOND || !gmtime_r(&seconds, &tm))
		return false;
	return strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &tm) == 20;
}

/* What is the same when it is written again had just this form, and is a real date. */
bool manifest_time_parse(const char *text, int64_t *ret)
{
	struct tm tm = { 0 };
	char again[21];
	int64_t time;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		    &tm.tm_hour, &tm.tm_min, &tm.tm_sec)
		!= 6)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	time = timegm(&tm);
	if (!manifest_time_format(time, again) || strcmp(again, text) != 0)
		return false;
	*ret = time;
	return true;
}

DEFINE_CLEANUP(cleanup_json, json_t *, json_decref)
#define AUTO_JSON CLEANUP(cleanup_json)

/* NULL when it is out of bounds, which json_object_set_new() then fails with. */
static json_t *json_time(int64_t time)
{
	char text[21];

	return manifest_time_format(time, text) ? json_string(text) : NULL;
}

static json_t *json_digest(const uint8_t digest[32])
{
	char text[65];

	text_hex(digest, 32, text);
	return json_string(text);
}

/* Above INT64_MAX they would turn negative, which the parser refuses below. */
static json_t *json_number(uint64_t number)
{
	return json_integer((json_int_t)number);
}

static json_t *json_payload(const struct manifest_payload *payload)
{
	AUTO_JSON json_t *object = json_object();
	char slot[2] = { slot_letter(payload->slot), '\0' };
	int failed = 0;

	failed |= json_object_set_new(object, "role", json_string(payload->role));
	failed |= json_object_set_new(object, "name", json_string(payload->name));
	failed |= json_object_set_new(object, "size", json_number(payload->size));
	failed |= json_object_set_new(object, "sha256", json_digest(payload->sha256));
	failed |= json_object_set_new(object, "chunk_size", json_number(payload->chunk_size));
	failed |= json_object_set_new(object, "chunks_sha256", json_digest(payload->chunks_sha256));
	if (payload->slot != SLOT_NONE)
		failed |= json_object_set_new(object, "slot", json_string(slot));
	if (payload->optional)
		failed |= json_object_set_new(object, "optional", json_true());
	if (*payload->root_hash)
		failed |= json_object_set_new(
			object, "verity", json_pack("{s:s}", "root_hash", payload->root_hash));
	return failed ? NULL : TAKE(object);
}

static json_t *json_requires(const struct text_list *list)
{
	AUTO_JSON json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++)
		if (json_array_append_new(array, json_string(list->items[i])) < 0)
			return NULL;
	return TAKE(array);
}

static json_t *json_payloads(const struct manifest *manifest)
{
	AUTO_JSON json_t *array = json_array();

	for (size_t i = 0; i < manifest->payload_count; i++)
		if (json_array_append_new(array, json_payload(&manifest->payloads[i])) < 0)
			return NULL;
	return TAKE(array);
}

static json_t *json_manifest(const struct manifest *manifest)
{
	AUTO_JSON json_t *object = json_object();
	int failed = 0;

	failed |= json_object_set_new(object, "format", json_integer(1));
	failed |= json_object_set_new(object, "compatible", json_string(manifest->compatible));
	failed |= json_object_set_new(object, "architecture", json_string(manifest->architecture));
	failed |= json_object_set_new(object, "version", json_string(manifest->version));
	failed |= json_object_set_new(object, "epoch", json_number(manifest->epoch));
	failed |= json_object_set_new(object, "created", json_time(manifest->created));
	if (manifest->not_after != 0)
		failed |= json_object_set_new(object, "not_after", json_time(manifest->not_after));
	if (manifest->description)
		failed |= json_object_set_new(
			object, "description", json_string(manifest->description));
	failed |= json_object_set_new(object, "requires", json_requires(&manifest->requires));
	failed |= json_object_set_new(object, "payloads", json_payloads(manifest));
	return failed ? NULL : TAKE(object);
}

int manifest_format(const struct manifest *manifest, struct buffer *out, struct error *error)
{
	AUTO_BUFFER struct buffer bytes = { 0 };
	AUTO_JSON json_t *object = json_manifest(manifest);
	AUTO_FREE char *text = NULL;
	int r;

	if (!object)
		return error_failed(error, EINVAL,
			"the manifest cannot be written: a text is missing or not UTF-8, or a "
			"time lies outside of the years 1970 to 9999");
	text = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	if (!text)
		return error_memory(error);
	r = buffer_append(&bytes, text, strlen(text), error);
	if (r == 0)
		r = buffer_append(&bytes, "\n", 1, error);
	/* Nobody is to make what nobody could install. */
	if (r == 0)
		r = manifest_check(span_of(&bytes), error);
	if (r == 0)
		r = buffer_append(out, bytes.data, bytes.size, error);
	return r;
}
