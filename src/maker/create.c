/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <bistable/bistable.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/cms.h"
#include "format/manifest.h"
#include "format/uki.h"
#include "format/zip.h"
#include "format/zip_write.h"
#include "maker/archive.h"
#include "maker/content.h"
#include "maker/frame.h"
#include "maker/head.h"
#include "maker/maker.h"
#include "maker/output.h"
#include "maker/pack.h"
#include "maker/tree.h"
#include "maker/treematch.h"
#include "source/bundle.h"

#define BOOT_FILE_MAX      (256u << 20) /* bytes; install takes no larger one */
#define CHUNK_SIZE_DEFAULT (32u << 10)

/*
 * What stands first in the file is known last: the signature covers the manifest, which holds the
 * chunk maps' digests, which hold the frames' lengths; and how long a signature is (ECDSA's differ
 * by a few bytes) is known once it is made. So the frames go to a file without a name beside the
 * output first, and are copied behind the finished head inside the kernel: the images are read and
 * compressed once, nothing is padded, and nothing grows with them in memory but the chunk maps.
 */
struct create {
	const struct bistable_bundle_options *options;
	const struct maker_observer *observer;
	struct content image;
	struct content boot;
	struct buffer uki_bytes;
	struct uki uki;
	struct verity_tree tree;
	bool has_tree;
	char root_hash[129];
	struct output output;
	int spool;
	struct packed packed[2]; /* in the order of the manifest's payloads */
	struct head head;        /* as the bundle's reader will see it; the maps are in `packed` */
};

static void create_done(struct create *create)
{
	for (size_t i = 0; i < 2; i++)
		packed_done(&create->packed[i]);
	content_done(&create->image);
	content_done(&create->boot);
	buffer_done(&create->uki_bytes);
	output_done(&create->output);
	cleanup_close(&create->spool);
	head_done(&create->head);
}

static int usage(struct error *error, const char *what)
{
	return error_set(error, ERROR_USAGE, EINVAL, "%s", what);
}

static int set_text(const char *text, char **ret, struct error *error)
{
	*ret = strdup(text);
	return *ret ? 0 : error_memory(error);
}

static int set_architecture(struct create *create, struct error *error)
{
	const char *wanted = create->options->architecture;
	const char *machine = pe_machine_name(create->uki.pe.machine);

	if (!machine && !wanted)
		return error_failed(error, EINVAL,
			"'%s' is for machine type 0x%04x, whose name is unknown: name the "
			"architecture",
			create->options->uki, create->uki.pe.machine);
	if (machine && wanted && strcmp(machine, wanted) != 0)
		return error_set(error, ERROR_USAGE, EINVAL,
			"the architecture is to be '%s', but '%s' is for %s", wanted,
			create->options->uki, machine);
	return set_text(wanted ? wanted : machine, &create->head.manifest.architecture, error);
}

static int set_version(struct create *create, struct error *error)
{
	struct manifest *manifest = &create->head.manifest;
	int r;

	if (create->options->version)
		return set_text(create->options->version, &manifest->version, error);
	r = uki_version(&create->uki, &manifest->version, error);
	if (r == 0 && !manifest->version)
		return error_set(error, ERROR_USAGE, EINVAL,
			"'%s' states no version (IMAGE_VERSION or VERSION_ID in .osrel): give one",
			create->options->uki);
	return r;
}

/* All of the manifest that does not depend on the payloads' bytes. */
static int describe(struct create *create, struct error *error)
{
	const struct bistable_bundle_options *options = create->options;
	struct manifest *manifest = &create->head.manifest;
	int r;

	manifest->epoch = options->epoch;
	manifest->created = options->created;
	manifest->not_after = options->not_after;
	if (options->not_after && options->not_after <= options->created)
		return usage(error, "a bundle cannot end (not-after) before it was created");
	r = set_text(options->compatible, &manifest->compatible, error);
	if (r == 0 && options->description)
		r = set_text(options->description, &manifest->description, error);
	if (r == 0)
		r = set_architecture(create, error);
	return r < 0 ? r : set_version(create, error);
}

static int read_uki(struct create *create, struct error *error)
{
	AUTO_TEXT_LIST struct text_list warnings = { 0 };
	const char *path = create->options->uki;
	int r;

	r = content_open(path, &create->boot, error);
	if (r == 0)
		r = content_read_all(&create->boot, BOOT_FILE_MAX, &create->uki_bytes, error);
	if (r < 0)
		return r;
	/* What was looked at is what is packed. */
	create->boot.memory = create->uki_bytes.data;
	r = uki_parse_any(span_of(&create->uki_bytes), &create->uki, error);
	if (r == 0)
		r = uki_check_kernel(&create->uki, error);
	if (r == 0)
		r = uki_warnings(&create->uki, &warnings, error);
	if (r < 0)
		error_prefix(error, "'%s'", path);
	for (size_t i = 0; r == 0 && i < warnings.count; i++)
		report_warning(&create->observer->report, "'%s': %s", path, warnings.items[i]);
	return r;
}

static int match(struct create *create, struct error *error)
{
	AUTO_FREE char *cmdline = NULL;
	int r;

	r = uki_cmdline(&create->uki, &cmdline, error);
	if (r == 0)
		r = tree_find(&create->image, cmdline, create->observer, &create->tree,
			&create->has_tree, create->root_hash, error);
	return r;
}

static int add_payload(struct create *create, const char *role, const char *name,
	const char *root_hash, struct error *error)
{
	struct manifest *manifest = &create->head.manifest;
	const struct packed *packed = &create->packed[manifest->payload_count];
	struct manifest_payload *payload = &manifest->payloads[manifest->payload_count++];

	*payload = (struct manifest_payload){
		.size = packed->size,
		.chunk_size = create->options->chunk_size ?: CHUNK_SIZE_DEFAULT,
		.slot = SLOT_NONE,
	};
	memcpy(payload->role, role, strlen(role) + 1);
	memcpy(payload->root_hash, root_hash, strlen(root_hash) + 1);
	memcpy(payload->sha256, packed->sha256, SHA256_SIZE);
	memcpy(payload->chunks_sha256, packed->map_sha256, SHA256_SIZE);
	return set_text(name, &payload->name, error);
}

static uint16_t method_of(enum bistable_compression compression)
{
	return compression == BISTABLE_COMPRESS_ZSTD      ? ZIP_METHOD_ZSTD
	       : compression == BISTABLE_COMPRESS_DEFLATE ? ZIP_METHOD_DEFLATE
							  : ZIP_METHOD_STORED;
}

static int pack(struct create *create, struct error *error)
{
	const struct bistable_bundle_options *options = create->options;
	const struct verity_tree *tree = create->has_tree ? &create->tree : NULL;
	struct pack_settings settings = {
		.method = method_of(options->compression),
		.level = options->level,
		.chunk_size = options->chunk_size ?: CHUNK_SIZE_DEFAULT,
		.threads = options->threads,
		.spool = create->spool,
		.observer = create->observer,
	};
	uint64_t offset = 0;
	int r;

	_Static_assert(BISTABLE_LEVEL_DEFAULT == FRAME_LEVEL_DEFAULT, "the same");
	create->head.method = settings.method;
	r = pack_content(&create->boot, &settings, NULL, MANIFEST_ROLE_BOOT, &offset,
		&create->packed[0], error);
	if (r == 0)
		r = add_payload(create, MANIFEST_ROLE_BOOT, BUNDLE_BOOT_NAME, "", error);
	if (r == 0)
		r = pack_content(&create->image, &settings, tree, MANIFEST_ROLE_SYSTEM, &offset,
			&create->packed[1], error);
	if (r == 0)
		r = add_payload(
			create, MANIFEST_ROLE_SYSTEM, BUNDLE_SYSTEM_NAME, create->root_hash, error);
	return r;
}

static int sign(struct create *create, struct error *error)
{
	const struct bistable_bundle_options *options = create->options;
	struct head *head = &create->head;
	int r;

	r = manifest_format(&head->manifest, &head->manifest_bytes, error);
	if (r < 0 || !options->sign_key)
		return r;
	return cms_sign(span_of(&head->manifest_bytes), options->sign_key, options->sign_cert,
		&head->signature, error);
}

static int add_map(
	struct archive *archive, const char *name, const struct packed *packed, struct error *error)
{
	AUTO_FREE char *map_name = text_format("%s%s", name, MANIFEST_CHUNKS_SUFFIX);

	if (!map_name)
		return error_memory(error);
	return archive_add(archive, map_name, span_of(&packed->map), error);
}

static int add_frames(struct create *create, struct archive *archive, size_t i, struct error *error)
{
	const struct packed *packed = &create->packed[i];
	const char *name = create->head.manifest.payloads[i].name;
	struct zip_entry entry = {
		.method = create->head.method,
		.crc = packed->crc,
		.compressed = packed->compressed,
		.size = packed->size,
		.name = { (const uint8_t *)name, strlen(name) },
	};

	return archive_copy(archive, &entry, "the temporary file beside the bundle", create->spool,
		packed->offset, error);
}

static int assemble(struct create *create, struct error *error)
{
	AUTO_ARCHIVE struct archive archive = {
		.output = &create->output,
		.time = zip_dos_time(create->options->created),
	};
	const struct head *head = &create->head;
	int r;

	r = archive_add(&archive, MANIFEST_NAME, span_of(&head->manifest_bytes), error);
	if (r == 0 && head->signature.size > 0)
		r = archive_add(
			&archive, MANIFEST_SIGNATURE_NAME, span_of(&head->signature), error);
	for (size_t i = 0; r == 0 && i < head->manifest.payload_count; i++)
		r = add_map(&archive, head->manifest.payloads[i].name, &create->packed[i], error);
	for (size_t i = 0; r == 0 && i < head->manifest.payload_count; i++)
		r = add_frames(create, &archive, i, error);
	if (r == 0)
		r = archive_finish(&archive, error);
	return r;
}

static int check_options(const struct bistable_bundle_options *options, struct error *error)
{
	if (!options->compatible)
		return usage(error, "say what systems the bundle is for (compatible)");
	if (!options->sign_key != !options->sign_cert)
		return usage(error, "signing needs both a key and a certificate");
	return 0;
}

static int open_files(struct create *create, struct error *error)
{
	int r;

	r = content_open(create->options->image, &create->image, error);
	if (r == 0)
		r = output_open(create->options->output, &create->output, error);
	if (r == 0)
		r = output_check_other(&create->output, &create->boot, error);
	if (r == 0)
		r = output_check_other(&create->output, &create->image, error);
	return r < 0 ? r : output_open_spool(&create->output, &create->spool, error);
}

/* What is wrong was given, and nothing was made yet. */
static int blame_option(int r, struct error *error)
{
	if (error)
		error->kind = ERROR_USAGE;
	return r;
}

/* A manifest with the right sizes and no digests, only to see whether it can be. */
static int rehearse_manifest(struct create *create, struct error *error)
{
	struct manifest *manifest = &create->head.manifest;
	AUTO_BUFFER struct buffer bytes = { 0 };
	int r;

	create->packed[0].size = create->boot.size;
	create->packed[1].size = create->image.size;
	r = add_payload(create, MANIFEST_ROLE_BOOT, BUNDLE_BOOT_NAME, "", error);
	if (r == 0)
		r = add_payload(create, MANIFEST_ROLE_SYSTEM, BUNDLE_SYSTEM_NAME, "", error);
	if (r == 0)
		r = manifest_format(manifest, &bytes, error);
	if (r == -EBADMSG || r == -EINVAL)
		blame_option(r, error);
	for (size_t i = 0; i < manifest->payload_count; i++) {
		free(manifest->payloads[i].name);
		manifest->payloads[i].name = NULL;
		create->packed[i].size = 0;
	}
	manifest->payload_count = 0;
	return r;
}

/* What cannot be is told before the long work: the manifest's texts, the key, the chunk size. */
static int rehearse(struct create *create, struct error *error)
{
	const struct bistable_bundle_options *options = create->options;
	AUTO_BUFFER struct buffer signature = { 0 };
	struct framer *framer = NULL;
	uint64_t bytes;
	int r;

	r = chunkmap_bytes(
		create->image.size, options->chunk_size ?: CHUNK_SIZE_DEFAULT, &bytes, error);
	if (r < 0 && create->image.size > 0 && create->image.size <= CHUNKMAP_PAYLOAD_MAX)
		return blame_option(r, error);
	if (r < 0) {
		error_prefix(error, "'%s'", options->image);
		return r;
	}
	if (bytes > HEAD_MAP_MAX)
		return error_set(error, ERROR_USAGE, EFBIG,
			"the chunk map of '%s' would have %" PRIu64
			" bytes, at most %u are allowed: choose larger chunks",
			options->image, bytes, HEAD_MAP_MAX);
	r = rehearse_manifest(create, error);
	if (r == 0)
		r = framer_new(method_of(options->compression), options->level, &framer, error);
	framer_free(framer);
	if (r == 0 && options->sign_key)
		r = cms_sign((struct span){ (const uint8_t *)"", 0 }, options->sign_key,
			options->sign_cert, &signature, error);
	return r;
}

static int finish(struct create *create, struct bistable_bundle **ret, struct error *error)
{
	struct head *head = &create->head;
	int r = 0;

	for (size_t i = 0; r == 0 && i < head->manifest.payload_count; i++)
		r = chunkmap_parse(span_of(&create->packed[i].map), head->manifest.payloads[i].size,
			head->manifest.payloads[i].chunk_size, &head->maps[i], error);
	if (r == 0)
		r = head_describe(head, create->output.position, ret, error);
	return r;
}

int maker_create(const struct bistable_bundle_options *options,
	const struct maker_observer *observer, struct bistable_bundle **ret, struct error *error)
{
	CLEANUP(create_done)
	struct create create = {
		.options = options,
		.observer = observer,
		.image = { .fd = -1 },
		.boot = { .fd = -1 },
		.output = OUTPUT_NONE,
		.spool = -1,
	};
	struct bistable_bundle *bundle = NULL;
	int r;

	r = check_options(options, error);
	if (r == 0)
		r = read_uki(&create, error);
	if (r == 0)
		r = describe(&create, error);
	if (r == 0)
		r = open_files(&create, error);
	if (r == 0)
		r = rehearse(&create, error);
	if (r == 0)
		r = match(&create, error);
	if (r == 0)
		r = pack(&create, error);
	if (r == 0)
		r = sign(&create, error);
	if (r == 0)
		r = assemble(&create, error);
	if (r == 0)
		r = finish(&create, &bundle, error);
	if (r == 0)
		r = maker_check_cancelled(observer, error);
	if (r == 0)
		r = output_commit(&create.output, error);
	if (r < 0)
		bistable_bundle_free(bundle);
	else
		*ret = bundle;
	return r;
}
