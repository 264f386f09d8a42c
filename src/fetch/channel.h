/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * What the fetching process and its parent say to each other: messages on a socket pair, and bytes
 * in a pool of memory that both see. The parent believes nothing of what comes: it checks every
 * field, and copies bytes before it looks at them.
 */

#define CHANNEL_POOL_SIZE (4u << 20) /* bytes that both processes see */
#define CHANNEL_SLOT_SIZE (256u << 10)
#define CHANNEL_SLOTS     (CHANNEL_POOL_SIZE / CHANNEL_SLOT_SIZE)
#define CHANNEL_DATA_MAX  8192u /* of one message */

enum channel_kind {
	/* To the fetching process. */
	CHANNEL_NEXT = 1, /* go to the next payload */
	CHANNEL_FREE,     /* a slot was emptied */

	/* From it. */
	CHANNEL_OPENED,  /* struct channel_opened and the source's name */
	CHANNEL_PAYLOAD, /* struct channel_payload: its bytes follow in slots */
	CHANNEL_PIECE,   /* the next bytes of the payload lie in a slot; none: it has ended */
	CHANNEL_END,     /* there are no more payloads */
	CHANNEL_NOTE,    /* a sentence for the user */
	CHANNEL_FAILED,  /* struct channel_failed: it ends */
};

struct channel_message {
	uint32_t kind;     /* enum channel_kind */
	uint32_t slot;     /* PIECE, FREE */
	uint32_t size;     /* PIECE: bytes in the slot */
	uint32_t reserved; /* 0 */
	uint64_t received; /* bytes that came from the source so far */
	uint64_t requests; /* that were sent to a server so far */
	uint8_t data[CHANNEL_DATA_MAX];
};

/** What is known once the source is open. */
struct channel_opened {
	uint64_t size;        /* of the whole bundle, or UINT64_MAX */
	uint64_t payloads[2]; /* sizes by role, when they are known; UINT64_MAX */
	uint8_t seekable;
	uint8_t known; /* the payloads' sizes are */
	char name[];   /* of the source, for messages; NUL-terminated */
};

struct channel_payload {
	uint32_t role; /* enum bundle_role */
	uint64_t size; /* plain bytes, or UINT64_MAX */
};

struct channel_failed {
	uint32_t kind;   /* enum error_kind */
	uint32_t number; /* errno */
	char text[ERROR_TEXT_MAX];
};

/**
 * Makes the pool: CHANNEL_POOL_SIZE bytes that this process can read, and whoever inherits them by
 * fork(), too. They belong to no file, which could be cut short under a reader. NULL: out of
 * memory. Ends with channel_unmap().
 */
uint8_t *channel_pool_new(void);

/** The same bytes at another place, for writing. NULL: out of memory. Ends with channel_unmap(). */
uint8_t *channel_pool_open(uint8_t *pool);

/** NULL is fine. */
void channel_unmap(uint8_t *bytes);

/**
 * Sends a message with `size` bytes of data. 0; -EPIPE: the other process has ended; -errno.
 * Several threads may send at once.
 */
int channel_send(int socket, const struct channel_message *message, size_t size);

/**
 * Waits for a message. *ret_size: bytes of its data. 0; -EPIPE: the other process has ended;
 * -EPROTO: not a message; -errno.
 */
int channel_receive(int socket, struct channel_message *ret, size_t *ret_size);
