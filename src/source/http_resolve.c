/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A process that can open no file cannot look up names: it asks somebody else, and tells libcurl
 * the answer before each request.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "source/http_private.h"

#define PROXY_PORT "1080" /* libcurl's for a proxy that names none */
/* As long as libcurl keeps what it finds by itself; a failure ends it. */
#define PLACES_MS  60000u
#define PLACES_MAX 32 /* redirects may lead to ever new hosts */

static const char *const proxies[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
	"ALL_PROXY" };

static bool is_address(const char *host)
{
	struct in_addr address;

	return host[0] == '[' || inet_pton(AF_INET, host, &address) == 1;
}

/* As long as connecting may take: looking up is part of it. */
static unsigned timeout_ms(const struct http *http)
{
	uint64_t now = clock_ms(), timeout = (uint64_t)http->options.connect_timeout * 1000;
	uint64_t left = http->deadline > now ? http->deadline - now : 0;

	return (unsigned)(timeout < left ? timeout : left);
}

/* Whether libcurl knows where "+host:port:" is. */
static bool is_known(const struct http *http, const char *prefix)
{
	for (const struct curl_slist *place = http->places; place; place = place->next)
		if (strncmp(place->data, prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

/* Forgets what is old, or too much. */
static void forget_places(struct http *http)
{
	uint64_t now = clock_ms();
	int count = 0;

	for (const struct curl_slist *place = http->places; place; place = place->next)
		count++;
	if (now < http->places_until && count < PLACES_MAX)
		return;
	curl_slist_free_all(TAKE(http->places));
	http->places_until = now + PLACES_MS;
}

/* Lets libcurl know where the host is. */
static int add_place(struct http *http, const char *host, const char *port, struct error *error)
{
	AUTO_FREE char *addresses = NULL, *prefix = NULL, *place = NULL;
	struct curl_slist *places;
	int r;

	if (is_address(host))
		return 0;
	/* '+': forgotten after a minute, as what libcurl finds by itself. */
	prefix = text_format("+%s:%s:", host, port);
	if (!prefix)
		return error_memory(error);
	if (is_known(http, prefix))
		return 0;
	r = http->options.resolve(http->options.context, host, timeout_ms(http), &addresses, error);
	if (r < 0)
		return r;
	place = text_format("%s%s", prefix, addresses);
	places = place ? curl_slist_append(http->places, place) : NULL;
	if (!places)
		return error_memory(error);
	http->places = places;
	return 0;
}

static int add_host(struct http *http, CURLU *url, const char *default_port, struct error *error)
{
	AUTO_CURL_TEXT char *host = NULL, *port = NULL;

	/* Names beyond ASCII are looked up in their ASCII form. */
	if (curl_url_get(url, CURLUPART_HOST, &host, CURLU_PUNYCODE) != CURLUE_OK
		&& curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
		return 0;
	if (curl_url_get(url, CURLUPART_PORT, &port, default_port ? 0 : CURLU_DEFAULT_PORT)
			!= CURLUE_OK
		&& !default_port)
		return 0;
	return add_place(http, host, port ? port : default_port, error);
}

/* One that libcurl may go through: the environment names them. */
static int add_proxy(struct http *http, const char *value, struct error *error)
{
	AUTO_CURLU CURLU *url = curl_url();

	if (!url)
		return error_memory(error);
	if (curl_url_set(url, CURLUPART_URL, value, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME)
		!= CURLUE_OK)
		return 0;
	return add_host(http, url, PROXY_PORT, error);
}

int http_resolve(struct http *http, struct error *error)
{
	struct error why = { 0 };
	bool proxied = false;
	int r;

	if (!http->options.resolve)
		return 0;
	curl_easy_setopt(http->easy, CURLOPT_RESOLVE, NULL);
	forget_places(http);
	for (size_t i = 0; i < sizeof(proxies) / sizeof(*proxies); i++) {
		const char *value = getenv(proxies[i]);

		if (!value || !*value)
			continue;
		proxied = true;
		r = add_proxy(http, value, error);
		if (r < 0 && r != -EAGAIN)
			return r;
	}
	r = add_host(http, http->target, NULL, &why);
	if (r < 0 && r != -EAGAIN)
		return error_pass(error, &why);
	/* A proxy looks up the server by itself. */
	if (r < 0 && !proxied) {
		http_fault(http, HTTP_FAULT_TRANSIENT, EAGAIN, "%s: %s", http->where, why.text);
		http->exchange.ended = true;
		return 0;
	}
	return curl_easy_setopt(http->easy, CURLOPT_RESOLVE, http->places) == CURLE_OK
		       ? 0
		       : error_memory(error);
}
