/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/material.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "source/source.h"

#define FILE_MAX (16u << 20)
#define STEP     (256u << 10)

/* The whole file. -errno without a text. */
static int read_file(const char *path, struct buffer *out)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do {
		if (out->size > FILE_MAX)
			return -EFBIG;
		if (buffer_reserve(out, STEP, NULL) < 0)
			return -ENOMEM;
		n = read(fd, out->data + out->size, out->capacity - out->size);
		if (n < 0)
			return -errno;
		out->size += (size_t)n;
	} while (n > 0);
	return 0;
}

static int read_named(const char *key, const char *path, struct buffer *out, struct error *error)
{
	int r;

	if (!path)
		return 0;
	r = read_file(path, out);
	if (r < 0)
		return error_set(error, ERROR_USAGE, -r, "%s '%s' cannot be read: %s", key, path,
			strerror(-r));
	if (out->size == 0)
		return error_set(error, ERROR_USAGE, EINVAL, "%s '%s' is empty", key, path);
	return 0;
}

int material_read(const struct source_options *options, struct material *ret, struct error *error)
{
	const char *usual = source_usual_ca_file();
	int r;

	r = read_named("ca-file", options->ca_file, &ret->ca, error);
	if (r == 0)
		r = read_named("client-cert", options->client_cert, &ret->cert, error);
	if (r == 0)
		r = read_named("client-key", options->client_key, &ret->key, error);
	/* Plain HTTP does without. With https, the handshake tells what is missing. */
	if (r == 0 && !options->ca_file && usual)
		read_file(usual, &ret->ca);
	return r;
}

void material_done(struct material *material)
{
	buffer_done(&material->ca);
	buffer_done(&material->cert);
	buffer_done(&material->key);
}
