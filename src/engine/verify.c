/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/verify.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/crc64.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "base/thread.h"
#include "engine/context.h"
#include "engine/writer.h"
#include "format/cmdline.h"
#include "machine/machine.h"

#define PIECE_CHUNKS 8u /* that a thread takes at once: their hashes are read together */
#define THREADS_MAX  4u

/** What the threads share. */
struct verify {
	struct context *context; /* but for its machine, for the caller's thread alone */
	struct partition *partition;
	const struct image *image;
	const struct verify_tree *tree; /* NULL: none */
	atomic_uint_fast64_t next;      /* chunk that nobody has taken yet */
	atomic_uint_fast64_t done;      /* bytes */
	atomic_bool stop;
};

/** One thread. */
struct checker {
	struct verify *verify;
	pthread_t thread;
	bool started;
	bool is_caller;
	uint8_t *data; /* CHUNK_SIZE bytes */
	struct hashtree *hashtree;
	int result;
	struct error error;
};

static int check_chunk(struct checker *checker, uint64_t chunk)
{
	struct verify *verify = checker->verify;
	struct machine *machine = verify->context->machine;
	uint64_t offset = chunk * CHUNK_SIZE, left = verify->image->size - offset;
	size_t size = left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE;
	int r;

	r = machine->ops->partition_read(
		machine, verify->partition, offset, checker->data, size, &checker->error);
	if (r < 0)
		return r;
	if (crc64_ecma_refl(0, checker->data, size) != verify->image->sums[chunk])
		return error_failed(&checker->error, EIO,
			"what was read back from the partition is not what was written (in the %zu "
			"bytes at offset %llu): the medium is failing",
			size, (unsigned long long)offset);
	if (checker->hashtree)
		r = hashtree_check(checker->hashtree, offset, checker->data, size, &checker->error);
	atomic_fetch_add(&verify->done, size);
	return r;
}

/* The caller's thread, which the observer belongs to, looks after the others meanwhile. */
static int attend(struct checker *checker)
{
	struct context *context = checker->verify->context;

	if (context_cancelled(context))
		return error_failed(&checker->error, ECANCELED, "interrupted while reading back");
	context_progress(context, atomic_load(&checker->verify->done));
	return 0;
}

static int check_piece(struct checker *checker, uint64_t chunk, uint64_t end)
{
	int r = 0;

	for (; r == 0 && chunk < end; chunk++) {
		if (atomic_load(&checker->verify->stop))
			return 0;
		r = checker->is_caller ? attend(checker) : 0;
		if (r == 0)
			r = check_chunk(checker, chunk);
	}
	return r;
}

static void *run(void *opaque)
{
	struct checker *checker = opaque;
	struct verify *verify = checker->verify;
	uint64_t chunks = (verify->image->size + CHUNK_SIZE - 1) / CHUNK_SIZE, chunk;

	while (checker->result == 0 && !atomic_load(&verify->stop)
		&& (chunk = atomic_fetch_add(&verify->next, PIECE_CHUNKS)) < chunks) {
		uint64_t end = chunk + PIECE_CHUNKS < chunks ? chunk + PIECE_CHUNKS : chunks;

		checker->result = check_piece(checker, chunk, end);
	}
	if (checker->result < 0)
		atomic_store(&verify->stop, true);
	return NULL;
}

static int checker_init(struct checker *checker, struct verify *verify, struct error *error)
{
	checker->verify = verify;
	checker->data = aligned_new(CHUNK_SIZE);
	if (!checker->data)
		return error_memory(error);
	if (!verify->tree)
		return 0;
	return hashtree_new(verify->context->machine, verify->partition, verify->image->size,
		verify->tree, &checker->hashtree, error);
}

static size_t count_threads(const struct image *image)
{
	uint64_t pieces = image->size / (PIECE_CHUNKS * CHUNK_SIZE);
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	size_t count = THREADS_MAX;

	if (processors >= 1 && (size_t)processors < count)
		count = (size_t)processors;
	if (pieces < count)
		count = pieces < 1 ? 1 : (size_t)pieces;
	return count;
}

int verify_image(struct context *context, struct partition *partition, const struct image *image,
	const struct verify_tree *tree, struct error *error)
{
	struct verify verify = {
		.context = context, .partition = partition, .image = image, .tree = tree
	};
	struct checker checkers[THREADS_MAX] = { 0 };
	size_t count = count_threads(image);
	int r = 0;

	context_begin_phase(context, "verify", image->size);
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = checker_init(&checkers[i], &verify, error);
		if (r == 0 && i > 0)
			r = thread_start(&checkers[i].thread, run, &checkers[i], error);
		checkers[i].started = r == 0 && i > 0;
	}
	checkers[0].is_caller = true;
	if (r == 0)
		run(&checkers[0]);
	else
		atomic_store(&verify.stop, true);
	for (size_t i = 0; i < count; i++) {
		if (checkers[i].started)
			pthread_join(checkers[i].thread, NULL);
		if (r == 0 && checkers[i].result < 0)
			r = error_pass(error, &checkers[i].error);
		hashtree_free(checkers[i].hashtree);
		free(checkers[i].data);
	}
	if (r == 0)
		context_progress(context, image->size);
	return r;
}

bool verify_tree_of_table(const struct cmdline_verity *table, struct verify_tree *ret)
{
	return cmdline_verity_tree(table, &ret->verity, &ret->start);
}

bool verify_tree_set_root(struct verify_tree *tree, const struct cmdline_verity *named)
{
	return strcmp(tree->verity.algorithm, "sha256") == 0
	       && text_unhex(named->root_hash, tree->root_hash, sizeof(tree->root_hash));
}
