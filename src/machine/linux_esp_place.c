/* SPDX-License-Identifier: Apache-2.0 */

/* Where the ESP lies: what Linux has mounted, and what the firmware sees of it. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "machine/linux_esp.h"
#include "machine/linux_private.h"

int esp_learn_place(const struct root_dir *root, dev_t device, const struct block_list *near,
	struct esp *esp, struct error *error)
{
	const struct block_facts *part;
	int r = find_stack(root, device, &esp->stack, error);

	if (r < 0)
		return r;
	for (size_t i = 0; i < esp->stack.count; i++)
		block_list_probe(root, &esp->stack, esp->stack.items[i].disk);
	if (esp->stack.count > 0)
		esp->facts = esp->stack.items[0];
	part = raid_part(root, &esp->stack, near);
	if (part)
		esp->part = *part;
	return 0;
}

static struct esp_location location_of(const struct block_facts *part)
{
	uint32_t units = part->logical_block / 512;

	return (struct esp_location){
		.partition_number = part->number,
		.start = part->start / units,
		.size = part->size / units,
		.partuuid = part->partuuid,
	};
}

int linux_esp_location(
	struct machine *machine, struct esp *esp, struct esp_location *ret, struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	const struct block_facts *part = &esp->part;

	if (esp->has_location) {
		*ret = esp->location;
		return 0;
	}
	if (part->number == 0 || !part->has_partuuid || part->size == 0)
		return error_failed(error, geteuid() == 0 || root->confined ? ENODATA : EACCES,
			"cannot tell which partition the ESP %s is (its number, place and "
			"PARTUUID%s): set [esp] partition-number, start, size and partuuid in the "
			"configuration%s",
			esp->where,
			esp->stack.count > 1
				? "; none under it is in sync and begins with its file system, as "
				  "with md metadata 1.0 and 0.90"
				: "",
			geteuid() == 0 ? "" : ", or run as root");
	*ret = location_of(part);
	return 0;
}

int linux_esp_twin(struct machine *machine, struct esp *esp, char **ret, struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	struct block_facts twin;
	bool found = false;
	char *node;
	int r = 0;

	if (!root->confined && esp->part.has_partuuid)
		r = find_twin(root, &esp->part, &esp->stack, &twin, &found, error);
	if (r < 0)
		return r;
	node = found ? text_format("/dev/%s", twin.node) : NULL;
	if (found && !node)
		return error_memory(error);
	*ret = node;
	return 0;
}

/* *ret: the partition with the configured PARTUUID, under the ESP if there is one; NULL: none. */
static const struct block_facts *find_configured(
	const struct esp *esp, const struct block_list *list, bool *ret_unknown)
{
	const struct block_facts *found = NULL;

	*ret_unknown = false;
	for (size_t i = 0; i < list->count; i++) {
		const struct block_facts *facts = &list->items[i];

		*ret_unknown |= !facts->has_partuuid;
		if (facts->has_partuuid && guid_equal(&facts->partuuid, &esp->location.partuuid)
			&& (!found || block_list_has(&esp->stack, facts->name)))
			found = facts;
	}
	return found;
}

static char *compare(const char *key, uint64_t configured, uint64_t actual, const char *node)
{
	if (configured == actual)
		return NULL;
	return text_format("[esp] %s = %" PRIu64 ", but that of /dev/%s is %" PRIu64, key,
		configured, node, actual);
}

/* In words; NULL: it is there as configured, or out of memory. */
static char *compare_place(const struct root_dir *root, const struct esp *esp,
	const struct block_facts *facts, const char *partuuid)
{
	const struct esp_location wanted = esp->location, is = location_of(facts);
	const char *node = facts->node;
	char *text;

	if (!block_list_has(&esp->stack, facts->name) && !block_list_has(&esp->stack, facts->disk))
		return text_format("[esp] partuuid = %s is /dev/%s, but the EFI System Partition "
				   "in use is /dev/%s",
			partuuid, node, esp->facts.node);
	if (!raid_in_sync(root, &esp->stack, facts->name))
		return text_format("[esp] partuuid = %s is /dev/%s, which is not in sync with the "
				   "array in use",
			partuuid, node);
	text = compare("partition-number", wanted.partition_number, is.partition_number, node);
	if (!text)
		text = compare("start", wanted.start, is.start, node);
	return text ? text : compare("size", wanted.size, is.size, node);
}

static int survey_location(const struct root_dir *root, const struct esp *esp,
	struct esp_survey *survey, struct error *error)
{
	AUTO_BLOCKS struct block_list list = { 0 };
	const struct block_facts *facts;
	char partuuid[GUID_TEXT_SIZE];
	bool unknown;
	int r = block_list_partitions(root, &list, error);

	if (r < 0)
		return r;
	for (size_t i = 0; i < list.count; i++)
		block_list_probe(root, &list, list.items[i].disk);
	facts = find_configured(esp, &list, &unknown);
	guid_to_text(&esp->location.partuuid, partuuid);
	if (facts)
		survey->misplaced = compare_place(root, esp, facts, partuuid);
	else if (!unknown || geteuid() == 0)
		survey->misplaced = text_format(
			"no partition has the PARTUUID of [esp] partuuid = %s", partuuid);
	return 0;
}

int linux_esp_survey(
	struct machine *machine, struct esp *esp, struct esp_survey *ret, struct error *error)
{
	const struct root_dir *root = &linux_machine_of(machine)->root;
	struct esp_survey survey = { 0 };
	char array[BLOCK_NAME_SIZE];
	int r = 0;

	if (esp->stack.count > 0) {
		survey.device = text_format("/dev/%s", esp->facts.node);
		if (raid_degraded(root, &esp->stack, array))
			survey.degraded = text_format("/dev/%s", array);
		if (esp->has_location)
			r = survey_location(root, esp, &survey, error);
	}
	if (r < 0)
		esp_survey_done(&survey);
	else
		*ret = survey;
	return r;
}
