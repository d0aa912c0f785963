/* SPDX-License-Identifier: Apache-2.0 */
/* Loops whose steps don't depend on each other, handed in so that machines stay
 * free of threads. */
#pragma once

#include "crypto/base.h"

#define CNS_PARALLEL_THREADS_MAX 64

/* Runs task(argument, k) for k in 0..count-1, in any order, possibly in
 * parallel; returns when all are done. run NULL: one after another. */
struct cns_parallel {
  void (*run)(void *context, size_t count, void (*task)(void *argument, size_t k), void *argument);
  void *context;
};

/* Threads that live for one call, as many as this process may use processors. */
struct cns_parallel cns_parallel_threads(void);
/* The same with at most so many threads, the caller's among them; 0: as above. */
struct cns_parallel cns_parallel_threads_at_most(size_t threads);
/* Runs with whatever was handed in. */
void cns_parallel_run(struct cns_parallel parallel, size_t count, void (*task)(void *argument, size_t k),
                      void *argument);
size_t cns_parallel_processors(void);
