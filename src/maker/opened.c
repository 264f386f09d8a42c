/* SPDX-License-Identifier: Apache-2.0 */
#include "maker/opened.h"

#include <string.h>

#include "base/error.h"
#include "source/source.h"

int opened_open(const char *file, const struct source_options *options, struct opened *ret,
	struct error *error)
{
	AUTO_OPENED struct opened opened = { 0 };
	int r;

	r = source_open(file, options, &opened.source, error);
	if (r == 0)
		r = input_init(&opened.input, opened.source, error);
	if (r < 0)
		return r;
	*ret = opened;
	opened = (struct opened){ 0 };
	return 0;
}

int opened_failed(const struct opened *opened, int r, struct error *error)
{
	if (r < 0 && error && !strstr(error->text, opened->source->name))
		error_prefix(error, "'%s'", opened->source->name);
	return r;
}

void opened_done(struct opened *opened)
{
	input_done(&opened->input);
	source_close(opened->source);
	*opened = (struct opened){ 0 };
}
