/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

struct error;

/*
 * Starting a kernel from the running one: kexec_file_load(2), linux kernel/kexec_file.c. The
 * functions that take a directory read proc/ and sys/ below it: "/" or a tree that looks like it.
 */

/**
 * *ret_reason = NULL when kexec can work here as far as can be told beforehand, else why not, in
 * words and owned by the caller: no kexec in this kernel, kernel.kexec_load_disabled, a used-up
 * kernel.kexec_load_limit_reboot. On the real "/" the kernel is asked as well. 0; -EPERM when
 * nothing is known against it but that this process has no CAP_SYS_BOOT; -ENOMEM, -EIO and the like
 * when a file cannot be read.
 */
int kexec_preflight(int root_dir_fd, char **ret_reason, struct error *error);

/**
 * Loads a kernel to be started by the next kexec. The bytes are borrowed and must have been checked
 * before: the kernel takes nearly anything (see format/kernel.h). An empty `initrd` means none.
 * A failure leaves loaded what was loaded before. -EINVAL (no kernel, or refused), -errno with the
 * cause in words (kexec_errno_words).
 */
int kexec_stage(struct span kernel, struct span initrd, const char *cmdline, struct error *error);

/**
 * Unloads what is staged. Nothing staged is fine, and so is a kernel without kexec. -EPERM (the
 * message says why: kernel.kexec_load_disabled keeps a staged kernel for good), -EBUSY, -errno.
 */
int kexec_unstage(struct error *error);

/**
 * Whether a kernel is staged: sys/kernel/kexec/loaded, or kexec_loaded on older kernels. False
 * when neither exists. 0, -EBADMSG, -errno.
 */
int kexec_staged(int root_dir_fd, bool *ret, struct error *error);

/** What a failed kexec_file_load means: a sentence without full stop, of static storage. */
const char *kexec_errno_words(int number);

/**
 * Whether the running kernel was started by kexec (x86: boot loader type 0xd, linux
 * Documentation/arch/x86/boot.rst). False where this cannot be told.
 */
bool kexec_booted(int root_dir_fd);
