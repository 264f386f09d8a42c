/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/result.h"
#include "cli/terminal.h"

/* Ends a command that has no more to tell than a slot: a sentence, or a document naming it. */
static int report_slot(
	struct cli *cli, char slot, const char *sentence, struct bistable_error *error)
{
	json_t *document;

	if (!cli->json) {
		if (!cli->quiet)
			printf("Slot %c %s\n", slot, sentence);
		return 0;
	}
	document = json_pack("{s:i, s:o}", "schema", JSON_SCHEMA, "slot", json_slot(slot));
	progress_add_collected(&cli->progress, document);
	return json_write_document(document, error);
}

int cmd_mark_good(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	char slot;
	int r;

	r = bistable_mark_good(bistable, cli->install.force, &slot, error);
	if (r < 0)
		return r;
	return report_slot(cli, slot, "is confirmed: it is what a cold boot starts.", error);
}

int cmd_mark_bad(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	char slot = 0;
	int r;

	if (cli->word_count > 0) {
		slot = cli_slot_from_text(cli->words[0]);
		if (!slot)
			return cli_usage_error(
				error, "mark-bad '%s': expected A or B", cli->words[0]);
	}
	r = bistable_mark_bad(bistable, slot, &slot, error);
	if (r < 0)
		return r;
	return report_slot(
		cli, slot, "is marked bad: it is not started until the next install.", error);
}

static int report_start(
	struct cli *cli, const struct bistable_result *result, struct bistable_error *error)
{
	json_t *document, *common;

	if (cli->json) {
		document = json_pack("{s:i}", "schema", JSON_SCHEMA);
		common = result_json(cli, result);
		json_object_update(document, common);
		json_decref(common);
		progress_add_collected(&cli->progress, document);
		return json_write_document(document, error);
	}
	if (cli->quiet)
		return 0;
	if (result->activation == BISTABLE_ACTIVATE_NONE) {
		puts("Nothing is chosen to start next.");
		return 0;
	}
	terminal_print(stdout, PAINT_GOOD, "Slot %c%s%s is chosen.", result->slot,
		result->version ? ", version " : "", result->version ? result->version : "");
	putchar(' ');
	result_print_start(cli, result);
	return 0;
}

int cmd_mark_started(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	char slot = 0;
	int r;

	r = bistable_mark_started(bistable, &slot, error);
	if (r < 0)
		return r;
	return slot || cli->json ? report_slot(cli, slot, "is being started by kexec.", error) : 0;
}

typedef int start_function(struct bistable *bistable, enum bistable_activation activation,
	bool force, struct bistable_result *ret, struct bistable_error *error);

static int start(struct cli *cli, struct bistable *bistable, start_function *choose,
	struct bistable_error *error)
{
	struct bistable_result result = { 0 };
	int r;

	r = choose(bistable, cli->install.activation, cli->install.force, &result, error);
	if (r < 0)
		return r;
	result_check_restart(cli, bistable, &result);
	r = report_start(cli, &result, error);
	if (r == 0)
		r = result_restart(cli, bistable, &result, error);
	bistable_result_done(&result);
	return r;
}

int cmd_rollback(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	return start(cli, bistable, bistable_rollback, error);
}

int cmd_activate(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	return start(cli, bistable, bistable_activate, error);
}
