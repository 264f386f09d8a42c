/* SPDX-License-Identifier: Apache-2.0 */
/* A slot's record: what is read is written such that the same is read again. */
#include "format/state.h"
#include "fuzz.h"

static void check_state(const struct state *state)
{
	must(state->payload_count <= STATE_PAYLOADS_MAX);
	must(state->attempt_count <= STATE_ATTEMPTS_MAX);
	must(!state->version || strlen(state->version) <= STATE_TEXT_MAX);
	must(!state->source || strlen(state->source) <= STATE_TEXT_MAX);
	for (size_t i = 0; i < state->payload_count; i++)
		must(*state->payloads[i].role && is_printable(state->payloads[i].role));
	for (size_t i = 0; i < state->attempt_count; i++)
		must(is_printable(state->attempts[i].how)
			&& is_printable(state->attempts[i].boot_id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_STATE struct state state = { 0 };
	AUTO_STATE struct state again = { 0 };
	AUTO_BUFFER struct buffer once = { 0 };
	AUTO_BUFFER struct buffer twice = { 0 };
	struct error error = { 0 };

	if (!succeeded(state_parse((struct span){ data, size }, &state, &error), &error))
		return 0;
	must(size <= STATE_SIZE_MAX);
	check_state(&state);
	must(state_format(&state, &once, &error) == 0);
	must(once.size <= STATE_SIZE_MAX);
	must(state_parse(span_of(&once), &again, &error) == 0);
	must(again.installed == state.installed && again.complete == state.complete);
	must(again.payload_count == state.payload_count && again.bad == state.bad);
	must(memcmp(again.payloads, state.payloads, sizeof(state.payloads)) == 0);
	must(again.attempt_count == state.attempt_count);
	must(state_format(&again, &twice, &error) == 0);
	must(span_equal(span_of(&once), span_of(&twice)));
	return 0;
}
