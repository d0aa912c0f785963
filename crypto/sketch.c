/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/sketch.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/sketch_lanes.h"

#define LANES CNS_SKETCH_LANES
#define CACHE_LINE_BYTES 64
/* A's placement and sixteen masks of a piece stay in the second-level cache. */
#define PIECE_ELEMENTS 2048u
/* Not a multiple of 4096 bytes: the same element of sixteen masks would fall into
 * one set of the first-level cache. */
#define MASK_STRIDE (PIECE_ELEMENTS + 16u)
/* Vectors that go over A together: bounds the memory for their rows, and A is made
 * anew for each so many. */
#define PASS_GROUPS 16u
#define PASS_VECTORS (PASS_GROUPS * LANES)
/* What one step of a parallel loop does; more than enough steps for all threads. */
#define RANGE_ELEMENTS_MIN 65536u
#define RANGES_MAX 256u
/* Coordinate c takes elements 2c and 2c + 1 of the keystream. */
#define WORDS_MAX ((uint64_t)1 << 62)

struct cns_sketch_plan {
  _Alignas(CACHE_LINE_BYTES) uint32_t tile[CNS_SKETCH_TILE_ELEMENTS];
  uint32_t placement[2 * PIECE_ELEMENTS]; /* read as [][8] bytes: sketch_lanes.h, entries */
  struct cns_mask_plan *stream;
  const struct cns_sketch_version *version;
  uint32_t k;
  uint32_t *rows; /* zero between two passes */
  size_t groups;  /* that there are rows for */
};

/* Where a pass finds its vectors. */
struct source {
  /* Elements first .. first+len-1 of vectors 16*group .. 16*group+count-1. */
  int (*fetch)(void *context, size_t group, size_t count, uint64_t first, size_t len,
               const uint32_t **ret_vectors);
  void *context;
  bool in_memory; /* the vectors go on beyond the len elements */
};

/* Beyond the last vector of a group. */
static const uint32_t zeros[PIECE_ELEMENTS + CNS_SKETCH_AHEAD];

void cns_sketch_key_derive(const struct cns_digest *transcript_upload,
                           const uint8_t nonce[static CNS_SKETCH_NONCE_BYTES],
                           struct cns_sketch_key *ret_key) {
  struct cns_hash hash;
  struct cns_digest digest;
  cns_hash_init(&hash, "consilium/1 sketch matrix");
  cns_hash_digest(&hash, transcript_upload);
  cns_hash_bytes(&hash, nonce, CNS_SKETCH_NONCE_BYTES);
  cns_hash_final(&hash, &digest);
  memcpy(ret_key->bytes, digest.bytes, sizeof ret_key->bytes);
}

bool cns_sketch_size_valid(uint32_t k) {
  return k >= CNS_SKETCH_MIN && k <= CNS_SKETCH_MAX && (k & (k - 1)) == 0;
}

static size_t rows_bytes(const struct cns_sketch_plan *plan) {
  return plan->groups * CNS_SKETCH_ROWS_ELEMENTS(plan->k) * sizeof *plan->rows;
}

/* Rows, tile and what else was made of vectors may be made of masks. */
static void rows_free(struct cns_sketch_plan *plan) {
  if (plan->rows) cns_wipe(plan->rows, rows_bytes(plan));
  free(plan->rows);
  plan->rows = NULL;
  plan->groups = 0;
}

struct cns_sketch_plan *cns_sketch_plan_free(struct cns_sketch_plan *plan) {
  if (!plan) return NULL;
  rows_free(plan);
  cns_mask_plan_free(plan->stream);
  cns_wipe(plan, sizeof *plan);
  free(plan);
  return NULL;
}

static const struct cns_sketch_version *fastest_version(void) {
  size_t number = 0;
  while (cns_sketch_version(number + 1))
    number++;
  return cns_sketch_version(number);
}

void cns_sketch_plan_use(struct cns_sketch_plan *plan, const struct cns_sketch_version *version) {
  plan->version = version;
}

int cns_sketch_plan_new(const struct cns_sketch_key *key, uint32_t k, struct cns_sketch_plan **ret_plan) {
  struct cns_mask_term term = {.sign = 1};
  if (!cns_sketch_size_valid(k)) return CNS_ERR_ARGUMENT;
  struct cns_sketch_plan *plan = aligned_alloc(CACHE_LINE_BYTES, sizeof *plan);
  if (!plan) return CNS_ERR_MEMORY;
  memset(plan, 0, sizeof *plan);
  plan->k = k;
  plan->version = fastest_version();
  memcpy(term.seed.bytes, key->bytes, sizeof term.seed.bytes);
  int r = cns_mask_plan_new(&term, 1, &plan->stream);
  if (r < 0) {
    cns_sketch_plan_free(plan);
    return r;
  }
  *ret_plan = plan;
  return 0;
}

static int plan_reserve(struct cns_sketch_plan *plan, size_t groups) {
  if (groups <= plan->groups) return 0;
  rows_free(plan);
  size_t bytes = groups * CNS_SKETCH_ROWS_ELEMENTS(plan->k) * sizeof *plan->rows;
  plan->rows = aligned_alloc(CACHE_LINE_BYTES, bytes);
  if (!plan->rows) return CNS_ERR_MEMORY;
  memset(plan->rows, 0, bytes);
  plan->groups = groups;
  return 0;
}

/* Turns the keystream into entries: the sign of each byte comes to stand above the
 * bits of the bucket. Four bytes at a time, since no bit leaves its own. */
static int place(struct cns_sketch_plan *plan, uint64_t first, size_t len) {
  int r = cns_mask_plan_generate(plan->stream, 2 * first, 2 * len, 2 * len, plan->placement);
  if (r < 0) return r;
  const uint32_t each = 0x01010101, w = plan->k / CNS_SKETCH_BLOCKS;
  const int shift = __builtin_ctz(128 / w);
  for (size_t e = 0; e < 2 * len; e++) {
    uint32_t element = plan->placement[e];
    plan->placement[e] = htole32((element & (w - 1) * each) | (element >> shift & w * each));
  }
  return 0;
}

static size_t group_lanes(size_t count) {
  return count <= LANES / 2 ? LANES / 2 : LANES;
}

static size_t group_count(size_t count, size_t group) {
  return count - group * LANES < LANES ? count - group * LANES : LANES;
}

static uint32_t *group_rows(struct cns_sketch_plan *plan, size_t group) {
  return plan->rows + group * CNS_SKETCH_ROWS_ELEMENTS(plan->k);
}

/* rest: elements from the first one to the vectors' end. A few streams the processor reads
 * ahead by itself. */
static int add_group(struct cns_sketch_plan *plan, const struct source *source, size_t group, size_t count,
                     uint64_t first, size_t len, uint64_t rest) {
  const uint32_t *vectors[LANES];
  for (size_t lane = 0; lane < LANES; lane++)
    vectors[lane] = zeros;
  if (rest > len + CNS_SKETCH_AHEAD) rest = len + CNS_SKETCH_AHEAD;
  int r = source->fetch(source->context, group, count, first, len, vectors);
  if (r < 0) return r;
  const struct cns_sketch_piece piece = {.entries = (const uint8_t *)plan->placement,
                                         .vectors = vectors,
                                         .len = len,
                                         .readable =
                                             source->in_memory && count > LANES / 2 ? (size_t)rest : 0,
                                         .tile = plan->tile,
                                         .rows = group_rows(plan, group)};
  if (group_lanes(count) == LANES)
    plan->version->add_16(&piece);
  else
    plan->version->add_8(&piece);
  return 0;
}

/* Adds what the rows hold to sketches[count][k], and zeroes them. */
static void fold_group(struct cns_sketch_plan *plan, size_t group, size_t count, uint32_t *sketches) {
  const size_t w = plan->k / CNS_SKETCH_BLOCKS, lanes = group_lanes(count);
  uint32_t *rows = group_rows(plan, group);
  for (size_t block = 0; block < CNS_SKETCH_BLOCKS; block++)
    for (size_t bucket = 0; bucket < w; bucket++) {
      const uint32_t *plus = rows + (CNS_SKETCH_BLOCKS * bucket + block) * lanes;
      const uint32_t *minus = plus + CNS_SKETCH_BLOCKS * w * lanes;
      for (size_t v = 0; v < count; v++)
        sketches[v * plan->k + block * w + bucket] += plus[v] - minus[v];
    }
  memset(rows, 0, CNS_SKETCH_ROWS_ELEMENTS(plan->k) * sizeof *rows);
}

/* One pass over A with at most PASS_VECTORS. The lock, if any, is for the sketches,
 * which are untouched on failure. */
static int run_pass(struct cns_sketch_plan *plan, const struct source *source, size_t count, uint64_t first,
                    uint64_t len, pthread_mutex_t *lock, uint32_t *sketches) {
  const size_t groups = (count + LANES - 1) / LANES;
  int r = plan_reserve(plan, groups);
  for (uint64_t at = 0; at < len && r == 0; at += PIECE_ELEMENTS) {
    const size_t part = len - at < PIECE_ELEMENTS ? (size_t)(len - at) : PIECE_ELEMENTS;
    r = place(plan, first + at, part);
    for (size_t group = 0; group < groups && r == 0; group++)
      r = add_group(plan, source, group, group_count(count, group), first + at, part, len - at);
  }
  if (r < 0) {
    rows_free(plan);
    return r;
  }
  if (lock) pthread_mutex_lock(lock);
  for (size_t group = 0; group < groups; group++)
    fold_group(plan, group, group_count(count, group), sketches + group * LANES * plan->k);
  if (lock) pthread_mutex_unlock(lock);
  return 0;
}

/* Vectors in memory, from element `base` on. */
struct in_memory {
  const uint32_t *const *vectors;
  uint64_t base;
};

static int fetch_vectors(void *context, size_t group, size_t count, uint64_t first, size_t len,
                         const uint32_t **ret_vectors) {
  const struct in_memory *from = context;
  (void)len;
  for (size_t v = 0; v < count; v++)
    ret_vectors[v] = from->vectors[group * LANES + v] + (first - from->base);
  return 0;
}

static int add_vectors(struct cns_sketch_plan *plan, const uint32_t *const *vectors, uint64_t base,
                       size_t count, uint64_t first, uint64_t len, pthread_mutex_t *lock,
                       uint32_t *sketches) {
  struct in_memory from = {.base = base};
  const struct source source = {.fetch = fetch_vectors, .context = &from, .in_memory = true};
  int r = 0;
  for (size_t v = 0; v < count && r == 0; v += PASS_VECTORS) {
    from.vectors = vectors + v;
    r = run_pass(plan, &source, count - v < PASS_VECTORS ? count - v : PASS_VECTORS, first, len, lock,
                 sketches + v * plan->k);
  }
  return r;
}

int cns_sketch_plan_add(struct cns_sketch_plan *plan, const uint32_t *const *vectors, size_t count,
                        uint64_t first, size_t len, uint32_t *sketches) {
  if (first > WORDS_MAX || len > WORDS_MAX - first) return CNS_ERR_ARGUMENT;
  return add_vectors(plan, vectors, first, count, first, len, NULL, sketches);
}

/* Masks of one pass: a piece of one group's at a time. */
struct masks {
  struct cns_mask_plan *plans[PASS_GROUPS];
  uint32_t *elements; /* [LANES][MASK_STRIDE] */
};

#define MASKS_BYTES ((size_t)LANES * MASK_STRIDE * sizeof(uint32_t))

static void masks_close(struct masks *masks) {
  for (size_t group = 0; group < PASS_GROUPS; group++)
    masks->plans[group] = cns_mask_plan_free(masks->plans[group]);
  if (masks->elements) cns_wipe(masks->elements, MASKS_BYTES);
  free(masks->elements);
  masks->elements = NULL;
}

static int masks_open(struct masks *masks, const struct cns_mask_seed *seeds, size_t count) {
  struct cns_mask_term terms[LANES];
  memset(masks, 0, sizeof *masks);
  masks->elements = aligned_alloc(CACHE_LINE_BYTES, MASKS_BYTES);
  int r = masks->elements ? 0 : CNS_ERR_MEMORY;
  for (size_t group = 0; group * LANES < count && r == 0; group++) {
    const size_t len = group_count(count, group);
    for (size_t v = 0; v < len; v++)
      terms[v] = (struct cns_mask_term){.seed = seeds[group * LANES + v], .sign = 1};
    r = cns_mask_plan_new(terms, len, &masks->plans[group]);
  }
  cns_wipe(terms, sizeof terms);
  if (r < 0) masks_close(masks);
  return r;
}

static int fetch_masks(void *context, size_t group, size_t count, uint64_t first, size_t len,
                       const uint32_t **ret_vectors) {
  const struct masks *masks = context;
  for (size_t v = 0; v < count; v++)
    ret_vectors[v] = masks->elements + v * MASK_STRIDE;
  return cns_mask_plan_generate(masks->plans[group], first, len, MASK_STRIDE, masks->elements);
}

static int add_masks(struct cns_sketch_plan *plan, const struct cns_mask_seed *seeds, size_t count,
                     uint64_t first, uint64_t len, pthread_mutex_t *lock, uint32_t *sketches) {
  struct masks masks;
  const struct source source = {.fetch = fetch_masks, .context = &masks};
  int r = 0;
  for (size_t v = 0; v < count && r == 0; v += PASS_VECTORS) {
    const size_t part = count - v < PASS_VECTORS ? count - v : PASS_VECTORS;
    r = masks_open(&masks, seeds + v, part);
    if (r < 0) return r;
    r = run_pass(plan, &source, part, first, len, lock, sketches + v * plan->k);
    masks_close(&masks);
  }
  return r;
}

/* All of it, range by range. Sums wrap, so neither the ranges nor the order in which
 * they end make a difference. */
struct job {
  const struct cns_sketch_key *key;
  uint32_t k;
  const uint32_t *const *vectors; /* or, if NULL, */
  const struct cns_mask_seed *seeds;
  size_t count;
  uint64_t words, range_len;
  pthread_mutex_t lock; /* of what follows */
  int error;
  uint32_t *sketches;
};

static int job_error(struct job *job, int error) {
  pthread_mutex_lock(&job->lock);
  if (job->error == 0) job->error = error;
  error = job->error;
  pthread_mutex_unlock(&job->lock);
  return error;
}

static void run_range(void *argument, size_t range) {
  struct job *job = argument;
  struct cns_sketch_plan *plan = NULL;
  const uint64_t first = range * job->range_len, rest = job->words - first;
  const uint64_t len = rest < job->range_len ? rest : job->range_len;
  if (job_error(job, 0) < 0) return;
  int r = cns_sketch_plan_new(job->key, job->k, &plan);
  if (r == 0 && job->vectors)
    r = add_vectors(plan, job->vectors, 0, job->count, first, len, &job->lock, job->sketches);
  else if (r == 0)
    r = add_masks(plan, job->seeds, job->count, first, len, &job->lock, job->sketches);
  cns_sketch_plan_free(plan);
  if (r < 0) job_error(job, r);
}

static uint64_t range_len(uint64_t words, struct cns_parallel parallel) {
  if (!parallel.run) return words;
  uint64_t pieces = words / RANGES_MAX / PIECE_ELEMENTS + 1;
  return pieces * PIECE_ELEMENTS > RANGE_ELEMENTS_MIN ? pieces * PIECE_ELEMENTS : RANGE_ELEMENTS_MIN;
}

static int run_job(struct job *job, struct cns_parallel parallel, uint32_t *ret_sketches) {
  if (!cns_sketch_size_valid(job->k) || job->words > WORDS_MAX) return CNS_ERR_ARGUMENT;
  if (job->count == 0) return 0;
  if (job->count > SIZE_MAX / CNS_SKETCH_MAX / sizeof *ret_sketches) return CNS_ERR_ARGUMENT;
  const size_t elements = job->count * job->k;
  job->sketches = calloc(elements, sizeof *job->sketches);
  if (!job->sketches) return CNS_ERR_MEMORY;
  int r = pthread_mutex_init(&job->lock, NULL) == 0 ? 0 : CNS_ERR_LIBRARY;
  if (r == 0) {
    job->range_len = range_len(job->words, parallel);
    const size_t ranges = job->words ? (size_t)((job->words - 1) / job->range_len) + 1 : 0;
    cns_parallel_run(parallel, ranges, run_range, job);
    pthread_mutex_destroy(&job->lock);
    r = job->error;
  }
  if (r == 0) memcpy(ret_sketches, job->sketches, elements * sizeof *ret_sketches);
  cns_wipe(job->sketches, elements * sizeof *job->sketches);
  free(job->sketches);
  return r;
}

int cns_sketch_vectors(const struct cns_sketch_key *key, uint32_t k, const uint32_t *const *vectors,
                       size_t count, uint64_t words, struct cns_parallel parallel, uint32_t *ret_sketches) {
  struct job job = {.key = key, .k = k, .vectors = vectors, .count = count, .words = words};
  return run_job(&job, parallel, ret_sketches);
}

int cns_sketch_masks(const struct cns_sketch_key *key, uint32_t k, const struct cns_mask_seed *seeds,
                     size_t count, uint64_t words, struct cns_parallel parallel, uint32_t *ret_sketches) {
  struct job job = {.key = key, .k = k, .seeds = seeds, .count = count, .words = words};
  return run_job(&job, parallel, ret_sketches);
}

double cns_sketch_inner_product(const uint32_t *a, const uint32_t *b, uint32_t k) {
  double sum = 0;
  for (uint32_t row = 0; row < k; row++)
    sum += (double)(int32_t)a[row] * (double)(int32_t)b[row];
  return sum / CNS_SKETCH_BLOCKS;
}

double cns_sketch_norm_squared(const uint32_t *sketch, uint32_t k) {
  return cns_sketch_inner_product(sketch, sketch, k);
}
