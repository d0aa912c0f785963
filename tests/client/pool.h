/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps uv's worker threads busy, so that work of others stays queued until the
 * test lets go. Include after cmocka. */
#pragma once

#include <semaphore.h>
#include <stdlib.h>
#include <uv.h>

#define POOL_THREADS 4 /* uv's default */

struct pool {
  sem_t entered, leave;
  uv_work_t works[POOL_THREADS];
};

static inline void pool_wait(uv_work_t *work) {
  struct pool *pool = work->data;
  sem_post(&pool->entered);
  sem_wait(&pool->leave);
}

static inline void pool_left(uv_work_t *work, int status) {
  (void)work, (void)status;
}

/* Returns when all threads are taken. */
static inline void pool_hold(struct pool *pool, uv_loop_t *uv) {
  assert_null(getenv("UV_THREADPOOL_SIZE"));
  assert_int_equal(sem_init(&pool->entered, 0, 0), 0);
  assert_int_equal(sem_init(&pool->leave, 0, 0), 0);
  for (size_t k = 0; k < POOL_THREADS; k++) {
    pool->works[k].data = pool;
    assert_int_equal(uv_queue_work(uv, &pool->works[k], pool_wait, pool_left), 0);
  }
  for (size_t k = 0; k < POOL_THREADS; k++)
    assert_int_equal(sem_wait(&pool->entered), 0);
}

/* The pool must stay until the loop has run. */
static inline void pool_release(struct pool *pool) {
  for (size_t k = 0; k < POOL_THREADS; k++)
    sem_post(&pool->leave);
}
