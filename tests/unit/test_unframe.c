/* SPDX-License-Identifier: Apache-2.0 */

/* Frames from hostile bundles, cut and lengthened at every byte; test_frame.c has the good ones. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "format/zip.h"
#include "source/unframe.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define ROOM        (256u << 10)

/** The ways in which a chunk may be packed. */
static const struct form {
	const char *name;
	uint16_t method;
	bool last;
} forms[] = {
	{ "zstd", ZIP_METHOD_ZSTD, false },
	{ "deflate", ZIP_METHOD_DEFLATE, false },
	{ "the last deflate", ZIP_METHOD_DEFLATE, true },
	{ "stored", ZIP_METHOD_STORED, false },
};

/* Around the sizes of zstd's and deflate's headers, blocks and window. */
static const size_t sizes[] = { 1, 2, 255, 256, 257, 4095, 4096, 32767, 32768, 32769, 65535, 65536,
	65537, 131072, 131073 };

static void make_plain(uint8_t *out, size_t size)
{
	for (size_t i = 0; i < size; i++)
		out[i] = "the quick brown fox "[(i + i / 4096 + i * i / 65536) % 20];
}

static size_t deflate_raw(struct span plain, int flush, uint8_t *out, size_t room)
{
	z_stream stream = { .next_in = (Bytef *)plain.data, .avail_in = (uInt)plain.size };

	assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	stream.next_out = out;
	stream.avail_out = (uInt)room;
	assert_int_equal(deflate(&stream, flush), flush == Z_FINISH ? Z_STREAM_END : Z_OK);
	deflateEnd(&stream);
	return stream.total_out;
}

static size_t pack(const struct form *form, struct span plain, uint8_t *out)
{
	if (form->method == ZIP_METHOD_ZSTD)
		return ZSTD_compress(out, ROOM, plain.data, plain.size, 3);
	if (form->method == ZIP_METHOD_DEFLATE)
		return deflate_raw(plain, form->last ? Z_FINISH : Z_FULL_FLUSH, out, ROOM);
	memcpy(out, plain.data, plain.size);
	return plain.size;
}

/* Copies of just their size: the sanitizer sees what is read or written beyond. */
static int unpack(struct unframer *unframer, const struct form *form, struct span frame,
	size_t size, uint8_t **ret, struct error *error)
{
	AUTO_FREE uint8_t *copy = malloc(frame.size), *out = malloc(size);
	int r;

	memcpy(copy, frame.data, frame.size);
	r = unframer_unpack(
		unframer, (struct span){ copy, frame.size }, form->last, out, size, error);
	if (ret)
		*ret = TAKE(out);
	return r;
}

static void refused(struct unframer *unframer, const struct form *form, struct span frame,
	size_t size, const char *says)
{
	struct error error = { 0 };
	int r = unpack(unframer, form, frame, size, NULL, &error);

	if (r != -EBADMSG || error.number != EBADMSG || !strstr(error.text, says))
		fail_msg("%s, %zu bytes for %zu: %d '%s', not '%s'", form->name, frame.size, size,
			r, error.text, says);
}

static void accepted(
	struct unframer *unframer, const struct form *form, struct span frame, struct span plain)
{
	AUTO_FREE uint8_t *out = NULL;
	struct error error = { 0 };

	if (unpack(unframer, form, frame, plain.size, &out, &error) < 0)
		fail_msg("%s, %zu bytes: %s", form->name, plain.size, error.text);
	assert_memory_equal(out, plain.data, plain.size);
}

/** A frame of each form and size. */
struct sample {
	const struct form *form;
	struct unframer *unframer;
	struct span plain, frame;
};

static void with_sample(size_t form, size_t size, void (*check)(const struct sample *sample))
{
	AUTO_FREE uint8_t *plain = malloc(size), *frame = malloc(ROOM);
	AUTO_UNFRAMER struct unframer *unframer = NULL;
	struct sample sample = { &forms[form], NULL, { plain, size }, { frame, 0 } };

	make_plain(plain, size);
	sample.frame.size = pack(&forms[form], sample.plain, frame);
	assert_int_equal(unframer_new(forms[form].method, &unframer, NULL), 0);
	sample.unframer = unframer;
	check(&sample);
	/* Whatever came before does not matter. */
	accepted(unframer, &forms[form], sample.frame, sample.plain);
}

static void with_samples(size_t count, void (*check)(const struct sample *sample))
{
	for (size_t i = 0; i < COUNT(forms) * count; i++)
		with_sample(i % COUNT(forms), sizes[i / COUNT(forms)], check);
}

static void check_good(const struct sample *sample)
{
	accepted(sample->unframer, sample->form, sample->frame, sample->plain);
}

static void test_good(void **unused)
{
	(void)unused;
	with_samples(COUNT(sizes), check_good);
}

/* Each length of a short frame, and the first and last ones of a long one. */
static void check_cut(const struct sample *sample)
{
	for (size_t size = 0; size < sample->frame.size; size++) {
		if (size == 200 && sample->frame.size > 400)
			size = sample->frame.size - 200;
		refused(sample->unframer, sample->form, (struct span){ sample->frame.data, size },
			sample->plain.size, "");
	}
}

static void test_cut(void **unused)
{
	(void)unused;
	with_samples(COUNT(sizes), check_cut);
}

static void check_longer(const struct sample *sample)
{
	static const char *const tails[] = { "\0", "x", "\0\0\0\xff\xff", "\3", "(\xb5/\xfd",
		"P*M\x18\0\0\0\0" };
	static const size_t lengths[] = { 1, 1, 5, 2, 4, 8 };
	AUTO_FREE uint8_t *frame = malloc(2 * ROOM);

	memcpy(frame, sample->frame.data, sample->frame.size);
	for (size_t i = 0; i < COUNT(tails); i++) {
		struct span longer = { frame, sample->frame.size + lengths[i] };

		/* An empty block with a flush: as well as none, where another follows. */
		if (i == 2 && sample->form->method == ZIP_METHOD_DEFLATE && !sample->form->last)
			continue;
		memcpy(frame + sample->frame.size, tails[i], lengths[i]);
		refused(sample->unframer, sample->form, longer, sample->plain.size, "");
	}
	memcpy(frame + sample->frame.size, frame, sample->frame.size);
	refused(sample->unframer, sample->form, (struct span){ frame, 2 * sample->frame.size },
		sample->plain.size, "");
}

static void test_longer(void **unused)
{
	(void)unused;
	with_samples(COUNT(sizes), check_longer);
}

/* It expands beyond the chunk, or not as far, by any number of bytes. */
static void check_other_size(const struct sample *sample)
{
	size_t size = sample->plain.size;

	for (size_t step = 1; step < size; step += step / 4 + 1)
		refused(sample->unframer, sample->form, sample->frame, size - step, "");
	for (size_t step = 1; step < 100000; step += step / 4 + 1)
		refused(sample->unframer, sample->form, sample->frame, size + step, "");
}

static void test_other_sizes(void **unused)
{
	(void)unused;
	with_samples(COUNT(sizes), check_other_size);
}

/* Each bit of a short frame wrong: refused, or other bytes, but as many. */
static void check_bits(const struct sample *sample)
{
	AUTO_FREE uint8_t *frame = malloc(sample->frame.size);
	struct span damaged = { frame, sample->frame.size };

	memcpy(frame, sample->frame.data, sample->frame.size);
	for (size_t i = 0; i < sample->frame.size * 8; i++) {
		struct error error = { 0 };
		int r;

		frame[i / 8] ^= (uint8_t)(1u << i % 8);
		r = unpack(
			sample->unframer, sample->form, damaged, sample->plain.size, NULL, &error);
		if (r != 0 && (r != -EBADMSG || !*error.text))
			fail_msg("%s, bit %zu: %d '%s'", sample->form->name, i, r, error.text);
		frame[i / 8] ^= (uint8_t)(1u << i % 8);
	}
}

static void test_wrong_bits(void **unused)
{
	(void)unused;
	with_samples(7, check_bits);
}

static size_t bomb(uint8_t *frame, uint64_t stated)
{
	/* 8 bytes of size, a window of 2 GiB, then run-length blocks of 128 KiB each. */
	static const uint8_t head[] = { 0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0xa8 };
	static const uint8_t block[] = { 0x02, 0x00, 0x10, 'x' };
	size_t size = sizeof(head) + 8;

	memcpy(frame, head, sizeof(head));
	put_le64(frame + sizeof(head), stated);
	for (int i = 0; i < 1000; i++, size += sizeof(block))
		memcpy(frame + size, block, sizeof(block));
	frame[size - sizeof(block)] |= 1;
	return size;
}

/* 4 KB that would become 128 MiB: whatever size they state, only a chunk's is written. */
static void test_bombs(void **unused)
{
	static const uint64_t stated[] = { 0, 4096, 131072000, UINT64_MAX - 3, UINT64_MAX };
	AUTO_UNFRAMER struct unframer *unframer = NULL;
	uint8_t frame[5000];

	(void)unused;
	assert_int_equal(unframer_new(ZIP_METHOD_ZSTD, &unframer, NULL), 0);
	for (size_t i = 0; i < COUNT(stated); i++)
		refused(unframer, &forms[0], (struct span){ frame, bomb(frame, stated[i]) }, 4096,
			"zstd frame");
}

/* The flush that ends a piece: without it, with less of it, and at another bit. */
static void test_flushes(void **unused)
{
	static const struct {
		const char *name;
		int flush;
		bool fits;
	} rows[] = {
		{ "full", Z_FULL_FLUSH, true },
		/* It differs only in what the next chunk may look back to. */
		{ "sync", Z_SYNC_FLUSH, true },
		{ "end", Z_FINISH, false },
	};
	AUTO_UNFRAMER struct unframer *unframer = NULL;
	uint8_t plain[5000], frame[6000];

	(void)unused;
	assert_int_equal(unframer_new(ZIP_METHOD_DEFLATE, &unframer, NULL), 0);
	for (size_t size = 4980; size < 5000; size++)
		for (size_t i = 0; i < COUNT(rows); i++) {
			struct span all = { plain, size }, packed = { frame, 0 };

			make_plain(plain, size);
			packed.size = deflate_raw(all, rows[i].flush, frame, sizeof(frame));
			if (rows[i].fits)
				accepted(unframer, &forms[1], packed, all);
			else
				refused(unframer, &forms[1], packed, size, "");
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_longer),
		cmocka_unit_test(test_other_sizes),
		cmocka_unit_test(test_wrong_bits),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_flushes),
	};

	return cmocka_run_group_tests_name("unframe", tests, NULL, NULL);
}
