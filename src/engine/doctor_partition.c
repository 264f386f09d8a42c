/* SPDX-License-Identifier: Apache-2.0 */

/* The doctor looks at the slots' partitions: whether they are what the records speak of. */

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "engine/context.h"
#include "engine/doctor_private.h"
#include "machine/machine.h"

#define CONFIGURE "Check [partition.system] device and the partition table."

/* Bytes of the image that the record says lies there; 0: it says nothing. */
static uint64_t recorded_size(const struct doctor *doctor, enum slot slot)
{
	const struct state *state = &doctor->records.of[slot].state;

	if (!doctor_record_known(doctor, slot) || !state->complete)
		return 0;
	for (size_t i = 0; i < state->payload_count; i++)
		if (strcmp(state->payloads[i].role, "system") == 0)
			return state->payloads[i].size;
	return 0;
}

static int cannot_open(
	struct doctor *doctor, enum slot slot, int number, const char *why, struct error *error)
{
	if (number == -EACCES || number == -EPERM)
		return doctor_warning(doctor, DOCTOR_AS_ROOT, error, "%s.", why);
	return doctor_problem(doctor, CONFIGURE, error,
		"The partition of slot %c cannot be used: %s.", slot_letter(slot), why);
}

int doctor_check_partition(struct doctor *doctor, enum slot slot, struct error *error)
{
	struct context *context = doctor->context;
	struct machine *machine = context->machine;
	const char *device = context->config.system_device[slot];
	const uint64_t image = recorded_size(doctor, slot);
	struct partition *partition = NULL;
	char letter = slot_letter(slot), has[16], needs[16];
	struct error why = { 0 };
	bool holds = false;
	uint64_t size;
	int r;

	r = machine->ops->partition_open(machine, device, PARTITION_READ, &partition, &why);
	if (r < 0)
		return cannot_open(doctor, slot, r, why.text, error);
	size = machine->ops->partition_size(machine, partition);
	machine->ops->partition_close(machine, partition);
	text_size(size, has);
	text_size(image, needs);
	if (size < image)
		return doctor_problem(doctor, CONFIGURE, error,
			"%s has %s, but the record of slot %c speaks of an image of %s: it is "
			"another partition, or was made smaller.",
			device, has, letter, needs);
	/* A system that holds no slot at all is not looked for: an overlay hides its disk. */
	if (doctor->running == slot_other(slot)
		&& machine->ops->partition_holds_root(machine, device, &holds, NULL) == 0 && holds)
		return doctor_problem(doctor,
			"Check [slots] cmdline-match; nothing can be installed like this.", error,
			"The running system lies on %s, the partition of slot %c, but the kernel's "
			"command line names slot %c.",
			device, letter, slot_letter(doctor->running));
	return doctor_ok(doctor, error, "%s has %s.", device, has);
}
