/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "engine/context.h"
#include "engine/crew.h"
#include "engine/hashtree.h"
#include "engine/image.h"
#include "engine/target.h"
#include "engine/writer.h"
#include "machine/machine.h"
#include "maker/treematch.h"

#define PIECE_CHUNKS 8u /* that a thread takes at once: their hashes are read together */

/** What the threads share. */
struct verify {
	struct context *context;
	struct partition *partition;
	const struct image *image;
	uint8_t *data[CREW_MAX]; /* CHUNK_SIZE bytes for each thread */
	struct hashtree *hashtrees[CREW_MAX];
};

static uint64_t count_chunks(const struct image *image)
{
	return (image->size + CHUNK_SIZE - 1) / CHUNK_SIZE;
}

static int check_chunk(struct verify *verify, size_t hand, uint64_t chunk, uint64_t *ret_bytes,
	struct error *error)
{
	struct machine *machine = verify->context->machine;
	uint64_t offset = chunk * CHUNK_SIZE, left = verify->image->size - offset;
	size_t size = left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE;
	uint8_t *data = verify->data[hand];
	int r;

	r = machine->ops->partition_read(machine, verify->partition, offset, data, size, error);
	if (r < 0)
		return r;
	if (checksum_of(data, size) != verify->image->sums[chunk])
		return error_failed(error, EIO,
			"what was read back from the partition is not what was written (in the %zu "
			"bytes at offset %llu): the medium is failing",
			size, (unsigned long long)offset);
	*ret_bytes += size;
	return verify->hashtrees[hand]
		       ? hashtree_check(verify->hashtrees[hand], offset, data, size, error)
		       : 0;
}

static int check_piece(
	void *opaque, size_t hand, uint64_t piece, uint64_t *ret_bytes, struct error *error)
{
	struct verify *verify = opaque;
	uint64_t chunk = piece * PIECE_CHUNKS, end = count_chunks(verify->image);
	int r = 0;

	if (end - chunk > PIECE_CHUNKS)
		end = chunk + PIECE_CHUNKS;
	for (; r == 0 && chunk < end; chunk++)
		r = check_chunk(verify, hand, chunk, ret_bytes, error);
	return r;
}

static int add_hand(
	struct verify *verify, size_t hand, const struct verity_tree *tree, struct error *error)
{
	verify->data[hand] = aligned_new(CHUNK_SIZE);
	if (!verify->data[hand])
		return error_memory(error);
	if (!tree)
		return 0;
	return hashtree_new(verify->context->machine, verify->partition, verify->image->size, tree,
		&verify->hashtrees[hand], error);
}

int verify_image(struct context *context, struct partition *partition, const struct image *image,
	const struct verity_tree *tree, struct error *error)
{
	struct verify verify = { .context = context, .partition = partition, .image = image };
	const uint64_t pieces = (count_chunks(image) + PIECE_CHUNKS - 1) / PIECE_CHUNKS;
	const struct crew crew = {
		.context = context,
		.phase = "verify",
		.bytes = image->size,
		.count = pieces,
		.hands = crew_size(context, pieces),
		.work = check_piece,
		.opaque = &verify,
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < crew.hands; i++)
		r = add_hand(&verify, i, tree, error);
	if (r == 0)
		r = crew_run(&crew, error);
	for (size_t i = 0; i < crew.hands; i++) {
		hashtree_free(verify.hashtrees[i]);
		free(verify.data[i]);
	}
	return r;
}

static int read_target(void *opaque, uint64_t offset, void *data, size_t size, struct error *error)
{
	return target_read(opaque, offset, data, size, error);
}

int verify_find_tree(struct context *context, struct target *target, const struct image *image,
	const struct cmdline_verity *named, struct verity_tree *ret, bool *ret_found,
	struct error *error)
{
	const struct verity_tree seen = { .verity = image->verity, .start = image->tree };
	const struct treematch_image read = {
		.name = target_device(target),
		.size = image->size,
		.read = read_target,
		.opaque = target,
	};

	return treematch(&read, named, image->has_verity ? &seen : NULL, &context->observer.report,
		ret, ret_found, error);
}
