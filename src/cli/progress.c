/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <bistable/bistable.h>

#include "cli/json.h"
#include "cli/terminal.h"

#define LIVE_INTERVAL    0.2      /* seconds between two updates of the line, or two JSON objects */
#define PLAIN_PAUSE      1.0      /* seconds at least between two plain lines */
#define PLAIN_INTERVAL   5.0      /* seconds between two plain lines when the total is unknown */
#define PLAIN_STEP       10       /* percent between two plain lines otherwise */
#define RATE_MEMORY      0.7      /* weight of the past in the shown rate */
#define TIME_LEFT_USEFUL 360000.0 /* seconds; longer is no estimate */

static double now(void)
{
	struct timespec time = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int percent(uint64_t done, uint64_t total)
{
	if (total == 0 || done >= total)
		return 100;
	return (int)((double)done * 100 / (double)total);
}

void progress_init(struct progress *progress, enum progress_style style, bool verbose)
{
	*progress = (struct progress){ .style = style, .verbose = verbose, .said = json_object() };
	if (style == PROGRESS_COLLECT) {
		progress->notes = json_array();
		progress->warnings = json_array();
	}
}

/* "1:07 left", or nothing while there is no rate to tell it from. */
static void format_left(const struct progress *progress, char *out, size_t size)
{
	double left;

	out[0] = '\0';
	if (progress->last.total == UINT64_MAX || progress->last.done >= progress->last.total
		|| progress->rate < 1)
		return;
	left = (double)(progress->last.total - progress->last.done) / progress->rate;
	if (left > TIME_LEFT_USEFUL)
		return;
	snprintf(out, size, "  %u:%02u left", (unsigned)left / 60, (unsigned)left % 60);
}

/* "212.4 MiB of 480.4 MiB  44 %" */
static void format_amount(const struct progress_point *point, char *out, size_t size)
{
	char done[16], total[16];

	terminal_size(point->done, done);
	if (point->total == UINT64_MAX) {
		snprintf(out, size, "%s", done);
		return;
	}
	terminal_size(point->total, total);
	snprintf(out, size, "%s of %s  %d %%", done, total, percent(point->done, point->total));
}

/* "1.2 GiB kept, 20.0 MiB copied, 103.0 MiB fetched, 300.0 MiB written" */
static void format_counters(const struct progress_point *point, char *out, size_t size)
{
	char kept[16], copied[16], fetched[16], written[16];
	int length = 0;

	terminal_size(point->kept, kept);
	terminal_size(point->copied, copied);
	terminal_size(point->fetched, fetched);
	terminal_size(point->written, written);
	if (point->kept > 0 || point->copied > 0)
		length = snprintf(out, size, "%s kept, %s copied, ", kept, copied);
	snprintf(out + length, size - (size_t)length, "%s fetched, %s written", fetched, written);
}

static void show_live(struct progress *progress)
{
	char amount[64], rate[24] = "", left[32], counters[96], line[256];
	size_t columns = terminal_columns(stderr);

	format_amount(&progress->last, amount, sizeof(amount));
	if (progress->rate >= 1) {
		char speed[16];

		terminal_size((uint64_t)progress->rate, speed);
		snprintf(rate, sizeof(rate), "  %s/s", speed);
	}
	format_left(progress, left, sizeof(left));
	format_counters(&progress->last, counters, sizeof(counters));
	snprintf(line, sizeof(line), "%-7s %s%s%s  (%s)", progress->last.phase, amount, rate, left,
		counters);
	if (strlen(line) >= columns)
		line[columns - 1] = '\0'; /* a wrapped line could not be rewritten */
	terminal_clear_line(stderr);
	terminal_print(stderr, PAINT_NONE, "%s", line);
	fflush(stderr);
	progress->line_open = true;
}

static void show_plain(struct progress *progress)
{
	char amount[64], counters[96];

	format_amount(&progress->last, amount, sizeof(amount));
	terminal_print(stderr, PAINT_NONE, "%s: %s", progress->last.phase, amount);
	if (progress->verbose) {
		format_counters(&progress->last, counters, sizeof(counters));
		fprintf(stderr, " (%s)", counters);
	}
	fputc('\n', stderr);
}

static void show_json(struct progress *progress)
{
	const struct progress_point *point = &progress->last;
	struct bistable_error ignored;

	json_write_line(
		json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "event", "progress",
			"phase", json_text(point->phase), "done", json_size(point->done), "total",
			json_size(point->total), "fetched", json_size(point->fetched), "written",
			json_size(point->written), "kept", json_size(point->kept), "copied",
			json_size(point->copied), "requests", json_size(point->requests)),
		&ignored);
}

static void show(struct progress *progress, double time)
{
	double passed = time - progress->shown_at;

	if (passed > 0 && progress->last.done >= progress->shown_done) {
		double rate = (double)(progress->last.done - progress->shown_done) / passed;

		progress->rate = progress->rate > 0
					 ? RATE_MEMORY * progress->rate + (1 - RATE_MEMORY) * rate
					 : rate;
	}
	progress->shown = true;
	progress->shown_at = time;
	progress->shown_done = progress->last.done;
	if (progress->style == PROGRESS_LIVE)
		show_live(progress);
	else if (progress->style == PROGRESS_PLAIN)
		show_plain(progress);
	else
		show_json(progress);
}

/* Whether enough has happened since the last point that was shown. */
static bool is_due(const struct progress *progress, double time)
{
	const struct progress_point *point = &progress->last;

	if (progress->style != PROGRESS_PLAIN)
		return time - progress->shown_at >= LIVE_INTERVAL;
	if (point->total == UINT64_MAX)
		return time - progress->shown_at >= PLAIN_INTERVAL;
	return time - progress->shown_at >= PLAIN_PAUSE
	       && percent(point->done, point->total) / PLAIN_STEP
			  > percent(progress->shown_done, point->total) / PLAIN_STEP;
}

/* The end of a phase is always shown, even if nobody knew it was the end when it came. */
static void end_phase(struct progress *progress)
{
	if (progress->started && !progress->shown)
		show(progress, now());
	if (progress->line_open)
		fputc('\n', stderr);
	progress->line_open = false;
	progress->started = false;
}

static void count(struct progress *progress, const struct bistable_event *event)
{
	bool first = !progress->started || strcmp(progress->last.phase, event->phase) != 0;
	double time = now();

	if (first)
		end_phase(progress);
	else if (progress->last.done == event->done && progress->last.total == event->total)
		return;
	snprintf(progress->last.phase, sizeof(progress->last.phase), "%s", event->phase);
	progress->last.done = event->done;
	progress->last.total = event->total;
	progress->last.fetched = event->fetched;
	progress->last.written = event->written;
	progress->last.kept = event->kept;
	progress->last.copied = event->copied;
	progress->last.requests = event->requests;
	progress->shown = false;
	if (first) {
		progress->started = true;
		progress->rate = 0;
		progress->shown_at = time;
		progress->shown_done = event->done;
	}
	if (first || event->done == event->total || is_due(progress, time))
		show(progress, time);
}

static void say(struct progress *progress, const struct bistable_event *event)
{
	bool warning = event->kind == BISTABLE_WARNING;
	struct bistable_error ignored;

	if (json_object_get(progress->said, event->text))
		return;
	json_object_set_new(progress->said, event->text, json_true());
	switch (progress->style) {
	case PROGRESS_QUIET:
		return;
	case PROGRESS_COLLECT:
		json_array_append_new(
			warning ? progress->warnings : progress->notes, json_text(event->text));
		return;
	case PROGRESS_LINES:
		json_write_line(json_pack("{s:s, s:o}", "event", warning ? "warning" : "note",
					"text", json_text(event->text)),
			&ignored);
		return;
	case PROGRESS_LIVE:
	case PROGRESS_PLAIN:
		break;
	}
	if (progress->line_open)
		terminal_clear_line(stderr);
	if (warning)
		terminal_print(stderr, PAINT_DOUBT, "bistable: warning: ");
	terminal_print(stderr, PAINT_NONE, "%s\n", event->text);
	if (progress->line_open)
		show_live(progress);
}

void progress_event(void *context, const struct bistable_event *event)
{
	struct progress *progress = context;

	if (event->kind != BISTABLE_PROGRESS)
		say(progress, event);
	else if (progress->style != PROGRESS_QUIET && progress->style != PROGRESS_COLLECT)
		count(progress, event);
}

void progress_finish(struct progress *progress)
{
	end_phase(progress);
}

void progress_add_collected(struct progress *progress, json_t *document)
{
	if (progress->style != PROGRESS_COLLECT || !document)
		return;
	json_object_set(document, "notes", progress->notes);
	json_object_set(document, "warnings", progress->warnings);
}

void progress_done(struct progress *progress)
{
	json_decref(progress->said);
	json_decref(progress->notes);
	json_decref(progress->warnings);
	progress->said = progress->notes = progress->warnings = NULL;
}
