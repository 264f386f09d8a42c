/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/terminal.h"

static json_t *payload_json(const struct bistable_bundle_payload *payload)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}", "role",
		json_text(payload->role), "name", json_text(payload->name), "size",
		json_size(payload->size), "compressed", json_size(payload->compressed), "sha256",
		json_text(payload->sha256), "chunk_size", json_size(payload->chunk_size), "chunks",
		json_size(payload->chunk_count), "slot", json_slot(payload->slot), "optional",
		payload->optional, "root_hash",
		json_text(payload->root_hash[0] ? payload->root_hash : NULL));
}

static json_t *payloads_json(const struct bistable_bundle *bundle)
{
	json_t *array = json_array();

	for (size_t i = 0; i < bundle->payload_count; i++) {
		if (json_array_append_new(array, payload_json(&bundle->payloads[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *signer_json(const struct bistable_bundle *bundle)
{
	if (!bundle->signer)
		return json_null();
	return json_pack("{s:o, s:o, s:I}", "subject", json_text(bundle->signer), "sha256",
		json_text(bundle->signer_sha256), "not_after",
		(json_int_t)bundle->signer_not_after);
}

/* The keys that every answer about a bundle has. */
static json_t *bundle_json(const struct bistable_bundle *bundle)
{
	json_t *not_after = bundle->not_after ? json_integer(bundle->not_after) : json_null();

	return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:b, s:o, s:o}",
		"schema", JSON_SCHEMA, "compatible", json_text(bundle->compatible), "architecture",
		json_text(bundle->architecture), "version", json_text(bundle->version), "epoch",
		json_size(bundle->epoch), "description", json_text(bundle->description), "created",
		(json_int_t)bundle->created, "not_after", not_after, "requires",
		json_texts(bundle->requires, bundle->require_count), "compression",
		json_text(bundle->compression), "size", json_size(bundle->size), "signed",
		bundle->is_signed, "signer", signer_json(bundle), "payloads",
		payloads_json(bundle));
}

/* The same as the result among the lines of a longer operation. */
static int write_result(const struct bistable_bundle *bundle, struct bistable_error *error)
{
	json_t *line = json_pack("{s:s}", "event", "result");
	json_t *body = bundle_json(bundle);

	if (body)
		json_object_update(line, body);
	json_decref(body);
	return json_write_line(line, error);
}

static void print_text(const char *what, const char *text)
{
	terminal_print(stdout, PAINT_NONE, "%-14s%s\n", what, text);
}

static void print_payload(const struct bistable_bundle_payload *payload)
{
	char size[16], compressed[16], chunk[16];

	terminal_size(payload->size, size);
	terminal_size(payload->compressed, compressed);
	terminal_size(payload->chunk_size, chunk);
	terminal_print(stdout, PAINT_NONE, "%-14s%s: %s, compressed %s, %llu chunks of %s\n",
		payload->role, payload->name, size, compressed,
		(unsigned long long)payload->chunk_count, chunk);
	if (payload->slot)
		printf("%-14sonly for slot %c\n", "", payload->slot);
	if (payload->optional)
		printf("%-14soptional\n", "");
	printf("%-14sSHA-256 %s\n", "", payload->sha256);
	if (payload->root_hash[0])
		printf("%-14sroot hash %s\n", "", payload->root_hash);
}

static void print_signature(const struct bistable_bundle *bundle)
{
	char time[32];

	printf("%-14s", "Signature");
	if (!bundle->is_signed) {
		terminal_print(stdout, PAINT_DOUBT, "none\n");
	} else if (!bundle->signer) {
		terminal_print(
			stdout, PAINT_DOUBT, "there is one; it was not verified (--keyring)\n");
	} else {
		terminal_time(bundle->signer_not_after, time);
		terminal_print(stdout, PAINT_GOOD, "good, by %s\n", bundle->signer);
		printf("%-14scertificate %s\n%-14svalid until %s\n", "", bundle->signer_sha256, "",
			time);
	}
}

static void print_bundle(const struct bistable_bundle *bundle)
{
	char time[32];

	print_text("Compatible", bundle->compatible);
	print_text("Architecture", bundle->architecture);
	print_text("Version", bundle->version);
	printf("%-14s%llu\n", "Epoch", (unsigned long long)bundle->epoch);
	terminal_time(bundle->created, time);
	print_text("Created", time);
	if (bundle->not_after) {
		terminal_time(bundle->not_after, time);
		print_text("Not after", time);
	}
	if (bundle->description)
		print_text("Description", bundle->description);
	for (size_t i = 0; i < bundle->require_count; i++)
		print_text(i == 0 ? "Requires" : "", bundle->requires[i]);
	print_signature(bundle);
	print_text("Compression", bundle->compression);
	for (size_t i = 0; i < bundle->payload_count; i++)
		print_payload(&bundle->payloads[i]);
}

static void print_written(const struct bistable_bundle *bundle, const char *path)
{
	char size[16];

	terminal_size(bundle->size, size);
	terminal_print(stdout, PAINT_GOOD, "Wrote '%s'", path);
	terminal_print(stdout, PAINT_NONE, ": %s %s for %s, %s.\n", bundle->compatible,
		bundle->version, bundle->architecture, size);
	if (!bundle->is_signed)
		terminal_print(stdout, PAINT_DOUBT,
			"It is not signed: 'bistable bundle sign' does that.\n");
}

/* When the bundle was made, unless the user says so. */
static int default_created(struct cli *cli, struct bistable_error *error)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	char *end;

	if (cli->created_given)
		return 0;
	if (!text || !*text) {
		cli->bundle.created = time(NULL);
		if (cli->bundle.created >= BISTABLE_EXISTS_SINCE)
			return 0;
		return cli_usage_error(error,
			"the clock is wrong (%lld seconds since 1970): set it, or say when the "
			"bundle was made with --created=TIME",
			(long long)cli->bundle.created);
	}
	cli->bundle.created = strtoll(text, &end, 10);
	if (*end || cli->bundle.created < 0)
		return cli_usage_error(error,
			"SOURCE_DATE_EPOCH=%s: expected seconds since 1970 as a number", text);
	return 0;
}

static int need(
	const char *value, const char *what, const struct cli *cli, struct bistable_error *error)
{
	if (value)
		return 0;
	return cli_usage_error(error, "%s needs %s", cli->command->name, what);
}

int cmd_bundle_create(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	struct bistable_bundle *bundle = NULL;
	int r;

	cli->bundle.uki = cli->words[0];
	cli->bundle.image = cli->words[1];
	cli->bundle.output = cli->words[2];
	if (!cli->bundle.level)
		cli->bundle.level = BISTABLE_LEVEL_DEFAULT;
	r = need(cli->bundle.compatible, "--compatible=NAME", cli, error);
	if (r == 0 && !cli->bundle.sign_key != !cli->bundle.sign_cert)
		r = cli_usage_error(error, "signing needs both --sign-key and --sign-cert");
	if (r == 0)
		r = default_created(cli, error);
	if (r == 0)
		r = bistable_bundle_create(bistable, &cli->bundle, &bundle, error);
	if (r < 0)
		return r;
	progress_finish(&cli->progress);
	if (cli->json)
		r = write_result(bundle, error);
	else if (!cli->quiet)
		print_written(bundle, cli->bundle.output);
	bistable_bundle_free(bundle);
	return r;
}

int cmd_bundle_inspect(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	struct bistable_bundle *bundle = NULL;
	int r;

	r = bistable_bundle_inspect(bistable, cli->words[0], cli->keyring, &bundle, error);
	if (r < 0)
		return r;
	progress_finish(&cli->progress);
	if (cli->json)
		r = json_write_document(bundle_json(bundle), error);
	else
		print_bundle(bundle);
	bistable_bundle_free(bundle);
	return r;
}

static void print_verified(const struct bistable_bundle *bundle)
{
	terminal_print(stdout, PAINT_GOOD, "Every byte is as it should be");
	terminal_print(stdout, PAINT_NONE, ": %s %s for %s.\n", bundle->compatible, bundle->version,
		bundle->architecture);
	if (bundle->signer)
		terminal_print(stdout, PAINT_NONE, "Signed by %s.\n", bundle->signer);
	else
		terminal_print(stdout, PAINT_DOUBT,
			bundle->is_signed ? "Its signature was not verified (--keyring).\n"
					  : "It is not signed.\n");
}

int cmd_bundle_verify(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	struct bistable_bundle *bundle = NULL;
	int r;

	r = bistable_bundle_verify(bistable, cli->words[0], cli->keyring, &bundle, error);
	if (r < 0)
		return r;
	progress_finish(&cli->progress);
	if (cli->json)
		r = write_result(bundle, error);
	else if (!cli->quiet)
		print_verified(bundle);
	bistable_bundle_free(bundle);
	return r;
}

int cmd_bundle_sign(struct cli *cli, struct bistable *bistable, struct bistable_error *error)
{
	const char *output = cli->word_count > 1 ? cli->words[1] : cli->words[0];
	struct bistable_bundle *bundle = NULL;
	int r;

	r = need(cli->bundle.sign_key, "--key=KEY", cli, error);
	if (r == 0)
		r = need(cli->bundle.sign_cert, "--cert=FILE", cli, error);
	if (r == 0)
		r = bistable_bundle_sign(bistable, cli->words[0], output, cli->bundle.sign_key,
			cli->bundle.sign_cert, &bundle, error);
	if (r < 0)
		return r;
	progress_finish(&cli->progress);
	if (cli->json)
		r = json_write_document(bundle_json(bundle), error);
	else if (!cli->quiet)
		print_written(bundle, output);
	bistable_bundle_free(bundle);
	return r;
}
