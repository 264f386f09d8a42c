/* SPDX-License-Identifier: Apache-2.0 */

/* The receipt of a slot and the chunk map that is kept with it, on the simulated machine. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "engine/context.h"
#include "engine/receipt.h"
#include "sim.h"

#define CREATED  1763892000
#define MAP_FILE SIM_DISK "/var/lib/bistable/slot-a.system.chunks"

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define PAYLOAD(role)                                                                         \
	"{\"role\": \"" role "\", \"name\": \"" role "\", \"size\": 5, \"sha256\": \"" DIGEST \
	"\", \"chunk_size\": 4096, \"chunks_sha256\": \"" DIGEST "\"}"

static const char manifest[] =
	"{\"format\": 1, \"compatible\": \"c\", \"architecture\": \"x86-64\", \"version\": \"1\", "
	"\"epoch\": 0, \"created\": \"2025-11-23T10:00:00Z\", \"payloads\": [" PAYLOAD(
		"boot") ", " PAYLOAD("system") "]}";

struct fixture {
	struct sim *sim;
	struct context context;
	unsigned notes;
	char note[300];
};

static void on_note(void *context, bool warning, const char *text)
{
	struct fixture *f = context;

	(void)warning;
	f->notes++;
	snprintf(f->note, sizeof(f->note), "%s", text);
}

static int set_up(void **state)
{
	static char files[SLOT_COUNT][32] = { "/EFI/x/a.receipt", "/EFI/x/b.receipt" };
	static char state_dir[] = "/var/lib/bistable";
	static struct fixture f;

	f = (struct fixture){ .sim = sim_new() };
	f.context = (struct context){
		.machine = sim_machine(f.sim),
		.config = { .receipt_file = { files[SLOT_A], files[SLOT_B] },
			.state_dir = state_dir },
		.observer = { .report = { on_note, &f } },
	};
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	sim_free(f->sim);
	return 0;
}

static struct span text_span(const char *text)
{
	return (struct span){ (const uint8_t *)text, strlen(text) };
}

static void write_receipt(struct fixture *f, enum slot slot, const char *signature)
{
	struct error error = { 0 };

	if (receipt_write(
		    &f->context, slot, text_span(manifest), text_span(signature), CREATED, &error)
		< 0)
		fail_msg("%s", error.text);
}

/* Reading fails so; nothing is written to what is returned. */
static void unreadable(struct fixture *f, int number, const char *says)
{
	struct receipt receipt = { 0 };
	struct error error = { 0 };
	int r = receipt_read(&f->context, SLOT_A, &receipt, &error);

	if (r != -number || error.number != number || !strstr(error.text, says))
		fail_msg("%d '%s', not '%s'", r, error.text, says);
	assert_null(receipt.manifest_bytes.data);
	assert_null(receipt.manifest.version);
}

/* --- the receipt --- */

static void test_round_trip(void **state)
{
	static const char *const signatures[] = { "", "s", "a signature of more bytes" };
	struct fixture *f = *state;

	for (size_t i = 0; i < 3; i++) {
		AUTO_RECEIPT struct receipt receipt = { 0 };
		struct error error = { 0 };

		write_receipt(f, SLOT_A, signatures[i]);
		assert_int_equal(receipt_read(&f->context, SLOT_A, &receipt, &error), 0);
		assert_true(span_equal(span_of(&receipt.manifest_bytes), text_span(manifest)));
		assert_true(span_equal(span_of(&receipt.signature), text_span(signatures[i])));
		assert_string_equal(receipt.manifest.version, "1");
		assert_int_equal(receipt.manifest.payload_count, 2);
	}
	/* Each slot has its own. */
	assert_null(sim_file(f->sim, "/EFI/x/b.receipt"));
}

/* What is there already is not written again. */
static void test_written_once(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	write_receipt(f, SLOT_A, "s");
	before = f->sim->operations;
	write_receipt(f, SLOT_A, "s");
	assert_int_equal(f->sim->operations, before);
	write_receipt(f, SLOT_A, "t");
	assert_true(f->sim->operations > before);
}

static void test_absent(void **state)
{
	struct fixture *f = *state;
	struct error error = { 0 };

	unreadable(f, ENOENT, "/EFI/x/a.receipt");
	assert_int_equal(receipt_remove(&f->context, SLOT_A, &error), 0);
	write_receipt(f, SLOT_A, "s");
	write_receipt(f, SLOT_B, "s");
	sim_put_file(f->sim, MAP_FILE, text_span("map"));
	assert_int_equal(receipt_remove(&f->context, SLOT_A, &error), 0);
	unreadable(f, ENOENT, "/EFI/x/a.receipt");
	assert_null(sim_file(f->sim, MAP_FILE));
	assert_non_null(sim_file(f->sim, "/EFI/x/b.receipt"));
}

static void test_not_writable(void **state)
{
	struct fixture *f = *state;
	struct error error = { 0 };

	f->sim->esp_capacity = 100;
	assert_int_equal(receipt_write(&f->context, SLOT_A, text_span(manifest), text_span("s"),
				 CREATED, &error),
		-ENOSPC);
	assert_int_equal(error.number, ENOSPC);
	assert_null(sim_file(f->sim, "/EFI/x/a.receipt"));
}

static void test_too_large(void **state)
{
	static uint8_t bytes[RECEIPT_SIZE_MAX + 1];
	struct fixture *f = *state;

	sim_put_file(f->sim, "/EFI/x/a.receipt", (struct span){ bytes, sizeof(bytes) });
	unreadable(f, EFBIG, "/EFI/x/a.receipt");
	sim_put_file(f->sim, "/EFI/x/a.receipt", (struct span){ bytes, sizeof(bytes) - 1 });
	unreadable(f, EBADMSG, "/EFI/x/a.receipt: it is damaged");
}

/* Cut anywhere before its directory, or wrong in any bit: refused, or the same is read. */
static void test_damaged(void **state)
{
	struct fixture *f = *state;
	AUTO_BUFFER struct buffer good = { 0 };
	struct buffer *file;
	size_t taken = 0, entries;

	write_receipt(f, SLOT_A, "a signature");
	file = sim_file(f->sim, "/EFI/x/a.receipt");
	assert_int_equal(buffer_append(&good, file->data, file->size, NULL), 0);
	entries = (size_t)((uint8_t *)memmem(good.data, good.size, "PK\1\2", 4) - good.data);
	for (size_t size = 1; size < entries; size++) {
		struct span cut = { good.data, size };
		bool whole_manifest = size >= 30 + 13 + strlen(manifest);

		sim_put_file(f->sim, "/EFI/x/a.receipt", cut);
		/* Without the signature's header it looks like one that has none. */
		if (whole_manifest && size < entries - 11 - 12)
			continue;
		unreadable(f, EBADMSG, "/EFI/x/a.receipt: ");
	}
	for (size_t bit = 0; bit < entries * 8; bit++) {
		AUTO_RECEIPT struct receipt receipt = { 0 };
		int r;

		good.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		sim_put_file(f->sim, "/EFI/x/a.receipt", span_of(&good));
		good.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		r = receipt_read(&f->context, SLOT_A, &receipt, NULL);
		taken += r == 0;
		if (r < 0)
			continue;
		assert_true(span_equal(span_of(&receipt.manifest_bytes), text_span(manifest)));
		if (receipt.signature.size > 0)
			assert_true(
				span_equal(span_of(&receipt.signature), text_span("a signature")));
	}
	/* Versions, flags, dates; and what makes the signature's entry another one. */
	assert_in_range(taken, 50, 600);
}

static void test_not_a_receipt(void **state)
{
	static const char *const texts[] = { "x", "PK\3\4", "PK\5\6 nothing", "{\"format\": 1}" };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		sim_put_file(f->sim, "/EFI/x/a.receipt", text_span(texts[i]));
		unreadable(f, EBADMSG, "/EFI/x/a.receipt: ");
	}
}

/* A sound ZIP of a manifest that says nothing. */
static void test_a_bad_manifest(void **state)
{
	struct fixture *f = *state;
	struct error error = { 0 };

	assert_int_equal(receipt_write(&f->context, SLOT_A, text_span("{}"), text_span("s"),
				 CREATED, &error),
		0);
	unreadable(f, EBADMSG, "/EFI/x/a.receipt: ");
	assert_int_equal(
		receipt_write(&f->context, SLOT_A, text_span(""), text_span("s"), CREATED, &error),
		0);
	unreadable(f, EBADMSG, "/EFI/x/a.receipt: ");
}

/* --- the chunk map --- */

#define MAP_PAYLOAD 10000u
#define MAP_CHUNK   4096u

static struct manifest_payload make_map(struct buffer *out, uint8_t seed)
{
	struct manifest_payload payload = { .size = MAP_PAYLOAD, .chunk_size = MAP_CHUNK };
	AUTO_CHUNKMAP_WRITER struct chunkmap_writer writer = { 0 };
	uint8_t digest[SHA256_SIZE] = { seed };

	assert_int_equal(chunkmap_writer_init(&writer, MAP_PAYLOAD, MAP_CHUNK, NULL), 0);
	for (uint64_t i = 0; i < writer.chunk_count; i++)
		chunkmap_put_chunk(&writer, i, 100, digest);
	assert_int_equal(
		sha256_of(writer.bytes.data, writer.bytes.size, payload.chunks_sha256, NULL), 0);
	*out = buffer_take(&writer.bytes);
	return payload;
}

static void test_map(void **state)
{
	struct fixture *f = *state;
	AUTO_BUFFER struct buffer map = { 0 }, found = { 0 };
	struct manifest_payload payload = make_map(&map, 1);
	struct chunkmap read;
	unsigned before;

	assert_false(receipt_find_map(&f->context, SLOT_A, &payload, &found, &read));
	receipt_keep_map(&f->context, SLOT_A, span_of(&map));
	assert_non_null(sim_file(f->sim, MAP_FILE));
	assert_true(receipt_find_map(&f->context, SLOT_A, &payload, &found, &read));
	assert_true(span_equal(span_of(&found), span_of(&map)));
	assert_int_equal(read.chunk_count, 3);
	assert_int_equal(chunkmap_length(&read, 2), 100);
	assert_true(read.chunks > found.data && read.chunks < found.data + found.size);
	/* The other slot has none, and keeping it again writes nothing. */
	assert_false(receipt_find_map(&f->context, SLOT_B, &payload, &found, &read));
	before = f->sim->operations;
	receipt_keep_map(&f->context, SLOT_A, span_of(&map));
	assert_int_equal(f->sim->operations, before);
	assert_int_equal(f->notes, 0);
}

static void test_a_map_that_is_not_the_payloads(void **state)
{
	struct fixture *f = *state;
	AUTO_BUFFER struct buffer map = { 0 }, other_map = { 0 }, found = { 0 };
	struct manifest_payload payload = make_map(&map, 1), other = make_map(&other_map, 2);
	struct chunkmap read;

	receipt_keep_map(&f->context, SLOT_A, span_of(&map));
	assert_false(receipt_find_map(&f->context, SLOT_A, &other, &found, &read));
	/* The right digest of a map of another size. */
	payload.size++;
	assert_false(receipt_find_map(&f->context, SLOT_A, &payload, &found, &read));
	payload.size--;
	for (size_t bit = 0; bit < map.size * 8; bit++) {
		map.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		sim_put_file(f->sim, MAP_FILE, span_of(&map));
		map.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(receipt_find_map(&f->context, SLOT_A, &payload, &found, &read));
	}
	sim_put_file(f->sim, MAP_FILE, (struct span){ map.data, map.size - 1 });
	assert_false(receipt_find_map(&f->context, SLOT_A, &payload, &found, &read));
	assert_null(found.data);
}

/* A map that cannot be kept is told of, once, and nothing else happens. */
static void test_a_map_that_cannot_be_kept(void **state)
{
	struct fixture *f = *state;
	AUTO_BUFFER struct buffer map = { 0 };

	make_map(&map, 1);
	sim_set_fault(f->sim, SIM_FAILS, 1);
	receipt_keep_map(&f->context, SLOT_A, span_of(&map));
	assert_int_equal(f->notes, 1);
	assert_non_null(strstr(f->note, "its chunk map is not kept: "));
	assert_null(sim_file(f->sim, MAP_FILE));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip),
		TEST(test_written_once),
		TEST(test_absent),
		TEST(test_not_writable),
		TEST(test_too_large),
		TEST(test_damaged),
		TEST(test_not_a_receipt),
		TEST(test_a_bad_manifest),
		TEST(test_map),
		TEST(test_a_map_that_is_not_the_payloads),
		TEST(test_a_map_that_cannot_be_kept),
	};

	return cmocka_run_group_tests_name("receipt", tests, NULL, NULL);
}
