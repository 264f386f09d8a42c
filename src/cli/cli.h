/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <bistable/bistable.h>

#include "cli/progress.h"

struct cli;

/** The options there are; a command names those it takes as a set of CLI_BIT()s. */
enum cli_option {
	CLI_CONFIG,
	CLI_ROOT,
	CLI_JSON,
	CLI_QUIET,
	CLI_VERBOSE,
	CLI_HELP,
	CLI_VERSION,
	CLI_ACTIVATE,
	CLI_NOW,
	CLI_SLOT,
	CLI_DRY_RUN,
	CLI_ALLOW_UNSIGNED,
	CLI_ALLOW_DOWNGRADE,
	CLI_FORCE,
	CLI_HEADER,
	CLI_COMPATIBLE,
	CLI_BUNDLE_VERSION, /* takes --version's place */
	CLI_EPOCH,
	CLI_DESCRIPTION,
	CLI_ARCHITECTURE,
	CLI_CREATED,
	CLI_NOT_AFTER,
	CLI_COMPRESS,
	CLI_LEVEL,
	CLI_CHUNK_SIZE,
	CLI_THREADS,
	CLI_SIGN_KEY,
	CLI_SIGN_CERT,
	CLI_KEY,
	CLI_CERT,
	CLI_KEYRING,
};

#define CLI_BIT(option) (1u << (option))

/** How a command writes with --json. */
enum cli_json {
	CLI_JSON_DOCUMENT, /* one document at the end */
	CLI_JSON_LINES,    /* one object per line, as things happen */
};

/** One command: a row of the table in main.c. */
struct cli_command {
	const char *name;        /* "install"; a second word makes a group: "uki inspect" */
	const char *arguments;   /* "SOURCE"; "" for none */
	const char *summary;     /* a few words for the list of commands */
	const char *description; /* a few lines for its own help */
	unsigned options;        /* CLI_BIT()s beside the global ones */
	size_t words_min;
	size_t words_max;
	enum cli_json json;
	bool shows; /* it is run for its output: not being able to write that is a failure */
	/** 0 or -errno with *error set. */
	int (*run)(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
};

/** What the command line asks for, and where the answers go. Strings are borrowed from argv. */
struct cli {
	const struct cli_command *command; /* NULL: none was named */
	const char *config;
	const char *root;
	bool json;
	bool quiet;
	bool verbose;
	bool help;
	bool version;
	bool now;
	struct bistable_error inhibited;         /* why --now cannot restart; no text: it can */
	struct bistable_install_options install; /* also holds what the other commands take */
	struct bistable_bundle_options bundle;   /* of `bundle create` and `sign` */
	bool created_given;
	const char *keyring;
	const char **headers; /* owned; ends with NULL */
	size_t header_count;
	char **words; /* what follows the command, without options */
	size_t word_count;
	struct progress progress;
	enum bistable_code code; /* the exit code of a command that did not fail */
};

/**
 * Reads the command line into *cli (zero-initialised; cli_done frees what it holds). Everything is
 * read even when something is wrong, so that --json is known by then. 0 or -EINVAL; asking for help
 * or the version is never wrong.
 */
int cli_parse(struct cli *cli, int argc, char **argv, const struct cli_command *commands,
	size_t count, struct bistable_error *error);
void cli_done(struct cli *cli);

/** Prints the help of `command`, or (NULL) of the program, to standard output or error. */
void cli_print_help(const struct cli_command *command, const struct cli_command *commands,
	size_t count, bool to_error);

/** Fills *error as wrong usage unless an earlier error is there already. Returns -EINVAL. */
int cli_usage_error(struct bistable_error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/**
 * Takes an option of the `bundle` commands into cli->bundle. False: it is none of them. Wrong
 * values fill *error.
 */
bool cli_take_bundle_option(
	struct cli *cli, enum cli_option option, const char *value, struct bistable_error *error);

/** 'A' or 'B' for "A", "a", "B", "b"; 0 for anything else. */
char cli_slot_from_text(const char *text);

int cmd_install(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_status(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_doctor(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_verify(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_repair(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_mark_good(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_mark_bad(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_mark_started(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_rollback(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_activate(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_bundle_create(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_bundle_inspect(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_bundle_verify(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_bundle_sign(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
int cmd_uki_inspect(struct cli *cli, struct bistable *bistable, struct bistable_error *error);
