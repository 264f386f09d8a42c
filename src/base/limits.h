/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What setrlimit(2) and services (systemd.exec(5)) allow this process. */

#include <stdint.h>

struct error;

#define LIMITS_TEXT_MAX  128
#define LIMITS_ERROR_MAX 256

/**
 * Names the limit that makes calls fail with `number` (EMFILE, ENOMEM, EFBIG, EAGAIN of a new
 * thread or process), as in " (the limit of open files, ulimit -n or LimitNOFILE=, is 64)"; ""
 * where there is none.
 */
void limits_explain(int number, char out[LIMITS_TEXT_MAX]);

/** strerror() with the limit behind it, for calls that a limit makes fail. Returns `out`. */
const char *limits_strerror(int number, char out[LIMITS_ERROR_MAX]);

/** The largest file that may be written, in bytes; UINT64_MAX: any. */
uint64_t limits_file_size(void);

/** Makes sure of the stack that the first thread needs. 0 or -ENOMEM: even the hard limit is less.
 */
int limits_check_stack(struct error *error);
