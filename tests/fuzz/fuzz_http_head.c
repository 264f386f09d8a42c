/* SPDX-License-Identifier: Apache-2.0 */
/* The header lines of HTTP responses, and what is made of them. */
#include "base/cleanup.h"
#include "fuzz.h"
#include "source/http_head.h"

#define A_DAY_MS 86400000u

static void check_head(const struct http_head *head)
{
	const char *validator = http_strong_validator(head);
	struct http_range range;

	must(head->status <= 999);
	must(strlen(head->location) < HTTP_URL_MAX && strlen(head->etag) < HTTP_FIELD_MAX);
	must(strlen(head->content_range) < HTTP_FIELD_MAX);
	if (http_parse_range(head->content_range, &range) && range.satisfied)
		must(range.first <= range.last && range.last < range.total);
	must(http_retry_after(head, 1000000000) <= A_DAY_MS);
	/* It is sent as it stands, and the response that it comes from has it. */
	if (validator)
		must(!strpbrk(validator, "\r\n") && http_same_validator(head, validator));
	must(!http_status_is_transient(head->status) || !http_status_is_redirect(head->status));
}

/* A line is not a string: it is given with its size alone. */
static void take_line(struct http_head *head, const uint8_t *data, size_t size)
{
	AUTO_FREE char *line = malloc(size);

	must(line || size == 0);
	memcpy(line, data, size);
	http_head_line(head, line, size);
	check_head(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE struct http_head *head = calloc(1, sizeof(*head));

	must(head);
	while (size > 0) {
		const uint8_t *newline = memchr(data, '\n', size);
		size_t length = newline ? (size_t)(newline - data) + 1 : size;

		take_line(head, data, length);
		data += length;
		size -= length;
	}
	return 0;
}
