/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/result.h"

#include <stdio.h>

#include <bistable/bistable.h>

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

void result_print_start(const struct bistable_result *result)
{
	printf("%s\n", start_sentence(result));
	if (result->fallback)
		terminal_print(stdout, PAINT_DOUBT, "Not by kexec: %s\n", result->fallback);
	if (result->restarting)
		puts("Restarting now.");
}

json_t *result_json(const struct bistable_result *result)
{
	return json_pack("{s:o, s:o, s:s, s:o, s:b}", "slot", json_slot(result->slot), "version",
		json_text(result->version), "activation",
		bistable_activation_name(result->activation), "fallback",
		json_text(result->fallback), "restarting", result->restarting);
}
