/* SPDX-License-Identifier: Apache-2.0 */
#include "format/state.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"

#define SHA256_HEX_SIZE 65

static const char *const outcome_names[] = {
	[STATE_PENDING] = "pending",
	[STATE_CONFIRMED] = "confirmed",
	[STATE_FAILED] = "failed",
};

#define OUTCOME_COUNT (sizeof(outcome_names) / sizeof(*outcome_names))

static int bad_key(const char *key, const char *wanted, struct error *error)
{
	return error_failed(error, EBADMSG, "state record: '%s' is not %s", key, wanted);
}

/* Leaves *value alone when the key is missing. */
static int read_bool(const json_t *object, const char *key, bool *value, struct error *error)
{
	const json_t *item = json_object_get(object, key);

	if (!item)
		return 0;
	if (!json_is_boolean(item))
		return bad_key(key, "true or false", error);
	*value = json_is_true(item);
	return 0;
}

static int read_integer(const json_t *object, const char *key, const char *wanted, int64_t *value,
	struct error *error)
{
	const json_t *item = json_object_get(object, key);

	if (!item)
		return 0;
	if (!json_is_integer(item))
		return bad_key(key, wanted, error);
	*value = json_integer_value(item);
	return 0;
}

static int read_time(const json_t *object, const char *key, int64_t *value, struct error *error)
{
	return read_integer(object, key, "a whole number of seconds", value, error);
}

/* The epoch of a manifest. */
static int read_epoch(const json_t *object, int64_t *value, struct error *error)
{
	int r = read_integer(object, "epoch", "an epoch", value, error);

	return r == 0 && *value < 0 ? bad_key("epoch", "an epoch", error) : r;
}

/* At most INT32_MAX: counting on from it does not overflow. */
static int read_count(const json_t *object, const char *key, int64_t *value, struct error *error)
{
	int r = read_integer(object, key, "a count", value, error);

	return r == 0 && (*value < 0 || *value > INT32_MAX) ? bad_key(key, "a count", error) : r;
}

/* A missing key is NULL; *ret is owned. */
static int read_text(const json_t *object, const char *key, char **ret, struct error *error)
{
	const json_t *item = json_object_get(object, key);
	char *text;

	if (!item)
		return 0;
	if (!json_is_string(item) || json_string_length(item) > STATE_TEXT_MAX)
		return bad_key(key, "a text of at most 2048 bytes", error);
	text = strdup(json_string_value(item));
	if (!text)
		return error_memory(error);
	*ret = text;
	return 0;
}

static bool printable_ascii(const char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			return false;
	return true;
}

/* A printable text that must be there and fit into `size` bytes with its NUL. */
static int read_short(
	const json_t *object, const char *key, char *out, size_t size, struct error *error)
{
	const json_t *item = json_object_get(object, key);

	if (!json_is_string(item) || json_string_length(item) >= size
		|| !printable_ascii(json_string_value(item)))
		return bad_key(key, "a short text", error);
	memcpy(out, json_string_value(item), json_string_length(item) + 1);
	return 0;
}

static int read_content(const json_t *object, struct state_content *ret, struct error *error)
{
	const json_t *size = json_object_get(object, "size");
	const char *digest = json_string_value(json_object_get(object, "sha256"));

	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return bad_key("size", "a number of bytes", error);
	if (!digest || !text_unhex(digest, ret->sha256, sizeof(ret->sha256)))
		return bad_key("sha256", "a digest of 64 hex digits", error);
	ret->size = (uint64_t)json_integer_value(size);
	return 0;
}

static int read_payloads(const json_t *object, struct state *state, struct error *error)
{
	const json_t *list = json_object_get(object, "payloads");
	int r;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > STATE_PAYLOADS_MAX)
		return bad_key("payloads", "a list of at most 8", error);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct state_content *payload = &state->payloads[i];

		r = read_short(item, "role", payload->role, sizeof(payload->role), error);
		if (r == 0 && !*payload->role)
			r = bad_key("role", "a short text", error);
		if (r == 0)
			r = read_content(item, payload, error);
		if (r < 0)
			return r;
		state->payload_count++;
	}
	return 0;
}

static int read_boot_file(const json_t *object, struct state *state, struct error *error)
{
	const json_t *item = json_object_get(object, "boot_file");
	int r;

	if (!item)
		return 0;
	r = read_content(item, &state->boot_file, error);
	if (r < 0)
		return r;
	state->has_boot_file = true;
	return 0;
}

static int read_attempt(const json_t *item, struct state_attempt *ret, struct error *error)
{
	const char *outcome = json_string_value(json_object_get(item, "outcome"));
	bool started = true;
	size_t i;
	int r;

	r = read_short(item, "how", ret->how, sizeof(ret->how), error);
	if (r == 0)
		r = read_time(item, "time", &ret->time, error);
	if (r == 0)
		r = read_short(item, "boot_id", ret->boot_id, sizeof(ret->boot_id), error);
	if (r < 0)
		return r;
	for (i = 0; i < OUTCOME_COUNT; i++)
		if (outcome && strcmp(outcome, outcome_names[i]) == 0)
			break;
	if (i == OUTCOME_COUNT)
		return bad_key("outcome", "pending, confirmed or failed", error);
	ret->outcome = (enum state_outcome)i;
	r = read_bool(item, "started", &started, error);
	ret->unstarted = !started;
	return r;
}

static int read_attempts(const json_t *object, struct state *state, struct error *error)
{
	const json_t *list = json_object_get(object, "attempts");
	int r;

	if (!list)
		return 0;
	if (!json_is_array(list))
		return bad_key("attempts", "a list", error);
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct state_attempt attempt = { 0 };

		r = read_attempt(json_array_get(list, i), &attempt, error);
		if (r < 0)
			return r;
		state_add_attempt(state, &attempt);
	}
	return 0;
}

/* Before anything else is read: a newer format may mean something else by the same keys. */
static int check_format(const json_t *root, struct error *error)
{
	const json_t *format = json_object_get(root, "format");

	if (!json_is_integer(format) || json_integer_value(format) < 1)
		return bad_key("format", "a format number", error);
	if (json_integer_value(format) > STATE_FORMAT)
		return error_failed(error, EOPNOTSUPP,
			"state record: format %lld is newer than this program knows (%d); use the "
			"version of bistable that wrote it, or a newer one",
			(long long)json_integer_value(format), STATE_FORMAT);
	return 0;
}

static int read_flags(const json_t *root, struct state *state, struct error *error)
{
	int r;

	if (!json_object_get(root, "complete"))
		return error_failed(error, EBADMSG, "state record: 'complete' is missing");
	r = read_bool(root, "complete", &state->complete, error);
	if (r == 0)
		r = read_bool(root, "confirmed", &state->confirmed, error);
	if (r == 0)
		r = read_bool(root, "cold_booted", &state->cold_booted, error);
	if (r == 0)
		r = read_bool(root, "bad", &state->bad, error);
	if (r == 0)
		r = read_bool(root, "duplicates_removed", &state->duplicates_removed, error);
	if (r == 0)
		r = read_bool(root, "source_private", &state->source_private, error);
	if (r == 0)
		r = read_count(root, "confirmation", &state->confirmation, error);
	if (r == 0)
		r = read_count(root, "repairs", &state->repairs, error);
	return r;
}

static int read_signer(const json_t *root, struct state *state, struct error *error)
{
	const json_t *item = json_object_get(root, "signer");
	const char *digest = json_string_value(json_object_get(item, "sha256"));
	uint8_t bytes[32];
	int r;

	if (!item)
		return 0;
	if (!digest || !text_unhex(digest, bytes, sizeof(bytes)))
		return bad_key("signer", "a certificate's subject and digest", error);
	r = read_text(item, "subject", &state->signer, error);
	text_hex(bytes, sizeof(bytes), state->signer_sha256);
	return r;
}

static int read_root_hash(const json_t *root, struct state *state, struct error *error)
{
	const json_t *item = json_object_get(root, "root_hash");
	uint8_t bytes[sizeof(state->root_hash) / 2];
	const char *text = json_string_value(item);
	size_t length = text ? strlen(text) : 0;

	if (!item)
		return 0;
	if (length == 0 || length >= sizeof(state->root_hash) || length % 2 != 0
		|| !text_unhex(text, bytes, length / 2))
		return bad_key("root_hash", "hex digits", error);
	text_hex(bytes, length / 2, state->root_hash);
	return 0;
}

static int read_removable(const json_t *root, struct state *state, struct error *error)
{
	const json_t *digest = json_object_get(root, "removable_sha256");

	if (!digest)
		return 0;
	if (!json_is_string(digest)
		|| !text_unhex(json_string_value(digest), state->removable_sha256,
			sizeof(state->removable_sha256)))
		return bad_key("removable_sha256", "a digest of 64 hex digits", error);
	state->has_removable = true;
	return 0;
}

static int read_state(const json_t *root, struct state *state, struct error *error)
{
	int r = check_format(root, error);

	if (r == 0)
		r = read_flags(root, state, error);
	if (r == 0)
		r = read_removable(root, state, error);
	if (r == 0)
		r = read_root_hash(root, state, error);
	if (r == 0)
		r = read_signer(root, state, error);
	if (r == 0)
		r = read_text(root, "version", &state->version, error);
	if (r == 0)
		r = read_text(root, "source", &state->source, error);
	if (r == 0)
		r = read_time(root, "installed", &state->installed, error);
	if (r == 0)
		r = read_epoch(root, &state->epoch, error);
	if (r == 0)
		r = read_time(root, "created", &state->created, error);
	if (r == 0)
		r = read_payloads(root, state, error);
	if (r == 0)
		r = read_boot_file(root, state, error);
	if (r == 0)
		r = read_attempts(root, state, error);
	return r;
}

int state_parse(struct span bytes, struct state *ret, struct error *error)
{
	AUTO_STATE struct state state = { 0 };
	json_auto_t *root = NULL;
	json_error_t problem;
	int r;

	if (bytes.size > STATE_SIZE_MAX)
		return error_failed(error, EBADMSG,
			"state record of %zu bytes is too large (at most %d)", bytes.size,
			STATE_SIZE_MAX);
	root = json_loadb(bytes.size ? (const char *)bytes.data : "", bytes.size,
		JSON_REJECT_DUPLICATES, &problem);
	if (!root)
		return error_failed(error, EBADMSG, "state record is not JSON: %s (line %d)",
			problem.text, problem.line);
	if (!json_is_object(root))
		return error_failed(error, EBADMSG, "state record is not a JSON object");
	r = read_state(root, &state, error);
	if (r < 0)
		return r;
	*ret = state;
	state = (struct state){ 0 };
	return 0;
}

/* Owned; NULL only when out of memory. */
static json_t *make_text(const char *text)
{
	size_t size = strnlen(text, STATE_TEXT_MAX + 1);
	AUTO_FREE char *plain = NULL;
	json_t *item;

	if (size > STATE_TEXT_MAX) {
		size = STATE_TEXT_MAX;
		/* Not through the middle of a character. */
		while (size > 0 && ((uint8_t)text[size] & 0xc0) == 0x80)
			size--;
	}
	item = json_stringn(text, size);
	if (item)
		return item;
	plain = strndup(text, size);
	if (!plain)
		return NULL;
	for (char *p = plain; *p; p++)
		if ((uint8_t)*p >= 0x80)
			*p = '?';
	return json_string(plain);
}

static json_t *make_content(const struct state_content *content)
{
	char digest[SHA256_HEX_SIZE];

	text_hex(content->sha256, sizeof(content->sha256), digest);
	return json_pack("{s:s*, s:I, s:s}", "role", *content->role ? content->role : NULL, "size",
		(json_int_t)content->size, "sha256", digest);
}

static json_t *make_attempt(const struct state_attempt *attempt)
{
	json_t *started = attempt->unstarted ? json_false() : NULL;

	return json_pack("{s:s, s:I, s:s, s:s, s:o*}", "how", attempt->how, "time",
		(json_int_t)attempt->time, "boot_id", attempt->boot_id, "outcome",
		outcome_names[attempt->outcome], "started", started);
}

/* json_pack frees nothing it was not given: lists are filled item by item. NULL: no memory. */
static json_t *make_payloads(const struct state *state)
{
	json_auto_t *list = json_array();

	for (size_t i = 0; i < state->payload_count; i++)
		if (json_array_append_new(list, make_content(&state->payloads[i])) < 0)
			return NULL;
	return TAKE(list);
}

static json_t *make_attempts(const struct state *state)
{
	json_auto_t *list = json_array();

	for (size_t i = 0; i < state->attempt_count; i++)
		if (json_array_append_new(list, make_attempt(&state->attempts[i])) < 0)
			return NULL;
	return TAKE(list);
}

/* NULL: no memory. */
static json_t *make_state(const struct state *state)
{
	json_auto_t *root = json_pack("{s:i, s:b, s:b, s:b, s:b, s:b}", "format", STATE_FORMAT,
		"complete", state->complete, "confirmed", state->confirmed, "cold_booted",
		state->cold_booted, "bad", state->bad, "duplicates_removed",
		state->duplicates_removed);
	bool failed = !root;

	if (state->version)
		failed |= json_object_set_new(root, "version", make_text(state->version)) < 0;
	if (state->source)
		failed |= json_object_set_new(root, "source", make_text(state->source)) < 0;
	if (state->source_private)
		failed |= json_object_set_new(root, "source_private", json_true()) < 0;
	if (state->signer)
		failed |= json_object_set_new(root, "signer",
				  json_pack("{s:o, s:s}", "subject", make_text(state->signer),
					  "sha256", state->signer_sha256))
			  < 0;
	if (state->installed != 0)
		failed |= json_object_set_new(root, "installed", json_integer(state->installed))
			  < 0;
	if (state->epoch != 0)
		failed |= json_object_set_new(root, "epoch", json_integer(state->epoch)) < 0;
	if (state->created != 0)
		failed |= json_object_set_new(root, "created", json_integer(state->created)) < 0;
	if (state->confirmation != 0)
		failed |= json_object_set_new(
				  root, "confirmation", json_integer(state->confirmation))
			  < 0;
	if (state->repairs != 0)
		failed |= json_object_set_new(root, "repairs", json_integer(state->repairs)) < 0;
	if (state->has_boot_file)
		failed |= json_object_set_new(root, "boot_file", make_content(&state->boot_file))
			  < 0;
	if (state->root_hash[0])
		failed |= json_object_set_new(root, "root_hash", json_string(state->root_hash)) < 0;
	if (state->has_removable) {
		char digest[65];

		text_hex(state->removable_sha256, sizeof(state->removable_sha256), digest);
		failed |= json_object_set_new(root, "removable_sha256", json_string(digest)) < 0;
	}
	failed |= json_object_set_new(root, "payloads", make_payloads(state)) < 0;
	failed |= json_object_set_new(root, "attempts", make_attempts(state)) < 0;
	return failed ? NULL : TAKE(root);
}

/* What is written must be readable: a record nobody can parse would lose the slot. */
static int check_fields(const struct state *state, struct error *error)
{
	if (state->epoch < 0)
		return error_failed(error, EINVAL, "state record: an epoch below 0");
	if (state->payload_count > STATE_PAYLOADS_MAX || state->attempt_count > STATE_ATTEMPTS_MAX)
		return error_failed(error, EINVAL, "state record: too many payloads or attempts");
	if (state->has_boot_file && state->boot_file.size > INT64_MAX)
		return error_failed(
			error, EINVAL, "state record: impossible size of the boot file");
	for (size_t i = 0; i < state->payload_count; i++)
		if (!*state->payloads[i].role || !printable_ascii(state->payloads[i].role)
			|| state->payloads[i].size > INT64_MAX)
			return error_failed(error, EINVAL,
				"state record: payload %zu has no usable role or size", i);
	for (size_t i = 0; i < state->attempt_count; i++)
		if (!printable_ascii(state->attempts[i].how)
			|| !printable_ascii(state->attempts[i].boot_id)
			|| (size_t)state->attempts[i].outcome >= OUTCOME_COUNT)
			return error_failed(
				error, EINVAL, "state record: attempt %zu cannot be written", i);
	return 0;
}

int state_format(const struct state *state, struct buffer *out, struct error *error)
{
	AUTO_FREE char *text = NULL;
	json_auto_t *root = NULL;
	size_t size;
	int r;

	r = check_fields(state, error);
	if (r < 0)
		return r;
	root = make_state(state);
	text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
	if (!text)
		return error_memory(error);
	size = strlen(text);
	r = buffer_reserve(out, size + 1, error);
	if (r < 0)
		return r;
	buffer_append(out, text, size, NULL);
	buffer_append(out, "\n", 1, NULL);
	return 0;
}

void state_add_attempt(struct state *state, const struct state_attempt *attempt)
{
	if (state->attempt_count == STATE_ATTEMPTS_MAX) {
		memmove(state->attempts, state->attempts + 1,
			(STATE_ATTEMPTS_MAX - 1) * sizeof(*state->attempts));
		state->attempt_count--;
	}
	state->attempts[state->attempt_count++] = *attempt;
}

struct state_attempt *state_last_attempt(struct state *state)
{
	return state->attempt_count > 0 ? &state->attempts[state->attempt_count - 1] : NULL;
}

void state_done(struct state *state)
{
	free(state->version);
	free(state->source);
	free(state->signer);
	*state = (struct state){ 0 };
}
