/* SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/error.h"
#include "base/text.h"

/* Twice what the largest frames, TLS and the name service take. */
#define STACK_MIN (256u << 10)

struct named_limit {
	int resource;
	const char *what, *option, *setting;
	bool bytes;
};

static const struct named_limit files = { RLIMIT_NOFILE, "open files", "-n", "NOFILE", false };
static const struct named_limit space = { RLIMIT_AS, "address space", "-v", "AS", true };
static const struct named_limit data = { RLIMIT_DATA, "memory", "-d", "DATA", true };
static const struct named_limit size = { RLIMIT_FSIZE, "a file's size", "-f", "FSIZE", true };
static const struct named_limit tasks = { RLIMIT_NPROC, "the user's processes", "-u", "NPROC",
	false };

/* UINT64_MAX: none. */
static uint64_t value_of(const struct named_limit *limit)
{
	struct rlimit value;

	if (getrlimit(limit->resource, &value) < 0 || value.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return value.rlim_cur;
}

static void describe(const struct named_limit *limit, char out[LIMITS_TEXT_MAX])
{
	uint64_t value = value_of(limit);
	char text[24];

	if (value == UINT64_MAX)
		return;
	if (limit->bytes)
		text_size(value, text);
	else
		snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	snprintf(out, LIMITS_TEXT_MAX, " (the limit of %s, ulimit %s or Limit%s=, is %s)",
		limit->what, limit->option, limit->setting, text);
}

void limits_explain(int number, char out[LIMITS_TEXT_MAX])
{
	out[0] = '\0';
	if (number == EMFILE)
		describe(&files, out);
	else if (number == ENOMEM)
		describe(value_of(&data) < value_of(&space) ? &data : &space, out);
	else if (number == EFBIG)
		describe(&size, out);
	else if (number == EAGAIN)
		describe(&tasks, out);
	if (number == EAGAIN && !out[0])
		snprintf(out, LIMITS_TEXT_MAX,
			" (the service may have no more of them, see TasksMax=, or pids.max of its "
			"cgroup)");
}

const char *limits_strerror(int number, char out[LIMITS_ERROR_MAX])
{
	char limit[LIMITS_TEXT_MAX];

	limits_explain(number, limit);
	snprintf(out, LIMITS_ERROR_MAX, "%s%s", strerror(number), limit);
	return out;
}

uint64_t limits_file_size(void)
{
	return value_of(&size);
}

int limits_check_stack(struct error *error)
{
	struct rlimit stack;
	char text[16];

	if (getrlimit(RLIMIT_STACK, &stack) < 0 || stack.rlim_cur >= STACK_MIN)
		return 0;
	/* The kernel looks at it whenever the stack grows. */
	stack.rlim_cur = stack.rlim_max < STACK_MIN ? stack.rlim_max : STACK_MIN;
	if (setrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur == STACK_MIN)
		return 0;
	text_size(stack.rlim_max, text);
	return error_failed(error, ENOMEM,
		"the stack may not grow beyond %s, and needs up to %u KiB: raise the limit (ulimit "
		"-s, LimitSTACK=)",
		text, STACK_MIN >> 10);
}
