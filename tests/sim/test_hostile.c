/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A fetching process that was taken over lies about the chunks it sends: which, how many, how many
 * bytes. Each message of an install is made to lie in each way. Nothing is read or written outside
 * of what was asked for, the install fails with one sentence, and the machine goes on.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "fetch/channel.h"
#include "world.h"

#define CHUNK       32768u
#define SMALL_CHUNK 4096u
#define OTHER_NAME  "https://example.org/evil.zip"

typedef void (*lie_function)(struct channel_message *message, struct channel_chunks *chunks);

/** What the channel does: the message of that number becomes a lie. */
static struct {
	pthread_mutex_t lock; /* several threads of the process send */
	lie_function lie;     /* NULL: none */
	unsigned at;
	unsigned count; /* messages with chunks so far */
	bool again;     /* what is said now is said twice */
	struct channel_chunks previous;
	uint32_t previous_size;
	bool renames;  /* what was opened bears another name */
	unsigned ends; /* that payload of a plain bundle, counted from 1, is passed over; 0: none */
} lying = { .lock = PTHREAD_MUTEX_INITIALIZER };

int __real_channel_send(int socket, const struct channel_message *message, size_t size);
int __wrap_channel_send(int socket, const struct channel_message *message, size_t size);

/* Whether it is to be said twice. */
static bool change(struct channel_message *message)
{
	struct channel_chunks chunks, told;
	uint32_t size;
	bool again;

	LOCKED(&lying.lock);
	memcpy(&chunks, message->data, sizeof(chunks));
	told = chunks;
	size = message->size;
	if (lying.count++ == lying.at && lying.lie)
		lying.lie(message, &chunks);
	lying.previous = told;
	lying.previous_size = size;
	again = lying.again;
	lying.again = false;
	memcpy(message->data, &chunks, sizeof(chunks));
	return again;
}

/* Whether there shall be no more payloads, from this one on. */
static bool ends_here(void)
{
	LOCKED(&lying.lock);
	return lying.ends > 0 && --lying.ends == 0;
}

int __wrap_channel_send(int socket, const struct channel_message *message, size_t size)
{
	struct channel_message changed = *message;

	if (message->kind == CHANNEL_OPENED && lying.renames) {
		size_t at = offsetof(struct channel_opened, name);

		memcpy(changed.data + at, OTHER_NAME, sizeof(OTHER_NAME));
		size = at + sizeof(OTHER_NAME);
	}
	if (message->kind == CHANNEL_PAYLOAD && ends_here()) {
		changed.kind = CHANNEL_END;
		size = 0;
	}
	if (message->kind == CHANNEL_CHUNKS && change(&changed)) {
		__real_channel_send(socket, &changed, size);
		/* A slot twice would be noticed before. */
		changed.slot = CHANNEL_SLOTS - 1 - changed.slot;
	}
	return __real_channel_send(socket, &changed, size);
}

/* --- lies --- */

static void no_chunks(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)message;
	chunks->count = 0;
}

static void no_chunks_and_no_bytes(struct channel_message *message, struct channel_chunks *chunks)
{
	message->size = 0;
	chunks->count = 0;
}

static void nothing_at_all(struct channel_message *message, struct channel_chunks *chunks)
{
	message->size = 0;
	chunks->count = 0;
	chunks->first = UINT64_MAX;
}

static void one_chunk_more(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)message;
	chunks->count++;
}

static void one_chunk_and_its_bytes_more(
	struct channel_message *message, struct channel_chunks *chunks)
{
	message->size = message->size + CHUNK > CHANNEL_SLOT_SIZE ? 0 : message->size + CHUNK;
	chunks->count++;
}

static void as_many_as_can_be(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)message;
	chunks->count = UINT64_MAX;
}

/* The sum is the right one. */
static void around_the_end(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)message;
	chunks->count += chunks->first + 1;
	chunks->first = UINT64_MAX;
}

/* Behind it the numbers begin anew. */
static void across_all_numbers(struct channel_message *message, struct channel_chunks *chunks)
{
	message->size = 0;
	*chunks = (struct channel_chunks){ UINT64_MAX, 1 };
}

static void the_last_of_all(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)message;
	chunks->first = UINT64_MAX - chunks->count;
}

static void behind_the_end(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)message;
	chunks->first = WORLD_IMAGE_SIZE / CHUNK;
}

static void across_the_end(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)message;
	chunks->first = WORLD_IMAGE_SIZE / CHUNK - 1;
	chunks->count++;
}

/* The 32 lower bits are right, and the bytes of the map would be, too. */
static void far_away(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)message;
	chunks->first |= UINT64_C(1) << 63;
}

static void a_byte_less(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)chunks;
	message->size--;
}

static void a_byte_more(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)chunks;
	message->size += message->size < CHANNEL_SLOT_SIZE ? 1 : (uint32_t)-1;
}

static void no_bytes(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)chunks;
	message->size = 0;
}

/* Of the first message itself, only one more than it. */
static void the_last_ones_again(struct channel_message *message, struct channel_chunks *chunks)
{
	if (lying.at == 0) {
		one_chunk_more(message, chunks);
		return;
	}
	*chunks = lying.previous;
	message->size = lying.previous_size;
}

static void of_another_kind(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)chunks;
	message->kind = CHANNEL_PIECE;
}

static void slot_outside(struct channel_message *message, struct channel_chunks *chunks)
{
	(void)chunks;
	message->slot = CHANNEL_SLOTS;
}

static const struct {
	const char *name;
	lie_function lie;
} lies[] = {
	{ "no chunks", no_chunks },
	{ "no chunks and no bytes", no_chunks_and_no_bytes },
	{ "nothing at all", nothing_at_all },
	{ "one chunk more", one_chunk_more },
	{ "one chunk and its bytes more", one_chunk_and_its_bytes_more },
	{ "as many as can be", as_many_as_can_be },
	{ "around the end", around_the_end },
	{ "across all numbers", across_all_numbers },
	{ "the last of all", the_last_of_all },
	{ "behind the end", behind_the_end },
	{ "across the end", across_the_end },
	{ "far away", far_away },
	{ "a byte less", a_byte_less },
	{ "a byte more", a_byte_more },
	{ "no bytes", no_bytes },
	{ "the last ones again", the_last_ones_again },
	{ "of another kind", of_another_kind },
	{ "slot outside", slot_outside },
};

#define LIES (sizeof(lies) / sizeof(lies[0]))

/* --- installs --- */

static int install(struct sim *sim, const struct system *system, lie_function lie, unsigned at,
	struct error *error)
{
	const struct bistable_install_options options = {
		.activation = BISTABLE_ACTIVATE_REBOOT,
	};

	lying.lie = lie;
	lying.at = at;
	lying.count = 0;
	*error = (struct error){ 0 };
	return world_install(sim, system, &options, NULL, error);
}

static void check_lie(const struct system *factory, const struct system *next, const char *name,
	lie_function lie, unsigned at)
{
	AUTO_SIM struct sim *sim = world_new(factory);
	struct error error;
	int r;

	/* What waits for ever fails, too. */
	alarm(60);
	r = install(sim, next, lie, at, &error);
	alarm(0);
	if (r != -EPROTO || error.kind != ERROR_FAILED
		|| !strstr(error.text, "does not behave as it should"))
		fail_msg("%s, message %u: %d '%s'", name, at, r, error.text);
	assert_int_equal(sim_power_cycle(sim), SLOT_A);
	world_check_foreign(sim);
	world_check_order(sim);
	world_ok(install(sim, next, NULL, 0, &error), &error);
	assert_int_equal(sim_power_cycle(sim), SLOT_B);
}

static void test_lies(void **unused)
{
	static const struct system_faults chunked = { .chunked = true };
	AUTO_SYSTEM struct system factory = system_new("1", 1, &chunked);
	AUTO_SYSTEM struct system next = system_new("2", 2, &chunked);
	AUTO_SIM struct sim *sim = world_new(&factory);
	struct error error;
	unsigned count;

	(void)unused;
	world_ok(install(sim, &next, NULL, 0, &error), &error);
	count = lying.count;
	assert_in_range(count, 4, 50); /* of the boot file, and of the image */
	for (size_t i = 0; i < LIES * count; i++)
		check_lie(&factory, &next, lies[i % LIES].name, lies[i % LIES].lie,
			(unsigned)(i / LIES));
}

/* The first half of what there is, and that again. */
static void half_of_it_twice(struct channel_message *message, struct channel_chunks *chunks)
{
	if (chunks->count == 1) {
		one_chunk_more(message, chunks);
		return;
	}
	chunks->count /= 2;
	message->size = (uint32_t)chunks->count * SMALL_CHUNK;
	lying.again = true;
}

static void test_chunks_twice(void **unused)
{
	static const struct system_faults chunked = { .chunked = true, .small = true };
	AUTO_SYSTEM struct system factory = system_new("1", 1, &chunked);
	AUTO_SYSTEM struct system next = system_new("2", 2, &chunked);
	unsigned count = 1;

	(void)unused;
	for (unsigned at = 0; at < count; at++) {
		check_lie(&factory, &next, "half of it twice", half_of_it_twice, at);
		count = lying.count;
	}
	assert_true(count >= 2);
}

/* What a plain bundle must hold is said not to be there. */
static void test_end_too_early(void **unused)
{
	AUTO_SYSTEM struct system factory = system_new("1", 1, NULL);
	AUTO_SYSTEM struct system next = system_new("2", 2, NULL);

	(void)unused;
	for (unsigned ends = 1; ends <= 2; ends++) {
		lying.ends = ends;
		check_lie(&factory, &next, "end", NULL, ends);
		assert_int_equal(lying.ends, 0);
	}
}

/* Where to go back to for a repair is as we know it, not as it says. */
static void test_another_name(void **unused)
{
	AUTO_SYSTEM struct system factory = system_new("1", 1, NULL);
	AUTO_SYSTEM struct system next = system_new("2", 2, NULL);
	AUTO_SIM struct sim *sim = world_new(&factory);
	struct error error;

	(void)unused;
	lying.renames = true;
	world_ok(install(sim, &next, NULL, 0, &error), &error);
	lying.renames = false;
	{
		AUTO_STATUS struct bistable_status *status = world_status(sim);

		assert_string_equal(status->slots[SLOT_B].source, next.path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_chunks_twice),
		cmocka_unit_test(test_end_too_early),
		cmocka_unit_test(test_another_name),
	};

	return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
