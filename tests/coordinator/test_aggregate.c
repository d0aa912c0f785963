/* SPDX-License-Identifier: Apache-2.0 */
/* The sum against plain 64-bit sums of what was masked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/aggregate.h"
#include "crypto/rng.h"
#include "dp/quantize.h"

#define COUNT 4
#define BLOCK 65536u

struct world {
  uint64_t seed;
  struct cns_rng_seeded random;
  struct cns_rng rng;
  char folder[64];
  struct cns_descriptor descriptor;
  uint32_t weights[COUNT];
  struct cns_member members[COUNT];
  uint32_t *x[COUNT]; /* before masking */
  struct cns_mask_term removed[COUNT];
  struct cns_vector_file *files[COUNT];
  float *parent, *params;
  struct cns_aggregation a;
};

static uint64_t words_of(const struct world *w) {
  return cns_descriptor_words(&w->descriptor);
}

static uint32_t draw(struct world *w, uint32_t below) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(w->rng, below, &value), 0);
  return (uint32_t)value;
}

/* A consistent vector of metrics of one hospital: all rows positive or negative
 * in some bin, each with a loss of half a nat. */
static void draw_metrics(struct world *w, uint32_t *metrics) {
  uint32_t rows = 20 + draw(w, 50);
  for (uint32_t row = 0; row < rows; row++)
    metrics[draw(w, 2 * CNS_METRICS_BINS)]++;
  metrics[2 * CNS_METRICS_BINS] = rows;
  metrics[2 * CNS_METRICS_BINS + 1] = rows * 32768 % (1u << 20);
  metrics[2 * CNS_METRICS_BINS + 2] = rows * 32768 >> 20;
}

static void init(struct world *w, uint64_t dim, bool metrics, uint64_t seed) {
  struct cns_problem problem = {0};
  *w = (struct world){.seed = seed};
  cns_rng_seeded_init_label(&w->random, seed, "aggregate");
  w->rng = cns_rng_seeded(&w->random);
  snprintf(w->folder, sizeof w->folder, "/tmp/consilium-aggregate-XXXXXX");
  assert_non_null(mkdtemp(w->folder));
  struct cns_descriptor *d = &w->descriptor;
  d->dim = dim;
  d->metrics_dim = metrics ? (uint32_t)cns_metrics_dim(2) : 0;
  d->clip_norm = 1.5;
  d->colluders = 1;
  for (size_t k = 0; k < COUNT; k++)
    w->members[k] = (struct cns_member){(uint16_t)(k + 1), w->weights[k] = 1 + draw(w, 500)};
  d->members = w->members;
  d->member_count = COUNT;
  assert_int_equal(
      cns_quantize_choose_scale(d->clip_norm, w->weights, COUNT, d->colluders, &d->scale_log2, &problem), 0);
  w->parent = calloc(dim, sizeof *w->parent);
  w->params = calloc(dim, sizeof *w->params);
  for (uint64_t k = 0; k < dim; k++)
    w->parent[k] = (float)draw(w, 20000) / 10000.0f - 1.0f;
  for (size_t h = 0; h < COUNT; h++) {
    uint64_t theta;
    assert_int_equal(cns_quantize_theta(d->clip_norm, w->weights[h], d->scale_log2, &theta), 0);
    w->x[h] = calloc(words_of(w), sizeof **w->x);
    for (uint64_t k = 0; k < dim; k++)
      w->x[h][k] = draw(w, (uint32_t)theta + 1) * (draw(w, 2) ? 1u : UINT32_MAX);
    if (metrics) draw_metrics(w, w->x[h] + dim);
  }
}

static void mask(struct world *w, uint32_t *y, size_t h) {
  struct cns_mask_term terms[COUNT];
  size_t count = 0;
  static struct cns_mask_seed pair[COUNT][COUNT];
  if (h == 0)
    for (size_t i = 0; i < COUNT; i++)
      for (size_t j = i + 1; j < COUNT; j++)
        assert_int_equal(cns_rng_fill(w->rng, pair[i][j].bytes, CNS_MASK_SEED_BYTES), 0);
  for (size_t j = 0; j < COUNT; j++)
    if (j != h) terms[count++] = (struct cns_mask_term){pair[h < j ? h : j][h < j ? j : h], h < j ? 1 : -1};
  assert_int_equal(cns_rng_fill(w->rng, terms[count].seed.bytes, CNS_MASK_SEED_BYTES), 0);
  terms[count].sign = 1;
  w->removed[h] = terms[count++];
  w->removed[h].sign = -1;
  assert_int_equal(cns_mask_apply(y, words_of(w), 0, terms, count), 0);
}

static void upload(struct world *w) {
  static const uint8_t key[CNS_VECTOR_FILE_KEY_BYTES] = {7};
  struct cns_problem problem = {0};
  uint32_t *y = malloc(words_of(w) * sizeof *y);
  for (size_t h = 0; h < COUNT; h++) {
    char name[16];
    snprintf(name, sizeof name, "h%zu", h);
    memcpy(y, w->x[h], words_of(w) * sizeof *y);
    mask(w, y, h);
    assert_int_equal(cns_vector_file_create(w->folder, name, words_of(w), key, &w->files[h], &problem), 0);
    assert_int_equal(cns_vector_file_write(w->files[h], 0, y, words_of(w), &problem), 0);
  }
  free(y);
  w->a = (struct cns_aggregation){.descriptor = &w->descriptor,
                                  .uploads = w->files,
                                  .weights = w->weights,
                                  .count = COUNT,
                                  .terms = w->removed,
                                  .term_count = COUNT,
                                  .parent = w->parent,
                                  .learning_rate = 1,
                                  .classes = 2,
                                  .params = w->params};
}

static void deinit(struct world *w) {
  struct cns_problem problem = {0};
  for (size_t h = 0; h < COUNT; h++) {
    char name[16];
    snprintf(name, sizeof name, "h%zu", h);
    w->files[h] = cns_vector_file_free(w->files[h]);
    assert_int_equal(cns_vector_file_delete(w->folder, name, &problem), 0);
    free(w->x[h]);
  }
  free(w->parent);
  free(w->params);
  rmdir(w->folder);
}

static int64_t sum_at(const struct world *w, uint64_t k) {
  int64_t sum = 0;
  for (size_t h = 0; h < COUNT; h++)
    sum += (int32_t)w->x[h][k];
  return sum;
}

/* New parameters from plain sums; how many coordinates were out of the honest range. */
static uint64_t check_params(const struct world *w) {
  struct cns_quantize_range range;
  const struct cns_descriptor *d = &w->descriptor;
  uint64_t clipped = 0, total = 0;
  assert_int_equal(cns_quantize_range(d->clip_norm, w->weights, COUNT, d->colluders, d->scale_log2, &range),
                   0);
  for (size_t h = 0; h < COUNT; h++)
    total += w->weights[h];
  for (uint64_t k = 0; k < d->dim; k++) {
    int64_t sum = sum_at(w, k), honest = (int64_t)range.honest;
    clipped += sum > honest || sum < -honest;
    sum = sum > honest ? honest : sum < -honest ? -honest : sum;
    float mean = (float)ldexp((double)sum / (double)total, -d->scale_log2);
    float expected = w->parent[k] + mean;
    if (w->params[k] != expected)
      print_error("seed %llu: parameter %llu is %.9g, expected %.9g\n", (unsigned long long)w->seed,
                  (unsigned long long)k, (double)w->params[k], (double)expected);
    assert_true(w->params[k] == expected);
  }
  return clipped;
}

static void check_metrics(const struct world *w) {
  uint64_t rows = 0;
  for (size_t h = 0; h < COUNT; h++)
    rows += w->x[h][w->descriptor.dim + 2 * CNS_METRICS_BINS];
  assert_true(w->a.has_metrics);
  assert_true(w->a.metrics.count == rows);
  assert_true(fabs(w->a.metrics.loss - 0.5) < 1e-12);
}

/* Over the unmasked sum modulo 2^32, block by block. */
static void check_sum_digest(const struct world *w) {
  struct cns_hash hash;
  struct cns_digest expected;
  cns_hash_init(&hash, "consilium/1 sum digest");
  for (uint64_t first = 0; first < words_of(w); first += BLOCK) {
    size_t count = words_of(w) - first < BLOCK ? (size_t)(words_of(w) - first) : BLOCK;
    uint32_t *sum = calloc(count, sizeof *sum);
    struct cns_digest block;
    for (size_t k = 0; k < count; k++)
      sum[k] = (uint32_t)(uint64_t)sum_at(w, first + k);
    cns_hash_once("consilium/1 sum block", sum, count * sizeof *sum, &block);
    cns_hash_digest(&hash, &block);
    free(sum);
  }
  cns_hash_final(&hash, &expected);
  assert_memory_equal(expected.bytes, w->a.sum.bytes, CNS_DIGEST_BYTES);
}

static void test_exact(void **state) {
  (void)state;
  /* One word; ends on, before and after a border; metrics that straddle one. */
  static const uint64_t dims[] = {1,        100, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 60, 2 * BLOCK - 131,
                                  3 * BLOCK};
  for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++)
    for (int metrics = 0; metrics < 2; metrics++) {
      struct world w;
      struct cns_problem problem = {0};
      init(&w, dims[k], metrics, 1000 + k);
      upload(&w);
      if (k % 2) w.a.parallel = cns_parallel_threads();
      assert_int_equal(cns_aggregate(&w.a, &problem), 0);
      assert_true(check_params(&w) == w.a.clipped);
      assert_true(w.a.clipped == 0);
      check_sum_digest(&w);
      if (metrics)
        check_metrics(&w);
      else
        assert_false(w.a.has_metrics);
      deinit(&w);
    }
}

/* The sum that was kept while uploads came, less parts of two that don't count: the same as from the files.
 */
static void test_running_sum(void **state) {
  (void)state;
  static const uint64_t dims[] = {1, BLOCK - 1, BLOCK + 1, 2 * BLOCK - 60, 3 * BLOCK};
  static const uint8_t key[CNS_VECTOR_FILE_KEY_BYTES] = {9};
  for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++) {
    struct world w;
    struct cns_problem problem = {0};
    struct cns_vector_file *late[2];
    init(&w, dims[k], true, 2000 + k);
    upload(&w);
    uint64_t words = words_of(&w);
    const uint64_t parts[2] = {words, words > BLOCK ? BLOCK + 1 : 1};
    uint32_t *running = calloc(words, sizeof *running), *y = malloc(words * sizeof *y);
    for (size_t h = 0; h < COUNT; h++) {
      assert_int_equal(cns_vector_file_read(w.files[h], 0, words, y, &problem), 0);
      for (uint64_t i = 0; i < words; i++)
        running[i] += y[i];
    }
    for (size_t h = 0; h < 2; h++) {
      const char *name = h ? "late" : "whole";
      assert_int_equal(cns_rng_fill(w.rng, (uint8_t *)y, words * sizeof *y), 0);
      assert_int_equal(cns_vector_file_create(w.folder, name, words, key, &late[h], &problem), 0);
      assert_int_equal(cns_vector_file_write(late[h], 0, y, parts[h], &problem), 0);
      for (uint64_t i = 0; i < parts[h]; i++)
        running[i] += y[i];
    }
    w.a.running = running;
    w.a.excluded = late;
    w.a.excluded_words = parts;
    w.a.excluded_count = 2;
    if (k % 2) w.a.parallel = cns_parallel_threads();
    for (int twice = 0; twice < 2; twice++) { /* it is left as it was */
      assert_int_equal(cns_aggregate(&w.a, &problem), 0);
      assert_true(check_params(&w) == w.a.clipped);
      check_sum_digest(&w);
      check_metrics(&w);
    }
    for (size_t h = 0; h < 2; h++) {
      cns_vector_file_free(late[h]);
      assert_int_equal(cns_vector_file_delete(w.folder, h ? "late" : "whole", &problem), 0);
    }
    free(running);
    free(y);
    deinit(&w);
  }
}

/* Between the honest range and the second bound: clipped, and counted. */
static void test_clipped(void **state) {
  (void)state;
  struct world w;
  struct cns_problem problem = {0};
  struct cns_quantize_range range;
  init(&w, BLOCK + 10, true, 77);
  assert_int_equal(
      cns_quantize_range(w.descriptor.clip_norm, w.weights, COUNT, 1, w.descriptor.scale_log2, &range), 0);
  static const uint64_t places[] = {0, BLOCK - 1, BLOCK, BLOCK + 9};
  for (size_t p = 0; p < 4; p++) {
    for (size_t h = 0; h < COUNT; h++)
      w.x[h][places[p]] = 0;
    w.x[p][places[p]] = (uint32_t)(p % 2 ? (int64_t)range.second : -(int64_t)range.honest - 1);
  }
  upload(&w);
  assert_int_equal(cns_aggregate(&w.a, &problem), 0);
  assert_true(w.a.clipped == 4);
  assert_true(check_params(&w) == 4);
  check_metrics(&w);
  deinit(&w);
}

static void test_void_sum(void **state) {
  (void)state;
  struct world w;
  struct cns_problem problem = {0};
  struct cns_quantize_range range;
  init(&w, 2 * BLOCK + 5, true, 78);
  assert_int_equal(
      cns_quantize_range(w.descriptor.clip_norm, w.weights, COUNT, 1, w.descriptor.scale_log2, &range), 0);
  uint64_t place = BLOCK + 17;
  for (size_t h = 0; h < COUNT; h++)
    w.x[h][place] = 0;
  w.x[2][place] = (uint32_t)(range.second + 1);
  upload(&w);
  assert_int_equal(cns_aggregate(&w.a, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "parameter"));
  deinit(&w);
}

/* Nonsense in the metrics' part voids the metrics and nothing else. */
static void test_void_metrics(void **state) {
  (void)state;
  struct world w;
  struct cns_problem problem = {0};
  init(&w, BLOCK - 60, true, 79);
  w.x[1][w.descriptor.dim + 5] += 1000000;
  upload(&w);
  assert_int_equal(cns_aggregate(&w.a, &problem), 0);
  assert_false(w.a.has_metrics);
  assert_true(w.a.metrics_problem.text[0] != '\0');
  assert_true(check_params(&w) == 0);
  check_sum_digest(&w);
  deinit(&w);
}

/* A mask that isn't taken off leaves noise, which voids the sum. */
static void test_missing_mask(void **state) {
  (void)state;
  struct world w;
  struct cns_problem problem = {0};
  init(&w, 1000, false, 80);
  upload(&w);
  w.a.term_count = COUNT - 1;
  assert_int_equal(cns_aggregate(&w.a, &problem), CNS_ERR_RANGE);
  deinit(&w);
}

static void test_unreadable_upload(void **state) {
  (void)state;
  struct world w;
  struct cns_problem problem = {0};
  char path[128];
  init(&w, BLOCK + 1000, false, 81);
  upload(&w);
  snprintf(path, sizeof path, "%s/h3.vector", w.folder);
  assert_int_equal(truncate(path, 4096 + 4 * BLOCK), 0);
  int r = cns_aggregate(&w.a, &problem);
  assert_true(r < 0 && r != CNS_ERR_RANGE);
  assert_true(problem.text[0] != '\0');
  deinit(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exact),
      cmocka_unit_test(test_running_sum),
      cmocka_unit_test(test_clipped),
      cmocka_unit_test(test_void_sum),
      cmocka_unit_test(test_void_metrics),
      cmocka_unit_test(test_missing_mask),
      cmocka_unit_test(test_unreadable_upload),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
