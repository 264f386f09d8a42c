/* SPDX-License-Identifier: Apache-2.0 */
#include "source/http_head.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/text.h"

/* A clock difference that servers and their caches may have: RFC 9110 §8.8.2.2. */
#define STRONG_AGE 60

#define RETRY_AFTER_MAX (24u * 60 * 60)

#define FIELD(name, member, unique)                                                                \
	{                                                                                          \
		name, offsetof(struct http_head, member), sizeof(((struct http_head *)0)->member), \
			unique                                                                     \
	}

static const struct field {
	const char *name;
	size_t offset, capacity;
	bool unique; /* two different values make the response useless */
} fields[] = {
	FIELD("Content-Encoding", content_encoding, true),
	FIELD("Content-Length", content_length, true),
	FIELD("Content-Range", content_range, true),
	FIELD("Date", date, false),
	FIELD("ETag", etag, true),
	FIELD("Last-Modified", last_modified, false),
	FIELD("Location", location, true),
	FIELD("Retry-After", retry_after, false),
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* RFC 9110 §5.5: such values are dangerous to pass on. */
static bool has_control_character(const char *value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
			return true;
	return false;
}

static void take_field(
	struct http_head *head, const struct field *field, const char *value, size_t size)
{
	char *kept = (char *)head + field->offset;
	bool differs = *kept && (strlen(kept) != size || memcmp(kept, value, size) != 0);

	if (size >= field->capacity || has_control_character(value, size)
		|| (differs && field->unique)) {
		head->bad = field->name;
		return;
	}
	memcpy(kept, value, size);
	kept[size] = '\0';
}

static void take_status(struct http_head *head, const char *line, size_t size)
{
	const char *space = memchr(line, ' ', size);
	const char *end = line + size;

	memset(head, 0, sizeof(*head));
	while (space && space < end && *space == ' ')
		space++;
	for (int i = 0; space && i < 3 && space < end && isdigit((unsigned char)*space); i++)
		head->status = head->status * 10 + (unsigned)(*space++ - '0');
}

void http_head_line(struct http_head *head, const char *line, size_t size)
{
	const char *colon;
	size_t length;

	while (size > 0 && is_blank(line[size - 1]))
		size--;
	if (size >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		take_status(head, line, size);
		return;
	}
	colon = memchr(line, ':', size);
	if (!colon)
		return;
	length = (size_t)(colon - line);
	colon++;
	while (colon < line + size && is_blank(*colon))
		colon++;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (strlen(fields[i].name) == length
			&& strncasecmp(fields[i].name, line, length) == 0)
			take_field(head, &fields[i], colon, size - (size_t)(colon - line));
}

/* Digits, at most what a file offset can be. */
static bool take_number(const char **text, uint64_t *ret)
{
	const char *p = *text;
	uint64_t value = 0;

	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(value, 10, &value)
			|| __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)
			|| value > INT64_MAX)
			return false;
	*text = p;
	*ret = value;
	return true;
}

static bool take_char(const char **text, char c)
{
	if (**text != c)
		return false;
	++*text;
	return true;
}

bool http_parse_range(const char *text, struct http_range *ret)
{
	struct http_range range = { .total = HTTP_TOTAL_UNKNOWN };

	if (strncasecmp(text, "bytes ", 6) != 0)
		return false;
	text += 6;
	if (!take_char(&text, '*')) {
		range.satisfied = true;
		if (!take_number(&text, &range.first) || !take_char(&text, '-')
			|| !take_number(&text, &range.last))
			return false;
	}
	if (!take_char(&text, '/'))
		return false;
	if (!(range.satisfied && take_char(&text, '*')) && !take_number(&text, &range.total))
		return false;
	if (*text || range.last < range.first || (range.satisfied && range.last >= range.total))
		return false;
	*ret = range;
	return true;
}

static bool is_strong_etag(const char *text)
{
	size_t length = strlen(text);

	if (length < 2 || text[0] != '"' || text[length - 1] != '"')
		return false;
	for (size_t i = 1; i < length - 1; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c <= 0x20 || c == '"' || c == 0x7f)
			return false;
	}
	return true;
}

const char *http_strong_validator(const struct http_head *head)
{
	time_t date, modified;

	if (*head->etag)
		return is_strong_etag(head->etag) ? head->etag : NULL;
	/* In quotes it would be taken for an ETag. */
	if (!*head->last_modified || head->last_modified[0] == '"' || !*head->date)
		return NULL;
	date = curl_getdate(head->date, NULL);
	modified = curl_getdate(head->last_modified, NULL);
	if (date < 0 || modified < 0 || modified > date - STRONG_AGE)
		return NULL;
	return head->last_modified;
}

bool http_same_validator(const struct http_head *head, const char *validator)
{
	/* An answer to If-Range with a date may leave out Last-Modified (RFC 9110 §15.3.7). */
	if (validator[0] == '"')
		return strcmp(head->etag, validator) == 0;
	return !*head->last_modified || strcmp(head->last_modified, validator) == 0;
}

uint64_t http_retry_after(const struct http_head *head, time_t now)
{
	uint64_t seconds;
	time_t until, date;

	if (!*head->retry_after)
		return 0;
	if (text_to_u64(head->retry_after, UINT64_MAX, &seconds))
		return 1000 * (seconds < RETRY_AFTER_MAX ? seconds : RETRY_AFTER_MAX);
	until = curl_getdate(head->retry_after, NULL);
	/* By the server's clock: ours may be wrong. */
	date = *head->date ? curl_getdate(head->date, NULL) : -1;
	if (date < 0)
		date = now;
	if (until <= date)
		return 0;
	seconds = (uint64_t)(until - date);
	return 1000 * (seconds < RETRY_AFTER_MAX ? seconds : RETRY_AFTER_MAX);
}

bool http_status_is_transient(unsigned status)
{
	/* 520 to 598 are what proxies and CDNs say of a server that does not answer them. */
	return status == 408 || status == 425 || status == 429 || status == 500 || status == 502
	       || status == 503 || status == 504 || (status >= 520 && status <= 598);
}

bool http_status_is_redirect(unsigned status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}
