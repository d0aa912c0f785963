/* SPDX-License-Identifier: Apache-2.0 */
/* Sums with noise: whose, how much, and what is made of it. Nothing is masked here. */
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
#include "dp/discrete_gaussian.h"

#define COUNT 5
#define BLOCK 65536u
#define SEED 20264

struct world {
  char folder[64];
  struct cns_rng_seeded random;
  struct cns_descriptor descriptor;
  struct cns_member members[COUNT];
  uint32_t weights[COUNT];
  size_t included; /* the first ones */
  uint64_t words;
  uint32_t *x[COUNT];
  struct cns_vector_file *files[COUNT];
  float *parent, *params;
  struct cns_mechanism_numbers numbers;
  struct cns_aggregation a;
};

static uint64_t below(struct world *w, uint64_t bound) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&w->random), bound, &value), 0);
  return value;
}

static double share;         /* of an indicator; 0: none */
static double metrics_share; /* of noised metrics; 0: none */

static void describe(struct world *w, enum cns_privacy_unit unit, enum cns_noise_placement placement,
                     const uint32_t *weights, uint64_t dim, uint32_t metrics) {
  struct cns_problem problem = {0};
  w->descriptor = (struct cns_descriptor){.dim = dim,
                                          .metrics_dim = metrics,
                                          .clip_norm = 1,
                                          .unit = (uint8_t)unit,
                                          .noise_placement = (uint8_t)placement,
                                          .noise_multiplier = 1.25,
                                          .indicator_share = share,
                                          .metrics_share = metrics_share,
                                          .sampling_rate = unit == CNS_UNIT_PATIENT ? 0.25 : 1,
                                          .colluders = 1,
                                          .minimum_included = 3,
                                          .member_count = COUNT,
                                          .members = w->members};
  for (size_t k = 0; k < COUNT; k++)
    w->members[k] = (struct cns_member){(uint16_t)(k + 1), w->weights[k] = weights[k]};
  if (cns_descriptor_choose_scale(&w->descriptor, &problem)) fail_msg("%s", problem.text);
  assert_int_equal(cns_descriptor_numbers(&w->descriptor, &w->numbers, &problem), 0);
  w->words = dim + metrics;
}

/* A hospital's own share, as it would add it. */
static void add_share(struct world *w, size_t h) {
  struct cns_discrete_gaussian *noise = NULL;
  if (w->numbers.sigma_local == 0) return;
  assert_int_equal(cns_discrete_gaussian_new(w->numbers.sigma_local, &noise, NULL), 0);
  assert_int_equal(
      cns_discrete_gaussian_add(noise, cns_rng_seeded(&w->random), w->x[h], (size_t)w->descriptor.dim), 0);
  cns_discrete_gaussian_free(noise);
}

/* Vectors with entries of up to `entry`, files, and the first `included` in the sum. */
static void init(struct world *w, size_t included, uint64_t entry) {
  static const uint8_t key[CNS_VECTOR_FILE_KEY_BYTES] = {7};
  struct cns_problem problem = {0};
  cns_rng_seeded_init_label(&w->random, SEED, "aggregate noise");
  snprintf(w->folder, sizeof w->folder, "/tmp/consilium-noise-XXXXXX");
  assert_non_null(mkdtemp(w->folder));
  for (size_t h = 0; h < COUNT; h++) {
    char name[16];
    snprintf(name, sizeof name, "h%zu", h);
    w->x[h] = calloc(w->words, sizeof **w->x);
    for (uint64_t k = 0; k < w->words; k++)
      w->x[h][k] = (uint32_t)(below(w, 2 * entry + 1) - (k < w->descriptor.dim ? entry : 0));
    add_share(w, h);
    assert_int_equal(cns_vector_file_create(w->folder, name, w->words, key, &w->files[h], &problem), 0);
    assert_int_equal(cns_vector_file_write(w->files[h], 0, w->x[h], w->words, &problem), 0);
  }
  w->parent = calloc(w->descriptor.dim, sizeof *w->parent);
  w->params = calloc(w->descriptor.dim, sizeof *w->params);
  w->included = included;
  w->a = (struct cns_aggregation){.descriptor = &w->descriptor,
                                  .uploads = w->files,
                                  .weights = w->weights,
                                  .count = included,
                                  .parent = w->parent,
                                  .learning_rate = 1,
                                  .rng = cns_rng_seeded(&w->random),
                                  .classes = 2,
                                  .params = w->params};
}

static void deinit(struct world *w) {
  for (size_t h = 0; h < COUNT; h++) {
    char name[16];
    snprintf(name, sizeof name, "h%zu", h);
    w->files[h] = cns_vector_file_free(w->files[h]);
    assert_int_equal(cns_vector_file_delete(w->folder, name, NULL), 0);
    free(w->x[h]);
  }
  free(w->parent);
  free(w->params);
  rmdir(w->folder);
}

static uint32_t *plain_sum(const struct world *w) {
  uint32_t *sum = calloc(w->words, sizeof *sum);
  assert_non_null(sum);
  for (size_t h = 0; h < w->included; h++)
    for (uint64_t k = 0; k < w->words; k++)
      sum[k] += w->x[h][k];
  return sum;
}

static struct cns_digest digest_of(const struct world *w, const uint32_t *sum) {
  struct cns_hash hash;
  struct cns_digest digest, block;
  cns_hash_init(&hash, "consilium/1 sum digest");
  for (uint64_t first = 0; first < w->words; first += BLOCK) {
    size_t count = w->words - first < BLOCK ? (size_t)(w->words - first) : BLOCK;
    cns_hash_once("consilium/1 sum block", sum + first, count * sizeof *sum, &block);
    cns_hash_digest(&hash, &block);
  }
  cns_hash_final(&hash, &digest);
  return digest;
}

static void aggregate(struct world *w) {
  struct cns_problem problem = {0};
  if (cns_aggregate(&w->a, &problem)) fail_msg("seed %d: %s", SEED, problem.text);
}

/* Sample variance of what the parameters have beyond the given sum, in steps, over sigma^2. */
static double variance_of(const struct world *w, const uint32_t *sum, double divisor, double sigma) {
  double squares = 0;
  for (uint64_t k = 0; k < w->descriptor.dim; k++) {
    double noise =
        ldexp((double)w->params[k] * divisor, w->descriptor.scale_log2) - (sum ? (double)(int32_t)sum[k] : 0);
    squares += noise * noise;
  }
  return squares / (double)w->descriptor.dim / (sigma * sigma);
}

static double error_of(const struct world *w) {
  return 5 * sqrt(2 / (double)w->descriptor.dim);
}

static const uint32_t equal[COUNT] = {100, 100, 100, 100, 100};

/* Same source, same noise: it is in the digest, and the metrics' words have none. */
static void central_noise_is_in_the_sum_and_its_digest(void **state) {
  struct world w = {0};
  (void)state;
  describe(&w, CNS_UNIT_PATIENT, CNS_NOISE_CENTRAL, equal, 3 * BLOCK - 1000, 500);
  init(&w, COUNT, 20);
  struct cns_rng_seeded again = w.random;
  struct cns_discrete_gaussian *noise = NULL;
  uint32_t *sum = plain_sum(&w);
  struct cns_digest plain = digest_of(&w, sum);
  aggregate(&w);
  assert_int_equal(cns_discrete_gaussian_new(w.numbers.sigma, &noise, NULL), 0);
  for (uint64_t first = 0; first < w.descriptor.dim; first += BLOCK) {
    uint64_t left = w.descriptor.dim - first;
    assert_int_equal(cns_discrete_gaussian_add(noise, cns_rng_seeded(&again), sum + first,
                                               left < BLOCK ? (size_t)left : BLOCK),
                     0);
  }
  struct cns_digest noised = digest_of(&w, sum);
  assert_true(cns_digest_equal(&noised, &w.a.sum));
  assert_false(cns_digest_equal(&plain, &w.a.sum));
  for (uint64_t k = 0; k < w.descriptor.dim; k++)
    assert_true(w.params[k] == (float)ldexp((double)(int32_t)sum[k] / 125, -w.descriptor.scale_log2));
  cns_discrete_gaussian_free(noise);
  free(sum);
  deinit(&w);
}

static void central_noise_has_the_variance_and_is_fresh(void **state) {
  struct world w = {0};
  (void)state;
  for (int unit = 0; unit < 2; unit++) {
    describe(&w, unit, CNS_NOISE_CENTRAL, equal, 4 * BLOCK, 0);
    init(&w, COUNT, 20);
    w.a.rng = cns_rng_system();
    w.a.parallel = cns_parallel_threads();
    uint32_t *sum = plain_sum(&w);
    double divisor = unit == CNS_UNIT_PATIENT ? 125 : 500;
    aggregate(&w);
    struct cns_digest first = w.a.sum;
    assert_true(fabs(variance_of(&w, sum, divisor, w.numbers.sigma) - 1) < error_of(&w));
    aggregate(&w);
    assert_false(cns_digest_equal(&first, &w.a.sum));
    assert_true(fabs(variance_of(&w, sum, divisor, w.numbers.sigma) - 1) < error_of(&w));
    free(sum);
    deinit(&w);
  }
}

/* The heaviest, for whom the noise was made, isn't there: the noise is the same all the
 * same, and the sum is neither clipped nor void. */
static void noise_made_for_a_heavier_hospital_fits(void **state) {
  static const uint32_t uneven[COUNT] = {1, 1, 1, 1, 10000};
  struct world w = {0};
  (void)state;
  for (enum cns_noise_placement placement = CNS_NOISE_CENTRAL; placement <= CNS_NOISE_DISTRIBUTED;
       placement++)
    for (size_t included = 3; included <= 4; included++) {
      describe(&w, CNS_UNIT_HOSPITAL, placement, uneven, BLOCK + 77, 0);
      init(&w, included, 0);
      aggregate(&w);
      assert_true(w.a.clipped == 0);
      double least = placement == CNS_NOISE_CENTRAL ? 1 : (double)included / 2; /* minimum 3, 1 colluder */
      assert_true(fabs(variance_of(&w, NULL, (double)included, w.numbers.sigma) / least - 1) < error_of(&w));
      deinit(&w);
    }
}

struct source {
  struct cns_rng_seeded *seeded;
  int calls;
};

static int third_fails(void *context, uint8_t *bytes, size_t len) {
  struct source *source = context;
  if (++source->calls >= 3) return CNS_ERR_RANDOM;
  return cns_rng_fill(cns_rng_seeded(source->seeded), bytes, len);
}

/* CNS_ERR_RANGE would be a void round, and a next one; this ends the daemon. */
static void without_randomness_there_is_no_model(void **state) {
  struct world w = {0};
  struct cns_problem problem = {0};
  (void)state;
  describe(&w, CNS_UNIT_PATIENT, CNS_NOISE_CENTRAL, equal, 4 * BLOCK, 0);
  init(&w, COUNT, 20);
  struct source source = {.seeded = &w.random};
  w.a.rng = (struct cns_rng){third_fails, &source};
  assert_int_equal(cns_aggregate(&w.a, &problem), CNS_ERR_RANDOM);
  assert_true(source.calls >= 3);
  for (uint64_t k = 2 * BLOCK; k < w.descriptor.dim; k++)
    assert_true(w.params[k] == 0); /* no sum without noise got that far */
  deinit(&w);
}

/* A gradient step over those who are there: their expected batch, not anybody's count. */
static void unit_patient_takes_a_step_of_the_expected_batch(void **state) {
  static const uint32_t uneven[COUNT] = {40, 1200, 360, 5, 80};
  struct world w = {0};
  (void)state;
  describe(&w, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, uneven, 3000, 0);
  init(&w, 3, 1000);
  w.a.learning_rate = -0.5;
  for (uint64_t k = 0; k < 3000; k++)
    w.parent[k] = (float)below(&w, 1000) / 500 - 1;
  uint32_t *sum = plain_sum(&w);
  aggregate(&w);
  for (uint64_t k = 0; k < 3000; k++) {
    double step = -0.5 * ldexp((double)(int32_t)sum[k] / (0.25 * 1600), -w.descriptor.scale_log2);
    assert_true(fabs((double)w.params[k] - ((double)w.parent[k] + step)) <=
                1e-6 * (fabs(step) + fabs((double)w.parent[k])));
  }
  struct cns_digest digest = digest_of(&w, sum);
  assert_true(cns_digest_equal(&digest, &w.a.sum)); /* the coordinator adds nothing */
  free(sum);
  deinit(&w);
}

/* The last number of the update is for the manifest, with the noise; the model has none of it. */
static void the_indicators_are_released_and_not_learnt(void **state) {
  struct world w = {0};
  (void)state;
  for (enum cns_noise_placement placement = CNS_NOISE_CENTRAL; placement <= CNS_NOISE_DISTRIBUTED;
       placement++)
    for (uint64_t dim = BLOCK; dim <= BLOCK + 1; dim++) { /* the last of a block, and alone in one */
      share = 0.05;
      describe(&w, CNS_UNIT_PATIENT, placement, equal, dim, 0);
      share = 0;
      init(&w, 4, 1000);
      w.params[dim - 1] = 77; /* beyond the model */
      struct cns_rng_seeded again = w.random;
      uint32_t *sum = plain_sum(&w);
      aggregate(&w);
      if (placement == CNS_NOISE_CENTRAL) {
        struct cns_discrete_gaussian *noise = NULL;
        assert_int_equal(cns_discrete_gaussian_new(w.numbers.sigma, &noise, NULL), 0);
        for (uint64_t first = 0; first < dim; first += BLOCK)
          assert_int_equal(cns_discrete_gaussian_add(noise, cns_rng_seeded(&again), sum + first,
                                                     dim - first < BLOCK ? (size_t)(dim - first) : BLOCK),
                           0);
        cns_discrete_gaussian_free(noise);
      }
      assert_true(w.a.released == (int32_t)sum[dim - 1] && w.a.unit == w.numbers.indicator && w.a.unit > 0);
      assert_true(w.params[dim - 1] == 77);
      for (uint64_t k = 0; k + 1 < dim; k++)
        assert_true(w.params[k] ==
                    (float)ldexp((double)(int32_t)sum[k] / (0.25 * 400), -w.descriptor.scale_log2));
      free(sum);
      deinit(&w);
    }
}

/* With an indicator or without, together in a block or on either side of its end. */
static void noised_metrics_are_released_and_not_learnt(void **state) {
  struct world w = {0};
  (void)state;
  for (int adaptive = 0; adaptive < 2; adaptive++)
    for (uint64_t dim = BLOCK; dim <= BLOCK + 3; dim++) {
      share = adaptive ? 0.05 : 0;
      metrics_share = 0.1;
      describe(&w, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, equal, dim, 0);
      share = metrics_share = 0;
      init(&w, 4, 1000);
      uint64_t model = dim - 2 - (uint64_t)adaptive;
      for (uint64_t k = model; k < dim; k++)
        w.params[k] = 77; /* beyond the model */
      uint32_t *sum = plain_sum(&w);
      aggregate(&w);
      assert_true(w.a.noised.loss == (int32_t)sum[dim - 2] && w.a.noised.right == (int32_t)sum[dim - 1]);
      assert_true(w.a.noised.unit == w.numbers.metric && w.a.noised.unit >= CNS_MECHANISM_METRIC_MIN);
      assert_true(w.a.noised.sigma == sqrt((double)w.a.count) * w.numbers.sigma_local);
      assert_true(w.a.unit == w.numbers.indicator && (w.a.unit > 0) == (adaptive > 0));
      assert_true(w.a.released == (adaptive ? (int32_t)sum[dim - 3] : 0));
      for (uint64_t k = model; k < dim; k++)
        assert_true(w.params[k] == 77);
      for (uint64_t k = 0; k < model; k++)
        assert_true(w.params[k] ==
                    (float)ldexp((double)(int32_t)sum[k] / (0.25 * 400), -w.descriptor.scale_log2));
      free(sum);
      deinit(&w);
    }
}

/* Beyond what honest hospitals and their noise can add up to it is cut off; further out
 * the sum is void, as any number of the update would make it. */
static void a_count_out_of_range_is_cut_off_or_voids_the_sum(void **state) {
  struct cns_problem problem = {0};
  struct world w = {0};
  (void)state;
  for (int far = 0; far < 2; far++) {
    share = 0.05;
    describe(&w, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, equal, 300, 0);
    share = 0;
    init(&w, COUNT, 0);
    uint32_t word = (uint32_t)(w.numbers.range.honest + 5);
    if (far) word = (uint32_t) - (int64_t)(w.numbers.range.second + 1);
    for (size_t h = 0; h < COUNT; h++) {
      uint32_t mine = h == 0 ? word : 0;
      assert_int_equal(cns_vector_file_write(w.files[h], 299, &mine, 1, &problem), 0);
    }
    int r = cns_aggregate(&w.a, &problem);
    assert_int_equal(r, far ? CNS_ERR_RANGE : 0);
    if (far) assert_non_null(strstr(problem.text, "the sum is void"));
    if (!far) assert_true(w.a.released == (int64_t)w.numbers.range.honest && w.a.clipped == 1);
    deinit(&w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(central_noise_is_in_the_sum_and_its_digest),
      cmocka_unit_test(central_noise_has_the_variance_and_is_fresh),
      cmocka_unit_test(noise_made_for_a_heavier_hospital_fits),
      cmocka_unit_test(without_randomness_there_is_no_model),
      cmocka_unit_test(unit_patient_takes_a_step_of_the_expected_batch),
      cmocka_unit_test(the_indicators_are_released_and_not_learnt),
      cmocka_unit_test(noised_metrics_are_released_and_not_learnt),
      cmocka_unit_test(a_count_out_of_range_is_cut_off_or_voids_the_sum),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
