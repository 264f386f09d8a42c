/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/** The heads of HTTP responses (RFC 9110): what is taken from them, and what it means. */

#define HTTP_FIELD_MAX 1024u
#define HTTP_URL_MAX   8192u
/** All header lines of one request's answers, informational ones included. */
#define HTTP_HEAD_MAX (128u << 10)

/** One response's status and the fields that matter; an absent field is empty. */
struct http_head {
	unsigned status;
	const char *bad; /* a field that is too long, has control characters, or comes twice with
			    different values */
	char content_encoding[HTTP_FIELD_MAX];
	char content_length[HTTP_FIELD_MAX];
	char content_range[HTTP_FIELD_MAX];
	char date[HTTP_FIELD_MAX];
	char etag[HTTP_FIELD_MAX];
	char last_modified[HTTP_FIELD_MAX];
	char retry_after[HTTP_FIELD_MAX];
	char location[HTTP_URL_MAX];
};

/** Takes in one line; a status line starts a new head. */
void http_head_line(struct http_head *head, const char *line, size_t size);

#define HTTP_TOTAL_UNKNOWN UINT64_MAX

/** A Content-Range (RFC 9110 §14.4). */
struct http_range {
	bool satisfied;       /* false: the form without a range, of a 416 */
	uint64_t first, last; /* both included */
	uint64_t total;       /* or HTTP_TOTAL_UNKNOWN */
};

/** False if `text` is not a valid one in bytes. */
bool http_parse_range(const char *text, struct http_range *ret);

/**
 * What If-Range may say for this response (RFC 9110 §13.1.5, §8.8.2.2): its strong ETag; without
 * any ETag, a Last-Modified at least 60 s before its Date; else NULL. Borrows from `head`.
 */
const char *http_strong_validator(const struct http_head *head);

/** False when `head` shows that the content is not the one that `validator` came with. */
bool http_same_validator(const struct http_head *head, const char *validator);

/** Milliseconds that Retry-After asks for, seen at `now`; 0 when it does not. At most a day. */
uint64_t http_retry_after(const struct http_head *head, time_t now);

/** True for a status that may go away by waiting. */
bool http_status_is_transient(unsigned status);

/** True for a status that names another place in Location. */
bool http_status_is_redirect(unsigned status);
