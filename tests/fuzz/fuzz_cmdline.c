/* SPDX-License-Identifier: Apache-2.0 */
/* Four lines: pattern, placeholder, what it is bound to, kernel command line. */
#include "base/cleanup.h"
#include "base/text.h"
#include "format/cmdline.h"
#include "format/verity.h"
#include "fuzz.h"

static void check_slot(const char *cmdline, const char *pattern)
{
	struct error error = { 0 };
	enum slot plain = SLOT_NONE, slot = SLOT_NONE;

	if (!succeeded(cmdline_slot(cmdline, NULL, &plain, &error), &error))
		return;
	must(plain >= SLOT_NONE && plain <= SLOT_B);
	must(plain == SLOT_NONE || strchr(cmdline, '='));
	if (!succeeded(cmdline_slot(cmdline, pattern, &slot, &error), &error))
		return;
	must(slot >= SLOT_NONE && slot <= SLOT_B);
	/* The parameter comes first. */
	must(plain == SLOT_NONE || slot == plain);
}

static size_t count_of(const char *text, const char *part)
{
	size_t count = 0;

	for (; *part && (text = strstr(text, part)); text += strlen(part))
		count++;
	return count;
}

static void check_bind(const char *cmdline, const char *placeholder, const char *bound)
{
	size_t size = strlen(cmdline), count = 0;
	AUTO_FREE uint8_t *bytes = malloc(size);
	struct error error = { 0 };
	bool done, same;

	must(bytes || size == 0);
	memcpy(bytes, cmdline, size);
	done = succeeded(cmdline_bind(bytes, size, placeholder, bound, &count, &error), &error);
	same = memcmp(bytes, cmdline, size) == 0;
	must(done == (*placeholder && strlen(placeholder) == strlen(bound)));
	must(done || same);
	if (!done)
		return;
	must(count == count_of(cmdline, placeholder));
	must(same == (count == 0 || strcmp(placeholder, bound) == 0));
}

/* A tree of any numbers is laid out or refused. */
static void check_layout(const struct cmdline_tree *found)
{
	struct verity verity = { .data_block_size = found->data_block_size,
		.hash_block_size = found->hash_block_size,
		.data_blocks = found->data_blocks };
	struct error error = { 0 };
	struct verity_layout layout;

	if (succeeded(verity_lay_out(&verity, 32, &layout, &error), &error))
		must(layout.level_count <= VERITY_LEVELS_MAX);
}

/* What a table says is said by the same table once more. */
static void check_table(const struct cmdline_tree *found)
{
	AUTO_FREE char *text = NULL;
	struct cmdline_verity verity;
	const struct cmdline_tree *again = &verity.trees[0];
	struct error error = { 0 };

	must(*found->algorithm && *found->salt);
	check_layout(found);
	if (strchr(found->algorithm, '"'))
		return;
	text = text_format("dm-mod.create=\"v,,,ro,0 1 verity 1 /a /a %u %u %llu %llu %s %s %s\"",
		found->data_block_size, found->hash_block_size,
		(unsigned long long)found->data_blocks, (unsigned long long)found->hash_start,
		found->algorithm, found->root_hash, found->salt);
	must(text && cmdline_verity(text, &verity, &error) == 0 && verity.count == 1);
	must(again->table && strcmp(again->root_hash, found->root_hash) == 0);
	must(again->data_blocks == found->data_blocks && again->hash_start == found->hash_start);
	must(again->data_block_size == found->data_block_size);
	must(again->hash_block_size == found->hash_block_size);
	must(strcmp(again->algorithm, found->algorithm) == 0);
	must(strcmp(again->salt, found->salt) == 0);
}

static void check_verity(const char *cmdline)
{
	struct cmdline_verity found;
	struct error error = { 0 };

	if (!succeeded(cmdline_verity(cmdline, &found, &error), &error))
		return;
	must(found.count <= CMDLINE_TREES_MAX);
	for (size_t i = 0; i < found.count; i++) {
		const struct cmdline_tree *tree = &found.trees[i];
		size_t length = strlen(tree->root_hash);

		must(length >= 32 && length <= 128 && length % 2 == 0);
		must(strspn(tree->root_hash, "0123456789abcdef") == length);
		for (size_t j = 0; j < i; j++)
			must(strcmp(tree->root_hash, found.trees[j].root_hash) != 0);
		if (tree->table)
			check_table(tree);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *text = text_of(data, size);
	char *rest = text;
	const char *pattern = strsep(&rest, "\n");
	const char *placeholder = rest ? strsep(&rest, "\n") : "";
	const char *bound = rest ? strsep(&rest, "\n") : "";
	const char *cmdline = rest ? rest : "";

	check_slot(cmdline, pattern);
	check_bind(cmdline, placeholder, bound);
	check_verity(cmdline);
	return 0;
}
