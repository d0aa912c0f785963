/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

struct loop {
  atomic_size_t next;
  size_t count;
  void (*task)(void *argument, size_t k);
  void *argument;
};

static void *work(void *argument) {
  struct loop *loop = argument;
  for (;;) {
    size_t k = atomic_fetch_add(&loop->next, 1);
    if (k >= loop->count) return NULL;
    loop->task(loop->argument, k);
  }
}

size_t cns_parallel_processors(void) {
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  if (count < 1) count = 1;
  return count > CNS_PARALLEL_THREADS_MAX ? CNS_PARALLEL_THREADS_MAX : (size_t)count;
}

static void run_threads(void *context, size_t count, void (*task)(void *argument, size_t k), void *argument) {
  size_t wanted = (uintptr_t)context ? (uintptr_t)context : cns_parallel_processors(), started = 0;
  pthread_t threads[CNS_PARALLEL_THREADS_MAX];
  struct loop loop = {.count = count, .task = task, .argument = argument};
  if (wanted > CNS_PARALLEL_THREADS_MAX) wanted = CNS_PARALLEL_THREADS_MAX;
  if (wanted > count) wanted = count;
  atomic_init(&loop.next, 0);
  /* With fewer threads than wanted the work is the same, only slower. */
  while (started + 1 < wanted && pthread_create(&threads[started], NULL, work, &loop) == 0)
    started++;
  work(&loop);
  for (size_t k = 0; k < started; k++)
    pthread_join(threads[k], NULL);
}

struct cns_parallel cns_parallel_threads(void) {
  return (struct cns_parallel){.run = run_threads};
}

struct cns_parallel cns_parallel_threads_at_most(size_t threads) {
  return (struct cns_parallel){.run = run_threads, .context = (void *)(uintptr_t)threads};
}

void cns_parallel_run(struct cns_parallel parallel, size_t count, void (*task)(void *argument, size_t k),
                      void *argument) {
  if (parallel.run)
    parallel.run(parallel.context, count, task, argument);
  else
    for (size_t k = 0; k < count; k++)
      task(argument, k);
}
