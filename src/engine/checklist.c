/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/checklist.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

const char *bistable_level_name(enum bistable_level level)
{
	static const char *const names[] = {
		[BISTABLE_LEVEL_OK] = "ok",
		[BISTABLE_LEVEL_WARNING] = "warning",
		[BISTABLE_LEVEL_PROBLEM] = "problem",
	};

	return names[level];
}

int checklist_conclude(struct bistable_report *report, enum bistable_level level,
	const char *advice, struct error *error, const char *format, va_list arguments)
{
	struct bistable_check *check = &report->checks[report->check_count];

	if (vasprintf(&check->what, format, arguments) < 0) {
		check->what = NULL;
		return error_memory(error);
	}
	check->level = level;
	check->advice = advice;
	report->check_count++;
	if (level > report->worst)
		report->worst = level;
	return 0;
}

void bistable_report_free(struct bistable_report *report)
{
	if (!report)
		return;
	for (size_t i = 0; i < report->check_count; i++)
		free(report->checks[i].what);
	free(report->checks);
	free(report->damage);
	free(report);
}
