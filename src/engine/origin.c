/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/origin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "engine/context.h"
#include "format/state.h"
#include "machine/machine.h"
#include "source/source.h"

static char *secret_path(const struct context *context, enum slot slot)
{
	return text_format(
		"%s/slot-%c.source", context->config.state_dir, slot == SLOT_A ? 'a' : 'b');
}

static void keep_secret(struct context *context, const char *path, const char *source)
{
	struct machine *machine = context->machine;
	const struct span content = { (const uint8_t *)source, strlen(source) };
	struct error why = { 0 };

	if (machine->ops->file_replace(machine, path, content, true, &why) < 0)
		report_warning(&context->observer.report,
			"The bundle's address is not kept (%s): 'bistable repair' has to be told "
			"it",
			why.text);
}

int origin_keep(struct context *context, enum slot slot, const char *source, struct state *state,
	struct error *error)
{
	AUTO_FREE char *path = secret_path(context, slot), *whole = source_absolute(source);
	char *display = whole ? source_display(whole) : NULL;

	if (!path || !display)
		return error_memory(error);
	free(state->source);
	state->source = display;
	state->source_private = source_is_url(whole) && strcmp(display, whole) != 0;
	if (state->source_private)
		keep_secret(context, path, whole);
	else
		context->machine->ops->file_remove(context->machine, path, NULL);
	return 0;
}

static int find_secret(struct context *context, enum slot slot, const struct state *state,
	char **ret, struct error *error)
{
	AUTO_FREE char *path = secret_path(context, slot), *display = NULL, *whole = NULL;
	struct machine *machine = context->machine;
	AUTO_BUFFER struct buffer bytes = { 0 };
	struct error why = { 0 };
	int r;

	if (!path)
		return error_memory(error);
	r = machine->ops->file_read(machine, path, STATE_TEXT_MAX, &bytes, &why);
	if (r == 0)
		r = buffer_append(&bytes, NULL, 1, error);
	if (r == -ENOMEM)
		return error_memory(error);
	whole = r == 0 ? strdup((const char *)bytes.data) : NULL;
	display = whole ? source_display(whole) : NULL;
	if (r == 0 && !display)
		return error_memory(error);
	/* It may be of another install, whose record was lost. */
	if (r < 0 || strcmp(display, state->source) != 0)
		return error_set(error, ERROR_USAGE, ENOENT,
			"slot %c came from %s and more that is kept apart, in %s, and is not there "
			"any more: name the bundle",
			slot_letter(slot), state->source, path);
	*ret = TAKE(whole);
	return 0;
}

int origin_find(struct context *context, enum slot slot, const struct state *state, char **ret,
	struct error *error)
{
	if (!state->source || !strchr(state->source, '/'))
		return error_set(error, ERROR_USAGE, EINVAL,
			"where slot %c came from is not recorded: name the bundle",
			slot_letter(slot));
	if (state->source_private)
		return find_secret(context, slot, state, ret, error);
	*ret = strdup(state->source);
	return *ret ? 0 : error_memory(error);
}
