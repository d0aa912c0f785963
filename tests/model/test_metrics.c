/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/rng.h"
#include "fixture.h"
#include "model/metrics.h"

#include <math.h>

#define SEED 31

static struct cns_rng_seeded generator;

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  cns_rng_seeded_init_label(&generator, SEED, "metrics");
  return 0;
}

static double uniform(void) {
  uint64_t value;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&generator), UINT64_C(1) << 53, &value), 0);
  return (double)value / 0x1p53;
}

static double normal(void) {
  return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
}

/* All pairs, the definition itself. */
static double slow_auc(const double *score, const bool *positive, size_t count) {
  double wins = 0, pairs = 0;
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < count; j++)
      if (positive[i] && !positive[j]) {
        wins += score[i] > score[j] ? 1 : score[i] == score[j] ? 0.5 : 0;
        pairs++;
      }
  return wins / pairs;
}

static void exact_auc_is_the_share_of_pairs(void **state) {
  double score[200], auc;
  bool positive[200];
  for (int t = 0; t < 50; t++) {
    size_t count = 2 + (size_t)(uniform() * 198);
    for (size_t i = 0; i < count; i++) {
      positive[i] = i == 0 || (i > 1 && uniform() < 0.3);
      score[i] = floor(normal() * (t % 2 ? 3 : 1000)); /* many ties, or few */
    }
    assert_int_equal(cns_auc_exact(score, positive, count, &auc), 0);
    assert_true(fabs(auc - slow_auc(score, positive, count)) < 1e-12);
  }
  bool same[2] = {true, true};
  double scores[2] = {1, 2};
  assert_int_equal(cns_auc_exact(scores, same, 2, &auc), 1);
  assert_true(auc == 0.5);
  assert_int_equal(cns_auc_exact(scores, same, 0, &auc), 1);
  scores[0] = NAN;
  assert_int_equal(cns_auc_exact(scores, same, 2, &auc), CNS_ERR_RANGE);
}

static void scores_and_losses_are_right(void **state) {
  float two[] = {0.3f, -1.2f}, three[] = {1, 2, 4}, far[] = {500, -500};
  assert_true(fabs(cns_metrics_score(2, two, 1) + 1.5) < 1e-6);
  assert_true(fabs(cns_metrics_loss(2, two, 1) - log1p(exp(1.5))) < 1e-6);
  double p = exp(2) / (exp(1) + exp(2) + exp(4));
  assert_true(fabs(cns_metrics_score(3, three, 1) - log(p / (1 - p))) < 1e-9);
  assert_true(fabs(cns_metrics_loss(3, three, 1) + log(p)) < 1e-9);
  assert_true(cns_metrics_loss(2, far, 0) == 0 && cns_metrics_loss(2, far, 1) == 1000);
}

enum { ROWS_MAX = 3000, CLASSES_MAX = 5 };
static float logits[ROWS_MAX * CLASSES_MAX];
static uint16_t label[ROWS_MAX];

/* Rows whose true class has `margin` more logit, all shifted and stretched. */
static void draw(size_t classes, size_t rows, double margin, double stretch, double shift) {
  for (size_t i = 0; i < rows; i++) {
    label[i] = (uint16_t)(uniform() * (double)classes);
    for (size_t c = 0; c < classes; c++)
      logits[i * classes + c] =
          (float)(stretch * (normal() + (c == label[i] ? margin : 0) + (c == classes - 1 ? shift : 0)));
  }
}

/* The sum over hospitals of histograms gives nearly the exact AUC and loss of
 * all rows together, for untrained, good and very sure models, rare classes. */
static void histograms_agree_with_exact(void **state) {
  static const struct {
    double margin, stretch, shift;
  } models[] = {{0, 0.5, 0}, {1, 1, 0}, {2, 3, 0}, {3, 3, 0}, {2, 1, -4}, {2, 2, 3}};
  for (size_t classes = 2; classes <= CLASSES_MAX; classes++)
    for (size_t m = 0; m < LENGTH_OF(models); m++) {
      uint32_t sum[CLASSES_MAX * 2 * CNS_METRICS_BINS + 3] = {0}, part[LENGTH_OF(sum)];
      struct cns_metrics exact, binned;
      size_t cuts[] = {0, 5, 5, 700, 2999, ROWS_MAX}; /* one hospital without rows, one with one row */
      draw(classes, ROWS_MAX, models[m].margin, models[m].stretch, models[m].shift);
      for (size_t h = 0; h + 1 < LENGTH_OF(cuts); h++) {
        assert_int_equal(cns_metrics_fill(classes, logits + cuts[h] * classes, label + cuts[h],
                                          cuts[h + 1] - cuts[h], part, NULL),
                         0);
        for (size_t k = 0; k < cns_metrics_dim(classes); k++)
          sum[k] += part[k];
      }
      assert_int_equal(cns_metrics_exact(classes, logits, label, ROWS_MAX, &exact, NULL), 0);
      assert_int_equal(cns_metrics_evaluate(classes, sum, 5, &binned, NULL), 0);
      assert_int_equal(binned.count, ROWS_MAX);
      assert_int_equal(binned.auc_classes, classes == 2 ? 1 : classes);
      assert_true(binned.has_auc);
      assert_true(fabs(binned.auc - exact.auc) < 0.005);
      assert_true(fabs(binned.loss - exact.loss) < 0.003); /* rows above the cap of 16 nats are rare */
    }
}

static void one_class_and_no_rows(void **state) {
  uint32_t sum[CLASSES_MAX * 2 * CNS_METRICS_BINS + 3];
  struct cns_metrics metrics;
  assert_int_equal(cns_metrics_fill(2, logits, label, 0, sum, NULL), 0);
  assert_int_equal(cns_metrics_evaluate(2, sum, 3, &metrics, NULL), 0);
  assert_true(metrics.count == 0 && !metrics.has_auc && metrics.auc == 0.5 && metrics.loss == 0);
  draw(2, 10, 1, 1, 0);
  memset(label, 0, sizeof label);
  assert_int_equal(cns_metrics_fill(2, logits, label, 10, sum, NULL), 0);
  assert_int_equal(cns_metrics_evaluate(2, sum, 1, &metrics, NULL), 0);
  assert_true(metrics.count == 10 && !metrics.has_auc && metrics.loss > 0);
  /* Three classes of which one is absent: macro average over the other two. */
  draw(3, 50, 1, 1, 0);
  for (size_t i = 0; i < 50; i++)
    label[i] = (uint16_t)(i % 2);
  assert_int_equal(cns_metrics_fill(3, logits, label, 50, sum, NULL), 0);
  assert_int_equal(cns_metrics_evaluate(3, sum, 1, &metrics, NULL), 0);
  assert_int_equal(metrics.auc_classes, 2);
}

static void loss_is_capped(void **state) {
  float sure[] = {100, -100};
  uint16_t wrong[] = {1};
  uint32_t sum[131];
  struct cns_metrics metrics;
  assert_int_equal(cns_metrics_fill(2, sure, wrong, 1, sum, NULL), 0);
  assert_int_equal(cns_metrics_evaluate(2, sum, 1, &metrics, NULL), 0);
  assert_true(metrics.loss == CNS_METRICS_LOSS_MAX);
}

/* The largest cohort with the most rows and the largest losses. */
static void largest_sums_do_not_wrap(void **state) {
  uint32_t one[131] = {0}, sum[131] = {0};
  uint64_t loss = (uint64_t)CNS_METRICS_ROWS_MAX * 16 * 65536;
  one[0] = CNS_METRICS_ROWS_MAX / 2;
  one[127] = CNS_METRICS_ROWS_MAX / 2;
  one[128] = CNS_METRICS_ROWS_MAX;
  one[129] = (uint32_t)(loss & 0xFFFFF);
  one[130] = (uint32_t)(loss >> 20);
  for (size_t h = 0; h < CNS_HOSPITALS_MAX; h++)
    for (size_t k = 0; k < LENGTH_OF(sum); k++) {
      assert_true(sum[k] + one[k] >= sum[k]);
      sum[k] += one[k];
    }
  assert_true((uint64_t)0xFFFFF * CNS_HOSPITALS_MAX < UINT32_MAX);
  struct cns_metrics metrics;
  assert_int_equal(cns_metrics_evaluate(2, sum, CNS_HOSPITALS_MAX, &metrics, NULL), 0);
  assert_int_equal(metrics.count, 4000000000u);
  assert_true(metrics.loss == 16 && metrics.auc == 0);
}

static void impossible_sums_are_void(void **state) {
  uint32_t good[387], bad[387];
  struct cns_metrics metrics = {.count = 123};
  struct cns_problem problem = {{0}};
  draw(3, 100, 1, 1, 0);
  assert_int_equal(cns_metrics_fill(3, logits, label, 100, good, NULL), 0);
  for (size_t k = 0; k < 387; k++)
    for (int way = 0; way < 2; way++) {
      if (k >= 385) continue; /* a loss within its cap can't be told from the truth */
      memcpy(bad, good, sizeof bad);
      bad[k] += way ? 1u << 31 : 1;
      assert_int_equal(cns_metrics_evaluate(3, bad, 1, &metrics, &problem), CNS_ERR_RANGE);
    }
  memcpy(bad, good, sizeof bad);
  bad[386] += 101;
  assert_int_equal(cns_metrics_evaluate(3, bad, 1, &metrics, &problem), CNS_ERR_RANGE);
  memcpy(bad, good, sizeof bad);
  bad[385] = 1u << 20;
  assert_int_equal(cns_metrics_evaluate(3, bad, 1, &metrics, &problem), CNS_ERR_RANGE);
  assert_int_equal(cns_metrics_evaluate(3, good, 0, &metrics, &problem), CNS_ERR_RANGE);
  assert_non_null(strstr(problem.text, "doesn't add up"));
  assert_int_equal(metrics.count, 123);
}

static void bad_rows_are_refused(void **state) {
  uint32_t vector[131];
  draw(2, 5, 1, 1, 0);
  logits[3] = INFINITY;
  assert_int_equal(cns_metrics_fill(2, logits, label, 5, vector, NULL), CNS_ERR_RANGE);
  logits[3] = 0;
  label[4] = 2;
  assert_int_equal(cns_metrics_fill(2, logits, label, 5, vector, NULL), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_metrics_fill(2, logits, label, CNS_METRICS_ROWS_MAX + 1, vector, NULL), CNS_ERR_LIMIT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exact_auc_is_the_share_of_pairs),
      cmocka_unit_test(scores_and_losses_are_right),
      cmocka_unit_test(histograms_agree_with_exact),
      cmocka_unit_test(one_class_and_no_rows),
      cmocka_unit_test(loss_is_capped),
      cmocka_unit_test(largest_sums_do_not_wrap),
      cmocka_unit_test(impossible_sums_are_void),
      cmocka_unit_test(bad_rows_are_refused),
  };
  print_message("# seed %d\n", SEED);
  return cmocka_run_group_tests(tests, setup, NULL);
}
