/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "maker/maker.h"

void maker_progress(
	const struct maker_observer *observer, const char *phase, uint64_t done, uint64_t total)
{
	if (observer->progress)
		observer->progress(observer->context, phase, done, total);
}

int maker_check_cancelled(const struct maker_observer *observer, struct error *error)
{
	if (observer->cancelled && observer->cancelled(observer->context))
		return error_failed(error, ECANCELED, "interrupted");
	return 0;
}
