/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>

#include "base/cleanup.h"

struct error;

/**
 * Starts a thread that takes no signals: they are for the thread that the program began with. Its
 * stack has 512 KiB. 0, -EAGAIN (too many of them), -ENOMEM.
 */
int thread_start(pthread_t *ret, void *(*run)(void *opaque), void *opaque, struct error *error);

static inline void thread_unlock(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}

/** Holds the mutex until the end of the scope. */
#define LOCKED(mutex)                                              \
	CLEANUP(thread_unlock) pthread_mutex_t *locked_ = (mutex); \
	pthread_mutex_lock(locked_)
