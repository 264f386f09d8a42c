/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/result.h"
#include "cli/terminal.h"

static void format_size(uint64_t bytes, char out[16])
{
	if (bytes == UINT64_MAX)
		snprintf(out, 16, "unknown size");
	else
		terminal_size(bytes, out);
}

static void print_plan(const struct bistable_result *result)
{
	char boot[16], system[16], kept[16], copied[16], rest[16];

	format_size(result->boot_size, boot);
	format_size(result->system_size, system);
	terminal_print(stdout, PAINT_NONE, "Would install %s into slot %c: boot file %s, image %s",
		result->version ? result->version : "a bundle that names no version", result->slot,
		boot, system);
	terminal_size(result->kept, kept);
	terminal_size(result->copied, copied);
	terminal_size(result->to_fetch, rest);
	if (result->chunked)
		printf(" (%s kept, %s copied, %s to fetch)", kept, copied, rest);
	printf(". Nothing was changed.\n");
}

/* "(1.2 GiB kept, 20.0 MiB copied, 103.0 MiB fetched in 212 requests, 300.0 MiB written, 9.2 s)" */
static void print_counters(const struct bistable_result *result)
{
	char kept[16], copied[16], fetched[16], written[16];

	terminal_size(result->kept, kept);
	terminal_size(result->copied, copied);
	terminal_size(result->fetched, fetched);
	terminal_size(result->written, written);
	printf(" (");
	if (result->chunked)
		printf("%s kept, %s copied, ", kept, copied);
	printf("%s fetched", fetched);
	if (result->requests > 0)
		printf(" in %llu request%s", (unsigned long long)result->requests,
			result->requests == 1 ? "" : "s");
	printf(", %s written, %.1f s).\n", written, result->seconds);
}

static void print_done(const struct bistable_result *result)
{
	const char *version = result->version ? result->version : "a bundle that names no version";

	if (result->written == 0)
		terminal_print(
			stdout, PAINT_GOOD, "Slot %c already holds %s", result->slot, version);
	else
		terminal_print(
			stdout, PAINT_GOOD, "Installed %s into slot %c", version, result->slot);
	print_counters(result);
}

static void print_result(const struct cli *cli, const struct bistable_result *result)
{
	if (result->dry_run)
		print_plan(result);
	else
		print_done(result);
	if (result->signer)
		terminal_print(stdout, PAINT_NONE, "It is signed by %s.\n", result->signer);
	if (result->unsigned_bundle)
		terminal_print(stdout, PAINT_DOUBT,
			"It is an unsigned bundle: nothing vouches for what is in it.\n");
	result_print_start(cli, result);
}

static int write_result(
	const struct cli *cli, const struct bistable_result *result, struct bistable_error *error)
{
	json_t *signer = result->signer ? json_pack("{s:o, s:s}", "subject",
				 json_text(result->signer), "sha256", result->signer_sha256)
					: json_null();
	json_t *line = json_pack(
		"{s:s, s:i, s:b, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:f}", "event",
		"result", "schema", JSON_SCHEMA, "unsigned", result->unsigned_bundle, "signer",
		signer, "dry_run", result->dry_run, "kept", json_size(result->kept), "copied",
		json_size(result->copied), "to_fetch", json_size(result->to_fetch), "fetched",
		json_size(result->fetched), "written", json_size(result->written), "requests",
		(json_int_t)result->requests, "boot_size", json_size(result->boot_size),
		"system_size", json_size(result->system_size), "seconds", result->seconds);
	json_t *common = result_json(cli, result);

	json_object_update(line, common);
	json_decref(common);
	return json_write_line(line, error);
}

int cmd_install(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	struct bistable_result result = { 0 };
	int r;

	cli->install.source = cli->words[0];
	if (strcmp(cli->install.source, "-") == 0 && isatty(STDIN_FILENO))
		return cli_usage_error(error,
			"install -: standard input is a terminal; a bundle is expected there");
	r = bistable_install(bistable, &cli->install, &result, error);
	if (r < 0)
		return r;
	progress_finish(&cli->progress);
	result_check_restart(cli, bistable, &result);
	if (cli->json)
		r = write_result(cli, &result, error);
	else if (!cli->quiet)
		print_result(cli, &result);
	if (r == 0)
		r = result_restart(cli, bistable, &result, error);
	bistable_result_done(&result);
	return r;
}

static void print_repaired(const struct bistable_result *result)
{
	if (result->nothing) {
		terminal_print(stdout, PAINT_GOOD, "Slot %c is as it was installed", result->slot);
		puts(": there is nothing to repair.");
		return;
	}
	terminal_print(stdout, PAINT_GOOD, "Slot %c is as it was installed again", result->slot);
	print_counters(result);
}

int cmd_repair(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	struct bistable_result result = { 0 };
	int r;

	cli->install.source = cli->word_count > 0 ? cli->words[0] : NULL;
	r = bistable_repair(bistable, &cli->install, &result, error);
	if (r < 0)
		return r;
	progress_finish(&cli->progress);
	if (cli->json)
		r = write_result(cli, &result, error);
	else if (!cli->quiet)
		print_repaired(&result);
	bistable_result_done(&result);
	return r;
}
