/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

struct bistable_error;
struct bistable_report;
struct cli;

/** Shows the report as text or JSON and frees it; a problem in it makes the exit code 1. */
int report_show(struct cli *cli, struct bistable_report *report, struct bistable_error *error);
