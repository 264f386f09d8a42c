/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/terminal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/streams.h"

#define COLUMNS_USUAL 80

bool terminal_is_live(FILE *stream)
{
	const char *kind = getenv("TERM");

	return isatty(streams_fd(stream)) && kind && *kind && strcmp(kind, "dumb") != 0;
}

static bool has_colours(FILE *stream)
{
	const char *refused = getenv("NO_COLOR"); /* no-color.org: set and not empty */

	return terminal_is_live(stream) && !(refused && *refused);
}

size_t terminal_columns(FILE *stream)
{
	struct winsize size;

	if (ioctl(streams_fd(stream), TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return COLUMNS_USUAL;
	return size.ws_col;
}

void terminal_clear_line(FILE *stream)
{
	fputs("\r\x1b[K", stream);
}

static void print_harmless(FILE *stream, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	for (; *p; p++) {
		if ((*p < 0x20 && *p != '\n') || *p == 0x7f) {
			fputc('?', stream);
		} else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) { /* U+0080 to U+009F */
			fputc('?', stream);
			p++;
		} else {
			fputc(*p, stream);
		}
	}
}

void terminal_print(FILE *stream, enum paint paint, const char *format, ...)
{
	static const char *const codes[] = {
		[PAINT_BOLD] = "\x1b[1m",
		[PAINT_GOOD] = "\x1b[32m",
		[PAINT_DOUBT] = "\x1b[33m",
		[PAINT_BAD] = "\x1b[31m",
	};
	bool painted = paint != PAINT_NONE && has_colours(stream);
	va_list arguments;
	char *text;
	int r;

	va_start(arguments, format);
	r = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (r < 0)
		return;
	if (painted)
		fputs(codes[paint], stream);
	print_harmless(stream, text);
	if (painted)
		fputs("\x1b[0m", stream);
	free(text);
}

void terminal_size(uint64_t bytes, char out[16])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(out, 16, "%u B", (unsigned)bytes);
		return;
	}
	for (; value >= 1024 && unit < 5; unit++)
		value /= 1024;
	snprintf(out, 16, "%.1f %s", value, units[unit]);
}

void terminal_time(int64_t seconds, char out[32])
{
	time_t when = (time_t)seconds;
	struct tm parts;

	if (!gmtime_r(&when, &parts) || strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
		snprintf(out, 32, "at an unknown time");
}
