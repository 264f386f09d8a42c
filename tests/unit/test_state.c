/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "format/state.h"

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char full_record[] = "{\n"
				  "  \"attempts\": [\n"
				  "    {\n"
				  "      \"boot_id\": \"5c3f1f3a-0000-4000-8000-000000000001\",\n"
				  "      \"how\": \"kexec\",\n"
				  "      \"outcome\": \"failed\",\n"
				  "      \"started\": false,\n"
				  "      \"time\": 1700000000\n"
				  "    }\n"
				  "  ],\n"
				  "  \"bad\": true,\n"
				  "  \"boot_file\": {\n"
				  "    \"sha256\": \"" DIGEST "\",\n"
				  "    \"size\": 17617761\n"
				  "  },\n"
				  "  \"cold_booted\": false,\n"
				  "  \"complete\": true,\n"
				  "  \"confirmation\": 3,\n"
				  "  \"confirmed\": true,\n"
				  "  \"duplicates_removed\": true,\n"
				  "  \"format\": 1,\n"
				  "  \"installed\": 1699999999,\n"
				  "  \"payloads\": [\n"
				  "    {\n"
				  "      \"role\": \"system\",\n"
				  "      \"sha256\": \"" DIGEST "\",\n"
				  "      \"size\": 503713792\n"
				  "    }\n"
				  "  ],\n"
				  "  \"removable_sha256\": \"" DIGEST "\",\n"
				  "  \"repairs\": 2,\n"
				  "  \"root_hash\": \"" DIGEST "\",\n"
				  "  \"signer\": {\n"
				  "    \"sha256\": \"" DIGEST "\",\n"
				  "    \"subject\": \"CN=signer\"\n"
				  "  },\n"
				  "  \"source\": \"https://example.com/b.zip?a=\\\"1\\\"\",\n"
				  "  \"source_private\": true,\n"
				  "  \"version\": \"2026.11.1\"\n"
				  "}\n";

static struct span span_of_text(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

/* The record as text, owned by the caller. */
static char *format(const struct state *record)
{
	struct buffer out = { 0 };

	assert_int_equal(state_format(record, &out, NULL), 0);
	assert_int_equal(buffer_append(&out, NULL, 1, NULL), 0);
	return (char *)out.data;
}

static void test_full(void **unused)
{
	AUTO_STATE struct state record = { 0 };
	AUTO_FREE char *again = NULL;
	char digest[65];

	(void)unused;
	assert_int_equal(state_parse(span_of_text(full_record), &record, NULL), 0);
	assert_true(record.complete && record.confirmed && record.bad);
	assert_false(record.cold_booted);
	assert_true(record.duplicates_removed);
	assert_true(record.has_removable);
	assert_int_equal(record.confirmation, 3);
	assert_int_equal(record.repairs, 2);
	assert_string_equal(record.version, "2026.11.1");
	assert_string_equal(record.source, "https://example.com/b.zip?a=\"1\"");
	assert_int_equal(record.installed, 1699999999);
	assert_int_equal(record.payload_count, 1);
	assert_string_equal(record.payloads[0].role, "system");
	assert_int_equal(record.payloads[0].size, 503713792);
	text_hex(record.payloads[0].sha256, 32, digest);
	assert_string_equal(digest, DIGEST);
	assert_true(record.has_boot_file);
	assert_int_equal(record.boot_file.size, 17617761);
	assert_int_equal(record.attempt_count, 1);
	assert_string_equal(record.attempts[0].how, "kexec");
	assert_int_equal(record.attempts[0].time, 1700000000);
	assert_int_equal(record.attempts[0].outcome, STATE_FAILED);
	assert_true(record.attempts[0].unstarted);
	assert_string_equal(record.root_hash, DIGEST);
	assert_string_equal(record.signer, "CN=signer");
	assert_string_equal(record.signer_sha256, DIGEST);
	assert_true(record.source_private);
	assert_string_equal(record.attempts[0].boot_id, "5c3f1f3a-0000-4000-8000-000000000001");
	again = format(&record);
	assert_string_equal(again, full_record);
}

static void test_smallest(void **unused)
{
	AUTO_STATE struct state record = { 0 }, back = { 0 };
	AUTO_FREE char *text = NULL;

	(void)unused;
	assert_int_equal(
		state_parse(span_of_text("{\"format\":1,\"complete\":false}"), &record, NULL), 0);
	assert_false(record.complete || record.confirmed || record.cold_booted || record.bad
		     || record.has_boot_file);
	assert_null(record.version);
	assert_null(record.source);
	assert_int_equal(record.payload_count + record.attempt_count, 0);
	assert_null(state_last_attempt(&record));
	text = format(&record);
	assert_int_equal(state_parse(span_of_text(text), &back, NULL), 0);
	assert_null(back.version);
	assert_int_equal(back.installed, 0);
}

/* Every record that can be made is read back the same. */
static void test_limits(void **unused)
{
	AUTO_STATE struct state record = { .complete = true, .installed = INT64_MIN }, back = { 0 };
	AUTO_FREE char *text = NULL, *again = NULL;

	(void)unused;
	record.version = calloc(1, STATE_TEXT_MAX + 1);
	record.source = calloc(1, STATE_TEXT_MAX + 1);
	assert_true(record.version && record.source);
	/* The longest text there is: six characters a byte. */
	memset(record.version, 1, STATE_TEXT_MAX);
	memset(record.source, 1, STATE_TEXT_MAX);
	record.payload_count = STATE_PAYLOADS_MAX;
	for (size_t i = 0; i < STATE_PAYLOADS_MAX; i++) {
		strcpy(record.payloads[i].role, "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"");
		record.payloads[i].size = INT64_MAX;
	}
	for (int i = 0; i < STATE_ATTEMPTS_MAX + 3; i++) {
		struct state_attempt attempt = { .how = "reboot", .time = i };

		memset(attempt.boot_id, 'f', 36);
		state_add_attempt(&record, &attempt);
	}
	assert_int_equal(record.attempt_count, STATE_ATTEMPTS_MAX);
	assert_int_equal(record.attempts[0].time, 3);
	assert_int_equal(state_last_attempt(&record)->time, STATE_ATTEMPTS_MAX + 2);

	text = format(&record);
	assert_true(strlen(text) <= STATE_SIZE_MAX);
	assert_int_equal(state_parse(span_of_text(text), &back, NULL), 0);
	assert_int_equal(back.installed, INT64_MIN);
	again = format(&back);
	assert_string_equal(text, again);
}

static void test_awkward_texts(void **unused)
{
	AUTO_STATE struct state record = { 0 }, back = { 0 };
	AUTO_FREE char *text = NULL;
	char source[STATE_TEXT_MAX + 100];

	(void)unused;
	/* Cut, and not through the middle of the ö, whose second byte would be the first too many.
	 */
	memset(source, 'x', sizeof(source));
	memcpy(source + STATE_TEXT_MAX - 1, "ö", 2);
	source[sizeof(source) - 1] = '\0';
	record.source = strdup(source);
	/* Not UTF-8. */
	record.version = strdup("1.0-\xff!");
	text = format(&record);
	assert_int_equal(state_parse(span_of_text(text), &back, NULL), 0);
	assert_string_equal(back.version, "1.0-?!");
	assert_int_equal(strlen(back.source), STATE_TEXT_MAX - 1);
}

static void test_unwritable(void **unused)
{
	const struct state cases[] = {
		{ .payload_count = 1 },
		{ .payload_count = 1, .payloads = { { .role = "b\xff" } } },
		{ .payload_count = 1, .payloads = { { .role = "boot", .size = 1ull << 63 } } },
		{ .payload_count = STATE_PAYLOADS_MAX + 1 },
		{ .has_boot_file = true, .boot_file = { .size = UINT64_MAX } },
		{ .attempt_count = 1, .attempts = { { .how = "\n" } } },
		{ .attempt_count = 1, .attempts = { { .boot_id = "\x80" } } },
		{ .attempt_count = 1, .attempts = { { .outcome = (enum state_outcome)3 } } },
		{ .attempt_count = STATE_ATTEMPTS_MAX + 1 },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		AUTO_BUFFER struct buffer out = { 0 };
		struct error error = { 0 };

		assert_int_equal(state_format(&cases[i], &out, &error), -EINVAL);
		assert_string_not_equal(error.text, "");
		assert_int_equal(out.size, 0);
	}
}

#define RECORD(rest)  "{\"format\": 1, \"complete\": true, " rest "}"
#define CONTENT       "\"size\": 1, \"sha256\": \"" DIGEST "\""
#define PAYLOAD       "{\"role\": \"boot\", " CONTENT "}"
#define ATTEMPT(rest) RECORD("\"attempts\": [{\"how\": \"reboot\", \"time\": 1, " rest "}]")

static const char *const refused_records[] = {
	"",
	" ",
	"null",
	"[]",
	"1",
	"{",
	"{}",
	"\xff",
	"{\"format\": 1}",
	"{\"complete\": true}",
	"{\"format\": 0, \"complete\": true}",
	"{\"format\": \"1\", \"complete\": true}",
	"{\"format\": 1.0, \"complete\": true}",
	"{\"format\": 1, \"complete\": 1}",
	"{\"format\": 1, \"complete\": null}",
	RECORD("\"complete\": true"), /* twice */
	RECORD("\"bad\": false") "x",
	RECORD("\"bad\": 0"),
	RECORD("\"confirmed\": \"yes\""),
	RECORD("\"cold_booted\": null"),
	RECORD("\"version\": 1"),
	RECORD("\"version\": null"),
	RECORD("\"version\": \"a\\u0000b\""),
	RECORD("\"source\": []"),
	RECORD("\"installed\": 1.5"),
	RECORD("\"installed\": \"1\""),
	RECORD("\"installed\": 99999999999999999999"),
	RECORD("\"payloads\": {}"),
	RECORD("\"payloads\": [1]"),
	RECORD("\"payloads\": [{}]"),
	RECORD("\"payloads\": [{" CONTENT "}]"),
	RECORD("\"payloads\": [{\"role\": \"\", " CONTENT "}]"),
	RECORD("\"payloads\": [{\"role\": \"0123456789abcdef\", " CONTENT "}]"),
	RECORD("\"payloads\": [" PAYLOAD "," PAYLOAD "," PAYLOAD "," PAYLOAD "," PAYLOAD "," PAYLOAD
	       "," PAYLOAD "," PAYLOAD "," PAYLOAD "]"),
	RECORD("\"boot_file\": 1"),
	RECORD("\"boot_file\": {\"size\": 1}"),
	RECORD("\"root_hash\": \"\""),
	RECORD("\"root_hash\": \"abc\""),
	RECORD("\"root_hash\": 7"),
	RECORD("\"root_hash\": \"" DIGEST DIGEST "00\""),
	RECORD("\"source_private\": 1"),
	RECORD("\"signer\": \"CN=signer\""),
	RECORD("\"signer\": {\"subject\": \"CN=signer\"}"),
	RECORD("\"signer\": {\"subject\": 7, \"sha256\": \"" DIGEST "\"}"),
	ATTEMPT("\"boot_id\": \"\", \"outcome\": \"failed\", \"started\": 0"),
	RECORD("\"boot_file\": {\"size\": -1, \"sha256\": \"" DIGEST "\"}"),
	RECORD("\"boot_file\": {\"size\": 1.0, \"sha256\": \"" DIGEST "\"}"),
	RECORD("\"boot_file\": {\"size\": 9223372036854775808, \"sha256\": \"" DIGEST "\"}"),
	RECORD("\"boot_file\": {\"size\": 1, \"sha256\": \"" DIGEST "0\"}"),
	RECORD("\"boot_file\": {\"size\": 1, \"sha256\": \"g" DIGEST "\"}"),
	RECORD("\"attempts\": 1"),
	RECORD("\"attempts\": [[]]"),
	ATTEMPT("\"boot_id\": \"\""),
	ATTEMPT("\"outcome\": \"failed\""),
	ATTEMPT("\"boot_id\": \"\", \"outcome\": \"good\""),
	ATTEMPT("\"boot_id\": \"0123456789012345678901234567890123456\", \"outcome\": "
		"\"failed\""),
	ATTEMPT("\"boot_id\": \"\\f\", \"outcome\": \"failed\""),
	RECORD("\"attempts\": [{\"how\": \"0123456789abcdef\", \"time\": 1, "
	       "\"boot_id\": \"\", \"outcome\": \"failed\"}]"),
	RECORD("\"attempts\": [{\"how\": \"kexec\", \"time\": \"1\", "
	       "\"boot_id\": \"\", \"outcome\": \"failed\"}]"),
};

static void test_refused(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(refused_records) / sizeof(*refused_records); i++) {
		struct state record = { .installed = 77 };
		struct error error = { 0 };
		int r = state_parse(span_of_text(refused_records[i]), &record, &error);

		if (r != -EBADMSG)
			print_error("not refused: %s\n", refused_records[i]);
		assert_int_equal(r, -EBADMSG);
		assert_string_not_equal(error.text, "");
		assert_int_equal(record.installed, 77);
	}
}

static void test_accepted(void **unused)
{
	static const char *const cases[] = {
		RECORD("\"colour\": {\"new\": [1, 2.5]}"), /* unknown keys */
		RECORD("\"payloads\": []"),
		RECORD("\"boot_file\": {" CONTENT ", \"colour\": 1}"),
		ATTEMPT("\"boot_id\": \"\", \"outcome\": \"pending\""),
		"\n\t " RECORD("\"version\": \"\"") " \n",
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		AUTO_STATE struct state record = { 0 };

		assert_int_equal(state_parse(span_of_text(cases[i]), &record, NULL), 0);
		assert_true(record.complete);
	}
}

static void test_many_attempts(void **unused)
{
	AUTO_BUFFER struct buffer text = { 0 };
	AUTO_STATE struct state record = { 0 };

	(void)unused;
	assert_int_equal(
		buffer_append(&text, "{\"format\":1,\"complete\":true,\"attempts\":[", 40, NULL),
		0);
	for (int i = 0; i < 20; i++) {
		AUTO_FREE char *item = text_format("%s{\"how\":\"kexec\",\"boot_id\":\"\","
						   "\"outcome\":\"pending\",\"time\":%d}",
			i > 0 ? "," : "", i);

		assert_int_equal(buffer_append(&text, item, strlen(item), NULL), 0);
	}
	assert_int_equal(buffer_append(&text, "]}", 2, NULL), 0);
	assert_int_equal(state_parse(span_of(&text), &record, NULL), 0);
	assert_int_equal(record.attempt_count, STATE_ATTEMPTS_MAX);
	assert_int_equal(state_last_attempt(&record)->time, 19);
}

/* A newer format wins over anything else that looks wrong about the record. */
static void test_future(void **unused)
{
	struct state record = { 0 };
	struct error error = { 0 };

	(void)unused;
	assert_int_equal(state_parse(span_of_text("{\"format\": 2, \"complete\": \"soon\"}"),
				 &record, &error),
		-EOPNOTSUPP);
	assert_non_null(strstr(error.text, "newer"));
	assert_null(record.version);
}

static void test_truncated(void **unused)
{
	(void)unused;
	for (size_t size = 0; size < sizeof(full_record); size++) {
		AUTO_STATE struct state record = { 0 };
		AUTO_FREE uint8_t *copy = malloc(size ? size : 1);
		int r;

		assert_non_null(copy);
		memcpy(copy, full_record, size);
		r = state_parse((struct span){ copy, size }, &record, NULL);
		/* Only the last newline is dispensable. */
		assert_int_equal(r, size >= sizeof(full_record) - 2 ? 0 : -EBADMSG);
	}
}

/* Every byte replaced by a few others: refused or parsed, and what parses can be written again. */
static void test_damaged(void **unused)
{
	static const char replacements[] = { 0, '"', '{', '}', '9', '-', ',', '\\', (char)0xff };

	(void)unused;
	for (size_t i = 0; i < sizeof(full_record) - 1; i++) {
		for (size_t k = 0; k < sizeof(replacements); k++) {
			AUTO_STATE struct state record = { 0 };
			AUTO_FREE char *text = NULL;
			char copy[sizeof(full_record)];

			memcpy(copy, full_record, sizeof(copy));
			copy[i] = replacements[k];
			if (state_parse((struct span){ (uint8_t *)copy, sizeof(copy) - 1 }, &record,
				    NULL)
				== 0)
				text = format(&record);
		}
	}
}

static void test_too_large(void **unused)
{
	AUTO_BUFFER struct buffer text = { 0 };
	struct state record = { 0 };
	const char *start = "{\"format\":1,\"complete\":true}";

	(void)unused;
	assert_int_equal(buffer_append(&text, start, strlen(start), NULL), 0);
	assert_int_equal(buffer_append(&text, NULL, STATE_SIZE_MAX + 1 - text.size, NULL), 0);
	memset(text.data + strlen(start), ' ', text.size - strlen(start));
	assert_int_equal(state_parse(span_of(&text), &record, NULL), -EBADMSG);
	text.size--;
	assert_int_equal(state_parse(span_of(&text), &record, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_smallest),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_awkward_texts),
		cmocka_unit_test(test_unwritable),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_many_attempts),
		cmocka_unit_test(test_future),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
