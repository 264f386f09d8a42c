/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

struct bistable_status;
struct context;
struct error;

/** bistable_status(): what cannot be known is said in a note, and is no error. */
int status_read(struct context *context, struct bistable_status **ret, struct error *error);
