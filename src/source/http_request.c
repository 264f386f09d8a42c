/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "source/http_private.h"
#include "source/source_private.h"

static int failed(struct http *http, const char *what, struct error *error)
{
	return error_failed(error, ENOMEM, "libcurl cannot %s for '%s'", what, http->source.name);
}

char *http_display(CURLU *url)
{
	AUTO_CURLU CURLU *clean = curl_url_dup(url);
	AUTO_CURL_TEXT char *query = NULL, *text = NULL;

	if (!clean)
		return NULL;
	/* Signed URLs have their secret in the query. */
	curl_url_get(clean, CURLUPART_QUERY, &query, 0);
	curl_url_set(clean, CURLUPART_USER, NULL, 0);
	curl_url_set(clean, CURLUPART_PASSWORD, NULL, 0);
	curl_url_set(clean, CURLUPART_OPTIONS, NULL, 0);
	curl_url_set(clean, CURLUPART_QUERY, NULL, 0);
	curl_url_set(clean, CURLUPART_FRAGMENT, NULL, 0);
	if (curl_url_get(clean, CURLUPART_URL, &text, 0) != CURLUE_OK)
		return NULL;
	return text_format("%s%s", text, query ? "?..." : "");
}

char *http_display_url(const char *url)
{
	AUTO_CURLU CURLU *parsed = curl_url();

	if (!parsed || curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK)
		return NULL;
	return http_display(parsed);
}

static int on_connected(void *context, char *remote, char *local, int remote_port, int local_port)
{
	struct http *http = context;

	(void)remote, (void)local, (void)remote_port, (void)local_port;
	http->exchange.connected = true;
	http->exchange.last_byte = clock_ms();
	return CURL_PREREQFUNC_OK;
}

/* libcurl's word for a span; it copies the bytes. */
static struct curl_blob blob_of(struct span bytes)
{
	return (struct curl_blob){ (void *)bytes.data, bytes.size, CURL_BLOB_COPY };
}

/* What every request has in common. */
int http_configure(struct http *http, struct error *error)
{
	const struct source_options *options = &http->options;
	struct curl_blob ca = blob_of(options->ca);
	CURL *easy = http->easy;
	bool ok = true;

#define SET(option, value) (ok = ok && curl_easy_setopt(easy, option, value) == CURLE_OK)
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	/* HTTP/2 would buffer a whole flow control window while we are slow. */
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_USERAGENT, "bistable");
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_BUFFERSIZE, (long)HTTP_BUFFER_SIZE);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_timeout * 1000);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	if (options->ca_file || options->ca.size > 0)
		SET(CURLOPT_CAPATH, NULL);
	if (options->ca.size > 0)
		SET(CURLOPT_CAINFO_BLOB, &ca);
	else if (options->ca_file)
		SET(CURLOPT_CAINFO, options->ca_file);
	SET(CURLOPT_ERRORBUFFER, http->exchange.message);
	SET(CURLOPT_PREREQFUNCTION, on_connected);
	SET(CURLOPT_PREREQDATA, http);
	SET(CURLOPT_HEADERFUNCTION, http_on_header);
	SET(CURLOPT_HEADERDATA, http);
	SET(CURLOPT_WRITEFUNCTION, http_on_body);
	SET(CURLOPT_WRITEDATA, http);
#undef SET
	return ok ? 0 : failed(http, "be set up", error);
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
	AUTO_CURL_TEXT char *x = NULL, *y = NULL;

	return curl_url_get(a, part, &x, CURLU_DEFAULT_PORT) == CURLUE_OK
	       && curl_url_get(b, part, &y, CURLU_DEFAULT_PORT) == CURLUE_OK
	       && strcasecmp(x, y) == 0;
}

/* Secrets are for the server that the URL names, not for where it redirects to. */
static bool is_own_server(const struct http *http)
{
	return same_part(http->origin, http->target, CURLUPART_SCHEME)
	       && same_part(http->origin, http->target, CURLUPART_HOST)
	       && same_part(http->origin, http->target, CURLUPART_PORT);
}

static int add_field(struct http *http, const char *field, struct error *error)
{
	struct curl_slist *fields = field ? curl_slist_append(http->fields, field) : NULL;

	if (!fields)
		return error_memory(error);
	http->fields = fields;
	return 0;
}

static int set_fields(struct http *http, bool own_server, struct error *error)
{
	const struct text_list *headers = http->options.headers;
	int r;

	curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(TAKE(http->fields));
	r = add_field(http, "Accept-Encoding: identity", error);
	if (r < 0)
		return r;
	if (http->validator) {
		AUTO_FREE char *field = text_format("If-Range: %s", http->validator);

		r = add_field(http, field, error);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; own_server && headers && i < headers->count; i++) {
		r = add_field(http, headers->items[i], error);
		if (r < 0)
			return r;
	}
	return curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, http->fields) == CURLE_OK
		       ? 0
		       : failed(http, "set headers", error);
}

/* The range to ask for; NULL when out of memory. */
static char *make_range(const struct http *http)
{
	const struct source_options *options = &http->options;
	uint64_t start = http->exchange.start, end = 0;

	if (!http->known && options->first > 0)
		end = start + options->first;
	/* Without a validator all is read again and compared: that takes one answer. */
	else if (!http->known || http->validator)
		end = http->source.wanted_end > start ? http->source.wanted_end
		      : options->stride > 0           ? start + options->stride
						      : 0;
	/* Nothing, or an overflow. */
	if (end <= start)
		return text_format("%" PRIu64 "-", start);
	return text_format("%" PRIu64 "-%" PRIu64, start, end - 1);
}

static bool set_blob(CURL *easy, CURLoption option, struct span bytes)
{
	struct curl_blob blob = blob_of(bytes);

	return curl_easy_setopt(easy, option, bytes.size > 0 ? &blob : NULL) == CURLE_OK;
}

/* A certificate of ours is shown to the URL's own server only. */
static bool set_certificate(struct http *http, bool own_server)
{
	static const struct source_options nothing;
	const struct source_options *options = own_server ? &http->options : &nothing;
	bool in_memory = options->cert.size > 0;

	return set_blob(http->easy, CURLOPT_SSLCERT_BLOB, options->cert)
	       && set_blob(http->easy, CURLOPT_SSLKEY_BLOB, options->key)
	       && curl_easy_setopt(
			  http->easy, CURLOPT_SSLCERT, in_memory ? NULL : options->client_cert)
			  == CURLE_OK
	       && curl_easy_setopt(
			  http->easy, CURLOPT_SSLKEY, in_memory ? NULL : options->client_key)
			  == CURLE_OK;
}

/* The URL, its range and what may be shown to its server. */
static int set_request(struct http *http, struct error *error)
{
	bool own_server = is_own_server(http), ok;
	AUTO_CURL_TEXT char *url = NULL;
	AUTO_FREE char *range = make_range(http);
	CURL *easy = http->easy;

	if (!range || curl_url_get(http->target, CURLUPART_URL, &url, 0) != CURLUE_OK)
		return error_memory(error);
	ok = curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK
	     && curl_easy_setopt(easy, CURLOPT_RANGE, http->ranges ? range : NULL) == CURLE_OK
	     && set_certificate(http, own_server);
	return ok ? set_fields(http, own_server, error) : failed(http, "set the URL", error);
}

static int set_where(struct http *http, struct error *error)
{
	AUTO_FREE char *target = http_display(http->target);

	free(TAKE(http->where));
	if (!target)
		return error_memory(error);
	http->where = http->redirects == 0
			      ? text_format("'%s'", target)
			      : text_format("'%s' (redirected to '%s')", http->source.name, target);
	return http->where ? 0 : error_memory(error);
}

int http_send(struct http *http, struct error *error)
{
	struct http_exchange *exchange = &http->exchange;
	int r;

	memset(exchange, 0, sizeof(*exchange));
	exchange->start = http->validator ? http->offset : 0;
	exchange->last_byte = clock_ms();
	r = set_where(http, error);
	if (r < 0)
		return r;
	r = set_request(http, error);
	if (r == 0)
		r = http_resolve(http, error);
	if (r < 0 || exchange->ended)
		return r;
	http->source.requests++;
	if (curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
		return failed(http, "start the request", error);
	exchange->active = true;
	return 0;
}

int http_start(struct http *http, struct error *error)
{
	CURLU *target = curl_url_dup(http->origin);
	int r;

	if (!target)
		return error_memory(error);
	curl_url_cleanup(http->target);
	http->target = target;
	http->redirects = 0;
	r = http_begin_again(http, error);
	return r < 0 ? r : http_send(http, error);
}

/* An absolute Location drops user and password: on the same server they still hold. */
static void keep_user(struct http *http)
{
	AUTO_CURL_TEXT char *user = NULL, *password = NULL, *own = NULL;

	if (!is_own_server(http) || curl_url_get(http->target, CURLUPART_USER, &own, 0) == CURLUE_OK
		|| curl_url_get(http->origin, CURLUPART_USER, &user, 0) != CURLUE_OK)
		return;
	curl_url_set(http->target, CURLUPART_USER, user, 0);
	if (curl_url_get(http->origin, CURLUPART_PASSWORD, &password, 0) == CURLUE_OK)
		curl_url_set(http->target, CURLUPART_PASSWORD, password, 0);
}

int http_follow(struct http *http, struct error *error)
{
	AUTO_CURLU CURLU *next = curl_url_dup(http->target);
	AUTO_CURL_TEXT char *from = NULL, *to = NULL;
	const char *location = http->exchange.head.location;

	if (!next)
		return error_memory(error);
	if (++http->redirects > HTTP_REDIRECTS_MAX)
		return http_fault(http, HTTP_FAULT_PERMANENT, ELOOP,
			"%s: more than %u redirects; check the URL", http->where,
			HTTP_REDIRECTS_MAX);
	if (curl_url_set(next, CURLUPART_URL, location, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
		return http_fault(http, HTTP_FAULT_PERMANENT, EPROTO,
			"%s redirects to something that is not a URL", http->where);
	if (curl_url_get(http->target, CURLUPART_SCHEME, &from, 0) != CURLUE_OK
		|| curl_url_get(next, CURLUPART_SCHEME, &to, 0) != CURLUE_OK)
		return error_memory(error);
	if (strcasecmp(to, "https") != 0 && strcasecmp(to, "http") != 0)
		return http_fault(http, HTTP_FAULT_PERMANENT, EPROTO,
			"%s redirects to a '%.20s:' URL, which is refused: only http and https "
			"are followed",
			http->where, to);
	if (strcasecmp(from, "https") == 0 && strcasecmp(to, "http") == 0)
		return http_fault(http, HTTP_FAULT_PERMANENT, EPROTO,
			"%s redirects from https to http, which is refused", http->where);
	curl_url_cleanup(http->target);
	http->target = TAKE(next);
	keep_user(http);
	return http_send(http, error);
}

void http_stop(struct http *http)
{
	int running;

	if (!http->exchange.active)
		return;
	/* A body that has come in full leaves a connection that can be used again. */
	if (http->exchange.left == 0 && !http->exchange.ended)
		curl_multi_perform(http->multi, &running);
	curl_multi_remove_handle(http->multi, http->easy);
	http->exchange.active = false;
}
