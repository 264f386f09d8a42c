/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/terminal.h"

static json_t *sections_json(const struct bistable_uki *uki)
{
	json_t *array = json_array();

	for (size_t i = 0; i < uki->section_count; i++) {
		const struct bistable_uki_section *section = &uki->sections[i];
		json_t *item = json_pack("{s:o, s:o, s:o}", "name", json_text(section->name),
			"offset", json_size(section->offset), "size", json_size(section->size));

		if (json_array_append_new(array, item) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *content_json(uint64_t size, const char *sha256)
{
	return json_pack("{s:o, s:o}", "size", json_size(size), "sha256", json_text(sha256));
}

static json_t *uki_json(const struct bistable_uki *uki, bool for_slot)
{
	json_t *initrd = uki->initrd_size > 0 ? content_json(uki->initrd_size, uki->initrd_sha256)
					      : json_null();
	json_t *kexec = json_pack("{s:b, s:o}", "possible", uki->kexec_reason_count == 0, "reasons",
		json_texts(uki->kexec_reasons, uki->kexec_reason_count));

	return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "schema", JSON_SCHEMA,
		"architecture", json_text(uki->architecture), "sections", sections_json(uki),
		"cmdline", json_text(uki->cmdline), "bound",
		for_slot ? json_boolean(uki->bound) : json_null(), "version",
		json_text(uki->version), "kernel",
		content_json(uki->kernel_size, uki->kernel_sha256), "initrd", initrd, "kexec",
		kexec);
}

static void print_content(const char *what, uint64_t size, const char *sha256)
{
	char text[16];

	terminal_size(size, text);
	printf("%-14s%s, SHA-256 %s\n", what, text, sha256);
}

static void print_uki(const struct bistable_uki *uki)
{
	terminal_print(stdout, PAINT_NONE, "%-14s%s\n", "Architecture",
		uki->architecture ? uki->architecture : "unknown");
	terminal_print(stdout, PAINT_NONE, "%-14s%s\n", "Version",
		uki->version ? uki->version : "not stated");
	terminal_print(stdout, PAINT_NONE, "%-14s%s\n", "Command line",
		uki->cmdline && *uki->cmdline ? uki->cmdline : "none");
	print_content("Kernel", uki->kernel_size, uki->kernel_sha256);
	if (uki->initrd_size > 0)
		print_content("Initrd", uki->initrd_size, uki->initrd_sha256);
	else
		printf("%-14snone\n", "Initrd");
	printf("%-14s", "kexec");
	if (uki->kexec_reason_count == 0)
		terminal_print(stdout, PAINT_GOOD, "possible\n");
	else
		terminal_print(stdout, PAINT_DOUBT, "not possible:\n");
	for (size_t i = 0; i < uki->kexec_reason_count; i++)
		terminal_print(stdout, PAINT_NONE, "%-14s- %s\n", "", uki->kexec_reasons[i]);
	printf("%-14s%12s%12s\n", "Section", "offset", "size");
	for (size_t i = 0; i < uki->section_count; i++)
		terminal_print(stdout, PAINT_NONE, "  %-12s%12llu%12llu\n", uki->sections[i].name,
			(unsigned long long)uki->sections[i].offset,
			(unsigned long long)uki->sections[i].size);
}

int cmd_uki_inspect(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	struct bistable_uki *uki = NULL;
	json_t *document;
	int r;

	r = bistable_uki_inspect(bistable, cli->words[0], cli->install.slot, &uki, error);
	if (r < 0)
		return r;
	progress_finish(&cli->progress);
	if (cli->json) {
		document = uki_json(uki, cli->install.slot != 0);
		progress_add_collected(&cli->progress, document);
		r = json_write_document(document, error);
	} else {
		print_uki(uki);
	}
	bistable_uki_free(uki);
	return r;
}
