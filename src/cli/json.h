/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

struct bistable_error;

/** The version of every document's layout: grows when a key changes its meaning or goes away. */
#define JSON_SCHEMA 1

/** A string, or null for NULL. Bytes that are not UTF-8 become '?'. New reference. */
json_t *json_text(const char *text);
/** "A" or "B", or null for 0. New reference. */
json_t *json_slot(char slot);
/** A number of bytes, or null for UINT64_MAX (unknown). New reference. */
json_t *json_size(uint64_t bytes);
/** An array of `count` strings. New reference. */
json_t *json_texts(char *const *texts, size_t count);

/** Writes one document to standard output, readable; takes the reference. NULL: out of memory. */
int json_write_document(json_t *document, struct bistable_error *error);
/** Writes one object on a line of its own and flushes it; takes the reference. */
int json_write_line(json_t *object, struct bistable_error *error);

/** {"code", "errno", "text"}. New reference. */
json_t *json_error(const struct bistable_error *error);
