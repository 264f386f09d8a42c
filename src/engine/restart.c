/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/restart.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "engine/context.h"
#include "engine/records.h"
#include "machine/machine.h"

#define REBOOT_IS_KEXEC 253 /* since this systemd `systemctl reboot` starts what is staged */

int restart_mark_started(struct context *context, enum slot *ret, struct error *error)
{
	AUTO_CONTEXT_CLOSE struct context *open = context;
	AUTO_RECORDS struct records records = { 0 };
	char boot_id[37];
	bool staged;
	int r;

	(void)open;
	*ret = SLOT_NONE;
	r = context->machine->ops->kexec_staged(context->machine, &staged, error);
	if (r < 0 || !staged)
		return r;
	r = context_begin(context, true, error);
	if (r == 0)
		r = records_read(context, &records, error);
	context_boot_id(context, boot_id);
	for (enum slot slot = SLOT_A; r == 0 && slot < SLOT_COUNT; slot++) {
		struct state_attempt *last = state_last_attempt(&records.of[slot].state);

		if (!last || last->outcome != STATE_PENDING || !last->unstarted
			|| strcmp(last->boot_id, boot_id) != 0)
			continue;
		last->unstarted = false;
		r = record_write(context, slot, &records.of[slot], error);
		*ret = slot;
	}
	return r;
}

int restart_check(struct context *context, struct error *error)
{
	AUTO_TEXT_LIST struct text_list blockers = { 0 };
	AUTO_FREE char *text = NULL;
	int r;

	r = context->machine->ops->restart_blockers(context->machine, &blockers, error);
	if (r == 0 && blockers.count > 0)
		r = text_list_join(&blockers, "; ", &text, error);
	if (r < 0 || !text)
		return r;
	return error_set(error, ERROR_REFUSED, EBUSY,
		"a restart is inhibited by %s. Everything is set for the next start: restart when "
		"that is done (or --force)",
		text);
}

int restart_now(struct context *context, bool kexec, bool force, struct error *error)
{
	struct machine *machine = context->machine;
	struct error why = { 0 };
	enum slot slot;

	if (kexec && restart_mark_started(context, &slot, &why) < 0)
		report_warning(&context->observer.report,
			"It is not noted that the kexec begins (%s): if it fails, it counts as not "
			"started",
			why.text);
	return machine->ops->restart(machine, kexec ? MACHINE_KEXEC : MACHINE_REBOOT, force, error);
}

/* What the user has to call, if not the machine is restarted at once. */
void restart_name_command(struct context *context, struct bistable_result *result)
{
	bool kexec = result->activation == BISTABLE_ACTIVATE_KEXEC;
	struct machine_init init = { 0 };

	context->machine->ops->init(context->machine, &init);
	if (!init.systemd)
		return;
	result->command = kexec ? "systemctl kexec" : "systemctl reboot";
	result->reboot_is_kexec = kexec && init.version >= REBOOT_IS_KEXEC;
}
