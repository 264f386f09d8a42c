/* SPDX-License-Identifier: Apache-2.0 */
/* A bundle, read with random access and as a stream, in pieces of several sizes: the pieces change
 * nothing, and both ways show the same contents. A good one that is made of the bytes gives them
 * back. */
#include <errno.h>

#include "fuzz.h"
#include "make_zip.h"
#include "memory_source.h"
#include "source/bundle.h"

#define PLAIN_MAX (1u << 20)

struct outcome {
	int result; /* -EFBIG: given up */
	unsigned count;
	struct buffer plain[BUNDLE_ROLE_COUNT];
};

static int read_payload(struct bundle *bundle, const struct bundle_payload *payload,
	struct outcome *outcome, struct error *error)
{
	struct buffer *plain = &outcome->plain[payload->role];
	uint8_t data[4000];
	size_t got;

	must(plain->size == 0 && outcome->count++ < BUNDLE_ROLE_COUNT);
	do {
		int r = bundle_read(bundle, data, sizeof(data), &got, error);

		if (r < 0)
			return r;
		must(got <= sizeof(data) && buffer_append(plain, data, got, NULL) == 0);
		must(plain->size <= payload->size);
		if (plain->size > PLAIN_MAX)
			return error_failed(error, EFBIG, "enough");
	} while (got > 0);
	must(payload->size == BUNDLE_SIZE_UNKNOWN || plain->size == payload->size);
	return 0;
}

static int read_bundle(struct source *source, struct outcome *outcome, struct error *error)
{
	AUTO_BUNDLE struct bundle *bundle = NULL;
	struct bundle_payload payload;
	int r = bundle_open(source, &bundle, error);

	while (r == 0) {
		r = bundle_next(bundle, &payload, error);
		if (r <= 0)
			return r;
		r = read_payload(bundle, &payload, outcome, error);
	}
	return r;
}

static struct outcome run(struct span zip, bool seekable, size_t piece)
{
	struct memory_source memory = memory_source(zip, seekable, piece);
	struct outcome outcome = { 0 };
	struct error error = { 0 };

	outcome.result = read_bundle(&memory.source, &outcome, &error);
	if (succeeded(outcome.result, &error))
		must(outcome.count == BUNDLE_ROLE_COUNT);
	return outcome;
}

static bool same_contents(const struct outcome *a, const struct outcome *b)
{
	return span_equal(span_of(&a->plain[0]), span_of(&b->plain[0]))
	       && span_equal(span_of(&a->plain[1]), span_of(&b->plain[1]));
}

static void outcome_done(struct outcome *outcome)
{
	buffer_done(&outcome->plain[0]);
	buffer_done(&outcome->plain[1]);
}

static void check_good(const struct zip_recipe *recipes, size_t count, bool zip64)
{
	AUTO_BUFFER struct buffer zip = { 0 };
	/* Where a stored entry ends is known beforehand or not at all. */
	bool streamable = recipes->method == 8 || recipes->style < ZIP_STYLE_DESCRIPTOR;

	make_zip(recipes, count, zip64, &zip);
	for (size_t piece = 5; piece <= 5000; piece *= 1000) {
		struct outcome outcome = run(span_of(&zip), piece == 5000, piece);

		if (piece == 5000 || streamable) {
			must(outcome.result == 0);
			must(span_equal(span_of(&outcome.plain[0]), recipes[0].data));
			must(span_equal(span_of(&outcome.plain[1]), recipes[1].data));
		}
		outcome_done(&outcome);
	}
}

/* The last byte says how it is made. */
static void check_made(const uint8_t *data, size_t size)
{
	size_t half = size / 3;
	uint8_t how = data[size - 1];
	unsigned method = how & 1 ? 8 : 0;
	enum zip_style style = (how >> 2) % ZIP_STYLE_COUNT;
	struct zip_recipe recipes[] = {
		{ .name = BUNDLE_BOOT_NAME,
			.data = { data, half },
			.method = method,
			.style = style },
		{ .name = BUNDLE_SYSTEM_NAME,
			.data = { data + half, size - half },
			.method = method,
			.style = style },
		{ .name = "other", .data = { data, half }, .method = method, .style = style },
	};

	check_good(recipes, how & 64 ? 3 : 2, how & 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span zip = { data, size };
	struct outcome outcomes[] = { run(zip, true, SIZE_MAX), run(zip, true, 61),
		run(zip, false, SIZE_MAX), run(zip, false, 7) };

	for (size_t i = 0; i < 4; i += 2) {
		must(outcomes[i].result == outcomes[i + 1].result);
		must(outcomes[i].result < 0 || same_contents(&outcomes[i], &outcomes[i + 1]));
	}
	if (outcomes[0].result == 0 && outcomes[2].result == 0)
		must(same_contents(&outcomes[0], &outcomes[2]));
	for (size_t i = 0; i < 4; i++)
		outcome_done(&outcomes[i]);
	if (size > 0)
		check_made(data, size);
	return 0;
}
