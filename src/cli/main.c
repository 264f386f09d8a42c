/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/streams.h"
#include "cli/terminal.h"

#define ACTIVATION_BITS (CLI_BIT(CLI_ACTIVATE) | CLI_BIT(CLI_NOW))

static const struct cli_command commands[] = {
	{ "install", "SOURCE", "install a bundle into the other slot",
		"Installs the bundle at SOURCE (an http:// or https:// URL, a path, or - for\n"
		"standard input) into the slot that is not running, and lets it start next.\n"
		"Whatever happens, the running slot stays startable. --slot is for installer\n"
		"media, where no slot runs.",
		ACTIVATION_BITS | CLI_BIT(CLI_SLOT) | CLI_BIT(CLI_DRY_RUN)
			| CLI_BIT(CLI_ALLOW_UNSIGNED) | CLI_BIT(CLI_ALLOW_DOWNGRADE)
			| CLI_BIT(CLI_FORCE) | CLI_BIT(CLI_HEADER),
		1, 1, CLI_JSON_LINES, false, cmd_install },
	{ "status", "", "show the slots and what starts next",
		"Shows which slot runs, what a cold boot and the next restart start, and the\n"
		"state of both slots. Changes nothing and takes no lock.",
		0, 0, 0, CLI_JSON_DOCUMENT, true, cmd_status },
	{ "doctor", "", "look for what is wrong",
		"Checks boot entries, EFI System Partition, slots and kexec, and tells what to do\n"
		"about what it finds. Changes nothing and takes no lock. Exits with 1 if there\n"
		"is a problem; warnings alone exit with 0.",
		0, 0, 0, CLI_JSON_DOCUMENT, true, cmd_doctor },
	{ "verify", "[SLOT]", "check slots against what was installed",
		"Compares a slot (A or B; both, unless named) with what was installed: the\n"
		"signature of its receipt, the boot file, and every byte of the image. Changes\n"
		"nothing and takes no lock. Exits with 1 if something is wrong.",
		0, 0, 1, CLI_JSON_DOCUMENT, true, cmd_verify },
	{ "repair", "[SOURCE]", "put the other slot right",
		"Checks both slots. What is wrong with the one that does not run is put right,\n"
		"from the running slot and from the bundle that it was installed from: at\n"
		"SOURCE, or where it came from. Nothing is fetched when nothing is wrong. What is\n"
		"wrong with the running slot is only told: exit code 1.",
		CLI_BIT(CLI_ALLOW_UNSIGNED) | CLI_BIT(CLI_FORCE) | CLI_BIT(CLI_HEADER), 0, 1,
		CLI_JSON_LINES, false, cmd_repair },
	{ "mark-good", "", "confirm the running slot",
		"Confirms the running slot: from now on it is what a cold boot starts. Boot\n"
		"entries that are missing are made again. A second call changes nothing.",
		CLI_BIT(CLI_FORCE), 0, 0, CLI_JSON_DOCUMENT, false, cmd_mark_good },
	{ "mark-bad", "[SLOT]", "keep a slot from starting",
		"Marks a slot (A or B; the one that is not running, unless named) as bad: it\n"
		"is not started again until the next install. Refused unless the other slot\n"
		"is complete.",
		0, 0, 1, CLI_JSON_DOCUMENT, false, cmd_mark_bad },
	{ "mark-started", "", "note that a kexec begins",
		"Notes that the machine goes down for the kernel that is staged for kexec.\n"
		"bistable-kexec.service calls it; '--now' needs no call. Without the note, a slot\n"
		"that did not come up counts as not started.",
		0, 0, 0, CLI_JSON_DOCUMENT, false, cmd_mark_started },
	{ "rollback", "", "start the other slot next",
		"Lets the other slot start next, if it is complete. Confirming it is left to\n"
		"that system. Refused where that one was never confirmed and failed to start.",
		ACTIVATION_BITS | CLI_BIT(CLI_FORCE), 0, 0, CLI_JSON_DOCUMENT, false,
		cmd_rollback },
	{ "activate", "", "start the installed slot next",
		"Lets the other slot start next, as the end of an install does: after an\n"
		"install with --activate=none, or to choose another way.",
		ACTIVATION_BITS | CLI_BIT(CLI_FORCE), 0, 0, CLI_JSON_DOCUMENT, false,
		cmd_activate },
	{ "bundle create", "UKI IMAGE OUTPUT", "make a bundle",
		"Makes a bundle of the Unified Kernel Image UKI and the system partition's IMAGE.\n"
		"Version and architecture are the UKI's unless given; UKI and image must belong\n"
		"together. The same input and --created give the same bytes but for the\n"
		"signature. Without --sign-key it is not signed: 'bundle sign' does that later.",
		CLI_BIT(CLI_COMPATIBLE) | CLI_BIT(CLI_BUNDLE_VERSION) | CLI_BIT(CLI_EPOCH)
			| CLI_BIT(CLI_DESCRIPTION) | CLI_BIT(CLI_ARCHITECTURE)
			| CLI_BIT(CLI_CREATED) | CLI_BIT(CLI_NOT_AFTER) | CLI_BIT(CLI_COMPRESS)
			| CLI_BIT(CLI_LEVEL) | CLI_BIT(CLI_CHUNK_SIZE) | CLI_BIT(CLI_THREADS)
			| CLI_BIT(CLI_SIGN_KEY) | CLI_BIT(CLI_SIGN_CERT),
		3, 3, CLI_JSON_LINES, false, cmd_bundle_create },
	{ "bundle inspect", "BUNDLE", "look into a bundle",
		"Shows what the bundle at a path or URL, or on standard input (-), says of\n"
		"itself. Only its head is fetched. The signature is verified with --keyring only.",
		CLI_BIT(CLI_KEYRING), 1, 1, CLI_JSON_DOCUMENT, true, cmd_bundle_inspect },
	{ "bundle verify", "BUNDLE", "check every byte of a bundle",
		"Checks the structure, the digests and every frame of the bundle at a path or\n"
		"URL, and with --keyring the signature; says what is wrong where.",
		CLI_BIT(CLI_KEYRING), 1, 1, CLI_JSON_LINES, false, cmd_bundle_verify },
	{ "bundle sign", "BUNDLE [OUTPUT]", "sign a bundle, or sign it anew",
		"Signs a bundle, in place unless OUTPUT is named. A signature that it has is\n"
		"replaced; the payloads' bytes stay as they are, and are not looked at.",
		CLI_BIT(CLI_KEY) | CLI_BIT(CLI_CERT), 1, 2, CLI_JSON_DOCUMENT, false,
		cmd_bundle_sign },
	{ "uki inspect", "FILE", "look into a Unified Kernel Image",
		"Shows the sections of a Unified Kernel Image, the command line, kernel and\n"
		"initrd it would start with, and whether it can be started by kexec. With\n"
		"--slot the command line is bound to that slot.",
		CLI_BIT(CLI_SLOT), 1, 1, CLI_JSON_DOCUMENT, true, cmd_uki_inspect },
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* The one variable a signal handler can reach. */
static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

static void watch_signals(void)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
	/* The second one kills: an old slot that is intact needs no orderly end. */
	struct sigaction once = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };
	struct sigaction ignore = { .sa_handler = SIG_IGN }, inherited;

	/* What nohup or a shell's '&' has switched off stays off. */
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (sigaction(ends[i], NULL, &inherited) == 0 && inherited.sa_handler != SIG_IGN)
			sigaction(ends[i], &once, NULL);
	/* A closed pipe and a limit on file sizes are errors of the call that meets them. */
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGXFSZ, &ignore, NULL);
}

static bool is_cancelled(void *context)
{
	(void)context;
	return interrupted != 0;
}

static void report_error(struct cli *cli, const struct bistable_error *error)
{
	bool lines = cli->command && cli->command->json == CLI_JSON_LINES;
	struct bistable_error ignored;
	json_t *body = NULL;

	terminal_print(stderr, PAINT_BAD, "bistable: ");
	terminal_print(stderr, PAINT_NONE, "%s", error->text);
	if (cli->verbose && error->number)
		terminal_print(stderr, PAINT_NONE, " [%s]", strerror(error->number));
	fputc('\n', stderr);
	if (!cli->json)
		return;
	body = json_error(error);
	if (lines) {
		json_t *line = json_pack("{s:s, s:i}", "event", "error", "schema", JSON_SCHEMA);

		json_object_update(line, body);
		json_decref(body);
		json_write_line(line, &ignored);
	} else {
		json_t *document = json_pack("{s:i, s:o}", "schema", JSON_SCHEMA, "error", body);

		progress_add_collected(&cli->progress, document);
		json_write_document(document, &ignored);
	}
}

static void report_usage(struct cli *cli, const struct bistable_error *error)
{
	report_error(cli, error);
	if (cli->command)
		fprintf(stderr, "'bistable %s --help' tells how it is used.\n", cli->command->name);
	else
		cli_print_help(NULL, commands, COMMAND_COUNT, true);
}

static void print_version(const struct cli *cli)
{
	struct bistable_error ignored;

	if (cli->json)
		json_write_document(json_pack("{s:i, s:s}", "schema", JSON_SCHEMA, "version",
					    bistable_version()),
			&ignored);
	else
		printf("bistable %s\n", bistable_version());
}

static enum progress_style choose_style(const struct cli *cli)
{
	if (cli->json && cli->command->json == CLI_JSON_DOCUMENT)
		return PROGRESS_COLLECT;
	if (cli->quiet)
		return PROGRESS_QUIET;
	if (cli->json)
		return PROGRESS_LINES;
	return terminal_is_live(stderr) ? PROGRESS_LIVE : PROGRESS_PLAIN;
}

static int run(struct cli *cli, struct bistable_error *error)
{
	struct bistable_options options = {
		.config = cli->config,
		.root = cli->root,
		.event = progress_event,
		.cancelled = is_cancelled,
		.context = &cli->progress,
	};
	struct bistable *bistable = NULL;
	int r;

	progress_init(&cli->progress, choose_style(cli), cli->verbose);
	r = bistable_open(&options, &bistable, error);
	if (r == 0)
		r = cli->command->run(cli, bistable, error);
	progress_finish(&cli->progress);
	bistable_close(bistable);
	if (r < 0 && interrupted && (error->number == ECANCELED || error->number == EINTR))
		snprintf(error->text, sizeof(error->text),
			cli->command->run == cmd_install || cli->command->run == cmd_repair
				? "interrupted; the old slot is intact, installing again is safe"
				: "interrupted");
	return r;
}

/* What could not be written was not shown; what was done stays done. */
static int check_output(const struct cli *cli, int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	terminal_print(stderr, PAINT_NONE, "bistable: cannot write to standard output: %s\n",
		strerror(errno));
	return code == BISTABLE_OK && (!cli->command || cli->command->shows) ? BISTABLE_FAILED
									     : code;
}

static int serve(struct cli *cli, int argc, char **argv)
{
	struct bistable_error error = { 0 };

	if (cli_parse(cli, argc, argv, commands, COMMAND_COUNT, &error) < 0) {
		report_usage(cli, &error);
		return BISTABLE_USAGE;
	}
	if (cli->help) {
		cli_print_help(cli->command, commands, COMMAND_COUNT, false);
		return BISTABLE_OK;
	}
	if (cli->version) {
		print_version(cli);
		return BISTABLE_OK;
	}
	if (run(cli, &error) < 0) {
		report_error(cli, &error);
		return error.code ? (int)error.code : BISTABLE_FAILED;
	}
	return (int)cli->code;
}

int main(int argc, char **argv)
{
	struct cli cli = { 0 };
	int code;

	streams_open();
	watch_signals();
	code = check_output(&cli, serve(&cli, argc, argv));
	cli_done(&cli);
	return code;
}
