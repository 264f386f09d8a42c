/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/bytes.h"
#include "source/source.h"

/** A source named "memory". */
struct memory_source {
	struct source source;
	struct span data;
	size_t piece;     /* bytes that one read gives at most */
	uint64_t fail_at; /* unless 0: reading from here on fails with -EIO, "the line is dead" */
};

/** A source of `data` (borrowed); a sequential one does not know its size. Not to be closed. */
struct memory_source memory_source(struct span data, bool seekable, size_t piece);
