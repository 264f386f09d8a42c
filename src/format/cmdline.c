/* SPDX-License-Identifier: Apache-2.0 */
#include "format/cmdline.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "format/verity.h"

#define BLANKS          " \t\n\v\f\r"
#define ROOT_HASH_LEAST 64  /* hex digits: 32 bytes */
#define ROOT_HASH_MOST  128 /* 64 bytes */

/* One kernel parameter; borrows the command line. */
struct parameter {
	const char *name;
	size_t name_length;
	const char *value; /* NULL: it has none */
	size_t value_length;
};

static bool is_blank(char c)
{
	return c && strchr(BLANKS, c);
}

/* The parameter's value between `value` and `end`, without the quotes around it. */
static void take_value(struct parameter *parameter, const char *value, const char *end)
{
	if (value < end && *value == '"') {
		value++;
		if (value < end && end[-1] == '"')
			end--;
	}
	parameter->value = value;
	parameter->value_length = (size_t)(end - value);
}

/* Splits as next_arg() of the kernel's lib/cmdline.c does. False at the end. */
static bool next_parameter(const char **cursor, struct parameter *ret)
{
	const char *begin = *cursor + strspn(*cursor, BLANKS), *end, *equals = NULL;
	bool whole_quoted = *begin == '"', in_quote = whole_quoted;

	if (!*begin)
		return false;
	if (whole_quoted)
		begin++;
	for (end = begin; *end && (in_quote || !is_blank(*end)); end++) {
		if (*end == '=' && !equals && end > begin)
			equals = end;
		if (*end == '"')
			in_quote = !in_quote;
	}
	*cursor = end;

	if (whole_quoted && end > begin && end[-1] == '"')
		end--;
	*ret = (struct parameter){ .name = begin };
	ret->name_length = (size_t)((equals ? equals : end) - begin);
	if (equals)
		take_value(ret, equals + 1, end);
	return true;
}

/* `name` is written with '_'; the kernel takes '-' for the same. */
static bool parameter_is(const struct parameter *parameter, const char *name)
{
	if (parameter->name_length != strlen(name))
		return false;
	for (size_t i = 0; i < parameter->name_length; i++)
		if ((parameter->name[i] == '-' ? '_' : parameter->name[i]) != name[i])
			return false;
	return true;
}

static int slot_of_parameter(const char *cmdline, enum slot *ret, struct error *error)
{
	struct parameter parameter;
	enum slot found = SLOT_NONE;

	while (next_parameter(&cmdline, &parameter)) {
		enum slot slot = SLOT_NONE;

		if (!parameter_is(&parameter, "bistable.slot"))
			continue;
		if (parameter.value && parameter.value_length == 1)
			slot = slot_from_letter(parameter.value[0]);
		if (slot == SLOT_NONE)
			return error_failed(error, EINVAL,
				"kernel command line: bistable.slot= is '%.*s', not A or B",
				(int)(parameter.value_length < 32 ? parameter.value_length : 32),
				parameter.value ? parameter.value : "");
		if (found != SLOT_NONE && found != slot)
			return error_failed(error, EINVAL,
				"kernel command line: bistable.slot= names both slots");
		found = slot;
	}
	*ret = found;
	return 0;
}

static bool occurs(const char *cmdline, const char *text)
{
	size_t length = strlen(text);

	for (const char *p = cmdline; (p = strstr(p, text)); p++) {
		char after = p[length];

		if (!isalnum((unsigned char)after) && after != '-' && after != '_')
			return true;
	}
	return false;
}

static int slot_of_pattern(
	const char *cmdline, const char *pattern, enum slot *ret, struct error *error)
{
	AUTO_FREE char *text_a = slot_expand(pattern, SLOT_A);
	AUTO_FREE char *text_b = slot_expand(pattern, SLOT_B);
	bool a, b;

	if (!text_a || !text_b)
		return error_memory(error);
	if (strcmp(text_a, text_b) == 0)
		return error_set(error, ERROR_USAGE, EINVAL,
			"the command line pattern '%s' does not tell the slots apart: it needs %%s",
			pattern);
	a = occurs(cmdline, text_a);
	b = occurs(cmdline, text_b);
	if (a && b)
		return error_failed(error, EINVAL,
			"kernel command line names both slots: '%s' and '%s'", text_a, text_b);
	*ret = a ? SLOT_A : b ? SLOT_B : SLOT_NONE;
	return 0;
}

int cmdline_slot(const char *cmdline, const char *pattern, enum slot *ret, struct error *error)
{
	enum slot slot = SLOT_NONE;
	int r;

	r = slot_of_parameter(cmdline, &slot, error);
	if (r < 0)
		return r;
	if (slot == SLOT_NONE && pattern && *pattern) {
		r = slot_of_pattern(cmdline, pattern, &slot, error);
		if (r < 0)
			return r;
	}
	*ret = slot;
	return 0;
}

int cmdline_bind(uint8_t *bytes, size_t size, const char *placeholder, const char *bound,
	size_t *ret_count, struct error *error)
{
	size_t length = strlen(placeholder), count = 0;
	uint8_t *end = size > 0 ? bytes + size : bytes, *p = bytes;

	if (length == 0)
		return error_set(error, ERROR_USAGE, EINVAL, "the placeholder is empty");
	if (strlen(bound) != length)
		return error_set(error, ERROR_USAGE, EINVAL,
			"the placeholder '%s' and '%s', which replaces it, differ in length: a "
			"command line is changed in place",
			placeholder, bound);

	while (size > 0 && (p = memmem(p, (size_t)(end - p), placeholder, length))) {
		memcpy(p, bound, length);
		p += length;
		count++;
	}
	if (ret_count)
		*ret_count = count;
	return 0;
}

static int take_root_hash(
	struct cmdline_verity *verity, const char *text, size_t length, struct error *error)
{
	char hash[ROOT_HASH_MOST + 1] = "";
	uint8_t bytes[ROOT_HASH_MOST / 2];

	if (length >= ROOT_HASH_LEAST && length <= ROOT_HASH_MOST && length % 2 == 0)
		memcpy(hash, text, length);
	if (!*hash || !text_unhex(hash, bytes, length / 2))
		return error_failed(error, EINVAL,
			"kernel command line: the root hash '%.*s' is not hex of 32 to 64 bytes",
			(int)(length < ROOT_HASH_MOST ? length : ROOT_HASH_MOST), text);
	text_hex(bytes, length / 2, hash);
	if (verity->root_hash[0] && strcmp(verity->root_hash, hash) != 0)
		return error_failed(error, EINVAL,
			"kernel command line: two different root hashes, %s and %s",
			verity->root_hash, hash);
	memcpy(verity->root_hash, hash, sizeof(hash));
	return 0;
}

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

	while (count < WORD_COUNT && (word = strsep(&text, BLANKS)))
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

static bool take_table_fields(char *words[WORD_COUNT], struct cmdline_verity *verity)
{
	uint64_t data_block_size, hash_block_size;

	if (!text_to_u64(words[WORD_DATA_BLOCK_SIZE], UINT32_MAX, &data_block_size)
		|| !text_to_u64(words[WORD_HASH_BLOCK_SIZE], UINT32_MAX, &hash_block_size)
		|| !text_to_u64(words[WORD_DATA_BLOCKS], UINT64_MAX, &verity->data_blocks)
		|| !text_to_u64(words[WORD_HASH_START], UINT64_MAX, &verity->hash_start)
		|| !copy_text(verity->algorithm, sizeof(verity->algorithm), words[WORD_ALGORITHM])
		|| !is_salt(words[WORD_SALT])
		|| !copy_text(verity->salt, sizeof(verity->salt), words[WORD_SALT]))
		return false;
	verity->data_block_size = (uint32_t)data_block_size;
	verity->hash_block_size = (uint32_t)hash_block_size;
	verity->table = true;
	return true;
}

/* One line of a table: what is not a verity target says nothing. */
static int take_table_line(char *line, struct cmdline_verity *verity, struct error *error)
{
	char *words[WORD_COUNT];
	size_t count = split_words(line, words);
	int r;

	if (count <= WORD_TARGET || strcmp(words[WORD_TARGET], "verity") != 0)
		return 0;
	if (count < WORD_COUNT)
		return error_failed(error, EINVAL,
			"kernel command line: a verity target in dm-mod.create= has %zu words, %d "
			"are needed",
			count, WORD_COUNT);
	r = take_root_hash(verity, words[WORD_ROOT_HASH], strlen(words[WORD_ROOT_HASH]), error);
	if (r < 0)
		return r;
	/* Data and tree on two devices: then the image is not what the table speaks of. */
	if (verity->table || strcmp(words[WORD_VERSION], "1") != 0
		|| strcmp(words[WORD_DEVICE], words[WORD_HASH_DEVICE]) != 0)
		return 0;
	if (!take_table_fields(words, verity))
		return error_failed(error, EINVAL,
			"kernel command line: a verity target in dm-mod.create= has a bad "
			"number, algorithm or salt");
	return 0;
}

/* "name,uuid,minor,flags,line[,line…][;name,…]" */
static int take_devices(
	const struct parameter *parameter, struct cmdline_verity *verity, struct error *error)
{
	AUTO_FREE char *text = strndup(parameter->value, parameter->value_length);
	char *devices = text, *device;
	int r;

	if (!text)
		return error_memory(error);
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

int cmdline_verity(const char *cmdline, struct cmdline_verity *ret, struct error *error)
{
	struct cmdline_verity verity = { 0 };
	struct parameter parameter;
	int r = 0;

	while (next_parameter(&cmdline, &parameter)) {
		if (!parameter.value)
			continue;
		if (parameter_is(&parameter, "roothash") || parameter_is(&parameter, "usrhash"))
			r = take_root_hash(&verity, parameter.value, parameter.value_length, error);
		else if (parameter_is(&parameter, "dm_mod.create"))
			r = take_devices(&parameter, &verity, error);
		if (r < 0)
			return r;
	}
	*ret = verity;
	return 0;
}

bool cmdline_verity_tree(
	const struct cmdline_verity *table, struct verity *ret, uint64_t *ret_start)
{
	struct verity verity = {
		.data_block_size = table->data_block_size,
		.hash_block_size = table->hash_block_size,
		.data_blocks = table->data_blocks,
		.salt_size = strcmp(table->salt, "-") == 0 ? 0 : strlen(table->salt) / 2,
	};
	uint64_t start;

	_Static_assert(sizeof(verity.algorithm) == sizeof(table->algorithm), "same field");
	if (!table->table || verity.salt_size > sizeof(verity.salt)
		|| (verity.salt_size > 0 && !text_unhex(table->salt, verity.salt, verity.salt_size))
		|| __builtin_mul_overflow(table->hash_start, table->hash_block_size, &start))
		return false;
	memcpy(verity.algorithm, table->algorithm, sizeof(verity.algorithm));
	*ret = verity;
	*ret_start = start;
	return true;
}
