/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "source/http_private.h"
#include "source/source_private.h"

/* Up to here, going forward by reading is cheaper than another request. */
#define SKIP_MAX (256u << 10)
/* Up to here, reading an answer to its end is cheaper than another connection. */
#define DRAIN_MAX (64u << 10)

/* Writing to a connection that the server has closed must not kill the process. */
struct sigpipe {
	sigset_t before;
	bool pending;
};

static struct sigpipe sigpipe_hold(void)
{
	struct sigpipe hold;
	sigset_t set;

	sigpending(&set);
	hold.pending = sigismember(&set, SIGPIPE) == 1;
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, &hold.before);
	return hold;
}

static void sigpipe_release(struct sigpipe *hold)
{
	static const struct timespec none;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	/* One that was pending before is not ours to take. */
	while (!hold->pending && sigtimedwait(&set, NULL, &none) < 0 && errno == EINTR)
		;
	pthread_sigmask(SIG_SETMASK, &hold->before, NULL);
}

#define HOLD_SIGPIPE \
	CLEANUP(sigpipe_release) struct sigpipe hold_ __attribute__((unused)) = sigpipe_hold()

static bool has_bytes(const struct http *http)
{
	return http->begin < http->end || http->out_got > 0;
}

static bool is_finished(const struct http *http)
{
	return http->known
	       && (http->complete
		       || (http->source.size != SOURCE_SIZE_UNKNOWN
			       && http->offset >= http->source.size && http->again_left == 0));
}

/* Lets libcurl work; sees whether the transfer has ended. */
static int perform(struct http *http, struct error *error)
{
	struct http_exchange *exchange = &http->exchange;
	CURLMsg *message;
	int count;

	if (exchange->paused) {
		exchange->paused = false;
		curl_easy_pause(http->easy, CURLPAUSE_CONT);
	}
	if (curl_multi_perform(http->multi, &count) != CURLM_OK)
		return error_failed(
			error, EIO, "libcurl failed while downloading '%s'", http->source.name);
	while ((message = curl_multi_info_read(http->multi, &count))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		exchange->ended = true;
		exchange->result = message->data.result;
	}
	return 0;
}

/* Runs the transfer until it has brought bytes, has ended or is stalled. */
static int pump(struct http *http, struct error *error)
{
	struct http_exchange *exchange = &http->exchange;
	uint64_t stall = (uint64_t)http->options.stall_timeout * 1000;

	/* The time that the reader took is not the server's. */
	exchange->last_byte = clock_ms();
	for (;;) {
		uint64_t now;
		int r = http_check_time(http, error);

		if (r < 0)
			return r;
		r = perform(http, error);
		if (r < 0 || exchange->ended || has_bytes(http))
			return r;
		now = clock_ms();
		if (exchange->connected && now - exchange->last_byte >= stall) {
			exchange->ended = true;
			http_fault(http, HTTP_FAULT_TRANSIENT, EAGAIN, "%s sent nothing for %u s",
				http->where, http->options.stall_timeout);
			return 0;
		}
		curl_multi_poll(http->multi, NULL, 0, (int)HTTP_POLL_MS, NULL);
	}
}

/* The body has come to its regular end: is it all that was announced? */
static void judge_end(struct http *http)
{
	struct http_exchange *exchange = &http->exchange;

	if (exchange->left != 0 && exchange->left != UINT64_MAX) {
		http_fault(http, HTTP_FAULT_TRANSIENT, EAGAIN,
			"%s ended its answer at byte %" PRIu64, http->where, http->offset);
	} else if (http->again_left > 0) {
		http_fault(http, HTTP_FAULT_PERMANENT, ESTALE,
			"the bundle at '%s' became shorter while it was being downloaded; run the "
			"install again",
			http->source.name);
	} else if (!http->validator) {
		http->complete = http->source.size == SOURCE_SIZE_UNKNOWN
				 || http->offset == http->source.size;
		/* A range served in pieces cannot be put together without a validator. */
		http->ranges = http->ranges && http->complete;
	}
}

/* After a transfer: goes on with the next request, waits, is done, or fails. */
static int settle(struct http *http, struct error *error)
{
	struct http_exchange *exchange = &http->exchange;
	int r;

	if (exchange->fault == HTTP_FAULT_NONE && exchange->result == CURLE_OK
		&& !exchange->accepted && !exchange->redirect)
		http_judge(http);
	if (exchange->fault == HTTP_FAULT_NONE && exchange->redirect) {
		http_stop(http);
		r = http_follow(http, error);
		if (exchange->fault == HTTP_FAULT_NONE)
			return r;
	} else if (exchange->fault == HTTP_FAULT_NONE && exchange->result != CURLE_OK) {
		http_judge_result(http);
	} else if (exchange->fault == HTTP_FAULT_NONE) {
		judge_end(http);
	}
	http_stop(http);
	switch (exchange->fault) {
	case HTTP_FAULT_TRANSIENT:
		return http_back_off(http, error);
	case HTTP_FAULT_PERMANENT:
		return error_set(
			error, http->reason.kind, http->reason.number, "%s", http->reason.text);
	default:
		return 0;
	}
}

/* One step towards more bytes. */
static int advance(struct http *http, struct error *error)
{
	HOLD_SIGPIPE;
	int r;

	if (!http->exchange.active) {
		r = http_start(http, error);
		if (r < 0)
			return r;
	}
	if (!http->exchange.ended) {
		r = pump(http, error);
		if (r < 0 || has_bytes(http))
			return r;
	}
	return http->exchange.ended ? settle(http, error) : 0;
}

static size_t take_buffered(struct http *http, void *data, size_t size)
{
	size_t got = http->end - http->begin < size ? http->end - http->begin : size;

	memcpy(data, http->buffer + http->begin, got);
	http->begin += got;
	if (http->begin == http->end)
		http->begin = http->end = 0;
	return got;
}

static int http_read(
	struct source *source, void *data, size_t size, size_t *ret_got, struct error *error)
{
	struct http *http = (struct http *)source;
	size_t got = take_buffered(http, data, size);

	while (got == 0 && size > 0 && !is_finished(http)) {
		int r;

		http->out = data;
		http->out_size = size;
		r = advance(http, error);
		got = http->out_got;
		http->out = NULL;
		http->out_size = http->out_got = 0;
		if (r < 0)
			return r;
	}
	source->position += got;
	*ret_got = got;
	return 0;
}

/* Goes forward by reading on. */
static int skip(struct http *http, uint64_t size, struct error *error)
{
	uint8_t scratch[16 << 10];

	while (size > 0) {
		size_t got;
		int r = http_read(&http->source, scratch,
			size < sizeof(scratch) ? (size_t)size : sizeof(scratch), &got, error);

		if (r < 0)
			return r;
		if (got == 0)
			return error_failed(error, EIO, "'%s' ends too early", http->source.name);
		size -= got;
	}
	return 0;
}

static void halt(struct http *http)
{
	HOLD_SIGPIPE;

	http_stop(http);
}

static int http_seek(struct source *source, uint64_t offset, struct error *error)
{
	struct http *http = (struct http *)source;
	const struct http_exchange *exchange = &http->exchange;
	uint64_t reach = http->offset + (exchange->active ? SKIP_MAX : 0);
	int r = 0;

	if (!source->seekable || offset > source->size)
		return error_failed(error, EINVAL, "cannot seek to byte %" PRIu64 " of '%s'",
			offset, source->name);
	/* What the server was asked for ends where it ends. */
	if (exchange->active && exchange->left < reach - http->offset)
		reach = http->offset + exchange->left;
	if (offset >= source->position && offset <= reach)
		return skip(http, offset - source->position, error);
	if (exchange->active && exchange->left > 0 && exchange->left <= DRAIN_MAX)
		r = skip(http, http->offset + exchange->left - source->position, error);
	if (r < 0)
		return r;
	halt(http);
	/* What has come since the last failure ends its row. */
	if (http->offset > http->progress)
		http->row = 0;
	http->begin = http->end = 0;
	http->offset = http->progress = source->position = offset;
	return 0;
}

static void http_close(struct source *source)
{
	struct http *http = (struct http *)source;
	HOLD_SIGPIPE;

	http_stop(http);
	curl_easy_cleanup(http->easy);
	curl_multi_cleanup(http->multi);
	curl_slist_free_all(http->fields);
	curl_slist_free_all(http->places);
	curl_url_cleanup(http->origin);
	curl_url_cleanup(http->target);
	sha256_free(http->running);
	sha256_free(http->again);
	free(http->where);
	free(http->validator);
	free(http->buffer);
	free(source->name);
	free(http);
	curl_global_cleanup();
}

static int http_clone_source(struct source *source, struct source **ret, struct error *error)
{
	return http_clone(source, &((struct http *)source)->options, ret, error);
}

static const struct source_ops http_ops = {
	.read = http_read,
	.seek = http_seek,
	.clone = http_clone_source,
	.close = http_close,
};

/* A header that we send ourselves, or that would change what is received. */
static bool is_reserved(const char *line, size_t length)
{
	static const char *const names[] = { "Range", "If-Range", "Accept-Encoding", "Connection",
		"Content-Length", "TE", "Transfer-Encoding" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strlen(names[i]) == length && strncasecmp(names[i], line, length) == 0)
			return true;
	return false;
}

/* The value may be a secret: it is never shown. */
static int check_header(const char *line, struct error *error)
{
	size_t length = strcspn(line, ":");
	bool valid = length > 0 && line[length] == ':'
		     && line[length + 1 + strspn(line + length + 1, " ")];

	for (size_t i = 0; i < length; i++)
		valid = valid
			&& (isalnum((unsigned char)line[i]) || strchr("!#$%&'*+-.^_`|~", line[i]));
	for (const char *p = line; *p; p++)
		valid = valid && ((unsigned char)*p >= ' ' || *p == '\t') && *p != 0x7f;
	if (!valid)
		return error_set(error, ERROR_USAGE, EINVAL,
			"a header to send is not of the form 'Name: value'");
	if (is_reserved(line, length))
		return error_set(error, ERROR_USAGE, EINVAL,
			"the header '%.*s' cannot be given: the download sets it itself",
			(int)length, line);
	return 0;
}

static int check_options(struct http *http, const char *url, struct error *error)
{
	const struct text_list *headers = http->options.headers;

	for (size_t i = 0; headers && i < headers->count; i++) {
		int r = check_header(headers->items[i], error);

		if (r < 0)
			return r;
	}
	if (curl_url_set(http->origin, CURLUPART_URL, url, 0) != CURLUE_OK)
		return error_set(error, ERROR_USAGE, EINVAL,
			"the URL of the bundle is not valid: check host, port and characters "
			"that need %%-encoding");
	http->source.name = http_display(http->origin);
	return http->source.name ? 0 : error_memory(error);
}

static void fill_options(struct source_options *options)
{
	options->connect_timeout = options->connect_timeout ?: 10;
	options->stall_timeout = options->stall_timeout ?: 30;
	options->total_timeout = options->total_timeout ?: SOURCE_TOTAL_TIMEOUT;
	options->retry_ms = options->retry_ms ?: 500;
}

int source_warm_up(struct error *error)
{
	CURL *easy;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return error_failed(error, ENOMEM, "libcurl cannot be set up");
	easy = curl_easy_init();
	curl_easy_cleanup(easy);
	return easy ? 0 : error_memory(error);
}

const char *source_usual_ca_file(void)
{
	return curl_version_info(CURLVERSION_NOW)->cainfo;
}

/* One that is not connected yet. */
static int http_new(const struct source_options *options, struct http **ret, struct error *error)
{
	struct http *http = calloc(1, sizeof(*http));

	if (!http)
		return error_memory(error);
	http->source = (struct source){ .ops = &http_ops, .size = SOURCE_SIZE_UNKNOWN };
	curl_global_init(CURL_GLOBAL_DEFAULT);
	http->options = *options;
	fill_options(&http->options);
	http->ranges = true;
	http->deadline = clock_ms() + (uint64_t)http->options.total_timeout * 1000;
	http->multi = curl_multi_init();
	http->easy = curl_easy_init();
	http->buffer = malloc(HTTP_BUFFER_SIZE);
	if (!http->multi || !http->easy || !http->buffer) {
		http_close(&http->source);
		return error_memory(error);
	}
	*ret = http;
	return 0;
}

int http_clone(struct source *source, const struct source_options *options, struct source **ret,
	struct error *error)
{
	const struct http *from = (const struct http *)source;
	AUTO_SOURCE struct source *clone = NULL;
	struct http *http;
	int r;

	r = http_new(options, &http, error);
	if (r < 0)
		return r;
	clone = &http->source;
	clone->size = source->size;
	clone->seekable = source->seekable;
	clone->name = strdup(source->name);
	http->known = true;
	http->deadline = from->deadline;
	http->origin = curl_url_dup(from->origin);
	http->validator = strdup(from->validator);
	if (!clone->name || !http->origin || !http->validator)
		return error_memory(error);
	r = http_configure(http, error);
	if (r < 0)
		return r;
	*ret = TAKE(clone);
	return 0;
}

int http_open(const char *url, const struct source_options *options, struct source **ret,
	struct error *error)
{
	AUTO_SOURCE struct source *source = NULL;
	struct http *http;
	int r;

	r = http_new(options, &http, error);
	if (r < 0)
		return r;
	source = &http->source;
	http->origin = curl_url();
	if (!http->origin)
		return error_memory(error);
	r = check_options(http, url, error);
	if (r == 0)
		r = http_configure(http, error);
	while (r == 0 && !has_bytes(http) && !is_finished(http))
		r = advance(http, error);
	if (r < 0)
		return r;
	*ret = TAKE(source);
	return 0;
}
