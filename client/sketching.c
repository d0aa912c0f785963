/* SPDX-License-Identifier: Apache-2.0 */
#include "client/sketching.h"

#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"

/* A divisor of a chunk; sixteen masks of it stay in the second-level cache. */
#define PIECE_WORDS 4096u
/* Masks that are sketched together: A is made anew for each so many. */
#define GROUP_MASKS 64u
/* Not a multiple of 4096 bytes: the same element of many masks would fall into one
 * set of the first-level cache. */
#define STRIDE (PIECE_WORDS + 16u)
#define OTHERS 2u /* y and x */

_Static_assert(CNS_CHUNK_WORDS % PIECE_WORDS == 0, "chunks are whole pieces");

struct cns_sketching {
  uv_work_t request;
  struct cns_sketching_input input; /* terms: sodium_malloc'd */
  const uint32_t *x;
  uint64_t words;
  size_t groups;
  struct cns_mask_plan **plans; /* of each group */
  struct cns_sketch_plan *sketches;
  uint32_t *elements; /* [GROUP_MASKS][STRIDE] */
  uint32_t *y;        /* one chunk */
  uint32_t *numbers;  /* [count + OTHERS][k]: masks, y, x */
  struct cns_upload_digest digest;
  struct cns_digest root;
  atomic_bool cancelled;
  int error;
  cns_sketching_done *done;
  void *context;
};

static void wipe_free(void *memory, size_t len) {
  if (memory) cns_wipe(memory, len);
  free(memory);
}

static size_t numbers_bytes(const struct cns_sketching *s) {
  return (s->input.count + OTHERS) * s->input.k * sizeof *s->numbers;
}

static size_t group_count(const struct cns_sketching *s, size_t group) {
  size_t left = s->input.count - group * GROUP_MASKS;
  return left < GROUP_MASKS ? left : GROUP_MASKS;
}

/* ---- on the worker ---- */

static void close_tools(struct cns_sketching *s) {
  for (size_t g = 0; s->plans && g < s->groups; g++)
    cns_mask_plan_free(s->plans[g]);
  free(s->plans);
  s->plans = NULL;
  s->sketches = cns_sketch_plan_free(s->sketches);
  wipe_free(s->elements, (size_t)GROUP_MASKS * STRIDE * sizeof *s->elements);
  wipe_free(s->y, CNS_CHUNK_WORDS * sizeof *s->y);
  s->elements = s->y = NULL;
}

static int open_tools(struct cns_sketching *s) {
  s->groups = (s->input.count + GROUP_MASKS - 1) / GROUP_MASKS;
  s->plans = calloc(s->groups, sizeof *s->plans);
  s->elements = malloc((size_t)GROUP_MASKS * STRIDE * sizeof *s->elements);
  s->y = malloc(CNS_CHUNK_WORDS * sizeof *s->y);
  s->numbers = calloc(1, numbers_bytes(s));
  if (!s->plans || !s->elements || !s->y || !s->numbers) return CNS_ERR_MEMORY;
  int r = cns_sketch_plan_new(&s->input.key, s->input.k, &s->sketches);
  for (size_t g = 0; g < s->groups && r == 0; g++)
    r = cns_mask_plan_new(s->input.terms + g * GROUP_MASKS, group_count(s, g), &s->plans[g]);
  cns_upload_digest_init(&s->digest, s->words);
  return r;
}

/* Adds the masks of a group to y, and all of them to their sketches: `covered` of the
 * len words from `first` on. After the last group y is complete. */
static int add_group(struct cns_sketching *s, size_t group, uint64_t first, size_t len, size_t covered,
                     uint32_t *y) {
  const uint32_t *vectors[GROUP_MASKS + OTHERS];
  size_t count = group_count(s, group), at = group * GROUP_MASKS;
  int r = cns_mask_plan_generate(s->plans[group], first, len, STRIDE, s->elements);
  if (r < 0) return r;
  for (size_t m = 0; m < count; m++) {
    const uint32_t *mask = vectors[m] = s->elements + m * STRIDE;
    if (s->input.terms[at + m].sign >= 0)
      for (size_t w = 0; w < len; w++)
        y[w] += mask[w];
    else
      for (size_t w = 0; w < len; w++)
        y[w] -= mask[w];
  }
  if (group + 1 == s->groups) {
    vectors[count++] = y;
    vectors[count++] = s->x + first;
  }
  if (covered == 0) return 0;
  return cns_sketch_plan_add(s->sketches, vectors, count, first, covered, s->numbers + at * s->input.k);
}

static int make_piece(struct cns_sketching *s, uint64_t first, size_t len, uint32_t *y) {
  uint64_t left = first < s->input.dim ? s->input.dim - first : 0;
  size_t covered = left < len ? (size_t)left : len;
  int r = 0;
  memcpy(y, s->x + first, len * sizeof *y);
  for (size_t g = 0; g < s->groups && r == 0; g++)
    r = add_group(s, g, first, len, covered, y);
  return r;
}

static int make_chunk(struct cns_sketching *s, uint64_t chunk) {
  size_t len = cns_chunk_words(s->words, chunk);
  uint64_t first = chunk * CNS_CHUNK_WORDS;
  int r = 0;
  for (size_t at = 0; at < len && r == 0; at += PIECE_WORDS)
    r = make_piece(s, first + at, len - at < PIECE_WORDS ? len - at : PIECE_WORDS, s->y + at);
  for (size_t w = 0; w < len; w++) {
    uint32_t word = s->y[w];
    cns_store_le32((uint8_t *)&s->y[w], word);
  }
  return r < 0 ? r : cns_upload_digest_add(&s->digest, chunk, (const uint8_t *)s->y, len * sizeof *s->y);
}

static void run(uv_work_t *request) {
  struct cns_sketching *s = request->data;
  uint64_t chunks = cns_chunk_count(s->words);
  int r = open_tools(s);
  for (uint64_t chunk = 0; chunk < chunks && r == 0; chunk++)
    r = atomic_load(&s->cancelled) ? CNS_ERR_CANCELLED : make_chunk(s, chunk);
  if (r == 0) r = cns_upload_digest_final(&s->digest, &s->root);
  close_tools(s);
  s->error = r;
}

/* ---- on the loop ---- */

static void destroy(struct cns_sketching *s) {
  cns_uploader_release(s->input.uploader);
  sodium_free((void *)s->input.terms);
  wipe_free(s->numbers, s->numbers ? numbers_bytes(s) : 0);
  free(s);
}

static void after(uv_work_t *request, int status) {
  struct cns_sketching *s = request->data;
  struct cns_sketching_result result = {.root = s->root};
  if (status == UV_ECANCELED || atomic_load(&s->cancelled)) s->error = CNS_ERR_CANCELLED;
  if (!s->error) {
    result.masks = s->numbers;
    result.of_y = s->numbers + s->input.count * s->input.k;
    result.of_x = result.of_y + s->input.k;
  }
  s->done(s->context, s, s->error, &result);
  destroy(s);
}

int cns_sketching_start(uv_loop_t *uv, const struct cns_sketching_input *input, cns_sketching_done *done,
                        void *context, struct cns_sketching **ret_sketching) {
  struct cns_sketching *s = calloc(1, sizeof *s);
  struct cns_mask_term *terms = sodium_malloc(input->count * sizeof *terms);
  if (!s || !terms || input->count == 0) {
    sodium_free(terms);
    free(s);
    return input->count == 0 ? CNS_ERR_ARGUMENT : CNS_ERR_MEMORY;
  }
  memcpy(terms, input->terms, input->count * sizeof *terms);
  s->request.data = s;
  s->input = *input;
  s->input.terms = terms;
  s->done = done;
  s->context = context;
  cns_uploader_hold(input->uploader, &s->x, &s->words);
  if (uv_queue_work(uv, &s->request, run, after) != 0) {
    destroy(s);
    return CNS_ERR_LIBRARY;
  }
  *ret_sketching = s;
  return 0;
}

void cns_sketching_cancel(struct cns_sketching *s) {
  atomic_store(&s->cancelled, true);
  (void)uv_cancel((uv_req_t *)&s->request); /* fails, and need not succeed, once it runs */
}
