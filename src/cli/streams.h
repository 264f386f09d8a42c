/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdio.h>

/**
 * Makes the standard streams safe to use, whatever the program was started with: one that is closed
 * is taken, so that no file opened later gets its number; and what is written to a pipe or terminal
 * that somebody set to O_NONBLOCK waits for room, where stdio would drop it. Once, before any
 * output.
 */
void streams_open(void);

/** The file descriptor behind stdout or stderr: fileno() does not know it. */
int streams_fd(const FILE *stream);
