/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** Colours, shown only on terminals. */
enum paint { PAINT_NONE, PAINT_BOLD, PAINT_GOOD, PAINT_DOUBT, PAINT_BAD };

/**
 * Prints in a colour. What a bundle or a server put into the text cannot drive the terminal:
 * control characters other than the newline become '?'.
 */
void terminal_print(FILE *stream, enum paint paint, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** Whether a line on `stream` can be rewritten: a terminal that is not dumb. */
bool terminal_is_live(FILE *stream);
/** Columns of the terminal behind `stream`, 80 when it does not say. */
size_t terminal_columns(FILE *stream);
/** Empties the current line; the cursor stands at its start. */
void terminal_clear_line(FILE *stream);

/** "512 B", "1.5 KiB", "17.0 MiB": at most 15 characters and a NUL. */
void terminal_size(uint64_t bytes, char out[16]);
/** Seconds since the epoch as "2026-11-23 10:00:00 UTC". */
void terminal_time(int64_t seconds, char out[32]);
