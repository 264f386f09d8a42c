/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/random.h"
#include "source/http_private.h"

#define BACK_OFF_MAX_MS 30000u
/* So close to the deadline, another attempt is pointless. */
#define LAST_MOMENT_MS 100u

static int give_up(const struct http *http, struct error *error)
{
	char got[16], text[ERROR_TEXT_MAX / 2];

	text_size(http->offset, got);
	if (http->failures > 0 && http->offset == http->progress)
		snprintf(text, sizeof(text), "after %u failed attempts, the last one: %.400s",
			http->failures, http->reason.text);
	else
		snprintf(text, sizeof(text), "it is too slow, %s in that time", got);
	return error_failed(error, ETIMEDOUT,
		"the download of '%s' did not end within %u s (%s); it is safe to run the install "
		"again",
		http->source.name, http->options.total_timeout, text);
}

int http_check_time(struct http *http, struct error *error)
{
	const struct source_options *options = &http->options;

	if (options->cancelled && options->cancelled(options->context))
		return error_failed(
			error, ECANCELED, "the download of '%s' was cancelled", http->source.name);
	if (clock_ms() >= http->deadline)
		return give_up(http, error);
	return 0;
}

/* Exponential, with full jitter: machines that failed together do not come back together. */
static uint64_t back_off_ms(const struct http *http)
{
	uint64_t limit = http->options.retry_ms;

	for (unsigned i = 1; i < http->row && limit < BACK_OFF_MAX_MS; i++)
		limit *= 2;
	return random_u64() % (limit < BACK_OFF_MAX_MS ? limit : BACK_OFF_MAX_MS) + 1;
}

/* How long to wait now, or 0 to give up. */
static uint64_t choose_delay(struct http *http)
{
	uint64_t now = clock_ms(), delay = back_off_ms(http);
	uint64_t left = http->deadline > now ? http->deadline - now : 0;

	if (delay < http->retry_after)
		delay = http->retry_after;
	if (left < LAST_MOMENT_MS)
		return 0;
	if (delay < left)
		return delay;
	/* The wait does not fit: one earlier attempt may still succeed. */
	if (http->last_try)
		return 0;
	http->last_try = true;
	return left / 2;
}

static void tell(const struct http *http, uint64_t delay)
{
	const struct source_options *options = &http->options;
	uint64_t now = clock_ms(), left;
	char text[ERROR_TEXT_MAX + 96];

	if (!options->note)
		return;
	left = http->deadline > now ? http->deadline - now : 0;
	snprintf(text, sizeof(text), "%s; trying again in %.1f s (attempt %u, giving up in %llu s)",
		http->reason.text, (double)delay / 1000, http->failures + 1,
		(unsigned long long)left / 1000);
	options->note(options->context, text);
}

static void sleep_ms(uint64_t ms)
{
	struct timespec time = { .tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&time, NULL);
}

int http_back_off(struct http *http, struct error *error)
{
	uint64_t delay, until;

	http->failures++;
	http->places_until = 0; /* it may have moved */
	http->row = http->offset > http->progress ? 1 : http->row + 1;
	http->progress = http->offset;
	delay = choose_delay(http);
	http->retry_after = 0;
	if (delay == 0)
		return give_up(http, error);
	tell(http, delay);
	until = clock_ms() + delay;
	for (;;) {
		uint64_t now;
		int r = http_check_time(http, error);

		if (r < 0)
			return r;
		now = clock_ms();
		if (now >= until)
			return 0;
		sleep_ms(until - now < HTTP_POLL_MS ? until - now : HTTP_POLL_MS);
	}
}
