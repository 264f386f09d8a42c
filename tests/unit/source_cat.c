/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens a source or a bundle and prints what it gives, for tests/cli/test_http.py and
 * test_source_bundle.py: source_cat [--OPTION=VALUE]... cat|seek|bundle SPEC
 * Standard output: the bytes (cat; seek: backwards, in pieces) or a report (bundle).
 * Standard error: "open: …" when it could be opened, "note: …" for retries, "error: ERRNO text".
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "source/bundle.h"
#include "source/source.h"

#define PIECE (64u << 10)

struct cat {
	struct source_options options;
	struct text_list headers;
	unsigned cancel_ms;  /* 0: never */
	unsigned pause_ms;   /* after every piece */
	const char *address; /* of every host */
	struct timespec start;
};

static void on_note(void *context, const char *text)
{
	(void)context;
	fprintf(stderr, "note: %s\n", text);
}

static int on_resolve(
	void *context, const char *host, unsigned timeout_ms, char **ret, struct error *error)
{
	const struct cat *cat = context;

	(void)timeout_ms;
	fprintf(stderr, "resolve: %s\n", host);
	*ret = strdup(cat->address);
	return *ret ? 0 : error_memory(error);
}

static bool on_cancelled(void *context)
{
	const struct cat *cat = context;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return cat->cancel_ms
	       && (now.tv_sec - cat->start.tv_sec) * 1000
				  + (now.tv_nsec - cat->start.tv_nsec) / 1000000
			  >= cat->cancel_ms;
}

static int cat_source(struct cat *cat, struct source *source, struct error *error)
{
	static char data[PIECE];
	size_t got;

	do {
		int r = source->ops->read(source, data, sizeof(data), &got, error);

		if (r < 0)
			return r;
		fwrite(data, 1, got, stdout);
		nanosleep(&(struct timespec){ .tv_nsec = cat->pause_ms * 1000000L }, NULL);
	} while (got > 0);
	return 0;
}

static int read_full(struct source *source, void *data, size_t size, struct error *error)
{
	for (size_t done = 0; done < size;) {
		size_t got;
		int r;

		r = source->ops->read(source, (char *)data + done, size - done, &got, error);
		if (r < 0)
			return r;
		if (got == 0)
			return error_failed(error, EPIPE,
				"'%s' ends at byte %" PRIu64 ", %zu bytes too early", source->name,
				source->position, size - done);
		done += got;
	}
	return 0;
}

/* Reads the source in pieces, the last one first, and prints them in their order. */
static int seek_source(struct source *source, struct error *error)
{
	AUTO_FREE char *whole = malloc(source->size + 1);

	for (uint64_t end = source->size; end > 0;) {
		uint64_t begin = end > PIECE ? end - PIECE : 0;
		int r = source->ops->seek(source, begin, error);

		if (r < 0)
			return r;
		r = read_full(source, whole + begin, end - begin, error);
		if (r < 0)
			return r;
		end = begin;
	}
	fwrite(whole, 1, source->size, stdout);
	return 0;
}

static int report_payload(
	struct bundle *bundle, const struct bundle_payload *payload, struct error *error)
{
	AUTO_SHA256 struct sha256 *hash = NULL;
	uint8_t data[10000], digest[SHA256_SIZE];
	char text[SHA256_TEXT_SIZE];
	uint64_t size = 0;
	size_t got;
	int r;

	printf("next %s %" PRId64 "\n", payload->name, (int64_t)payload->size);
	r = sha256_new(&hash, error);
	do {
		r = r < 0 ? r : bundle_read(bundle, data, sizeof(data), &got, error);
		r = r < 0 ? r : sha256_update(hash, data, got, error);
		if (r < 0)
			return r;
		size += got;
	} while (got > 0);
	r = sha256_final(hash, digest, error);
	text_hex(digest, sizeof(digest), text);
	printf("payload %s %" PRIu64 " %s\n", payload->name, size, text);
	return r;
}

static int report_bundle(struct source *source, struct error *error)
{
	AUTO_BUNDLE struct bundle *bundle = NULL;
	struct bundle_payload payload;
	int r;

	r = bundle_open(source, &bundle, error);
	if (r < 0)
		return r;
	for (int role = 0; role < BUNDLE_ROLE_COUNT; role++)
		if (bundle_payload(bundle, (enum bundle_role)role, &payload))
			printf("known %s %" PRId64 "\n", payload.name, (int64_t)payload.size);
	while ((r = bundle_next(bundle, &payload, error)) > 0) {
		r = report_payload(bundle, &payload, error);
		if (r < 0)
			return r;
	}
	if (r == 0)
		printf("end %" PRIu64 "\n", bundle_received(bundle));
	return r;
}

static int run(struct cat *cat, const char *mode, const char *spec, struct error *error)
{
	AUTO_SOURCE struct source *source = NULL;
	int r;

	r = source_open(spec, &cat->options, &source, error);
	if (r < 0)
		return r;
	fprintf(stderr, "open: name=%s size=%" PRId64 " seekable=%d\n", source->name,
		(int64_t)source->size, source->seekable);
	if (strcmp(mode, "cat") == 0)
		return cat_source(cat, source, error);
	if (strcmp(mode, "seek") == 0)
		return seek_source(source, error);
	return report_bundle(source, error);
}

static const struct option options[] = {
	{ "connect", required_argument, NULL, 'c' },
	{ "stall", required_argument, NULL, 's' },
	{ "total", required_argument, NULL, 't' },
	{ "retry", required_argument, NULL, 'r' },
	{ "ca", required_argument, NULL, 'a' },
	{ "cert", required_argument, NULL, 'e' },
	{ "key", required_argument, NULL, 'k' },
	{ "header", required_argument, NULL, 'h' },
	{ "cancel", required_argument, NULL, 'x' },
	{ "pause", required_argument, NULL, 'p' },
	{ "resolve", required_argument, NULL, 'l' },
	{ 0 },
};

static void take_option(struct cat *cat, int option, const char *value)
{
	unsigned number = (unsigned)atoi(value);

	switch (option) {
	case 'c':
		cat->options.connect_timeout = number;
		break;
	case 's':
		cat->options.stall_timeout = number;
		break;
	case 't':
		cat->options.total_timeout = number;
		break;
	case 'r':
		cat->options.retry_ms = number;
		break;
	case 'a':
		cat->options.ca_file = value;
		break;
	case 'e':
		cat->options.client_cert = value;
		break;
	case 'k':
		cat->options.client_key = value;
		break;
	case 'h':
		text_list_add(&cat->headers, NULL, "%s", value);
		break;
	case 'l':
		cat->address = value;
		cat->options.resolve = on_resolve;
		break;
	case 'x':
		cat->cancel_ms = number;
		break;
	default:
		cat->pause_ms = number;
	}
}

int main(int argc, char **argv)
{
	struct cat cat = { .options = { .note = on_note, .cancelled = on_cancelled } };
	struct error error = { 0 };
	int option, r;

	clock_gettime(CLOCK_MONOTONIC, &cat.start);
	cat.options.context = &cat;
	cat.options.headers = &cat.headers;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == '?')
			return 2;
		take_option(&cat, option, optarg);
	}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: source_cat [--OPTION=VALUE]... cat|seek|bundle SPEC\n");
		return 2;
	}
	r = run(&cat, argv[optind], argv[optind + 1], &error);
	text_list_done(&cat.headers);
	if (r < 0)
		fprintf(stderr, "error: %s %s\n", strerrorname_np(-r), error.text);
	return r < 0;
}
