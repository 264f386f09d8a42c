/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Names on a FAT as firmware takes them (EDK2's FatPkg, FileName.c and DirectoryManage.c): ASCII
 * case does not count, nor do blanks and dots at the end of what is asked for. Linux agrees about
 * the case only where the mount's character set folds it (iocharset=utf8 does not, nor does
 * check=s), and not about blanks.
 */

#include <stdbool.h>

struct text_list;

/** Cuts off the blanks and dots at the end, which no name on a FAT has. */
void fatname_trim(char *name);

/**
 * How `name` (trimmed) is spelled in the folder whose entries `names` are: *ret with the same bytes
 * if there is one, else the first that differs in case only. *ret_other: a second one. NULL: none.
 * Both are borrowed from the list.
 */
void fatname_find(
	const struct text_list *names, const char *name, const char **ret, const char **ret_other);

/** Two names of a folder that differ in case only; borrowed from the list. False: there are none.
 */
bool fatname_clash(const struct text_list *names, const char **ret, const char **ret_other);
