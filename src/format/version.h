/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/**
 * Compares two versions as the UAPI Version Format Specification says
 * (uapi-group.org/specifications/specs/version_format_specification): below, equal to or above 0
 * when `a` is older than, as old as, or newer than `b`. Any strings will do.
 * By the letter: a missing number counts as 0 (systemd sorts it below).
 */
int version_compare(const char *a, const char *b);
