/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "source/http_private.h"

/* A redirect's own body is read, to keep the connection, but not for long. */
#define REDIRECT_BODY_MAX (64u << 10)
/* A broken TLS handshake is an accident or a misconfiguration: this many tell. */
#define HANDSHAKES_MAX 3u

int http_fault(struct http *http, enum http_fault fault, int number, const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	http->exchange.fault = fault;
	return error_failed(&http->reason, number, "%s", text);
}

static void changed(struct http *http)
{
	http_fault(http, HTTP_FAULT_PERMANENT, ESTALE,
		"the bundle at '%s' changed while it was being downloaded; run the install again",
		http->source.name);
}

static void invalid(struct http *http, const char *what)
{
	http_fault(http, HTTP_FAULT_PERMANENT, EPROTO, "%s sends %s: its HTTP server is broken",
		http->where, what);
}

/* The request goes out again without Range. */
static void without_range(struct http *http)
{
	http->ranges = false;
	http_fault(http, HTTP_FAULT_AGAIN, EAGAIN, "%s does not serve ranges", http->where);
}

static void refuse_status(struct http *http)
{
	const struct http_head *head = &http->exchange.head;
	unsigned status = head->status;
	static const struct {
		unsigned status;
		int number;
		const char *hint;
	} hints[] = {
		{ 401, EACCES, ": it wants credentials; give them with --header or in the URL" },
		{ 403, EACCES, ": access is refused; check the URL and the credentials" },
		{ 404, ENOENT, ": there is nothing at this URL; check it" },
		{ 407, EACCES, ": the proxy wants credentials; check the proxy variables" },
		{ 410, ENOENT, ": it is gone; check the URL" },
	};

	if (http_status_is_transient(status)) {
		http->retry_after = http_retry_after(head, time(NULL));
		http_fault(http, HTTP_FAULT_TRANSIENT, EAGAIN, "%s answers HTTP %u", http->where,
			status);
		return;
	}
	for (size_t i = 0; i < sizeof(hints) / sizeof(*hints); i++) {
		if (hints[i].status == status) {
			http_fault(http, HTTP_FAULT_PERMANENT, hints[i].number,
				"%s answers HTTP %u%s", http->where, status, hints[i].hint);
			return;
		}
	}
	http_fault(http, HTTP_FAULT_PERMANENT, EPROTO, "%s answers HTTP %u; check the URL",
		http->where, status);
}

/* Where the body lies in the whole, by its head; false if that is not consistent. */
static bool body_range(struct http *http, struct http_range *ret)
{
	const struct http_head *head = &http->exchange.head;
	struct http_range range = { .total = HTTP_TOTAL_UNKNOWN };
	curl_off_t length = -1;
	uint64_t digits;

	if (*head->content_length && !text_to_u64(head->content_length, INT64_MAX, &digits)) {
		invalid(http, "an invalid Content-Length");
		return false;
	}
	/* libcurl's value heeds Transfer-Encoding. */
	curl_easy_getinfo(http->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	if (head->status == 206) {
		if (!http->ranges || !http_parse_range(head->content_range, &range)
			|| !range.satisfied) {
			invalid(http, "a partial answer without a valid Content-Range");
			return false;
		}
		if (length >= 0 && (uint64_t)length != range.last - range.first + 1) {
			invalid(http, "a Content-Length that contradicts its Content-Range");
			return false;
		}
		http->exchange.left = range.last - range.first + 1;
	} else {
		http->exchange.left = length >= 0 ? (uint64_t)length : UINT64_MAX;
		range.total = http->exchange.left;
	}
	*ret = range;
	return true;
}

/* The first answer tells what is to be had. */
static void learn(struct http *http, const struct http_range *range)
{
	const struct http_head *head = &http->exchange.head;
	const char *validator = http_strong_validator(head);

	if (head->status == 206 && range->first != 0) {
		invalid(http, "another range than was asked for");
		return;
	}
	if (head->status == 206 && range->total == HTTP_TOTAL_UNKNOWN) {
		without_range(http);
		return;
	}
	http->ranges = head->status == 206;
	if (http->ranges && validator) {
		http->validator = strdup(validator);
		if (!http->validator) {
			http_fault(http, HTTP_FAULT_PERMANENT, ENOMEM, "out of memory");
			return;
		}
	} else if (sha256_new(&http->running, NULL) < 0 || sha256_new(&http->again, NULL) < 0) {
		http_fault(http, HTTP_FAULT_PERMANENT, ENOMEM, "out of memory");
		return;
	}
	http->source.size = range->total == HTTP_TOTAL_UNKNOWN ? SOURCE_SIZE_UNKNOWN : range->total;
	http->source.seekable = http->validator != NULL;
	http->known = true;
	http->exchange.accepted = true;
}

/* A later answer must be of the same content. */
static void match(struct http *http, const struct http_range *range)
{
	const struct http_exchange *exchange = &http->exchange;
	bool size_known = http->source.size != SOURCE_SIZE_UNKNOWN;
	bool same;

	if (http->validator)
		same = exchange->head.status == 206 && range->total == http->source.size
		       && http_same_validator(&exchange->head, http->validator);
	else
		same = (!size_known || range->total == HTTP_TOTAL_UNKNOWN
			       || range->total == http->source.size)
		       && range->total >= http->again_left;
	if (!same)
		changed(http);
	else if (range->first != (http->validator ? exchange->start : 0))
		invalid(http, "another range than was asked for");
	else
		http->exchange.accepted = true;
}

/* 416 for "bytes=0-": there is no first byte, or the server has a peculiar idea of ranges. */
static void judge_unsatisfied(struct http *http)
{
	struct http_range range;

	if (http->validator) {
		changed(http);
	} else if (http->known || !http->ranges) {
		refuse_status(http);
	} else if (http_parse_range(http->exchange.head.content_range, &range) && range.total == 0
		   && !range.satisfied) {
		http->source.size = 0;
		http->known = http->complete = true;
		http->exchange.accepted = true;
		http->exchange.left = UINT64_MAX;
	} else {
		without_range(http);
	}
}

void http_judge(struct http *http)
{
	struct http_exchange *exchange = &http->exchange;
	const struct http_head *head = &exchange->head;
	struct http_range range;

	http->handshakes = 0;
	if (head->bad) {
		http_fault(http, HTTP_FAULT_PERMANENT, EPROTO,
			"%s sends an oversized, damaged or ambiguous '%s': its HTTP server is "
			"broken",
			http->where, head->bad);
	} else if (http_status_is_redirect(head->status) && *head->location) {
		exchange->redirect = true;
	} else if (head->status == 416) {
		judge_unsatisfied(http);
	} else if (head->status != 200 && head->status != 206) {
		refuse_status(http);
	} else if (*head->content_encoding && strcasecmp(head->content_encoding, "identity") != 0) {
		http_fault(http, HTTP_FAULT_PERMANENT, EOPNOTSUPP,
			"%s sends the bundle with Content-Encoding '%.40s', which was not asked "
			"for; switch it off on the server",
			http->where, head->content_encoding);
	} else if (body_range(http, &range)) {
		if (http->known)
			match(http, &range);
		else
			learn(http, &range);
	}
}

/*
 * The server's TLS alert about our certificate, or the lack of one (until TLS 1.2 a "handshake
 * failure"). With TLS 1.3 it comes after the handshake, as an error of reading that only its text
 * tells from a broken connection.
 */
static bool is_client_refused(const struct http_exchange *exchange)
{
	const char *alert = strstr(exchange->message, " alert ");

	return exchange->result == CURLE_SSL_CLIENTCERT
	       || (alert
		       && (strstr(alert, "certificate") || strstr(alert, "unknown ca")
			       || strstr(alert, "handshake failure")
			       || strstr(alert, "access denied")));
}

/* Whether waiting may help against a failed transfer. */
static enum http_fault classify(const struct http *http)
{
	long tunnel = 0;

	if (is_client_refused(&http->exchange))
		return HTTP_FAULT_PERMANENT;
	switch (http->exchange.result) {
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_PARTIAL_FILE:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_PROXY:
		return HTTP_FAULT_TRANSIENT;
	case CURLE_RECV_ERROR:
		/* A proxy's refusal of CONNECT comes as this, too. */
		curl_easy_getinfo(http->easy, CURLINFO_HTTP_CONNECTCODE, &tunnel);
		return tunnel >= 400 && !http_status_is_transient((unsigned)tunnel)
			       ? HTTP_FAULT_PERMANENT
			       : HTTP_FAULT_TRANSIENT;
	case CURLE_SSL_CONNECT_ERROR:
		return http->handshakes < HANDSHAKES_MAX ? HTTP_FAULT_TRANSIENT
							 : HTTP_FAULT_PERMANENT;
	default:
		return HTTP_FAULT_PERMANENT;
	}
}

static const char *result_hint(const struct http_exchange *exchange)
{
	if (is_client_refused(exchange))
		return "; check client-cert and client-key";
	switch (exchange->result) {
	case CURLE_PEER_FAILED_VERIFICATION:
		return "; check the URL, ca-file and the clock";
	case CURLE_SSL_CACERT_BADFILE:
		return "; check ca-file";
	case CURLE_SSL_CERTPROBLEM:
		return "; check client-cert and client-key";
	case CURLE_UNSUPPORTED_PROTOCOL:
		return "; check the URL, this is no HTTP server";
	case CURLE_OUT_OF_MEMORY:
		/* libcurl says so of a header line over 100 KiB, too. */
		return exchange->accepted ? "" : ", or its server sends a header without end";
	default:
		return "";
	}
}

void http_judge_result(struct http *http)
{
	struct http_exchange *exchange = &http->exchange;
	const char *message = *exchange->message ? exchange->message
						 : curl_easy_strerror(exchange->result);
	enum http_fault fault;
	int number;

	http->handshakes = exchange->result == CURLE_SSL_CONNECT_ERROR ? http->handshakes + 1 : 0;
	fault = classify(http);
	number = fault == HTTP_FAULT_TRANSIENT             ? EAGAIN
		 : exchange->result == CURLE_OUT_OF_MEMORY ? ENOMEM
							   : EPROTO;

	http_fault(http, fault, number, "%s: %s%s", http->where, message, result_hint(exchange));
}

size_t http_on_header(char *data, size_t unit, size_t count, void *context)
{
	struct http *http = context;
	struct http_exchange *exchange = &http->exchange;
	size_t size = unit * count;

	exchange->last_byte = clock_ms();
	exchange->head_size += size;
	if (exchange->head_size > HTTP_HEAD_MAX) {
		invalid(http, "more than 128 KiB of headers");
		return 0;
	}
	/* Trailers come after the body and change nothing. */
	if (!exchange->accepted && !exchange->redirect)
		http_head_line(&exchange->head, data, size);
	return size;
}

int http_begin_again(struct http *http, struct error *error)
{
	int r;

	if (http->validator || http->offset == 0)
		return 0;
	/* A comparison that was itself cut short still has its digest. */
	if (http->again_left == 0) {
		r = sha256_final(http->running, http->digest, error);
		if (r < 0)
			return r;
	}
	r = sha256_reset(http->running, error);
	if (r < 0)
		return r;
	http->again_left = http->offset;
	return sha256_reset(http->again, error);
}

/* Compares the part of a body that has been received before; false: a fault is set. */
static bool compare_again(struct http *http, const char *data, size_t size)
{
	uint8_t digest[SHA256_SIZE];

	if (size == 0)
		return true;
	http->again_left -= size;
	if (sha256_update(http->again, data, size, &http->reason) < 0
		|| (http->again_left == 0
			&& sha256_final(http->again, digest, &http->reason) < 0)) {
		http->exchange.fault = HTTP_FAULT_PERMANENT;
		return false;
	}
	if (http->again_left == 0 && memcmp(digest, http->digest, sizeof(digest)) != 0) {
		changed(http);
		return false;
	}
	return true;
}

/* Hands new bytes to the waiting reader, the rest to the buffer. */
static void deliver(struct http *http, const char *data, size_t size)
{
	size_t direct = 0;

	if (http->begin == http->end) {
		http->begin = http->end = 0;
		direct = http->out_size - http->out_got;
		direct = direct < size ? direct : size;
	}
	if (direct > 0)
		memcpy(http->out + http->out_got, data, direct);
	http->out_got += direct;
	memcpy(http->buffer + http->end, data + direct, size - direct);
	http->end += size - direct;
	http->offset += size;
}

static bool take_body(struct http *http, const char *data, size_t size)
{
	struct http_exchange *exchange = &http->exchange;
	size_t again = size < http->again_left ? size : (size_t)http->again_left;

	if (size > exchange->left) {
		invalid(http, "more bytes than it announced");
		return false;
	}
	if (exchange->left != UINT64_MAX)
		exchange->left -= size;
	if (http->running && sha256_update(http->running, data, size, &http->reason) < 0) {
		exchange->fault = HTTP_FAULT_PERMANENT;
		return false;
	}
	if (!compare_again(http, data, again))
		return false;
	deliver(http, data + again, size - again);
	return true;
}

/* libcurl takes any other number than `size` for an error; 0 is always another one here. */
size_t http_on_body(char *data, size_t unit, size_t count, void *context)
{
	struct http *http = context;
	struct http_exchange *exchange = &http->exchange;
	size_t size = unit * count;

	if (size == 0)
		return 0;
	exchange->last_byte = clock_ms();
	if (!exchange->accepted && !exchange->redirect)
		http_judge(http);
	if (exchange->fault != HTTP_FAULT_NONE)
		return 0;
	if (exchange->redirect || http->complete) {
		exchange->discarded += size;
		return exchange->discarded <= REDIRECT_BODY_MAX ? size : 0;
	}
	if (size > HTTP_BUFFER_SIZE - http->end) {
		exchange->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	return take_body(http, data, size) ? size : 0;
}
