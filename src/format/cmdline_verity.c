/* SPDX-License-Identifier: Apache-2.0 */
#include "format/cmdline_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "format/verity.h"

#define SYSTEMD_BLANKS  " \t\n\r"
#define ROOT_HASH_LEAST 32  /* hex digits: 16 bytes */
#define ROOT_HASH_MOST  128 /* 64 bytes */

bool cmdline_verity_names(const struct cmdline_verity *verity, const char *root_hash)
{
	for (size_t i = 0; i < verity->count; i++)
		if (strcmp(verity->trees[i].root_hash, root_hash) == 0)
			return true;
	return false;
}

bool cmdline_verity_equal(const struct cmdline_verity *a, const struct cmdline_verity *b)
{
	for (size_t i = 0; i < a->count; i++)
		if (!cmdline_verity_names(b, a->trees[i].root_hash))
			return false;
	return a->count > 0 && a->count == b->count;
}

char *cmdline_verity_text(const struct cmdline_verity *verity)
{
	char *text = text_format("the root hash%s ", verity->count > 1 ? "es" : "");

	for (size_t i = 0; text && i < verity->count; i++) {
		AUTO_FREE char *before = text;
		const char *between = i == 0 ? "" : i + 1 == verity->count ? " and " : ", ";

		text = text_format("%s%s%s", before, between, verity->trees[i].root_hash);
	}
	return text;
}

/* The tree of this root hash, which may have been named before. */
static int take_root_hash(struct cmdline_verity *verity, const char *text,
	struct cmdline_tree **ret, struct error *error)
{
	char hash[ROOT_HASH_MOST + 1] = "";
	uint8_t bytes[ROOT_HASH_MOST / 2];
	size_t length = strlen(text), i = 0;

	if (length < ROOT_HASH_LEAST || length > ROOT_HASH_MOST || length % 2 != 0
		|| !text_unhex(text, bytes, length / 2))
		return error_failed(error, EINVAL,
			"kernel command line: the root hash '%.*s' is not hex of 16 to 64 bytes",
			ROOT_HASH_MOST, text);
	text_hex(bytes, length / 2, hash);
	while (i < verity->count && strcmp(verity->trees[i].root_hash, hash) != 0)
		i++;
	if (i == CMDLINE_TREES_MAX)
		return error_failed(error, EINVAL, "kernel command line: more than %d root hashes",
			CMDLINE_TREES_MAX);
	if (i == verity->count)
		verity->count++;
	*ret = &verity->trees[i];
	memcpy((*ret)->root_hash, hash, sizeof(hash));
	return 0;
}

/* --- what systemd reads --- */

enum systemd_key { ROOT_HASH, USR_HASH, ROOT_OPTIONS, USR_OPTIONS, FLATCAR_HASH, KEY_COUNT };

/*
 * The next word as extract_first_word() of systemd splits it, in place: quotes of both kinds hold
 * it together, and go. NULL at the end.
 */
static char *next_word(char **cursor)
{
	char *in = *cursor + strspn(*cursor, SYSTEMD_BLANKS), *word = in, *out = in;
	char quote = '\0';

	if (!*in)
		return NULL;
	for (; *in && (quote || !strchr(SYSTEMD_BLANKS, *in)); in++) {
		if (quote ? *in == quote : *in == '"' || *in == '\'')
			quote = quote ? '\0' : *in;
		else
			*out++ = *in;
	}
	*cursor = *in ? in + 1 : in;
	*out = '\0';
	return word;
}

/* proc_cmdline_key_streq(): '-' and '_' are the same. */
static bool is_key(const char *name, const char *key)
{
	for (; *name && *key; name++, key++)
		if ((*name == '-' ? '_' : *name) != *key)
			return false;
	return !*name && !*key;
}

/* Keeps the last value of each key; `values` borrow `text`, which is taken apart. */
static void read_systemd_keys(char *text, char *values[KEY_COUNT])
{
	static const char *const keys[KEY_COUNT] = {
		[ROOT_HASH] = "roothash",
		[USR_HASH] = "usrhash",
		[ROOT_OPTIONS] = "systemd.verity_root_options",
		[USR_OPTIONS] = "systemd.verity_usr_options",
		[FLATCAR_HASH] = "verity.usrhash",
	};
	char *name;

	while ((name = next_word(&text))) {
		char *value = strchr(name, '=');

		if (!value)
			continue;
		*value++ = '\0';
		if (text_starts_with(name, "rd."))
			name += strlen("rd.");
		for (int i = 0; i < KEY_COUNT; i++)
			if (is_key(name, keys[i]))
				values[i] = value;
	}
}

/* "4096", "64M" */
static bool to_bytes(char *text, uint64_t *ret)
{
	static const char suffixes[] = "KMGT";
	size_t length = strlen(text);
	const char *suffix = length > 0 ? strchr(suffixes, text[length - 1]) : NULL;

	if (suffix)
		text[length - 1] = '\0';
	return text_to_u64(text, UINT64_MAX, ret)
	       && !__builtin_mul_overflow(
		       *ret, UINT64_C(1) << (suffix ? 10 * (suffix - suffixes + 1) : 0), ret);
}

/* Where the options say that the superblock lies; 0: they do not. */
static uint64_t hash_offset(char *options)
{
	static const char key[] = "hash-offset=";
	uint64_t offset = 0;
	char *option;

	while ((option = strsep(&options, ",")))
		if (text_starts_with(option, key) && !to_bytes(option + strlen(key), &offset))
			offset = 0;
	return offset;
}

static int take_systemd_hash(
	struct cmdline_verity *verity, const char *hash, char *options, struct error *error)
{
	struct cmdline_tree *tree;
	int r;

	if (!hash || !*hash)
		return 0;
	r = take_root_hash(verity, hash, &tree, error);
	if (r == 0)
		tree->superblock = hash_offset(options);
	return r;
}

static int take_systemd_hashes(
	const char *cmdline, struct cmdline_verity *verity, struct error *error)
{
	AUTO_FREE char *text = strdup(cmdline);
	char *values[KEY_COUNT] = { 0 };
	int r;

	if (!text)
		return error_memory(error);
	read_systemd_keys(text, values);
	verity->flatcar = values[FLATCAR_HASH] && *values[FLATCAR_HASH];
	r = take_systemd_hash(verity, values[ROOT_HASH], values[ROOT_OPTIONS], error);
	return r < 0 ? r : take_systemd_hash(verity, values[USR_HASH], values[USR_OPTIONS], error);
}

/* --- what the kernel reads --- */

/* "start sectors verity version device hash-device data-block-size hash-block-size data-blocks
 * hash-start algorithm root-hash salt [option…]" (device-mapper/verity.rst). */
enum verity_word {
	WORD_TARGET = 2,
	WORD_VERSION,
	WORD_DEVICE,
	WORD_HASH_DEVICE,
	WORD_DATA_BLOCK_SIZE,
	WORD_HASH_BLOCK_SIZE,
	WORD_DATA_BLOCKS,
	WORD_HASH_START,
	WORD_ALGORITHM,
	WORD_ROOT_HASH,
	WORD_SALT,
	WORD_COUNT,
};

static size_t split_words(char *text, char *words[WORD_COUNT])
{
	size_t count = 0;
	char *word;

	while (count < WORD_COUNT && (word = strsep(&text, CMDLINE_BLANKS)))
		if (*word)
			words[count++] = word;
	return count;
}

static bool copy_text(char *out, size_t size, const char *text)
{
	size_t length = strlen(text);

	if (length >= size)
		return false;
	memcpy(out, text, length + 1);
	return true;
}

static bool is_salt(const char *text)
{
	return strcmp(text, "-") == 0
	       || (strlen(text) % 2 == 0 && strspn(text, "0123456789abcdefABCDEF") == strlen(text));
}

static bool take_table_fields(char *words[WORD_COUNT], struct cmdline_tree *tree)
{
	uint64_t data_block_size, hash_block_size;

	if (!text_to_u64(words[WORD_DATA_BLOCK_SIZE], UINT32_MAX, &data_block_size)
		|| !text_to_u64(words[WORD_HASH_BLOCK_SIZE], UINT32_MAX, &hash_block_size)
		|| !text_to_u64(words[WORD_DATA_BLOCKS], UINT64_MAX, &tree->data_blocks)
		|| !text_to_u64(words[WORD_HASH_START], UINT64_MAX, &tree->hash_start)
		|| !copy_text(tree->algorithm, sizeof(tree->algorithm), words[WORD_ALGORITHM])
		|| !is_salt(words[WORD_SALT])
		|| !copy_text(tree->salt, sizeof(tree->salt), words[WORD_SALT]))
		return false;
	tree->data_block_size = (uint32_t)data_block_size;
	tree->hash_block_size = (uint32_t)hash_block_size;
	tree->table = true;
	return true;
}

/* One line of a table: what is not a verity target says nothing. */
static int take_table_line(char *line, struct cmdline_verity *verity, struct error *error)
{
	char *words[WORD_COUNT];
	size_t count = split_words(line, words);
	struct cmdline_tree *tree;
	int r;

	if (count <= WORD_TARGET || strcmp(words[WORD_TARGET], "verity") != 0)
		return 0;
	if (count < WORD_COUNT)
		return error_failed(error, EINVAL,
			"kernel command line: a verity target in dm-mod.create= has %zu words, %d "
			"are needed",
			count, WORD_COUNT);
	r = take_root_hash(verity, words[WORD_ROOT_HASH], &tree, error);
	if (r < 0)
		return r;
	/* Data and tree on two devices: then the image is not what the table speaks of. */
	if (tree->table || strcmp(words[WORD_VERSION], "1") != 0
		|| strcmp(words[WORD_DEVICE], words[WORD_HASH_DEVICE]) != 0)
		return 0;
	if (!take_table_fields(words, tree))
		return error_failed(error, EINVAL,
			"kernel command line: a verity target in dm-mod.create= has a bad "
			"number, algorithm or salt");
	return 0;
}

/* "name,uuid,minor,flags,line[,line…][;name,…]" */
static int take_devices(char *devices, struct cmdline_verity *verity, struct error *error)
{
	char *device;
	int r;

	while ((device = strsep(&devices, ";"))) {
		char *field;

		for (int i = 0; (field = strsep(&device, ",")); i++) {
			if (i < 4)
				continue;
			r = take_table_line(field, verity, error);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* A parameter that stands twice is set twice: the last one counts. Behind "--" init's begin. */
static int take_tables(const char *cmdline, struct cmdline_verity *verity, struct error *error)
{
	struct cmdline_parameter parameter, create = { 0 };
	AUTO_FREE char *text = NULL;

	while (cmdline_next(&cmdline, &parameter)
		&& (parameter.value || !cmdline_is(&parameter, "__")))
		if (parameter.value && cmdline_is(&parameter, "dm_mod.create"))
			create = parameter;
	if (!create.value)
		return 0;
	text = strndup(create.value, create.value_length);
	return text ? take_devices(text, verity, error) : error_memory(error);
}

int cmdline_verity(const char *cmdline, struct cmdline_verity *ret, struct error *error)
{
	struct cmdline_verity verity = { 0 };
	int r;

	r = take_systemd_hashes(cmdline, &verity, error);
	if (r == 0)
		r = take_tables(cmdline, &verity, error);
	if (r == 0)
		*ret = verity;
	return r;
}

bool cmdline_tree_of_table(const struct cmdline_tree *tree, struct verity *ret, uint64_t *ret_start)
{
	struct verity verity = {
		.data_block_size = tree->data_block_size,
		.hash_block_size = tree->hash_block_size,
		.data_blocks = tree->data_blocks,
		.salt_size = strcmp(tree->salt, "-") == 0 ? 0 : strlen(tree->salt) / 2,
	};
	uint64_t start;

	_Static_assert(sizeof(verity.algorithm) == sizeof(tree->algorithm), "same field");
	if (!tree->table || verity.salt_size > sizeof(verity.salt)
		|| (verity.salt_size > 0 && !text_unhex(tree->salt, verity.salt, verity.salt_size))
		|| __builtin_mul_overflow(tree->hash_start, tree->hash_block_size, &start))
		return false;
	memcpy(verity.algorithm, tree->algorithm, sizeof(verity.algorithm));
	*ret = verity;
	*ret_start = start;
	return true;
}
