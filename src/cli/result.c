/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/result.h"

#include <stdio.h>

#include <bistable/bistable.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/terminal.h"

static const char *start_sentence(const struct bistable_result *result)
{
	bool dry = result->dry_run;

	switch (result->activation) {
	case BISTABLE_ACTIVATE_KEXEC:
	case BISTABLE_ACTIVATE_KEXEC_ONLY:
		return dry ? "It would start on the next kexec; a power cycle would start the old "
			     "slot."
			   : "It starts on the next kexec; a power cycle starts the old slot.";
	case BISTABLE_ACTIVATE_REBOOT:
		return dry ? "It would start on the next reboot." : "It starts on the next reboot.";
	case BISTABLE_ACTIVATE_NONE:
	case BISTABLE_ACTIVATE_DEFAULT:
		break;
	}
	return dry ? "It would not be started until 'bistable activate'."
		   : "It is not started until 'bistable activate'.";
}

/* Which command that is: a plain reboot starts what is staged only if systemd sees to it. */
static void print_command(const struct bistable_result *result)
{
	bool kexec = result->activation == BISTABLE_ACTIVATE_KEXEC;

	if (kexec && result->command)
		printf("Start it with '%s'%s.\n", result->command,
			result->reboot_is_kexec
				? " or 'systemctl reboot', which does the same here"
				: "; 'systemctl reboot' goes through the firmware and starts the "
				  "old slot");
	else if (kexec)
		puts("Start it with 'bistable activate --now'; a plain reboot starts the old "
		     "slot.");
}

/* A tree is no machine: nothing restarts under --root. */
static bool restarts(const struct cli *cli, const struct bistable_result *result)
{
	return cli->now && !cli->root && !result->dry_run && !cli->inhibited.text[0]
	       && result->activation != BISTABLE_ACTIVATE_NONE;
}

void result_print_start(const struct cli *cli, const struct bistable_result *result)
{
	printf("%s\n", start_sentence(result));
	if (result->fallback)
		terminal_print(stdout, PAINT_DOUBT, "Not by kexec: %s\n", result->fallback);
	if (restarts(cli, result))
		puts("Restarting now.");
	else if (cli->now && cli->root)
		puts("A restart is never carried out under --root.");
	else if (!result->dry_run)
		print_command(result);
}

json_t *result_json(const struct cli *cli, const struct bistable_result *result)
{
	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:b}", "slot", json_slot(result->slot),
		"version", json_text(result->version), "activation",
		bistable_activation_name(result->activation), "fallback",
		json_text(result->fallback), "command", json_text(result->command), "restarting",
		restarts(cli, result));
}

void result_check_restart(
	struct cli *cli, struct bistable *bistable, const struct bistable_result *result)
{
	if (restarts(cli, result) && !cli->install.force)
		bistable_restart_check(bistable, result, &cli->inhibited);
}

int result_restart(const struct cli *cli, struct bistable *bistable,
	const struct bistable_result *result, struct bistable_error *error)
{
	if (cli->inhibited.text[0]) {
		*error = cli->inhibited;
		return -error->number;
	}
	if (!restarts(cli, result))
		return 0;
	/* What was said must be read before the machine goes down. */
	fflush(stdout);
	return bistable_restart(bistable, result, cli->install.force, error);
}
