/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/text.h"

struct error;
struct source;

#define SOURCE_TOTAL_TIMEOUT 900u /* seconds, unless told otherwise */
#define SOURCE_SIZE_UNKNOWN  UINT64_MAX

/** How sources are reached. Borrowed for the life of the source. */
struct source_options {
	unsigned connect_timeout; /* seconds; 0: 10 */
	unsigned stall_timeout;   /* seconds without a byte; 0: 30 */
	unsigned total_timeout;   /* seconds for the whole transfer, retries included; 0:
				     SOURCE_TOTAL_TIMEOUT */
	unsigned retry_ms;        /* the first back-off, in milliseconds; 0: 500 */
	/*
	 * Bytes that are asked for with one HTTP request, for who may stop long before the end.
	 * 0: all that follow; they are read ahead.
	 */
	uint32_t stride;
	uint32_t first;      /* bytes that are asked for with the first HTTP request; 0: as above */
	const char *ca_file; /* PEM, trusted instead of the system's CAs; NULL: those */
	const char *client_cert;         /* PEM, shown to the URL's own host only; NULL: none */
	const char *client_key;          /* PEM; NULL: inside client_cert */
	const struct text_list *headers; /* "K: V" lines to send; NULL: none */
	/** What the three files hold, for who can open none; empty: they are opened. */
	struct span ca, cert, key;
	/**
	 * The addresses of a host: text for CURLOPT_RESOLVE, *ret is owned by the caller. -EAGAIN:
	 * not found (now), or not within `timeout_ms`. NULL: libcurl looks it up. May be called by
	 * any thread, one at a time.
	 */
	int (*resolve)(void *context, const char *host, unsigned timeout_ms, char **ret,
		struct error *error);
	/** Told of every retry, in one sentence. May be NULL. */
	void (*note)(void *context, const char *text);
	/** Polled while waiting; true ends the transfer with -ECANCELED. May be NULL. */
	bool (*cancelled)(void *context);
	void *context;
};

/** One kind of place that bundles come from. */
struct source_ops {
	/** Reads up to `size` bytes at the current position; *ret_got = 0 only at the end. */
	int (*read)(struct source *source, void *data, size_t size, size_t *ret_got,
		struct error *error);
	/** Moves the position. Only called when `seekable`. */
	int (*seek)(struct source *source, uint64_t offset, struct error *error);
	/** Another reader of the same content, at its start. NULL: there cannot be one. */
	int (*clone)(struct source *source, struct source **ret, struct error *error);
	void (*close)(struct source *source);
};

/** A stream of bytes, at some places with random access. */
struct source {
	const struct source_ops *ops;
	char *name;        /* the URL (without credentials and query) or path, for messages */
	uint64_t size;     /* bytes, or SOURCE_SIZE_UNKNOWN */
	uint64_t position; /* of the next byte that is read, kept by the operations */
	uint64_t requests; /* HTTP requests so far, kept by the operations */
	/*
	 * Set by who reads: bytes from there on are not asked for with the next HTTP requests; 0:
	 * as the options say. Reading on is fine.
	 */
	uint64_t wanted_end;
	bool seekable; /* every position can be reached, and all of them show the same content */
};

/** `spec`, but a relative path made absolute. Owned by the caller; NULL when out of memory. */
char *source_absolute(const char *spec);

/**
 * `spec` as messages and records have it: without what may be a secret (credentials, query). Owned
 * by the caller. NULL: not a URL, or out of memory.
 */
char *source_display(const char *spec);

/**
 * Opens `spec`: an http:// or https:// URL, "-" (standard input), or a path. `options` may be NULL
 * (all defaults). After a successful open, `size` and `seekable` are known; an HTTP source has had
 * its response head. *ret belongs to the caller (source_close).
 * Errors of opening and reading: -EINVAL (usage: URL, header), -ECANCELED, -ETIMEDOUT
 * (total_timeout), -ESTALE (the content changed on the server), -EACCES and -ENOENT (HTTP 401, 403,
 * 404, 410), -EPROTO (another HTTP or TLS failure that waiting does not change), other errno. What
 * may pass by waiting is tried again until total_timeout.
 */
int source_open(const char *spec, const struct source_options *options, struct source **ret,
	struct error *error);

/**
 * Another reader of a seekable source, at its start; its requests, retries and position are its
 * own. For a thread of its own; the functions of the options are then called there, too. *ret
 * belongs to the caller and is closed before `source`.
 */
int source_clone(struct source *source, struct source **ret, struct error *error);

/** Whether `spec` is a URL rather than a path or standard input. */
bool source_is_url(const char *spec);

/**
 * Loads what HTTP needs of libraries and their files, once: for a process that can open none later.
 */
int source_warm_up(struct error *error);

/** The file of CAs that libcurl reads unless told otherwise; NULL: none. */
const char *source_usual_ca_file(void);

/** The descriptor that a source which is a file is read by; borrowed. */
int source_descriptor(const struct source *source);

/** NULL is fine. */
void source_close(struct source *source);

static inline void source_closep(struct source **source)
{
	source_close(*source);
}

#define AUTO_SOURCE __attribute__((cleanup(source_closep)))
