/* SPDX-License-Identifier: Apache-2.0 */
/* A Boot#### variable: what is read is written back to the same bytes. */
#include "base/cleanup.h"
#include "format/devicepath.h"
#include "format/loadopt.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DEVICEPATH_TARGET struct devicepath_target target = { 0 };
	AUTO_BUFFER struct buffer out = { 0 };
	AUTO_FREE char *description = NULL;
	struct span bytes = { data, size };
	struct error error = { 0 }, path_error = { 0 };
	struct loadopt option;

	if (!succeeded(loadopt_parse(bytes, &option, &error), &error))
		return 0;
	must(size <= LOADOPT_SIZE_MAX);
	must(lies_inside(option.description, bytes) && lies_inside(option.device_paths, bytes)
		&& lies_inside(option.optional_data, bytes));
	must(loadopt_format(&option, &out, &error) == 0);
	must(span_equal(span_of(&out), bytes));
	must(loadopt_description(&option, &description, &error) == 0);
	must(strlen(description) <= option.description.size / 2 * 3);
	succeeded(devicepath_parse(option.device_paths, &target, &path_error), &path_error);
	return 0;
}
