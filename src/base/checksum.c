/* SPDX-License-Identifier: Apache-2.0 */
#include "base/checksum.h"

/* At -O2 gcc makes half as fast a loop of it. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

/* Inlined, since Debian's shared library is built without the fast paths of XXH3. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t checksum_of(const void *data, size_t size)
{
	return XXH3_64bits(data, size);
}
