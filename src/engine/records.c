/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/context.h"
#include "machine/machine.h"

static const char *file_name(const char *path)
{
	return strrchr(path, '/') + 1;
}

static int boot_file_exists(struct context *context, enum slot slot, bool *ret, struct error *error)
{
	AUTO_TEXT_LIST struct text_list names = { 0 };
	struct error why = { 0 };
	bool exists = false;
	int r;

	r = context->machine->ops->esp_list(
		context->machine, context->esp, context->config.folder, &names, &why);
	if (r < 0 && r != -ENOENT) {
		if (error)
			*error = why;
		return r;
	}
	/* vfat ignores case. */
	for (size_t i = 0; r == 0 && i < names.count; i++)
		exists = exists
			 || strcasecmp(names.items[i], file_name(context->config.boot_file[slot]))
				    == 0;
	*ret = exists;
	return 0;
}

int record_read(struct context *context, enum slot slot, struct record *ret, struct error *error)
{
	AUTO_RECORD struct record record = { 0 };
	AUTO_BUFFER struct buffer bytes = { 0 };
	struct error why = { 0 };
	int r;

	r = boot_file_exists(context, slot, &record.has_boot_file, error);
	if (r < 0)
		return r;
	r = context->machine->ops->esp_read(context->machine, context->esp,
		context->config.state_file[slot], STATE_SIZE_MAX, &bytes, &why);
	record.exists = r != -ENOENT;
	record.readable = true;
	if (r == 0)
		r = state_parse(span_of(&bytes), &record.state, &why);
	if (!record.exists) {
		record.state.complete = true;
		record.state.confirmed = true;
		/* It proved itself by having been started in the factory's way. */
		record.state.cold_booted = true;
	} else if (r == -ENOMEM) {
		return error_memory(error);
	} else if (r == -EACCES || r == -EPERM) {
		/* It may be sound: not this user's to say. */
		if (error)
			*error = why;
		return r;
	} else if (r < 0) {
		record.readable = false;
		record.why = text_format("%s: %s", context->config.state_file[slot], why.text);
		if (!record.why)
			return error_memory(error);
	}
	*ret = record;
	record = (struct record){ 0 };
	return 0;
}

int record_write(
	struct context *context, enum slot slot, struct record *record, struct error *error)
{
	AUTO_BUFFER struct buffer wanted = { 0 }, present = { 0 };
	const char *path = context->config.state_file[slot];
	struct machine *machine = context->machine;
	int r;

	r = state_format(&record->state, &wanted, error);
	if (r < 0)
		return r;
	r = machine->ops->esp_read(machine, context->esp, path, STATE_SIZE_MAX, &present, NULL);
	if (r < 0 || !span_equal(span_of(&wanted), span_of(&present))) {
		r = machine->ops->esp_replace(machine, context->esp, path, span_of(&wanted), error);
		if (r < 0)
			return r;
	}
	record->exists = true;
	record->readable = true;
	return 0;
}

void record_done(struct record *record)
{
	state_done(&record->state);
	free(record->why);
	*record = (struct record){ 0 };
}

bool record_complete(const struct record *record)
{
	return record->has_boot_file && record->readable && record->state.complete;
}

bool record_startable(const struct record *record)
{
	return record_complete(record) && !record->state.bad;
}

bool record_drop_pending(struct record *record, const char *boot_id)
{
	struct state_attempt *last = state_last_attempt(&record->state);

	if (!last || last->outcome != STATE_PENDING || strcmp(last->boot_id, boot_id) != 0)
		return false;
	record->state.attempt_count--;
	return true;
}

struct state_attempt *record_open_attempt(struct record *record, const char *boot_id)
{
	struct state_attempt *last = state_last_attempt(&record->state);

	if (!last || last->outcome != STATE_PENDING || strcmp(last->boot_id, boot_id) == 0)
		return NULL;
	return last;
}

enum attempt_end record_attempt_end(
	const struct record *record, size_t i, bool running, bool still_chosen, const char *boot_id)
{
	const struct state *state = &record->state;
	const struct state_attempt *attempt = &state->attempts[i];
	bool open = attempt->outcome == STATE_PENDING && i + 1 == state->attempt_count;

	if (attempt->outcome == STATE_CONFIRMED)
		return ATTEMPT_CONFIRMED;
	if (open && strcmp(attempt->boot_id, boot_id) == 0)
		return ATTEMPT_PENDING;
	if (open && running)
		return ATTEMPT_RUNNING;
	/* What firmware has been told and not done yet, it has not tried. */
	if (attempt->unstarted || (open && still_chosen && strcmp(attempt->how, "reboot") == 0))
		return ATTEMPT_NOT_STARTED;
	return ATTEMPT_FAILED;
}

bool record_has_failed(const struct record *record, bool still_chosen, const char *boot_id)
{
	size_t count = record->state.attempt_count;

	return count > 0
	       && record_attempt_end(record, count - 1, false, still_chosen, boot_id)
			  == ATTEMPT_FAILED;
}

int records_read(struct context *context, struct records *ret, struct error *error)
{
	AUTO_RECORDS struct records records = { 0 };

	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++) {
		int r = record_read(context, slot, &records.of[slot], error);

		if (r < 0)
			return r;
		records.startable[slot] = record_startable(&records.of[slot]);
	}
	*ret = records;
	records = (struct records){ 0 };
	return 0;
}

void records_done(struct records *records)
{
	for (enum slot slot = SLOT_A; slot < SLOT_COUNT; slot++)
		record_done(&records->of[slot]);
}
