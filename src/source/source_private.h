/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

struct error;
struct source;
struct source_options;

/**
 * Opens a path, or standard input for "-". Regular files and block devices are seekable; a pipe is
 * waited for without blocking a cancellation. *ret belongs to the caller.
 */
int file_open(const char *path, const struct source_options *options, struct source **ret,
	struct error *error);

/**
 * Opens an http:// or https:// URL: see source_open(). It is read ahead on a thread, while the
 * functions of `options` are called on the caller's. *ret belongs to the caller.
 */
int ahead_open(const char *url, const struct source_options *options, struct source **ret,
	struct error *error);

/** A URL for messages: source_display(). */
char *http_display_url(const char *url);

/**
 * source_clone() of what http_open() opened, with other functions to call. `options` is copied;
 * what it points to must outlive the clone.
 */
int http_clone(struct source *source, const struct source_options *options, struct source **ret,
	struct error *error);

/** The same without reading ahead. */
int http_open(const char *url, const struct source_options *options, struct source **ret,
	struct error *error);
