/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

struct bistable_event;

/** Where notes, warnings and counters go. */
enum progress_style {
	PROGRESS_QUIET,   /* nowhere */
	PROGRESS_LIVE,    /* a line on the terminal, written again and again; notes above it */
	PROGRESS_PLAIN,   /* now and then a line on standard error */
	PROGRESS_LINES,   /* JSON objects on standard output as they come */
	PROGRESS_COLLECT, /* notes and warnings kept for the JSON document at the end */
};

/** The counters of one moment. */
struct progress_point {
	char phase[16];
	uint64_t done;    /* bytes */
	uint64_t total;   /* bytes, UINT64_MAX when unknown */
	uint64_t fetched; /* bytes */
	uint64_t written; /* bytes */
	uint64_t kept;    /* bytes */
	uint64_t copied;  /* bytes */
	uint64_t requests;
};

/** Turns the library's events into output. */
struct progress {
	enum progress_style style;
	bool verbose;
	bool started;   /* `last` holds a point */
	bool shown;     /* `last` has been shown */
	bool line_open; /* the terminal's line is in use */
	struct progress_point last;
	double shown_at;     /* seconds, monotonic */
	uint64_t shown_done; /* bytes */
	double rate;         /* bytes per second, smoothed */
	json_t *said;        /* an object: the notes and warnings so far; each is told once */
	json_t *notes;       /* PROGRESS_COLLECT: arrays of strings */
	json_t *warnings;
};

void progress_init(struct progress *progress, enum progress_style style, bool verbose);
/** The `event` of struct bistable_options, with the progress as its context. */
void progress_event(void *progress, const struct bistable_event *event);
/** Shows what is still held back and leaves the terminal's line; before any other output. */
void progress_finish(struct progress *progress);
/** Adds what was collected to a document, as "notes" and "warnings". */
void progress_add_collected(struct progress *progress, json_t *document);
void progress_done(struct progress *progress);
