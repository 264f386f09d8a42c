/* SPDX-License-Identifier: Apache-2.0 */
#include "source/source.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "source/source_private.h"

static const struct source_options defaults;

/* "scheme://" (RFC 3986 §3.1): no such path exists by accident. */
static bool has_scheme(const char *spec)
{
	size_t length = 0;

	while (isalnum((unsigned char)spec[length])
		|| (spec[length] && strchr("+-.", spec[length])))
		length++;
	return length > 0 && isalpha((unsigned char)spec[0])
	       && strncmp(spec + length, "://", 3) == 0;
}

bool source_is_url(const char *spec)
{
	return strncasecmp(spec, "http://", 7) == 0 || strncasecmp(spec, "https://", 8) == 0;
}

int source_open(const char *spec, const struct source_options *options, struct source **ret,
	struct error *error)
{
	if (!options)
		options = &defaults;
	if (source_is_url(spec))
		return options->stride > 0 ? http_open(spec, options, ret, error)
					   : ahead_open(spec, options, ret, error);
	if (has_scheme(spec))
		return error_set(error, ERROR_USAGE, EINVAL,
			"'%.*s' is not a kind of URL that bundles are fetched from; give an "
			"http:// or https:// URL, a path, or '-' for standard input",
			(int)strcspn(spec, ":") + 3, spec);
	return file_open(spec, options, ret, error);
}

char *source_display(const char *spec)
{
	if (source_is_url(spec))
		return http_display_url(spec);
	return strdup(strcmp(spec, "-") == 0 ? "standard input" : spec);
}

char *source_absolute(const char *spec)
{
	AUTO_FREE char *folder = NULL;

	if (*spec == '/' || strcmp(spec, "-") == 0 || has_scheme(spec))
		return strdup(spec);
	folder = getcwd(NULL, 0);
	return folder ? text_format("%s/%s", folder, spec) : strdup(spec);
}

int source_clone(struct source *source, struct source **ret, struct error *error)
{
	return source->ops->clone(source, ret, error);
}

void source_close(struct source *source)
{
	if (source)
		source->ops->close(source);
}
