/* SPDX-License-Identifier: Apache-2.0 */
/* A slot's receipt: what is read, and written again, is the same. */
#include <errno.h>

#include "engine/context.h"
#include "engine/receipt.h"
#include "fuzz.h"
#include "machine/machine.h"

/** A machine that has one file, on its ESP. */
struct one_file {
	struct machine machine;
	struct span read;
	struct buffer written;
};

static int read_file(struct machine *machine, struct esp *esp, const char *path, size_t max,
	struct buffer *ret, struct error *error)
{
	const struct one_file *file = (const struct one_file *)machine;

	(void)esp, (void)path;
	if (file->read.size == 0)
		return error_failed(error, ENOENT, "it is empty");
	if (file->read.size > max)
		return error_failed(error, EFBIG, "it is too large");
	return buffer_append(ret, file->read.data, file->read.size, error);
}

static int replace_file(struct machine *machine, struct esp *esp, const char *path,
	struct span content, struct error *error)
{
	struct one_file *file = (struct one_file *)machine;

	(void)esp, (void)path;
	must(file->written.size == 0);
	return buffer_append(&file->written, content.data, content.size, error);
}

static void write_again(
	struct context *context, struct one_file *file, const struct receipt *receipt)
{
	AUTO_RECEIPT struct receipt again = { 0 };

	must(receipt_write(context, SLOT_A, span_of(&receipt->manifest_bytes),
		     span_of(&receipt->signature), receipt->manifest.created, NULL)
		== 0);
	/* Nothing is written if it is as it should be. */
	if (file->written.size == 0)
		return;
	file->read = span_of(&file->written);
	must(receipt_read(context, SLOT_A, &again, NULL) == 0);
	must(span_equal(span_of(&again.manifest_bytes), span_of(&receipt->manifest_bytes)));
	must(span_equal(span_of(&again.signature), span_of(&receipt->signature)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct machine_ops ops = {
		.esp_read = read_file,
		.esp_replace = replace_file,
	};
	static char path[] = "/EFI/x/boot-a.receipt";
	struct one_file file = { .machine.ops = &ops, .read = { data, size } };
	struct context context = {
		.machine = &file.machine,
		.config.receipt_file = { path, path },
	};
	AUTO_RECEIPT struct receipt receipt = { 0 };
	struct error error = { 0 };

	if (succeeded(receipt_read(&context, SLOT_A, &receipt, &error), &error)) {
		must(receipt.manifest_bytes.size > 0 && receipt.manifest_bytes.size < size);
		must(receipt.signature.size < size);
		must(receipt.manifest.payload_count >= 2);
		write_again(&context, &file, &receipt);
	} else {
		must(!receipt.manifest_bytes.data && !receipt.signature.data);
		must(!receipt.manifest.version && receipt.manifest.payload_count == 0);
	}
	buffer_done(&file.written);
	return 0;
}
