/* SPDX-License-Identifier: Apache-2.0 */
#include "source/inflate.h"

#include <errno.h>
#include <stdlib.h>

#include <isa-l/igzip_lib.h>

#include "base/error.h"

struct inflate {
	struct inflate_state state;
};

int inflate_new(struct inflate **ret, struct error *error)
{
	struct inflate *inflate = malloc(sizeof(*inflate));

	if (!inflate)
		return error_memory(error);
	inflate_reset(inflate);
	*ret = inflate;
	return 0;
}

void inflate_reset(struct inflate *inflate)
{
	isal_inflate_init(&inflate->state);
	inflate->state.crc_flag = ISAL_DEFLATE;
}

int inflate_run(struct inflate *inflate, struct span in, void *out, size_t size,
	struct inflate_step *ret, struct error *error)
{
	struct inflate_state *state = &inflate->state;
	uint32_t in_size = in.size > INT32_MAX ? INT32_MAX : (uint32_t)in.size;
	uint32_t out_size = size > INT32_MAX ? INT32_MAX : (uint32_t)size;

	state->next_in = (uint8_t *)in.data; /* ISA-L only reads it */
	state->avail_in = in_size;
	state->next_out = out;
	state->avail_out = out_size;
	if (isal_inflate(state) != ISAL_DECOMP_OK)
		return error_failed(error, EBADMSG, "the compressed data is damaged");
	*ret = (struct inflate_step){
		.consumed = in_size - state->avail_in,
		.produced = out_size - state->avail_out,
		.ended = state->block_state == ISAL_BLOCK_FINISH,
	};
	/* ISA-L reads up to 8 bytes ahead into its bit buffer and does not give them back. */
	if (ret->ended)
		ret->unread = (size_t)state->read_in_length / 8;
	return 0;
}

void inflate_free(struct inflate *inflate)
{
	free(inflate);
}
