/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"

#include <stdio.h>
#include <string.h>

#include <bistable/bistable.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/terminal.h"

#define DAMAGE_SHOWN 16 /* places; JSON has all of them */

static json_t *damage_json(const struct bistable_report *report)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->damage_count; i++) {
		const struct bistable_damage *damage = &report->damage[i];
		json_t *item = json_pack("{s:o, s:I, s:I}", "slot", json_slot(damage->slot),
			"start", (json_int_t)damage->start, "end", (json_int_t)damage->end);

		if (json_array_append_new(list, item) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *report_json(const struct bistable_report *report, bool verified)
{
	json_t *checks = json_array();

	for (size_t i = 0; i < report->check_count; i++) {
		const struct bistable_check *check = &report->checks[i];
		json_t *item = json_pack("{s:s, s:s, s:s, s:o, s:o}", "group", check->group, "name",
			check->name, "level", bistable_level_name(check->level), "what",
			json_text(check->what), "advice", json_text(check->advice));

		if (json_array_append_new(checks, item) < 0) {
			json_decref(checks);
			return NULL;
		}
	}
	return json_pack("{s:i, s:s, s:o, s:o*}", "schema", JSON_SCHEMA, "worst",
		bistable_level_name(report->worst), "checks", checks, "damage",
		verified ? damage_json(report) : NULL);
}

static enum paint paint_of(enum bistable_level level)
{
	switch (level) {
	case BISTABLE_LEVEL_OK:
		return PAINT_GOOD;
	case BISTABLE_LEVEL_WARNING:
		return PAINT_DOUBT;
	case BISTABLE_LEVEL_PROBLEM:
		break;
	}
	return PAINT_BAD;
}

static void print_check(const struct bistable_check *check)
{
	printf("  ");
	terminal_print(stdout, paint_of(check->level), "%-8s", bistable_level_name(check->level));
	printf(" %-15s", check->name);
	terminal_print(stdout, PAINT_NONE, "%s\n", check->what);
	if (check->advice)
		printf("%26s%s\n", "-> ", check->advice);
}

static void print_report(const struct bistable_report *report)
{
	const char *group = "";
	size_t count[3] = { 0 };

	for (size_t i = 0; i < report->check_count; i++) {
		const struct bistable_check *check = &report->checks[i];

		if (strcmp(check->group, group) != 0)
			terminal_print(stdout, PAINT_BOLD, "%s\n", check->group);
		group = check->group;
		print_check(check);
		count[check->level]++;
	}
	printf("\n%zu ok, %zu warning%s, %zu problem%s\n", count[BISTABLE_LEVEL_OK],
		count[BISTABLE_LEVEL_WARNING], count[BISTABLE_LEVEL_WARNING] == 1 ? "" : "s",
		count[BISTABLE_LEVEL_PROBLEM], count[BISTABLE_LEVEL_PROBLEM] == 1 ? "" : "s");
}

static void print_damage(const struct bistable_report *report)
{
	size_t shown = report->damage_count < DAMAGE_SHOWN ? report->damage_count : DAMAGE_SHOWN;

	if (shown > 0)
		putchar('\n');
	for (size_t i = 0; i < shown; i++)
		printf("  slot %c, bytes %llu to %llu\n", report->damage[i].slot,
			(unsigned long long)report->damage[i].start,
			(unsigned long long)report->damage[i].end - 1);
	if (shown < report->damage_count)
		printf("  and %zu more: --json has all of them\n", report->damage_count - shown);
}

int report_show(struct cli *cli, struct bistable_report *report, struct bistable_error *error)
{
	int r = 0;

	progress_finish(&cli->progress);
	if (cli->json) {
		r = json_write_document(
			report_json(report, cli->command->run == cmd_verify), error);
	} else {
		print_report(report);
		print_damage(report);
	}
	if (report->worst == BISTABLE_LEVEL_PROBLEM)
		cli->code = BISTABLE_FAILED;
	bistable_report_free(report);
	return r;
}
