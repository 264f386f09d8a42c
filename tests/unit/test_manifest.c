/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/manifest.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OTHER  "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

/* As manifest_format() writes it. */
static const char full[] = "{\n"
			   "  \"format\": 1,\n"
			   "  \"compatible\": \"acme-gateway\",\n"
			   "  \"architecture\": \"x86-64\",\n"
			   "  \"version\": \"2026.11.1\",\n"
			   "  \"epoch\": 7,\n"
			   "  \"created\": \"2026-11-23T10:00:00Z\",\n"
			   "  \"not_after\": \"2027-11-23T10:00:00Z\",\n"
			   "  \"description\": \"Größer \\\"und\\\" besser\",\n"
			   "  \"requires\": [],\n"
			   "  \"payloads\": [\n"
			   "    {\n"
			   "      \"role\": \"boot\",\n"
			   "      \"name\": \"kernel_efi.efi\",\n"
			   "      \"size\": 17617761,\n"
			   "      \"sha256\": \"" DIGEST "\",\n"
			   "      \"chunk_size\": 32768,\n"
			   "      \"chunks_sha256\": \"" OTHER "\",\n"
			   "      \"slot\": \"B\"\n"
			   "    },\n"
			   "    {\n"
			   "      \"role\": \"system\",\n"
			   "      \"name\": \"verity_rootfs.img\",\n"
			   "      \"size\": 1099511627776,\n"
			   "      \"sha256\": \"" OTHER "\",\n"
			   "      \"chunk_size\": 1048576,\n"
			   "      \"chunks_sha256\": \"" DIGEST "\",\n"
			   "      \"verity\": {\n"
			   "        \"root_hash\": \"" DIGEST "\"\n"
			   "      }\n"
			   "    },\n"
			   "    {\n"
			   "      \"role\": \"cloud-seed\",\n"
			   "      \"name\": \"seed.img\",\n"
			   "      \"size\": 1,\n"
			   "      \"sha256\": \"" DIGEST "\",\n"
			   "      \"chunk_size\": 4096,\n"
			   "      \"chunks_sha256\": \"" DIGEST "\",\n"
			   "      \"optional\": true\n"
			   "    }\n"
			   "  ]\n"
			   "}\n";

#define HEAD                                                                        \
	"{\"format\": 1, \"compatible\": \"c\", \"architecture\": \"x86-64\", "     \
	"\"version\": \"1\", \"epoch\": 0, \"created\": \"2026-11-23T10:00:00Z\", " \
	"\"payloads\": ["
#define PAYLOAD(role, name)                                                                   \
	"{\"role\": \"" role "\", \"name\": \"" name "\", \"size\": 5, \"sha256\": \"" DIGEST \
	"\", \"chunk_size\": 4096, \"chunks_sha256\": \"" DIGEST "\"}"
#define LEAST HEAD PAYLOAD("boot", "b") ", " PAYLOAD("system", "s") "]}"

/* A copy of just its size, so that reading on is seen. */
static int parse(const char *text, struct manifest *manifest, struct error *error)
{
	AUTO_BUFFER struct buffer copy = { 0 };

	assert_int_equal(buffer_append(&copy, text, strlen(text), NULL), 0);
	return manifest_parse(span_of(&copy), manifest, error);
}

/* `text` with its first `from` made `to`. */
static char *replaced(const char *text, const char *from, const char *to)
{
	const char *place = strstr(text, from);
	char *result = malloc(strlen(text) + strlen(to) + 1);

	if (!place)
		fail_msg("there is no %s", from);
	assert_non_null(result);
	memcpy(result, text, (size_t)(place - text));
	strcpy(stpcpy(result + (place - text), to), place + strlen(from));
	return result;
}

static void expect(const char *text, int wanted, const char *says)
{
	AUTO_MANIFEST struct manifest manifest = { 0 };
	struct error error = { 0 };
	int r = parse(text, &manifest, &error);

	if (r != wanted)
		fail_msg("%d instead of %d (%s): %.2000s", r, wanted, error.text, text);
	if (r == 0)
		return;
	assert_int_equal(error.kind, r == -EOPNOTSUPP ? ERROR_REFUSED : ERROR_FAILED);
	assert_true(strncmp(error.text, "manifest.json: ", 15) == 0);
	if (!strstr(error.text, says))
		fail_msg("'%s' does not say '%s'", error.text, says);
	assert_non_null(strstr(error.text,
		r == -EOPNOTSUPP ? ": update bistable first" : ": make the bundle again"));
	assert_null(manifest.compatible);
	assert_int_equal(manifest.payload_count, 0);
}

static void test_full(void **state)
{
	static const uint8_t digest[4] = { 0x00, 0x11, 0x22, 0x33 };
	static const uint8_t other[4] = { 0xff, 0xee, 0xdd, 0xcc };
	AUTO_MANIFEST struct manifest manifest = { 0 };
	const struct manifest_payload *p = manifest.payloads;

	(void)state;
	assert_int_equal(parse(full, &manifest, NULL), 0);
	assert_string_equal(manifest.compatible, "acme-gateway");
	assert_string_equal(manifest.architecture, "x86-64");
	assert_string_equal(manifest.version, "2026.11.1");
	assert_string_equal(manifest.description, "Größer \"und\" besser");
	assert_int_equal(manifest.epoch, 7);
	assert_int_equal(manifest.created, 1795428000);
	assert_int_equal(manifest.not_after, 1826964000);
	assert_int_equal(manifest.requires.count, 0);
	assert_int_equal(manifest.payload_count, 3);
	assert_string_equal(p[0].role, "boot");
	assert_string_equal(p[0].name, "kernel_efi.efi");
	assert_int_equal(p[0].size, 17617761);
	assert_memory_equal(p[0].sha256, digest, 4);
	assert_int_equal(p[0].chunk_size, 32768);
	assert_memory_equal(p[0].chunks_sha256, other, 4);
	assert_int_equal(p[0].slot, SLOT_B);
	assert_false(p[0].optional);
	assert_string_equal(p[0].root_hash, "");
	assert_int_equal(p[1].size, UINT64_C(1) << 40);
	assert_int_equal(p[1].chunk_size, 1 << 20);
	assert_int_equal(p[1].slot, SLOT_NONE);
	assert_string_equal(p[1].root_hash, DIGEST);
	assert_true(p[2].optional);
}

static void test_same_bytes(void **state)
{
	AUTO_MANIFEST struct manifest manifest = { 0 };
	AUTO_BUFFER struct buffer out = { 0 };

	(void)state;
	assert_int_equal(parse(full, &manifest, NULL), 0);
	assert_int_equal(buffer_append(&out, "x", 1, NULL), 0);
	assert_int_equal(manifest_format(&manifest, &out, NULL), 0);
	assert_int_equal(out.size, 1 + strlen(full));
	assert_memory_equal(out.data + 1, full, strlen(full));
}

static void test_least(void **state)
{
	AUTO_MANIFEST struct manifest manifest = { 0 };

	(void)state;
	assert_int_equal(parse(LEAST, &manifest, NULL), 0);
	assert_null(manifest.description);
	assert_int_equal(manifest.not_after, 0);
	assert_int_equal(manifest.payload_count, 2);
}

/* What takes its place, and the word that the message is to have; NULL: it is fine. */
struct change {
	const char *from, *to;
	const char *says;
};

static void expect_changes(const struct change *rows, size_t count, int wanted)
{
	for (size_t i = 0; i < count; i++) {
		AUTO_FREE char *text = replaced(full, rows[i].from, rows[i].to);

		expect(text, rows[i].says ? wanted : 0, rows[i].says);
	}
}

static void test_accepted(void **state)
{
	static const struct change rows[] = {
		{ "\"format\"", "\"colour\": {\"a\": [1.5, null, {}]}, \"format\"", NULL },
		{ "\"role\"", "\"deltas\": [{}], \"role\"", NULL },
		{ "  \"requires\": [],\n", "", NULL },
		{ "\"epoch\": 7", "\"epoch\": 9223372036854775807", NULL },
		{ "\"slot\": \"B\"", "\"optional\": true", NULL },
		{ "\"slot\": \"B\"", "\"optional\": false", NULL },
		{ "aabbcc", "AaBBcc", NULL },
		{ "acme", "\\u0061cme", NULL },
		{ "kernel_efi.efi", "a+B-c_0.9", NULL },
		{ "kernel_efi.efi", "manifest.json.img", NULL },
		{ "kernel_efi.efi", "chunks", NULL },
		{ "2026-11-23T10:00:00Z", "2024-02-29T23:59:59Z", NULL },
		{ "2027-11-23T10:00:00Z", "9999-12-31T23:59:59Z", NULL },
		{ "\n}\n", "\n}", NULL },
	};

	(void)state;
	expect_changes(rows, COUNT(rows), 0);
}

static void test_newer(void **state)
{
	static const struct change rows[] = {
		{ "\"format\": 1", "\"format\": 2", "format 2" },
		{ "\"format\": 1", "\"format\": 0", "format 0" },
		{ "\"requires\": []", "\"requires\": [\"deltas\"]", "requires 'deltas'" },
		{ "\"requires\": []", "\"requires\": [\"a\", 1]", "requires 'a'" },
		{ "\"role\": \"boot\"", "\"role\": \"firmware\"",
			"payload 1: the role 'firmware'" },
		{ "\"optional\": true", "\"optional\": false", "payload 3: the role 'cloud-seed'" },
		{ ",\n      \"optional\": true", "", "the role 'cloud-seed'" },
	};

	(void)state;
	expect_changes(rows, COUNT(rows), -EOPNOTSUPP);
}

static void test_bad_head(void **state)
{
	static const struct change rows[] = {
		{ "\"format\": 1", "\"format\": \"1\"", "'format'" },
		{ "\"format\": 1", "\"format\": 1.0", "'format'" },
		{ "\"format\": 1", "\"format\": true", "'format'" },
		{ "\"format\": 1", "\"format\": -1", "'format'" },
		{ "\"format\"", "\"formats\"", "'format'" },
		{ "\"format\": 1", "\"format\": 1, \"format\": 1", "duplicate" },
		{ "\"epoch\"", "\"compatible\": \"b\", \"epoch\"", "duplicate" },
		{ "\"epoch\"", "\"comp\\u0061tible\": \"b\", \"epoch\"", "duplicate" },
		{ "\"size\"", "\"size\": 1, \"size\"", "duplicate" },
		{ "\"root_hash\"", "\"root_hash\": \"\", \"root_hash\"", "duplicate" },
		{ "\"compatible\"", "\"compatibles\"", "'compatible'" },
		{ "\"acme-gateway\"", "\"\"", "'compatible'" },
		{ "\"acme-gateway\"", "[\"acme\"]", "'compatible'" },
		{ "acme-gateway", "acme\\u0000gateway", "NUL" },
		{ "acme-gateway", "acme\\ngateway", "'compatible'" },
		{ "acme-gateway", "acme\\u001b[2J", "'compatible'" },
		{ "acme-gateway", "acme\\u007f", "'compatible'" },
		{ "acme-gateway", "acme\\u009b2J", "'compatible'" },
		{ "acme-gateway", "acme\n", "line 3" },
		{ "acme-gateway", "acme\xff", "decode byte 0xff" },
		{ "acme-gateway", "acme\\ud800", "line 3" },
		{ "\"x86-64\"", "64", "'architecture'" },
		{ "\"2026.11.1\"", "2026", "'version'" },
		{ "\"2026.11.1\"", "null", "'version'" },
		{ "\"Gr", "1, \"x\": \"", "'description'" },
		{ "\"epoch\": 7", "\"epoch\": 7.0", "'epoch'" },
		{ "\"epoch\": 7", "\"epoch\": 7e0", "'epoch'" },
		{ "\"epoch\": 7", "\"epoch\": -1", "'epoch'" },
		{ "\"epoch\": 7", "\"epoch\": \"7\"", "'epoch'" },
		{ "\"epoch\": 7", "\"epoch\": 9223372036854775808", "too big integer" },
		{ "\"epoch\": 7", "\"epoch\": 07", "line 6" },
		{ "\"epoch\": 7,", "", "'epoch'" },
		{ "\"requires\": []", "\"requires\": {}", "'requires'" },
		{ "\"requires\": []", "\"requires\": [7]", "'requires'" },
		{ "\"requires\": []", "\"requires\": [\"\"]", "'requires'" },
		{ "\"requires\": []", "\"requires\": [\"\\u001b\"]", "'requires'" },
		{ "\"payloads\"", "\"payload\"", "'payloads'" },
		{ "\"payloads\": [", "\"payloads\": [7, ", "payload 1: it is not an object" },
		{ "\n}\n", "\n}\nx", "line" },
		{ "\n}\n", "\n", "line" },
		{ "{", "\xef\xbb\xbf{", "line 1" },
		{ "{", "[{", "line" },
		{ "{", "// a comment\n{", "line 1" },
		{ "]\n}\n", "],\n}\n", "line" },
	};

	(void)state;
	expect_changes(rows, COUNT(rows), -EBADMSG);
}

static void test_bad_times(void **state)
{
	static const char *const times[] = { "", "2026-11-23", "2026-11-23T10:00:00",
		"2026-11-23 10:00:00Z", "2026-11-23t10:00:00z", "2026-11-23T10:00:00+00:00",
		"2026-11-23T10:00:00.0Z", "2026-11-23T10:00:00Z ", " 2026-11-23T10:00:00Z",
		"2026-13-01T10:00:00Z", "2026-00-01T10:00:00Z", "2026-02-29T10:00:00Z",
		"2026-11-31T10:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T10:60:00Z",
		"2026-11-23T10:00:60Z", "1969-12-31T23:59:59Z", "10000-01-01T00:00:00Z",
		"2026-1-23T10:00:00Z", "+026-11-23T10:00:00Z", "2026-11-23T10:00:-1Z",
		"2026-11-23T10:00:00Zx", "today" };

	(void)state;
	for (size_t i = 0; i < COUNT(times); i++) {
		AUTO_FREE char *created = replaced(full, "2026-11-23T10:00:00Z", times[i]);
		AUTO_FREE char *not_after = replaced(full, "2027-11-23T10:00:00Z", times[i]);
		int64_t time = 7;

		expect(created, -EBADMSG, "'created'");
		expect(not_after, -EBADMSG, "'not_after'");
		assert_false(manifest_time_parse(times[i], &time));
		assert_int_equal(time, 7);
	}
}

static void test_times(void **state)
{
	static const struct {
		const char *text;
		int64_t time;
	} rows[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2000-02-29T12:34:56Z", 951827696 },
		{ "2038-01-19T03:14:08Z", INT64_C(1) << 31 },
		{ "9999-12-31T23:59:59Z", 253402300799 },
	};
	static const struct change order[] = {
		{ "2027-11-23T10:00:00Z", "2026-11-23T10:00:00Z", "'not_after'" },
		{ "2027-11-23T10:00:00Z", "2026-11-23T09:59:59Z", "'not_after'" },
		{ "2027-11-23T10:00:00Z", "1970-01-01T00:00:00Z", "'not_after'" },
		{ "2027-11-23T10:00:00Z", "2026-11-23T10:00:01Z", NULL },
		{ "\"2027-11-23T10:00:00Z\"", "null", "'not_after'" },
		{ "\"2026-11-23T10:00:00Z\"", "1795428000", "'created'" },
	};
	char text[21];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int64_t time;

		assert_true(manifest_time_parse(rows[i].text, &time));
		assert_int_equal(time, rows[i].time);
		assert_true(manifest_time_format(rows[i].time, text));
		assert_string_equal(text, rows[i].text);
	}
	assert_false(manifest_time_format(-1, text));
	assert_false(manifest_time_format(253402300800, text));
	assert_false(manifest_time_format(INT64_MAX, text));
	expect_changes(order, COUNT(order), -EBADMSG);
}

static void test_bad_payload(void **state)
{
	static const struct change rows[] = {
		{ "\"role\": \"boot\",", "", "payload 1: 'role'" },
		{ "\"boot\"", "\"\"", "'role'" },
		{ "\"boot\"", "\"Boot\"", "'role'" },
		{ "\"boot\"", "\"a234567890123456\"", "'role'" },
		{ "\"boot\"", "\"boot\\u0000x\"", "NUL" },
		{ "\"boot\"", "7", "'role'" },
		{ "\"kernel_efi.efi\"", "null", "payload 1: 'name'" },
		{ "kernel_efi.efi", "", "'name'" },
		{ "kernel_efi.efi", "EFI/kernel_efi.efi", "'name'" },
		{ "kernel_efi.efi", "/kernel", "'name'" },
		{ "kernel_efi.efi", "..", "'name'" },
		{ "kernel_efi.efi", ".hidden", "'name'" },
		{ "kernel_efi.efi", "a\\\\b", "'name'" },
		{ "kernel_efi.efi", "a\\nb", "'name'" },
		{ "kernel_efi.efi", "a\\u0000b", "NUL" },
		{ "kernel_efi.efi", "a b", "'name'" },
		{ "kernel_efi.efi", "größe", "'name'" },
		{ "kernel_efi.efi", "manifest.json", "'name'" },
		{ "kernel_efi.efi", "manifest.p7s", "'name'" },
		{ "kernel_efi.efi", "verity_rootfs.img.chunks", "'name'" },
		{ "kernel_efi.efi", "verity_rootfs.img", "two payloads are named" },
		{ "17617761", "0", "payload 1: 'size'" },
		{ "17617761", "-1", "'size'" },
		{ "17617761", "1.5", "'size'" },
		{ "17617761", "\"5\"", "'size'" },
		{ "17617761", "1e3", "'size'" },
		{ "17617761", "1099511627777", "'size'" },
		{ "17617761", "9223372036854775807", "'size'" },
		{ "17617761", "18446744073709551617", "too big integer" },
		{ "\"size\": 17617761,", "", "'size'" },
		{ "32768", "0", "payload 1: 'chunk_size'" },
		{ "32768", "1", "'chunk_size'" },
		{ "32768", "2048", "'chunk_size'" },
		{ "32768", "32769", "'chunk_size'" },
		{ "32768", "49152", "'chunk_size'" },
		{ "32768", "2097152", "'chunk_size'" },
		{ "32768", "4294967296", "'chunk_size'" },
		{ "32768", "4295000064", "'chunk_size'" }, /* 2^32 + 32768 */
		{ "32768", "-32768", "'chunk_size'" },
		{ "32768", "32768.0", "'chunk_size'" },
		{ "\"sha256\"", "\"sha\"", "payload 1: 'sha256'" },
		{ "00112233", "0011223", "'sha256'" },
		{ "00112233", "001122334", "'sha256'" },
		{ "00112233", "0x112233", "'sha256'" },
		{ "00112233", "0011223g", "'sha256'" },
		{ "\"" DIGEST "\"", "\"\"", "'sha256'" },
		{ "\"" DIGEST "\"", "7", "'sha256'" },
		{ "\"" OTHER "\"", "\"\"", "'chunks_sha256'" },
		{ "\"slot\": \"B\"", "\"slot\": \"C\"", "'slot'" },
		{ "\"slot\": \"B\"", "\"slot\": \"b\"", "'slot'" },
		{ "\"slot\": \"B\"", "\"slot\": \"AB\"", "'slot'" },
		{ "\"slot\": \"B\"", "\"slot\": \"\"", "'slot'" },
		{ "\"slot\": \"B\"", "\"slot\": null", "'slot'" },
		{ "\"slot\": \"B\"", "\"optional\": 1", "'optional'" },
		{ "\"verity\"", "\"slot\": \"A\", \"verity\"", "payload 2: only a boot payload" },
		{ "\"optional\"", "\"slot\": \"A\", \"optional\"", "payload 3: only a boot" },
		{ "\"root_hash\": \"0011", "\"root_hash\": \"00", "payload 2: 'verity'" },
		{ "\"root_hash\": \"0011", "\"root_hash\": \"0011z", "'verity'" },
		{ "\"root_hash\": \"0011", "\"root_hash\": \"zz11", "'verity'" },
		{ "\"root_hash\"", "\"hash\"", "'verity'" },
		{ "\"verity\": {", "\"verity\": null, \"x\": {", "'verity'" },
		{ "\"verity\": {", "\"verity\": \"" DIGEST "\", \"x\": {", "'verity'" },
		{ "\"role\": \"boot\"", "\"optional\": true, \"role\": \"boat\"",
			"only a boot payload" },
		{ "\"role\": \"system\"", "\"optional\": true, \"role\": \"other\"",
			"role 'system' is missing" },
		{ "\"role\": \"cloud-seed\"", "\"role\": \"system\"",
			"two payloads have the role" },
		{ "\"role\": \"cloud-seed\"", "\"role\": \"boot\"", "two payloads have the role" },
		{ "\"role\": \"cloud-seed\"", "\"slot\": \"B\", \"role\": \"boot\"",
			"two payloads have the role" },
	};

	(void)state;
	expect_changes(rows, COUNT(rows), -EBADMSG);
}

/* One for each slot is fine, and then each slot finds its own. */
static void test_per_slot(void **state)
{
	AUTO_FREE char *text = replaced(
		full, "\"role\": \"cloud-seed\"", "\"slot\": \"A\", \"role\": \"boot\"");
	AUTO_MANIFEST struct manifest manifest = { 0 };
	AUTO_MANIFEST struct manifest only_b = { 0 };

	(void)state;
	assert_int_equal(parse(text, &manifest, NULL), 0);
	assert_ptr_equal(manifest_find(&manifest, "boot", SLOT_A), &manifest.payloads[2]);
	assert_ptr_equal(manifest_find(&manifest, "boot", SLOT_B), &manifest.payloads[0]);
	assert_ptr_equal(manifest_find(&manifest, "system", SLOT_A), &manifest.payloads[1]);
	assert_ptr_equal(manifest_find(&manifest, "system", SLOT_B), &manifest.payloads[1]);
	assert_null(manifest_find(&manifest, "data", SLOT_A));
	assert_int_equal(parse(full, &only_b, NULL), 0);
	assert_null(manifest_find(&only_b, "boot", SLOT_A));
	assert_true(manifest_role_known("boot") && manifest_role_known("system"));
	assert_false(manifest_role_known("cloud-seed"));
}

/* For either and for one: that one could take both, whichever comes first. */
static void test_overlapping(void **state)
{
	static const struct change rows[] = {
		{ "\"slot\": \"B\"", "\"optional\": false", "two payloads have the role 'boot'" },
		{ "\"slot\": \"B\"", "\"slot\": \"A\"", "two payloads have the role 'boot'" },
		{ "\"slot\": \"A\", ", "", "two payloads have the role 'boot'" },
	};
	AUTO_FREE char *text = replaced(
		full, "\"role\": \"cloud-seed\"", "\"slot\": \"A\", \"role\": \"boot\"");

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_FREE char *changed = replaced(text, rows[i].from, rows[i].to);

		expect(changed, -EBADMSG, rows[i].says);
	}
}

/* A bundle may be for one slot only; hex digits of either case are written in lower case. */
static void test_one_slot(void **state)
{
	AUTO_FREE char *only_a = replaced(full, "\"B\"", "\"A\"");
	AUTO_FREE char *upper = replaced(only_a, "\"root_hash\": \"00112233445566778899aabb",
		"\"root_hash\": \"00112233445566778899AABB");
	AUTO_MANIFEST struct manifest manifest = { 0 };

	(void)state;
	assert_int_equal(parse(upper, &manifest, NULL), 0);
	assert_ptr_equal(manifest_find(&manifest, "boot", SLOT_A), &manifest.payloads[0]);
	assert_null(manifest_find(&manifest, "boot", SLOT_B));
	assert_string_equal(manifest.payloads[1].root_hash, DIGEST);
}

static void test_missing(void **state)
{
	(void)state;
	expect(HEAD "]}", -EBADMSG, "role 'boot' is missing");
	expect(HEAD PAYLOAD("boot", "b") "]}", -EBADMSG, "role 'system' is missing");
	expect(HEAD PAYLOAD("system", "s") "]}", -EBADMSG, "role 'boot' is missing");
	expect(HEAD "{}]}", -EBADMSG, "payload 1: 'role'");
	expect("", -EBADMSG, "it is empty");
	expect("{}", -EBADMSG, "'format'");
	expect("[]", -EBADMSG, "not an object");
	expect("7", -EBADMSG, "line 1");
	expect("PK\x03\x04", -EBADMSG, "line 1");
}

static void test_nul(void **state)
{
	AUTO_MANIFEST struct manifest manifest = { 0 };
	const struct span with_nul = { (const uint8_t *)LEAST, sizeof(LEAST) };

	(void)state;
	assert_int_equal(manifest_parse(with_nul, &manifest, NULL), -EBADMSG);
	assert_int_equal(manifest_parse((struct span){ 0 }, &manifest, NULL), -EBADMSG);
}

static void test_too_large(void **state)
{
	AUTO_BUFFER struct buffer text = { 0 };
	AUTO_MANIFEST struct manifest manifest = { 0 };
	struct error error = { 0 };

	(void)state;
	assert_int_equal(buffer_append(&text, NULL, MANIFEST_SIZE_MAX + 1, NULL), 0);
	memset(text.data, ' ', text.size);
	memcpy(text.data, LEAST, strlen(LEAST));
	assert_int_equal(manifest_parse(span_of(&text), &manifest, &error), -EBADMSG);
	assert_non_null(strstr(error.text, "262145 bytes, more than 262144"));
	text.size--;
	assert_int_equal(manifest_parse(span_of(&text), &manifest, NULL), 0);
}

static void test_long_texts(void **state)
{
	static const struct {
		const char *from;
		size_t size;
		int result;
	} rows[] = {
		{ "acme-gateway", 128, 0 },
		{ "acme-gateway", 129, -EBADMSG },
		{ "x86-64", 129, -EBADMSG },
		{ "2026.11.1", 128, 0 },
		{ "2026.11.1", 129, -EBADMSG },
		{ "Größer \\\"und\\\" besser", 4096, 0 },
		{ "Größer \\\"und\\\" besser", 4097, -EBADMSG },
		{ "kernel_efi.efi", 64, 0 },
		{ "kernel_efi.efi", 65, -EBADMSG },
		{ "cloud-seed", 15, 0 },
		{ "cloud-seed", 16, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_FREE char *word = calloc(1, rows[i].size + 1);
		AUTO_FREE char *text = NULL;

		assert_non_null(word);
		memset(word, 'a', rows[i].size);
		text = replaced(full, rows[i].from, word);
		expect(text, rows[i].result, "'");
	}
}

/* Neither the stack nor the heap runs out. */
static void test_deep(void **state)
{
	static const char open[] = "[{";

	(void)state;
	for (size_t kind = 0; kind < 2; kind++) {
		AUTO_BUFFER struct buffer text = { 0 };
		AUTO_MANIFEST struct manifest manifest = { 0 };

		while (text.size + 5 <= MANIFEST_SIZE_MAX)
			assert_int_equal(
				buffer_append(&text, kind ? "{\"a\":" : "[", kind ? 5 : 1, NULL),
				0);
		assert_int_equal(text.data[0], open[kind]);
		assert_int_equal(manifest_parse(span_of(&text), &manifest, NULL), -EBADMSG);
	}
}

static void test_many_payloads(void **state)
{
	AUTO_BUFFER struct buffer text = { 0 };

	(void)state;
	assert_int_equal(buffer_append(&text, LEAST, strlen(LEAST) - 2, NULL), 0);
	for (char letter = 'c'; letter <= 'q'; letter++) {
		AUTO_FREE char *one = text_format(
			", {\"role\": \"x%c\", \"optional\": true, \"name\": \"%c\", \"size\": 5, "
			"\"sha256\": \"" DIGEST
			"\", \"chunk_size\": 4096, \"chunks_sha256\": \"" DIGEST "\"}",
			letter, letter);
		AUTO_FREE char *whole = NULL;

		assert_non_null(one);
		assert_int_equal(buffer_append(&text, one, strlen(one), NULL), 0);
		whole = text_format("%.*s]}", (int)text.size, (char *)text.data);
		assert_non_null(whole);
		expect(whole, letter <= 'p' ? 0 : -EBADMSG, "'payloads'");
	}
}

/* What nobody could install is not written. */
static void test_unwritable(void **state)
{
	AUTO_MANIFEST struct manifest good = { 0 };
	AUTO_BUFFER struct buffer out = { 0 };
	struct manifest bad[12];
	char bad_text[] = "\xff", control[] = "a\nb", empty[] = "", *word[] = { bad_text, NULL };

	(void)state;
	assert_int_equal(parse(full, &good, NULL), 0);
	for (size_t i = 0; i < COUNT(bad); i++)
		bad[i] = good;
	bad[0].compatible = NULL;
	bad[1].compatible = empty;
	bad[2].version = bad_text;
	bad[3].description = control;
	bad[4].epoch = UINT64_MAX;
	bad[5].created = -1;
	bad[6].not_after = INT64_MAX;
	bad[7].payload_count = 1;
	bad[8].payloads[0].name = NULL;
	bad[9].payloads[1].chunk_size = 3;
	bad[10].payloads[2].optional = false;
	bad[11].requires = (struct text_list){ word, 1 };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct error error = { 0 };

		assert_true(manifest_format(&bad[i], &out, &error) < 0);
		assert_true(error.kind != ERROR_NONE);
		assert_int_equal(out.size, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_same_bytes),
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_newer),
		cmocka_unit_test(test_bad_head),
		cmocka_unit_test(test_bad_times),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_bad_payload),
		cmocka_unit_test(test_per_slot),
		cmocka_unit_test(test_overlapping),
		cmocka_unit_test(test_one_slot),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_long_texts),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_many_payloads),
		cmocka_unit_test(test_unwritable),
	};

	return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
