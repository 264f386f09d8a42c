/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "source/http_head.h"

#define U HTTP_TOTAL_UNKNOWN

static void test_range(void **state)
{
	static const struct {
		const char *text;
		bool valid;
		struct http_range range;
	} cases[] = {
		{ "bytes 0-0/1", true, { true, 0, 0, 1 } },
		{ "bytes 5-99/100", true, { true, 5, 99, 100 } },
		{ "BYTES 5-9/100", true, { true, 5, 9, 100 } },
		{ "bytes 5-9/*", true, { true, 5, 9, U } },
		{ "bytes */100", true, { false, 0, 0, 100 } },
		{ "bytes 0-9223372036854775806/9223372036854775807", true,
			{ true, 0, INT64_MAX - 1, INT64_MAX } },
		{ "", false, { 0 } },
		{ "bytes", false, { 0 } },
		{ "bytes ", false, { 0 } },
		{ "bytes */*", false, { 0 } },
		{ "bytes */", false, { 0 } },
		{ "bytes 0-0", false, { 0 } },
		{ "bytes 0-0/", false, { 0 } },
		{ "bytes 0-0/0", false, { 0 } },
		{ "bytes 0-100/100", false, { 0 } },
		{ "bytes 5-4/100", false, { 0 } },
		{ "bytes -4/100", false, { 0 } },
		{ "bytes 5-/100", false, { 0 } },
		{ "bytes +5-9/100", false, { 0 } },
		{ "bytes 5-9/100 ", false, { 0 } },
		{ "bytes 5-9/100, 1-2/100", false, { 0 } },
		{ "bytes  5-9/100", false, { 0 } },
		{ "bytes 0x5-9/100", false, { 0 } },
		{ "items 0-1/2", false, { 0 } },
		{ "bytes 0-1/9223372036854775808", false, { 0 } },
		{ "bytes 0-1/18446744073709551617", false, { 0 } },
		{ "bytes 0-1/99999999999999999999999999", false, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_range range = { 0 };

		assert_int_equal(http_parse_range(cases[i].text, &range), cases[i].valid);
		assert_int_equal(range.satisfied, cases[i].range.satisfied);
		assert_int_equal(range.first, cases[i].range.first);
		assert_int_equal(range.last, cases[i].range.last);
		assert_int_equal(range.total, cases[i].range.total);
	}
}

#define DAY "Tue, 07 Nov 2023 "

static void test_strong_validator(void **state)
{
	static const struct {
		const char *etag, *modified, *date;
		const char *validator;
	} cases[] = {
		{ "\"x\"", "", "", "\"x\"" },
		{ "\"\"", "", "", "\"\"" },
		{ "W/\"x\"", "", "", NULL },
		{ "x", "", "", NULL },
		{ "\"", "", "", NULL },
		{ "\"a b\"", "", "", NULL },
		{ "\"a\"b\"", "", "", NULL },
		/* with any ETag, the date is not to be used */
		{ "W/\"x\"", DAY "10:00:00 GMT", DAY "12:00:00 GMT", NULL },
		{ "\"x\"", DAY "10:00:00 GMT", DAY "12:00:00 GMT", "\"x\"" },
		{ "", DAY "10:00:00 GMT", DAY "10:01:00 GMT", DAY "10:00:00 GMT" },
		{ "", DAY "10:00:00 GMT", DAY "10:00:59 GMT", NULL },
		{ "", DAY "10:00:00 GMT", DAY "09:00:00 GMT", NULL },
		{ "", DAY "10:00:00 GMT", "", NULL },
		{ "", "\"" DAY "10:00:00 GMT", DAY "12:00:00 GMT", NULL }, /* looks like an ETag */
		{ "", "yesterday", DAY "10:00:59 GMT", NULL },
		{ "", "", DAY "10:00:59 GMT", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_head head = { 0 };
		const char *validator;

		strcpy(head.etag, cases[i].etag);
		strcpy(head.last_modified, cases[i].modified);
		strcpy(head.date, cases[i].date);
		validator = http_strong_validator(&head);
		if (cases[i].validator)
			assert_string_equal(validator, cases[i].validator);
		else
			assert_null(validator);
	}
}

static void test_retry_after(void **state)
{
	static const struct {
		const char *text, *date;
		uint64_t ms;
	} cases[] = {
		{ "", "", 0 }, { "0", "", 0 }, { "2", "", 2000 }, { "99999999999", "", 86400000 },
		{ "999999999999999999999999", "", 0 }, { "-1", "", 0 }, { "soon", "", 0 },
		{ DAY "10:00:05 GMT", DAY "10:00:00 GMT", 5000 },
		{ DAY "10:00:00 GMT", DAY "10:00:05 GMT", 0 },
		{ DAY "10:00:05 GMT", "", 3000 }, /* by our clock */
	};
	time_t now = 1699351202; /* DAY 10:00:02 */

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_head head = { 0 };

		strcpy(head.retry_after, cases[i].text);
		strcpy(head.date, cases[i].date);
		assert_int_equal(http_retry_after(&head, now), cases[i].ms);
	}
}

static void feed(struct http_head *head, const char *line)
{
	http_head_line(head, line, strlen(line));
}

static void test_lines(void **state)
{
	static struct http_head head;
	char line[HTTP_FIELD_MAX + 64];

	(void)state;
	feed(&head, "HTTP/1.1 200 OK\r\n");
	feed(&head, "etag:\"x\"  \r\n");
	feed(&head, "CONTENT-LENGTH: \t 12\r\n");
	feed(&head, "ETags: \"y\"\r\n");
	feed(&head, "nonsense\r\n");
	feed(&head, "\r\n");
	assert_int_equal(head.status, 200);
	assert_string_equal(head.etag, "\"x\"");
	assert_string_equal(head.content_length, "12");
	assert_null(head.bad);

	/* The same twice is one; two different dates are the last one's; two lengths are an attack.
	 */
	feed(&head, "Content-Length: 12\r\n");
	feed(&head, "Date: a\r\n");
	feed(&head, "Date: b\r\n");
	assert_string_equal(head.date, "b");
	assert_null(head.bad);
	feed(&head, "Content-Length: 13\r\n");
	assert_string_equal(head.bad, "Content-Length");

	/* A new status line starts over. */
	feed(&head, "HTTP/1.0 404\r\n");
	assert_int_equal(head.status, 404);
	assert_null(head.bad);
	assert_string_equal(head.etag, "");
	feed(&head, "HTTP/1.1\r\n");
	assert_int_equal(head.status, 0);

	memset(line, 'x', sizeof(line));
	memcpy(line, "ETag: ", 6);
	http_head_line(&head, line, 6 + HTTP_FIELD_MAX - 1);
	assert_null(head.bad);
	assert_int_equal(strlen(head.etag), HTTP_FIELD_MAX - 1);
	http_head_line(&head, line, 6 + HTTP_FIELD_MAX);
	assert_string_equal(head.bad, "ETag");
}

static void test_control_characters(void **state)
{
	static const struct {
		const char *line;
		size_t size;
		bool bad;
	} cases[] = {
		{ "Last-Modified: a\rb\r\n", 20, true }, /* it would go into If-Range */
		{ "ETag: \"a\nb\"\r\n", 13, true },
		{ "Date: a\0b\r\n", 11, true },
		{ "Location: /a\x7f"
		  "b\r\n",
			16, true },
		{ "Content-Encoding: gzip,\tbr\r\n", 28, false },
		{ "Location: /\xc3\xbc\r\n", 15, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http_head head = { 0 };

		http_head_line(&head, cases[i].line, cases[i].size);
		assert_int_equal(head.bad != NULL, cases[i].bad);
	}
}

static void test_status(void **state)
{
	static const unsigned transient[] = { 408, 425, 429, 500, 502, 503, 504, 520, 530, 598 };
	unsigned count = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(transient) / sizeof(*transient); i++)
		assert_true(http_status_is_transient(transient[i]));
	for (unsigned status = 0; status < 1000; status++)
		count += http_status_is_transient(status);
	assert_int_equal(count, 7 + 79);
	assert_true(http_status_is_redirect(308));
	assert_false(http_status_is_redirect(304));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_strong_validator),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_control_characters),
		cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
