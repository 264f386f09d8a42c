/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "bistable/bistable.h"

struct context;
struct error;

/**
 * Looks at everything an update needs, without changing anything and without the lock. What cannot
 * be read is a warning. *ret belongs to the caller (bistable_report_free). Fails only for want of
 * memory.
 */
int doctor_run(struct context *context, struct bistable_report **ret, struct error *error);
