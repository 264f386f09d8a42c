/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/channel.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define HEAD_SIZE offsetof(struct channel_message, data)

uint8_t *channel_pool_new(void)
{
	void *pool = mmap(NULL, CHANNEL_POOL_SIZE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return pool == MAP_FAILED ? NULL : pool;
}

uint8_t *channel_pool_open(uint8_t *pool)
{
	/* An old size of 0 duplicates a shared mapping: mremap(2). */
	void *bytes = mremap(pool, 0, CHANNEL_POOL_SIZE, MREMAP_MAYMOVE);

	if (bytes == MAP_FAILED)
		return NULL;
	if (mprotect(bytes, CHANNEL_POOL_SIZE, PROT_READ | PROT_WRITE) < 0) {
		channel_unmap(bytes);
		return NULL;
	}
	return bytes;
}

void channel_unmap(uint8_t *bytes)
{
	if (bytes)
		munmap(bytes, CHANNEL_POOL_SIZE);
}

int channel_send(int socket, const struct channel_message *message, size_t size)
{
	ssize_t n;

	do
		n = send(socket, message, HEAD_SIZE + size, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

int channel_receive(int socket, struct channel_message *ret, size_t *ret_size)
{
	ssize_t n;

	/* A reset comes once, before what the other process said last. */
	do
		n = recv(socket, ret, sizeof(*ret), MSG_TRUNC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	if (n == 0)
		return -EPIPE;
	if ((size_t)n < HEAD_SIZE || (size_t)n > sizeof(*ret))
		return -EPROTO;
	*ret_size = (size_t)n - HEAD_SIZE;
	return 0;
}
