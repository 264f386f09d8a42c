/* SPDX-License-Identifier: Apache-2.0 */
#include <bistable/bistable.h>

#include "cli/cli.h"
#include "cli/report.h"

int cmd_doctor(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	struct bistable_report *report = NULL;
	int r;

	r = bistable_doctor(bistable, &report, error);
	if (r < 0)
		return r;
	return report_show(cli, report, error);
}

int cmd_verify(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	struct bistable_report *report = NULL;
	char slot = 0;
	int r;

	if (cli->word_count > 0) {
		slot = cli_slot_from_text(cli->words[0]);
		if (!slot)
			return cli_usage_error(
				error, "verify '%s': expected A or B", cli->words[0]);
	}
	r = bistable_verify(bistable, slot, &report, error);
	return r < 0 ? r : report_show(cli, report, error);
}
