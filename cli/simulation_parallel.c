/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/simulation_parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "cli/simulation.h"

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

void cns_simulation_parallel_run(void *context, size_t count, void (*task)(void *argument, size_t k),
                                 void *argument) {
  size_t wanted = *(const size_t *)context, started = 0;
  pthread_t threads[CNS_SIMULATION_THREADS_MAX];
  struct loop loop = {.count = count, .task = task, .argument = argument};
  if (wanted > CNS_SIMULATION_THREADS_MAX) wanted = CNS_SIMULATION_THREADS_MAX;
  if (wanted > count) wanted = count;
  atomic_init(&loop.next, 0);
  /* With fewer threads than wanted the work is the same, only slower. */
  while (started + 1 < wanted && pthread_create(&threads[started], NULL, work, &loop) == 0)
    started++;
  work(&loop);
  for (size_t k = 0; k < started; k++)
    pthread_join(threads[k], NULL);
}

size_t cns_simulation_processors(void) {
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  if (count < 1) count = 1;
  return count > CNS_SIMULATION_THREADS_MAX ? CNS_SIMULATION_THREADS_MAX : (size_t)count;
}
