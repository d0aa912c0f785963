/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bridge between nng's threads and libuv's loop. An nng completion may
 * come at any time on any of nng's threads; all it does is to put an event on
 * a mutexed queue and wake the loop, which drains the queue to empty (wake-ups
 * coalesce). Everything else in net/ runs on the loop's thread and needs no
 * lock.
 *
 * Life: cns_loop_new on an initialised uv loop; listeners and dialers hold the
 * bridge; after cns_loop_free it goes away by itself once they have, so run the
 * uv loop until it returns, then uv_loop_close finds nothing left.
 */
#pragma once

#include <uv.h>

#include "crypto/base.h"

struct nng_aio;
struct cns_loop;

CNS_MUST_CHECK int cns_loop_new(uv_loop_t *uv, struct cns_loop **ret_loop, struct cns_problem *problem);
struct cns_loop *cns_loop_free(struct cns_loop *loop);
uv_loop_t *cns_loop_uv(const struct cns_loop *loop);

/* Milliseconds of a monotonic clock, as of this turn of the loop. */
uint64_t cns_loop_now_ms(const struct cns_loop *loop);

/* Keeps the bridge alive until the matching release. Loop thread only. */
void cns_loop_retain(struct cns_loop *loop);
void cns_loop_release(struct cns_loop *loop);

/* Connections that were refused and still wait for our last words to arrive;
 * counted over all listeners, for a limit. Loop thread only. */
size_t *cns_loop_lingering(struct cns_loop *loop);
/* Links of parties that were let in, ended, whose last words are on their way;
 * a list, at most one a party. Loop thread only. */
struct cns_link;
struct cns_link **cns_loop_parting(struct cns_loop *loop);

/* Something to be done on the loop's thread, in order of posting. The node
 * belongs to the caller and may be on the queue once at a time. */
struct cns_loop_event {
  struct cns_loop_event *next;
  void (*run)(struct cns_loop_event *event);
};
/* From any thread, while the bridge is retained by someone. */
void cns_loop_post(struct cns_loop *loop, struct cns_loop_event *event);

/*
 * One asynchronous nng operation at a time: start, hand op->aio to nng, and
 * done is called on the loop's thread. The operation may be freed from done
 * on, never earlier.
 */
struct cns_loop_op {
  struct cns_loop_event event;
  struct cns_loop *loop;
  struct nng_aio *aio;
  bool in_flight;
  void (*done)(struct cns_loop_op *op);
  void *context;
};
CNS_MUST_CHECK int cns_loop_op_init(struct cns_loop_op *op, struct cns_loop *loop,
                                    void (*done)(struct cns_loop_op *op), void *context);
void cns_loop_op_deinit(struct cns_loop_op *op); /* must not be in flight */
struct nng_aio *cns_loop_op_start(struct cns_loop_op *op);
