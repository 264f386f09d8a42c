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
	/* To the fetching process. One of the first four is answered before anything else is sent.
	 */
	CHANNEL_NEXT = 1, /* plain: go to the next payload */
	CHANNEL_ENTRY,    /* format 1: go to the next entry; struct channel_wanted */
	CHANNEL_READ,     /* format 1: send the bytes of the entry, as they are, in pieces */
	CHANNEL_CHECK,    /* format 1: compare with the central directory, if that can be had */
	CHANNEL_RUN,      /* struct channel_run: send chunks of the payload */
	CHANNEL_FREE,     /* a slot was emptied */

	/* From it. */
	CHANNEL_OPENED,  /* struct channel_opened: what it is */
	CHANNEL_PAYLOAD, /* plain: struct channel_payload; its bytes follow in pieces */
	CHANNEL_IS,      /* format 1: struct channel_is, the entry it went to */
	CHANNEL_END,     /* there is no more payload or entry */
	CHANNEL_CHECKED, /* the directory agrees */
	CHANNEL_PIECE,   /* the next bytes lie in a slot; none: that was all of them */
	CHANNEL_CHUNKS,  /* struct channel_chunks: plain chunks lie in a slot */
	CHANNEL_NOTE,    /* a sentence for the user */
	CHANNEL_FAILED,  /* struct channel_failed: it ends */
};

struct channel_message {
	uint32_t kind;     /* enum channel_kind */
	uint32_t slot;     /* PIECE, CHUNKS, FREE */
	uint32_t size;     /* PIECE, CHUNKS: bytes in the slot */
	uint32_t reserved; /* 0 */
	uint64_t received; /* bytes that came from the source so far */
	uint64_t requests; /* that were sent to a server so far */
	uint8_t data[CHANNEL_DATA_MAX];
};

/** What is known once the source is open. */
struct channel_opened {
	uint64_t size;        /* of the whole bundle, or UINT64_MAX */
	uint64_t payloads[2]; /* plain: sizes by role, when they are known; UINT64_MAX */
	uint8_t seekable;
	uint8_t format; /* 0: plain */
	uint8_t known;  /* plain: the payloads' sizes are */
	char name[];    /* of the source, for messages; NUL-terminated */
};

struct channel_payload {
	uint32_t role; /* enum bundle_role */
	uint64_t size; /* plain bytes, or UINT64_MAX */
};

struct channel_wanted {
	uint64_t end; /* what lies before this byte of the bundle will be wanted soon; 0: unknown */
};

struct channel_is {
	uint64_t data; /* where its data begin in the bundle */
	uint64_t compressed, size;
	uint32_t method;
	uint32_t crc;
	char name[]; /* NUL-terminated; one that is longer than any of ours is cut */
};

#define CHANNEL_RUN_CHUNKS 1024u       /* at most in one run */
#define CHANNEL_RUNS       8u          /* at most on their way */
#define CHANNEL_UNWANTED   (1u << 31u) /* with a length: the frame is passed over */

/** Chunks whose frames follow each other: they are asked for in one go. */
struct channel_run {
	uint64_t data;                        /* where the first frame begins in the bundle */
	uint64_t first;                       /* number of its chunk */
	uint32_t count;                       /* of frames */
	uint32_t chunk_size;                  /* plain bytes of each but the payload's last */
	uint32_t last_size;                   /* plain bytes of the run's last chunk */
	uint32_t method;                      /* of the payload's entry */
	uint32_t ends;                        /* 1: the run's last chunk is the payload's */
	uint32_t lengths[CHANNEL_RUN_CHUNKS]; /* of the frames; CHANNEL_UNWANTED */
};

/** `size` bytes in a slot: chunks that follow each other. */
struct channel_chunks {
	uint64_t first;
	uint64_t count;
};

struct channel_failed {
	uint32_t kind;   /* enum error_kind */
	uint32_t number; /* errno */
	char text[ERROR_TEXT_MAX];
};

/** How the pool is divided: one slot holds a whole chunk at least. */
static inline uint32_t channel_slot_size(uint32_t chunk_size)
{
	return chunk_size > CHANNEL_SLOT_SIZE ? chunk_size : CHANNEL_SLOT_SIZE;
}

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
