/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define LONG_BASE 256 /* what getopt_long() returns for long options: above any letter */

/* One option, as parsed and as listed in the help. */
struct row {
	enum cli_option option;
	char letter; /* 0: none */
	const char *name;
	const char *argument; /* NULL: none */
	const char *summary;
};

static const struct row rows[] = {
	{ CLI_ACTIVATE, 0, "activate", "HOW",
		"how the slot starts: none, reboot, kexec (else by reboot), kexec-only" },
	{ CLI_NOW, 0, "now", NULL, "restart at once" },
	{ CLI_SLOT, 0, "slot", "A|B", "this slot: install never takes the running one" },
	{ CLI_DRY_RUN, 0, "dry-run", NULL, "check everything, change nothing" },
	{ CLI_ALLOW_DOWNGRADE, 0, "allow-downgrade", NULL,
		"accept an older version or epoch than the running system's" },
	{ CLI_ALLOW_UNSIGNED, 0, "allow-unsigned", NULL, "accept a bundle without a signature" },
	{ CLI_FORCE, 0, "force", NULL,
		"also where a trial, a mark or an inhibitor stands against it" },
	{ CLI_HEADER, 0, "header", "'K: V'", "send this line with HTTP requests; may be repeated" },
	{ CLI_COMPATIBLE, 0, "compatible", "NAME", "what systems the bundle is for" },
	{ CLI_BUNDLE_VERSION, 0, "version", "TEXT", "instead of the version that the UKI states" },
	{ CLI_EPOCH, 0, "epoch", "N", "systems of a later epoch refuse it; 0 unless given" },
	{ CLI_DESCRIPTION, 0, "description", "TEXT", "a text for people" },
	{ CLI_ARCHITECTURE, 0, "architecture", "NAME", "when the UKI does not tell" },
	{ CLI_CREATED, 0, "created", "TIME", "2026-11-23T10:00:00Z; SOURCE_DATE_EPOCH, else now" },
	{ CLI_NOT_AFTER, 0, "not-after", "TIME", "refused by systems from then on" },
	{ CLI_COMPRESS, 0, "compress", "HOW", "zstd (default), deflate (for any unzip), none" },
	{ CLI_LEVEL, 0, "level", "N", "zstd: 1 to 22, 15 unless given; deflate: 1 to 9, 6" },
	{ CLI_CHUNK_SIZE, 0, "chunk-size", "SIZE", "4K to 1M, 32K unless given" },
	{ CLI_THREADS, 0, "threads", "N", "does not change the result; default: one a processor" },
	{ CLI_SIGN_KEY, 0, "sign-key", "KEY", "sign: a PEM file, or a pkcs11: URI" },
	{ CLI_SIGN_CERT, 0, "sign-cert", "FILE", "the signer's certificate, and intermediates" },
	{ CLI_KEY, 0, "key", "KEY", "a PEM file, or a pkcs11: URI" },
	{ CLI_CERT, 0, "cert", "FILE", "the signer's certificate, and intermediates" },
	{ CLI_KEYRING, 0, "keyring", "FILE", "verify the signature against these certificates" },
	{ CLI_CONFIG, 0, "config", "FILE", "read this configuration instead of the usual files" },
	{ CLI_ROOT, 0, "root", "DIR", "work on a tree instead of this machine" },
	{ CLI_JSON, 0, "json", NULL, "print JSON" },
	{ CLI_QUIET, 'q', "quiet", NULL, "print errors and answers, no progress and no notes" },
	{ CLI_VERBOSE, 'v', "verbose", NULL, "say more" },
	{ CLI_HELP, 'h', "help", NULL, "print this help" },
	{ CLI_VERSION, 0, "version", NULL, "print the version" },
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))
#define GLOBAL_BITS                                                                       \
	(CLI_BIT(CLI_CONFIG) | CLI_BIT(CLI_ROOT) | CLI_BIT(CLI_JSON) | CLI_BIT(CLI_QUIET) \
		| CLI_BIT(CLI_VERBOSE) | CLI_BIT(CLI_HELP) | CLI_BIT(CLI_VERSION))

/* The global options that a command has: one may have taken a name for its own. */
static unsigned global_bits(unsigned options)
{
	return options & CLI_BIT(CLI_BUNDLE_VERSION) ? GLOBAL_BITS & ~CLI_BIT(CLI_VERSION)
						     : GLOBAL_BITS;
}

int cli_usage_error(struct bistable_error *error, const char *format, ...)
{
	va_list arguments;

	if (error->code != BISTABLE_OK)
		return -EINVAL;
	error->code = BISTABLE_USAGE;
	error->number = EINVAL;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	return -EINVAL;
}

char cli_slot_from_text(const char *text)
{
	if (strcmp(text, "A") == 0 || strcmp(text, "a") == 0)
		return 'A';
	if (strcmp(text, "B") == 0 || strcmp(text, "b") == 0)
		return 'B';
	return 0;
}

static void add_header(struct cli *cli, const char *line, struct bistable_error *error)
{
	const char *colon = strchr(line, ':');
	const char **headers;

	if (!colon || colon == line || strpbrk(line, "\r\n")) {
		/* It may hold a secret: not shown. */
		cli_usage_error(error, "--header: expected 'Name: value'");
		return;
	}
	headers = reallocarray(cli->headers, cli->header_count + 2, sizeof(*headers));
	if (!headers) {
		cli_usage_error(error, "out of memory");
		return;
	}
	headers[cli->header_count++] = line;
	headers[cli->header_count] = NULL;
	cli->headers = headers;
	cli->install.headers = headers;
}

static void take_command_option(
	struct cli *cli, enum cli_option option, const char *value, struct bistable_error *error)
{
	struct bistable_install_options *install = &cli->install;

	if (cli_take_bundle_option(cli, option, value, error))
		return;
	switch (option) {
	case CLI_ACTIVATE:
		if (!bistable_activation_from_name(value, &install->activation))
			cli_usage_error(error,
				"--activate=%s: expected none, reboot, kexec or kexec-only", value);
		break;
	case CLI_SLOT:
		install->slot = cli_slot_from_text(value);
		if (!install->slot)
			cli_usage_error(error, "--slot=%s: expected A or B", value);
		break;
	case CLI_HEADER:
		add_header(cli, value, error);
		break;
	case CLI_NOW:
		cli->now = true;
		break;
	case CLI_DRY_RUN:
		install->dry_run = true;
		break;
	case CLI_ALLOW_DOWNGRADE:
		install->allow_downgrade = true;
		break;
	case CLI_ALLOW_UNSIGNED:
		install->allow_unsigned = true;
		break;
	case CLI_FORCE:
		install->force = true;
		break;
	default:
		break;
	}
}

static void take_option(
	struct cli *cli, enum cli_option option, const char *value, struct bistable_error *error)
{
	switch (option) {
	case CLI_CONFIG:
		cli->config = value;
		break;
	case CLI_ROOT:
		cli->root = value;
		break;
	case CLI_JSON:
		cli->json = true;
		break;
	case CLI_QUIET:
		cli->quiet = true;
		break;
	case CLI_VERBOSE:
		cli->verbose = true;
		break;
	case CLI_HELP:
		cli->help = true;
		break;
	case CLI_VERSION:
		cli->version = true;
		break;
	default:
		take_command_option(cli, option, value, error);
		break;
	}
}

static enum cli_option option_of(int code)
{
	for (size_t i = 0; i < ROW_COUNT; i++)
		if (rows[i].letter && rows[i].letter == code)
			return rows[i].option;
	return (enum cli_option)(code - LONG_BASE);
}

static const char *name_of(enum cli_option option)
{
	for (size_t i = 0; i < ROW_COUNT; i++)
		if (rows[i].option == option)
			return rows[i].name;
	return "";
}

static void refuse_option(int code, int culprit, const char *word, struct bistable_error *error)
{
	if (code == ':')
		cli_usage_error(error, "option '--%s' needs a value", name_of(option_of(culprit)));
	else if (culprit >= LONG_BASE)
		cli_usage_error(error, "option '--%s' takes no value", name_of(option_of(culprit)));
	else if (culprit)
		cli_usage_error(error, "unknown option '-%c'", culprit);
	else
		cli_usage_error(error, "unknown option '%s'", word);
}

/* Reads options out of the `bits`; returns the index of the first word that is none. */
static int scan(struct cli *cli, int argc, char **argv, unsigned bits, bool stop_at_word,
	struct bistable_error *error)
{
	struct option table[ROW_COUNT + 1] = { 0 };
	size_t n = 0;
	int code;

	for (size_t i = 0; i < ROW_COUNT; i++)
		if (bits & CLI_BIT(rows[i].option))
			table[n++] = (struct option){ rows[i].name,
				rows[i].argument ? required_argument : no_argument, NULL,
				LONG_BASE + (int)rows[i].option };
	optind = 0; /* GNU: start over */
	opterr = 0;
	while ((code = getopt_long(argc, argv, stop_at_word ? "+:qvh" : ":qvh", table, NULL))
		!= -1) {
		if (code == '?' || code == ':')
			refuse_option(code, optopt, argv[optind - 1], error);
		else
			take_option(cli, option_of(code), optarg, error);
	}
	return optind;
}

/* Matches "install", or the first word of "uki inspect" when `second` is NULL. */
static const struct cli_command *find(
	const struct cli_command *commands, size_t count, const char *first, const char *second)
{
	size_t length = strlen(first);

	for (size_t i = 0; i < count; i++) {
		const char *name = commands[i].name;

		if (strncmp(name, first, length) != 0)
			continue;
		if (name[length] == '\0' && !second)
			return &commands[i];
		if (name[length] == ' ' && (!second || strcmp(name + length + 1, second) == 0))
			return &commands[i];
	}
	return NULL;
}

/* Finds the command; returns the index of the last word of its name, or argc if there is none. */
static int parse_command(struct cli *cli, int argc, char **argv, const struct cli_command *commands,
	size_t count, struct bistable_error *error)
{
	int first = scan(cli, argc, argv, GLOBAL_BITS, true, error), second;
	const struct cli_command *command;

	if (first >= argc) {
		cli_usage_error(error, "no command given");
		return argc;
	}
	command = find(commands, count, argv[first], NULL);
	if (!command) {
		cli_usage_error(error, "unknown command '%s'", argv[first]);
		return argc;
	}
	if (!strchr(command->name, ' ')) {
		cli->command = command;
		return first;
	}
	second = first + scan(cli, argc - first, argv + first, GLOBAL_BITS, true, error);
	if (second >= argc) {
		cli->command = cli->help ? command : NULL;
		cli_usage_error(
			error, "'%s' needs a second word, as in '%s'", argv[first], command->name);
		return argc;
	}
	cli->command = find(commands, count, argv[first], argv[second]);
	if (!cli->command)
		cli_usage_error(error, "unknown command '%s %s'", argv[first], argv[second]);
	return cli->command ? second : argc;
}

static void check_words(const struct cli *cli, struct bistable_error *error)
{
	const struct cli_command *command = cli->command;

	if (cli->word_count > command->words_max)
		cli_usage_error(error, "%s: '%s' is one word too many", command->name,
			cli->words[command->words_max]);
	else if (cli->word_count < command->words_min)
		cli_usage_error(error, "%s needs %s", command->name, command->arguments);
}

int cli_parse(struct cli *cli, int argc, char **argv, const struct cli_command *commands,
	size_t count, struct bistable_error *error)
{
	int at = parse_command(cli, argc, argv, commands, count, error);

	if (at < argc) {
		int words = at
			    + scan(cli, argc - at, argv + at,
				    global_bits(cli->command->options) | cli->command->options,
				    false, error);

		cli->words = argv + words;
		cli->word_count = (size_t)(argc - words);
		check_words(cli, error);
	}
	if (cli->help || cli->version)
		return 0;
	return error->code == BISTABLE_OK ? 0 : -EINVAL;
}

void cli_done(struct cli *cli)
{
	free(cli->headers);
	cli->headers = NULL;
	progress_done(&cli->progress);
}

static void print_options(FILE *stream, unsigned bits)
{
	for (size_t i = 0; i < ROW_COUNT; i++) {
		const struct row *row = &rows[i];
		char name[40], letter[8] = "";

		if (!(bits & CLI_BIT(row->option)))
			continue;
		if (row->letter)
			snprintf(letter, sizeof(letter), "-%c, ", row->letter);
		snprintf(name, sizeof(name), "%s--%s%s%s", letter, row->name,
			row->argument ? "=" : "", row->argument ? row->argument : "");
		fprintf(stream, "  %-19s %s\n", name, row->summary);
	}
}

static void print_command_help(FILE *stream, const struct cli_command *command)
{
	fprintf(stream, "usage: bistable %s%s%s%s\n\n%s\n", command->name,
		command->options ? " [OPTION...]" : "", *command->arguments ? " " : "",
		command->arguments, command->description);
	if (command->options) {
		fputs("\nOptions:\n", stream);
		print_options(stream, command->options);
	}
	fputs("\nGlobal options:\n", stream);
	print_options(stream, global_bits(command->options));
}

void cli_print_help(const struct cli_command *command, const struct cli_command *commands,
	size_t count, bool to_error)
{
	FILE *stream = to_error ? stderr : stdout;

	if (command) {
		print_command_help(stream, command);
		return;
	}
	fputs("usage: bistable [OPTION...] COMMAND [ARGUMENT...]\n\n"
	      "Image-based A/B updates for UEFI Linux machines, started by reboot or by kexec.\n\n"
	      "Commands:\n",
		stream);
	for (size_t i = 0; i < count; i++)
		fprintf(stream, "  %s %-*s %s\n", commands[i].name,
			(int)(30 - strlen(commands[i].name)), commands[i].arguments,
			commands[i].summary);
	fputs("\nGlobal options:\n", stream);
	print_options(stream, GLOBAL_BITS);
	fputs("\n'bistable COMMAND --help' tells more; the manual is bistable(1).\n"
	      "Exit status: 0 done, 1 failed (the old slot is intact), 2 wrong usage or "
	      "configuration,\n"
	      "3 refused by policy, 4 another operation is running, 5 nothing to do.\n",
		stream);
}
