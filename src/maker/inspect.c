/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "maker/head.h"
#include "maker/maker.h"
#include "maker/opened.h"
#include "source/source.h"

#define STRIDE (256u << 10) /* bytes: a head of usual size takes a few requests */

int maker_inspect(const char *file, const struct source_options *options, const char *keyring_file,
	struct bistable_bundle **ret, struct error *error)
{
	AUTO_KEYRING struct keyring *keyring = NULL;
	struct source_options few = *options;
	AUTO_OPENED struct opened opened = { 0 };
	AUTO_HEAD struct head head = { 0 };
	int r;

	few.stride = STRIDE;
	r = head_open_keyring(keyring_file, &keyring, error);
	if (r == 0)
		r = opened_open(file, &few, &opened, error);
	if (r < 0)
		return r;
	r = head_read(&opened.input, keyring, &head, error);
	if (r < 0)
		return opened_failed(&opened, r, error);
	return head_describe(&head, opened.source->size, ret, error);
}
