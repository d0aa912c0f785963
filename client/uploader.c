/* SPDX-License-Identifier: Apache-2.0 */
#include "client/uploader.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"

#define BATCH_CHUNKS 16u /* 1 MiB, as much as a link's window */

struct batch {
  uint64_t first;
  uint64_t count;
  uint64_t sent;
  bool ready;
  uint32_t *words; /* BATCH_CHUNKS chunks, masked, little-endian */
};

struct cns_uploader {
  uv_loop_t *uv;
  uv_work_t request;
  struct cns_uploader_callbacks callbacks;
  uint32_t *x;
  uint64_t words, chunks;
  struct cns_mask_plan *masks;
  struct cns_upload_digest digest; /* the worker's while busy */
  struct batch batches[2];
  size_t making, sending; /* which batch */
  uint64_t make_next;     /* first chunk of the next batch */
  uint64_t send_next;
  uint64_t restart;
  bool active, restarting, busy;
  bool entered, freed; /* callbacks may free: memory goes when nobody is inside */
  unsigned holders;    /* of x */
  int error;           /* of the worker */
};

static void destroy(struct cns_uploader *u) {
  for (size_t b = 0; b < 2; b++) {
    if (u->batches[b].words) cns_wipe(u->batches[b].words, (size_t)BATCH_CHUNKS * CNS_CHUNK_WORDS * 4);
    free(u->batches[b].words);
  }
  cns_mask_plan_free(u->masks);
  cns_wipe(u->x, (size_t)u->words * sizeof *u->x);
  free(u->x);
  free(u);
}

int cns_uploader_new(uv_loop_t *uv, const struct cns_uploader_callbacks *callbacks, uint32_t *x,
                     uint64_t words, struct cns_uploader **ret_uploader) {
  struct cns_uploader *u = calloc(1, sizeof *u);
  if (!u) return CNS_ERR_MEMORY;
  for (size_t b = 0; b < 2; b++) {
    u->batches[b].words = malloc((size_t)BATCH_CHUNKS * CNS_CHUNK_WORDS * 4);
    if (u->batches[b].words) continue;
    free(u->batches[0].words);
    free(u);
    return CNS_ERR_MEMORY;
  }
  u->uv = uv;
  u->request.data = u;
  u->callbacks = *callbacks;
  u->x = x;
  u->words = words;
  u->chunks = cns_chunk_count(words);
  cns_upload_digest_init(&u->digest, words);
  *ret_uploader = u;
  return 0;
}

static void maybe_destroy(struct cns_uploader *u) {
  if (u->freed && !u->busy && !u->entered && u->holders == 0) destroy(u);
}

struct cns_uploader *cns_uploader_free(struct cns_uploader *u) {
  if (!u) return NULL;
  u->freed = true;
  u->active = false;
  maybe_destroy(u);
  return NULL;
}

void cns_uploader_hold(struct cns_uploader *u, const uint32_t **ret_x, uint64_t *ret_words) {
  u->holders++;
  *ret_x = u->x;
  *ret_words = u->words;
}

void cns_uploader_release(struct cns_uploader *u) {
  u->holders--;
  maybe_destroy(u);
}

static void leave(struct cns_uploader *u) {
  u->entered = false;
  maybe_destroy(u);
}

int cns_uploader_set_masks(struct cns_uploader *u, const struct cns_mask_term *terms, size_t count) {
  return u->masks ? 0 : cns_mask_plan_new(terms, count, &u->masks);
}

/* On the worker: mask the batch and take into the digest what it hasn't yet. */
static int make_batch(struct cns_uploader *u, struct batch *batch) {
  uint64_t first_word = batch->first * CNS_CHUNK_WORDS, left = u->words - first_word;
  uint64_t room = batch->count * CNS_CHUNK_WORDS;
  size_t len = (size_t)(left < room ? left : room);
  memcpy(batch->words, u->x + first_word, len * sizeof *u->x);
  int r = cns_mask_plan_apply(u->masks, batch->words, len, first_word);
  for (size_t k = 0; k < len && !r; k++) {
    uint32_t word = batch->words[k];
    cns_store_le32((uint8_t *)&batch->words[k], word);
  }
  for (uint64_t k = 0; k < batch->count && !r; k++) {
    uint64_t chunk = batch->first + k;
    if (chunk != u->digest.next_chunk) continue;
    r = cns_upload_digest_add(&u->digest, chunk, (const uint8_t *)(batch->words + k * CNS_CHUNK_WORDS),
                              (size_t)cns_chunk_words(u->words, chunk) * 4);
  }
  return r;
}

static void run(uv_work_t *request) {
  struct cns_uploader *u = request->data;
  u->error = make_batch(u, &u->batches[u->making]);
}

static void pump(struct cns_uploader *u);

static void restart(struct cns_uploader *u) {
  u->restarting = false;
  u->batches[0].ready = u->batches[1].ready = false;
  u->making = u->sending = 0;
  u->send_next = u->restart;
  u->make_next = u->restart < u->digest.next_chunk ? u->restart : u->digest.next_chunk;
}

static void fail(struct cns_uploader *u, int error) {
  u->active = false;
  u->callbacks.failed(u->callbacks.context, error);
}

static void after(uv_work_t *request, int status) {
  struct cns_uploader *u = request->data;
  (void)status;
  u->busy = false;
  u->entered = true;
  if (!u->freed && u->error) {
    fail(u, u->error);
  } else if (!u->freed && u->restarting) {
    restart(u);
    pump(u);
  } else if (!u->freed) {
    u->batches[u->making].ready = true;
    u->making ^= 1;
    pump(u);
  }
  leave(u);
}

/* One batch at a time is made: a mask plan belongs to one thread. */
static void make_more(struct cns_uploader *u) {
  struct batch *batch = &u->batches[u->making];
  if (u->busy || batch->ready || u->make_next >= u->chunks) return;
  uint64_t left = u->chunks - u->make_next;
  batch->first = u->make_next;
  batch->count = left < BATCH_CHUNKS ? left : BATCH_CHUNKS;
  batch->sent = 0;
  u->make_next += batch->count;
  u->busy = true;
  if (uv_queue_work(u->uv, &u->request, run, after) == 0) return;
  u->busy = false;
  fail(u, CNS_ERR_LIBRARY);
}

/* False when the link takes no more. */
static bool send_batch(struct cns_uploader *u, struct batch *batch) {
  for (; batch->sent < batch->count; batch->sent++) {
    uint64_t chunk = batch->first + batch->sent;
    if (chunk < u->send_next) continue; /* made for the digest only */
    const uint32_t *words = batch->words + batch->sent * CNS_CHUNK_WORDS;
    int r = u->callbacks.send(u->callbacks.context, chunk, (const uint8_t *)words,
                              (size_t)cns_chunk_words(u->words, chunk) * 4);
    if (r < 0) u->active = false;
    if (r != 0) return false;
    u->send_next = chunk + 1;
  }
  return true;
}

static void finish(struct cns_uploader *u) {
  struct cns_digest root;
  u->active = false;
  int r = cns_upload_digest_final(&u->digest, &root);
  if (r)
    fail(u, r);
  else
    u->callbacks.done(u->callbacks.context, &root); /* may free the uploader */
}

static void pump(struct cns_uploader *u) {
  while (u->active) {
    struct batch *batch = &u->batches[u->sending];
    make_more(u);
    if (!batch->ready || !u->active) break;
    if (!send_batch(u, batch)) return;
    batch->ready = false;
    u->sending ^= 1;
  }
  bool complete = !u->busy && !u->batches[0].ready && !u->batches[1].ready && u->make_next == u->chunks;
  if (u->active && complete) finish(u);
}

int cns_uploader_from(struct cns_uploader *u, uint64_t chunk) {
  if (!u->masks) return CNS_ERR_STATE;
  if (chunk > u->chunks) return CNS_ERR_RANGE;
  u->active = true;
  u->restarting = true;
  u->restart = chunk;
  if (u->busy) return 0; /* its end restarts */
  u->entered = true;
  restart(u);
  pump(u);
  leave(u);
  return 0;
}

void cns_uploader_writable(struct cns_uploader *u) {
  if (u->restarting || u->entered) return;
  u->entered = true;
  pump(u);
  leave(u);
}

void cns_uploader_pause(struct cns_uploader *u) {
  u->active = false;
}
