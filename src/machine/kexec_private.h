/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/bytes.h"

struct error;

/**
 * A sealed memfd that holds `content` (copied): not even this process can change it any more, so
 * what the kernel reads is what was checked. *ret_fd is owned. 0 or -errno.
 */
int kexec_memfd(const char *name, struct span content, int *ret_fd, struct error *error);
