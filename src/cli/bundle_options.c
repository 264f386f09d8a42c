/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

#define TIME_FORM "dddd-dd-ddTdd:dd:ddZ"

static bool parse_number(const char *text, uint64_t *ret)
{
	size_t length = strspn(text, "0123456789");

	if (length == 0 || text[length])
		return false;
	errno = 0;
	*ret = strtoull(text, NULL, 10);
	return errno == 0 && *ret <= INT64_MAX;
}

/* "65536", "64K", "1M". */
static bool parse_size(const char *text, uint32_t *ret)
{
	size_t digits = strspn(text, "0123456789");
	const char *unit = text + digits;
	uint64_t factor = 1;

	if (strcmp(unit, "K") == 0 || strcmp(unit, "KiB") == 0)
		factor = 1u << 10;
	else if (strcmp(unit, "M") == 0 || strcmp(unit, "MiB") == 0)
		factor = 1u << 20;
	else if (*unit)
		return false;
	if (digits == 0 || digits > 9 || strtoul(text, NULL, 10) * factor > UINT32_MAX)
		return false;
	*ret = (uint32_t)(strtoul(text, NULL, 10) * factor);
	return *ret > 0; /* 0 would be the default */
}

/* RFC 3339, UTC: "2026-11-23T10:00:00Z". */
static bool parse_time(const char *text, int64_t *ret)
{
	struct tm tm = { 0 }, normal;
	size_t i = 0;
	time_t time;

	for (; TIME_FORM[i]; i++)
		if (TIME_FORM[i] == 'd' ? !isdigit((unsigned char)text[i])
					: text[i] != TIME_FORM[i])
			return false;
	if (text[i])
		return false;
	tm.tm_year = (int)strtol(text, NULL, 10) - 1900;
	tm.tm_mon = (int)strtol(text + 5, NULL, 10) - 1;
	tm.tm_mday = (int)strtol(text + 8, NULL, 10);
	tm.tm_hour = (int)strtol(text + 11, NULL, 10);
	tm.tm_min = (int)strtol(text + 14, NULL, 10);
	tm.tm_sec = (int)strtol(text + 17, NULL, 10);
	normal = tm;
	time = timegm(&normal);
	/* The 31st of February would have become another day. */
	if (tm.tm_year < 70 || normal.tm_mon != tm.tm_mon || normal.tm_mday != tm.tm_mday
		|| normal.tm_hour != tm.tm_hour || normal.tm_min != tm.tm_min
		|| normal.tm_sec != tm.tm_sec)
		return false;
	*ret = time;
	return true;
}

static void take_time(
	const char *name, const char *value, int64_t *ret, struct bistable_error *error)
{
	if (!parse_time(value, ret))
		cli_usage_error(error, "--%s=%s: expected a time in UTC, as 2026-11-23T10:00:00Z",
			name, value);
}

static void take_level(struct cli *cli, const char *value, struct bistable_error *error)
{
	uint64_t level;

	/* 0 would be the default. */
	if (!parse_number(value, &level) || level == 0 || level > 99)
		cli_usage_error(error, "--level=%s: expected a small number", value);
	else
		cli->bundle.level = (int)level;
}

static void take_numbers(
	struct cli *cli, enum cli_option option, const char *value, struct bistable_error *error)
{
	uint64_t number;

	switch (option) {
	case CLI_EPOCH:
		if (!parse_number(value, &cli->bundle.epoch))
			cli_usage_error(
				error, "--epoch=%s: expected a number from 0 to 2^63 - 1", value);
		break;
	case CLI_THREADS:
		if (!parse_number(value, &number) || number == 0 || number > 1024)
			cli_usage_error(error, "--threads=%s: expected 1 to 1024", value);
		else
			cli->bundle.threads = (unsigned)number;
		break;
	case CLI_CHUNK_SIZE:
		if (!parse_size(value, &cli->bundle.chunk_size))
			cli_usage_error(error,
				"--chunk-size=%s: expected a power of two from 4K to 1M", value);
		break;
	case CLI_LEVEL:
		take_level(cli, value, error);
		break;
	default:
		break;
	}
}

/* Where the options that are texts go; NULL for others. */
static const char **text_of(struct cli *cli, enum cli_option option)
{
	switch (option) {
	case CLI_COMPATIBLE:
		return &cli->bundle.compatible;
	case CLI_BUNDLE_VERSION:
		return &cli->bundle.version;
	case CLI_DESCRIPTION:
		return &cli->bundle.description;
	case CLI_ARCHITECTURE:
		return &cli->bundle.architecture;
	case CLI_SIGN_KEY:
	case CLI_KEY:
		return &cli->bundle.sign_key;
	case CLI_SIGN_CERT:
	case CLI_CERT:
		return &cli->bundle.sign_cert;
	case CLI_KEYRING:
		return &cli->keyring;
	default:
		return NULL;
	}
}

bool cli_take_bundle_option(
	struct cli *cli, enum cli_option option, const char *value, struct bistable_error *error)
{
	const char **text = text_of(cli, option);

	if (text) {
		*text = value;
		return true;
	}
	switch (option) {
	case CLI_EPOCH:
	case CLI_THREADS:
	case CLI_CHUNK_SIZE:
	case CLI_LEVEL:
		take_numbers(cli, option, value, error);
		return true;
	case CLI_CREATED:
		take_time("created", value, &cli->bundle.created, error);
		cli->created_given = true;
		return true;
	case CLI_NOT_AFTER:
		take_time("not-after", value, &cli->bundle.not_after, error);
		/* 0 would be never. */
		if (cli->bundle.not_after == 0)
			cli_usage_error(
				error, "--not-after=%s: expected a time after 1970-01-01", value);
		return true;
	case CLI_COMPRESS:
		if (!bistable_compression_from_name(value, &cli->bundle.compression))
			cli_usage_error(
				error, "--compress=%s: expected zstd, deflate or none", value);
		return true;
	default:
		return false;
	}
}
