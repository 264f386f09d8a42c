/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <signal.h>

#include <curl/curl.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "crypto/sha256.h"
#include "source/http_head.h"
#include "source/source.h"

#define HTTP_BUFFER_SIZE   (256u << 10)
#define HTTP_REDIRECTS_MAX 10u
#define HTTP_POLL_MS       200u /* how late a cancellation may be noticed */

/** What went wrong with a request. */
enum http_fault {
	HTTP_FAULT_NONE,
	HTTP_FAULT_AGAIN,     /* to be sent again at once, in another form */
	HTTP_FAULT_TRANSIENT, /* may go away by waiting */
	HTTP_FAULT_PERMANENT,
};

/** One request and its answer; a redirect starts the next one. */
struct http_exchange {
	bool active;    /* the transfer is in the multi handle */
	bool connected; /* the request is being sent: from here on, silence is a stall */
	bool paused;    /* libcurl holds bytes until there is room */
	bool accepted;  /* the answer's body is wanted */
	bool redirect;  /* the answer names another place */
	bool ended;
	CURLcode result;
	enum http_fault fault;
	uint64_t start;     /* position that was asked for */
	uint64_t left;      /* body bytes still to come, UINT64_MAX if unknown */
	uint64_t last_byte; /* time of the last sign of life, ms */
	uint64_t discarded; /* bytes of a redirect's body */
	size_t head_size;   /* bytes of header lines */
	struct http_head head;
	char message[CURL_ERROR_SIZE];
};

/** A source that is an HTTP resource. */
struct http {
	struct source source;
	struct source_options options; /* with its defaults filled in */
	CURLM *multi;
	CURL *easy;    /* one for all requests: it keeps the connection */
	CURLU *origin; /* the URL as it was given */
	CURLU *target; /* where redirects have led to */
	char *where;   /* both, for messages */
	unsigned redirects;
	struct curl_slist *fields; /* of the current request */
	struct curl_slist *places; /* where its hosts are, when we look them up */
	uint64_t places_until;     /* ms: then they are looked up again */
	struct http_exchange exchange;

	bool known;        /* an answer has told what follows */
	bool ranges;       /* the server is asked for ranges */
	bool complete;     /* the last byte has been received */
	char *validator;   /* for If-Range; NULL: after a break the content is read again */
	uint64_t offset;   /* of the next byte that is wanted from the server */
	uint64_t progress; /* `offset` at the last failure */

	/* Without a validator: the digest of what was received tells whether it is still the same.
	 */
	struct sha256 *running; /* of [0, offset) */
	struct sha256 *again;   /* of what is read again */
	uint8_t digest[SHA256_SIZE];
	uint64_t again_left; /* bytes to be read again and compared */

	uint8_t *buffer; /* HTTP_BUFFER_SIZE bytes */
	size_t begin, end;
	uint8_t *out; /* the reader's own buffer while it waits, else NULL */
	size_t out_size, out_got;

	uint64_t deadline;    /* ms */
	unsigned failures;    /* in all */
	unsigned row;         /* in a row, without progress */
	unsigned handshakes;  /* of TLS that failed in a row */
	bool last_try;        /* a Retry-After beyond the deadline has been cut short */
	uint64_t retry_after; /* ms, of the last failure */
	struct error reason;  /* the last failure */
};

static inline void curl_freep(char **text)
{
	curl_free(*text);
}

#define AUTO_CURL_TEXT CLEANUP(curl_freep)

DEFINE_CLEANUP(curlu_done, CURLU *, curl_url_cleanup)

#define AUTO_CURLU CLEANUP(curlu_done)

/** Sets exchange.fault and http->reason. Returns -number. */
int http_fault(struct http *http, enum http_fault fault, int number, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* http_request.c: requests and libcurl */

/** Sets the easy handle's options that are the same for every request. */
int http_configure(struct http *http, struct error *error);
/** Sends the request for `offset` to where `target` points. */
int http_send(struct http *http, struct error *error);
/** Starts over at the original URL: http_send() for the next byte that is wanted. */
int http_start(struct http *http, struct error *error);
/** Goes where the redirect says, or sets a fault. */
int http_follow(struct http *http, struct error *error);
/** Ends the transfer, if one is active. */
void http_stop(struct http *http);
/**
 * Looks up the hosts of the next request where libcurl cannot: its server, and proxies. A failure
 * is a fault of the exchange. 0 or -ENOMEM.
 */
int http_resolve(struct http *http, struct error *error);
/** A URL for messages, without credentials and query. Owned by the caller; NULL: out of memory. */
char *http_display(CURLU *url);

/* http_answer.c: what an answer means */

/** Judges the answer's head: accepted, redirect, or a fault. */
void http_judge(struct http *http);
/** Turns a failed transfer into a fault. */
void http_judge_result(struct http *http);
/** CURLOPT_WRITEFUNCTION */
size_t http_on_body(char *data, size_t unit, size_t count, void *context);
/** CURLOPT_HEADERFUNCTION */
size_t http_on_header(char *data, size_t unit, size_t count, void *context);
/** Prepares comparing what is read again, when there is no validator. */
int http_begin_again(struct http *http, struct error *error);

/* http_retry.c: waiting */

/** 0, -ECANCELED, or -ETIMEDOUT when the deadline has passed. */
int http_check_time(struct http *http, struct error *error);
/** After a transient fault: waits until the next attempt, or gives up. */
int http_back_off(struct http *http, struct error *error);
