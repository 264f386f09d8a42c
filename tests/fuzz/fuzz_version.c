/* SPDX-License-Identifier: Apache-2.0 */
/* Two versions, with a newline between them. */
#include "base/cleanup.h"
#include "base/text.h"
#include "format/version.h"
#include "fuzz.h"

static int sign_of(int value)
{
	return (value > 0) - (value < 0);
}

/* `text` with `mark` behind it. */
static int with_mark(const char *text, char mark)
{
	AUTO_FREE char *longer = text_format("%s%c", text, mark);

	must(longer);
	return sign_of(version_compare(longer, text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *a = text_of(data, size);
	const char *newline = strchr(a, '\n');
	AUTO_FREE char *b = strdup(newline ? newline + 1 : "");

	must(b);
	if (newline)
		a[newline - a] = '\0';
	must(sign_of(version_compare(a, b)) == -sign_of(version_compare(b, a)));
	must(version_compare(a, a) == 0);
	/* Right behind a '~' it is not skipped before the end is looked for. */
	must(with_mark(a, '_') == (*a && a[strlen(a) - 1] == '~'));
	/* Right behind a '-' it sorts below: the end is not looked for in between. */
	must(with_mark(a, '^') == (*a && a[strlen(a) - 1] == '-' ? -1 : 1));
	/* The second of two is no suffix of its own. */
	must(strchr(a, '~') || with_mark(a, '~') < 0);
	return 0;
}
