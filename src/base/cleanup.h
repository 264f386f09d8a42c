/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

/* Resources are released by the compiler when their variable leaves its scope. */
#define CLEANUP(function) __attribute__((cleanup(function)))

/** Defines `name(type *p)` for CLEANUP(): calls `function(*p)`; `function` takes NULL. */
#define DEFINE_CLEANUP(name, type, function) \
	static inline void name(type *p)     \
	{                                    \
		function(*p);                \
	}

/** Moves a pointer out of its variable: yields it and leaves NULL behind. */
#define TAKE(pointer)                                         \
	__extension__({                                       \
		__typeof__(pointer) *take_from_ = &(pointer); \
		__typeof__(pointer) taken_ = *take_from_;     \
		*take_from_ = NULL;                           \
		taken_;                                       \
	})

/** Moves a file descriptor out of its variable: yields it and leaves -1 behind. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define AUTO_FREE  CLEANUP(cleanup_free)
#define AUTO_CLOSE CLEANUP(cleanup_close)
