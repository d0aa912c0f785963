/* SPDX-License-Identifier: Apache-2.0 */
#include "net/loop.h"

#include <assert.h>
#include <nng/nng.h>
#include <stdlib.h>

struct cns_loop {
  uv_loop_t *uv;
  uv_async_t wake;
  uv_mutex_t mutex; /* of first and last */
  struct cns_loop_event *first, *last;
  size_t references;
  size_t lingering;
  struct cns_link *parting;
};

static struct cns_loop_event *take(struct cns_loop *loop) {
  uv_mutex_lock(&loop->mutex);
  struct cns_loop_event *event = loop->first;
  if (event) {
    loop->first = event->next;
    if (!loop->first) loop->last = NULL;
    event->next = NULL;
  }
  uv_mutex_unlock(&loop->mutex);
  return event;
}

static void on_wake(uv_async_t *wake) {
  struct cns_loop *loop = wake->data;
  struct cns_loop_event *event;
  cns_loop_retain(loop);
  while ((event = take(loop)) != NULL)
    event->run(event);
  cns_loop_release(loop);
}

void cns_loop_post(struct cns_loop *loop, struct cns_loop_event *event) {
  uv_mutex_lock(&loop->mutex);
  event->next = NULL;
  if (loop->last)
    loop->last->next = event;
  else
    loop->first = event;
  loop->last = event;
  /* Under the mutex: once the loop has taken the event it may close the handle,
   * and a wake-up sent later would touch a closed one. */
  uv_async_send(&loop->wake);
  uv_mutex_unlock(&loop->mutex);
}

int cns_loop_new(uv_loop_t *uv, struct cns_loop **ret_loop, struct cns_problem *problem) {
  struct cns_loop *loop = calloc(1, sizeof *loop);
  if (!loop) return cns_problem_set(problem, CNS_ERR_MEMORY, "no memory for the network loop");
  if (uv_mutex_init(&loop->mutex) != 0) {
    free(loop);
    return cns_problem_set(problem, CNS_ERR_LIBRARY, "the system gave no mutex");
  }
  int rv = uv_async_init(uv, &loop->wake, on_wake);
  if (rv != 0) {
    uv_mutex_destroy(&loop->mutex);
    free(loop);
    return cns_problem_set(problem, CNS_ERR_LIBRARY, "libuv gave no wake-up handle: %s", uv_strerror(rv));
  }
  loop->uv = uv;
  loop->wake.data = loop;
  loop->references = 1;
  *ret_loop = loop;
  return 0;
}

struct cns_loop *cns_loop_free(struct cns_loop *loop) {
  if (loop) cns_loop_release(loop);
  return NULL;
}

uv_loop_t *cns_loop_uv(const struct cns_loop *loop) {
  return loop->uv;
}

uint64_t cns_loop_now_ms(const struct cns_loop *loop) {
  return uv_now(loop->uv);
}

size_t *cns_loop_lingering(struct cns_loop *loop) {
  return &loop->lingering;
}

struct cns_link **cns_loop_parting(struct cns_loop *loop) {
  return &loop->parting;
}

void cns_loop_retain(struct cns_loop *loop) {
  loop->references++;
}

static void on_wake_closed(uv_handle_t *handle) {
  struct cns_loop *loop = handle->data;
  uv_mutex_destroy(&loop->mutex);
  free(loop);
}

void cns_loop_release(struct cns_loop *loop) {
  assert(loop->references > 0);
  if (--loop->references == 0) uv_close((uv_handle_t *)&loop->wake, on_wake_closed);
}

/* On one of nng's threads. The result lies in the aio; the loop reads it. */
static void on_aio(void *arg) {
  struct cns_loop_op *op = arg;
  cns_loop_post(op->loop, &op->event);
}

static void op_run(struct cns_loop_event *event) {
  struct cns_loop_op *op = (struct cns_loop_op *)event; /* its first member */
  op->in_flight = false;
  op->done(op);
}

int cns_loop_op_init(struct cns_loop_op *op, struct cns_loop *loop, void (*done)(struct cns_loop_op *op),
                     void *context) {
  nng_aio *aio = NULL;
  if (nng_aio_alloc(&aio, on_aio, op) != 0) return CNS_ERR_MEMORY;
  *op = (struct cns_loop_op){
      .event = {.run = op_run}, .loop = loop, .aio = aio, .done = done, .context = context};
  return 0;
}

void cns_loop_op_deinit(struct cns_loop_op *op) {
  assert(!op->in_flight);
  /* Waits for on_aio to return, which it is about to. */
  nng_aio_free(op->aio);
  op->aio = NULL;
}

struct nng_aio *cns_loop_op_start(struct cns_loop_op *op) {
  assert(!op->in_flight);
  op->in_flight = true;
  return op->aio;
}
