/* SPDX-License-Identifier: Apache-2.0 */
/* A frame of any method: method, whether it is the last, the chunk's size, then the frame. What is
 * decompressed comes back from a frame of our own. */
#include "base/cleanup.h"
#include "fuzz.h"
#include "maker/frame.h"
#include "source/unframe.h"

#define SIZE_MAX_HERE 65536u
#define ROOM          (2 * SIZE_MAX_HERE)

DEFINE_CLEANUP(framer_freep, struct framer *, framer_free)

static void pack_again(uint16_t method, bool last, struct unframer *unframer, struct span plain)
{
	CLEANUP(framer_freep) struct framer *framer = NULL;
	AUTO_FREE uint8_t *frame = malloc(ROOM), *again = malloc(plain.size + 1);
	size_t size;

	must(frame && again && framer_new(method, FRAME_LEVEL_DEFAULT, &framer, NULL) == 0);
	must(framer_bound(framer, plain.size) <= ROOM);
	must(framer_pack(framer, plain, last, frame, ROOM, &size, NULL) == 0);
	must(unframer_unpack(unframer, (struct span){ frame, size }, last, again, plain.size, NULL)
		== 0);
	must(memcmp(again, plain.data, plain.size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t methods[] = { 93, 8, 0 };
	AUTO_UNFRAMER struct unframer *unframer = NULL;
	AUTO_FREE uint8_t *plain = NULL;
	struct error error = { 0 };
	uint16_t method;
	size_t wanted;
	bool last;

	if (size < 4)
		return 0;
	method = methods[data[0] % 3];
	last = data[1] & 1;
	wanted = (size_t)le16(data + 2) + 1;
	plain = malloc(wanted + 1);
	must(plain && unframer_new(method, &unframer, NULL) == 0);
	if (succeeded(unframer_unpack(unframer, (struct span){ data + 4, size - 4 }, last, plain,
			      wanted, &error),
		    &error))
		pack_again(method, last, unframer, (struct span){ plain, wanted });
	return 0;
}
