/* SPDX-License-Identifier: Apache-2.0 */
#include "model/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HALF (CNS_METRICS_BINS / 2)
#define SCORE_REACH 64.0 /* log-odds at the last bin's far end */
#define LOSS_UNIT 0x1p-16
#define LOSS_UNITS_MAX ((uint64_t)(CNS_METRICS_LOSS_MAX / LOSS_UNIT))
#define LOSS_LOW_BITS 20

size_t cns_metrics_scores(size_t classes) {
  return classes == 2 ? 1 : classes;
}

/* The class whose membership score k ranks. */
static size_t class_of_score(size_t classes, size_t k) {
  return classes == 2 ? 1 : k;
}

size_t cns_metrics_dim(size_t classes) {
  return cns_metrics_scores(classes) * 2 * CNS_METRICS_BINS + 3;
}

/* log of the sum of exp over all classes but `without` (SIZE_MAX: none). */
static double log_sum_exp(size_t classes, const float *logits, size_t without) {
  double largest = -INFINITY, sum = 0;
  for (size_t c = 0; c < classes; c++)
    if (c != without && (double)logits[c] > largest) largest = (double)logits[c];
  for (size_t c = 0; c < classes; c++)
    if (c != without) sum += exp((double)logits[c] - largest);
  return largest + log(sum);
}

double cns_metrics_score(size_t classes, const float *logits, size_t c) {
  return (double)logits[c] - log_sum_exp(classes, logits, c);
}

double cns_metrics_loss(size_t classes, const float *logits, size_t label) {
  double loss = log_sum_exp(classes, logits, SIZE_MAX) - (double)logits[label];
  return loss < 0 ? 0 : loss; /* rounding may go below zero; NaN stays NaN */
}

static size_t bin_of(double score) {
  double position = HALF + HALF * asinh(score) / asinh(SCORE_REACH);
  if (position < 0) return 0;
  if (position >= CNS_METRICS_BINS) return CNS_METRICS_BINS - 1;
  return (size_t)position;
}

static int check_row(size_t classes, const float *logits, const uint16_t *label, size_t row,
                     struct cns_problem *problem) {
  if (label[row] >= classes)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "row %zu has no label", row + 1);
  for (size_t c = 0; c < classes; c++)
    if (!isfinite(logits[row * classes + c]))
      return cns_problem_set(problem, CNS_ERR_RANGE, "the model's output is not a finite number");
  return 0;
}

int cns_metrics_fill(size_t classes, const float *logits, const uint16_t *label, size_t rows,
                     uint32_t *ret_vector, struct cns_problem *problem) {
  if (rows > CNS_METRICS_ROWS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%zu validation rows; at most %u can be counted", rows,
                           CNS_METRICS_ROWS_MAX);
  for (size_t i = 0; i < rows; i++) {
    int r = check_row(classes, logits, label, i, problem);
    if (r < 0) return r;
  }
  size_t scores = cns_metrics_scores(classes);
  memset(ret_vector, 0, cns_metrics_dim(classes) * sizeof *ret_vector);
  uint64_t loss = 0;
  for (size_t i = 0; i < rows; i++) {
    const float *row = logits + i * classes;
    for (size_t k = 0; k < scores; k++) {
      size_t c = class_of_score(classes, k);
      size_t side = 2 * k + (label[i] == c ? 0 : 1);
      ret_vector[side * CNS_METRICS_BINS + bin_of(cns_metrics_score(classes, row, c))]++;
    }
    double nats = cns_metrics_loss(classes, row, label[i]);
    loss += (uint64_t)llround(fmin(nats, CNS_METRICS_LOSS_MAX) / LOSS_UNIT);
  }
  uint32_t *tail = ret_vector + scores * 2 * CNS_METRICS_BINS;
  tail[0] = (uint32_t)rows;
  tail[1] = (uint32_t)(loss & ((1u << LOSS_LOW_BITS) - 1));
  tail[2] = (uint32_t)(loss >> LOSS_LOW_BITS);
  return 0;
}

static uint64_t total(const uint32_t *bins) {
  uint64_t sum = 0;
  for (size_t b = 0; b < CNS_METRICS_BINS; b++)
    sum += bins[b];
  return sum;
}

/* Pairs that are ordered rightly, those in one bin half. */
static double auc_of_bins(const uint32_t *positive, const uint32_t *negative) {
  double below = 0, pairs = 0;
  for (size_t b = 0; b < CNS_METRICS_BINS; b++) {
    pairs += positive[b] * (below + 0.5 * negative[b]);
    below += negative[b];
  }
  return pairs / ((double)total(positive) * (double)total(negative));
}

static int check_sum(size_t classes, const uint32_t *sum, size_t hospitals, struct cns_problem *problem) {
  size_t scores = cns_metrics_scores(classes);
  const uint32_t *tail = sum + scores * 2 * CNS_METRICS_BINS;
  uint64_t count = tail[0], positives = 0;
  bool good = count <= (uint64_t)hospitals * CNS_METRICS_ROWS_MAX;
  good = good && tail[1] <= (uint64_t)hospitals * ((1u << LOSS_LOW_BITS) - 1);
  good = good && tail[1] + ((uint64_t)tail[2] << LOSS_LOW_BITS) <= count * LOSS_UNITS_MAX;
  for (size_t k = 0; good && k < scores; k++) {
    const uint32_t *bins = sum + k * 2 * CNS_METRICS_BINS;
    good = total(bins) + total(bins + CNS_METRICS_BINS) == count;
    positives += total(bins);
  }
  good = good && (classes == 2 || positives == count);
  if (good) return 0;
  return cns_problem_set(
      problem, CNS_ERR_RANGE,
      "the sum of the hospitals' metrics doesn't add up; a hospital's part was wrong, and this "
      "round has no loss and no AUC");
}

int cns_metrics_evaluate(size_t classes, const uint32_t *sum, size_t hospitals,
                         struct cns_metrics *ret_metrics, struct cns_problem *problem) {
  int r = check_sum(classes, sum, hospitals, problem);
  if (r < 0) return r;
  size_t scores = cns_metrics_scores(classes);
  const uint32_t *tail = sum + scores * 2 * CNS_METRICS_BINS;
  struct cns_metrics metrics = {.count = tail[0], .auc = 0.5};
  uint64_t loss = tail[1] + ((uint64_t)tail[2] << LOSS_LOW_BITS);
  if (metrics.count) metrics.loss = (double)loss * LOSS_UNIT / (double)metrics.count;
  double areas = 0;
  for (size_t k = 0; k < scores; k++) {
    const uint32_t *positive = sum + k * 2 * CNS_METRICS_BINS, *negative = positive + CNS_METRICS_BINS;
    if (total(positive) == 0 || total(negative) == 0) continue;
    areas += auc_of_bins(positive, negative);
    metrics.auc_classes++;
  }
  metrics.has_auc = metrics.auc_classes > 0;
  if (metrics.has_auc) metrics.auc = areas / (double)metrics.auc_classes;
  *ret_metrics = metrics;
  return 0;
}

struct scored {
  double score;
  bool positive;
};

static int compare_scored(const void *a, const void *b) {
  const struct scored *x = a, *y = b;
  return (x->score > y->score) - (x->score < y->score);
}

int cns_auc_exact(const double *score, const bool *positive, size_t count, double *ret_auc) {
  for (size_t i = 0; i < count; i++)
    if (isnan(score[i])) return CNS_ERR_RANGE;
  struct scored *sorted = calloc(count ? count : 1, sizeof *sorted);
  if (!sorted) return CNS_ERR_MEMORY;
  for (size_t i = 0; i < count; i++)
    sorted[i] = (struct scored){.score = score[i], .positive = positive[i]};
  qsort(sorted, count, sizeof *sorted, compare_scored);
  double below = 0, pairs = 0, positives = 0;
  for (size_t i = 0; i < count;) {
    size_t tied_positive = 0, tied_negative = 0;
    for (double value = sorted[i].score; i < count && sorted[i].score == value; i++)
      *(sorted[i].positive ? &tied_positive : &tied_negative) += 1;
    pairs += (double)tied_positive * (below + 0.5 * (double)tied_negative);
    below += (double)tied_negative;
    positives += (double)tied_positive;
  }
  free(sorted);
  if (positives == 0 || below == 0) {
    *ret_auc = 0.5;
    return 1;
  }
  *ret_auc = pairs / (positives * below);
  return 0;
}

int cns_metrics_exact(size_t classes, const float *logits, const uint16_t *label, size_t rows,
                      struct cns_metrics *ret_metrics, struct cns_problem *problem) {
  struct cns_metrics metrics = {.count = rows, .auc = 0.5};
  double *score = calloc(rows ? rows : 1, sizeof *score), loss = 0, areas = 0;
  bool *positive = calloc(rows ? rows : 1, sizeof *positive);
  int r = score && positive ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  for (size_t i = 0; r == 0 && i < rows; i++) {
    r = check_row(classes, logits, label, i, problem);
    if (r == 0) loss += cns_metrics_loss(classes, logits + i * classes, label[i]);
  }
  for (size_t k = 0; r >= 0 && k < cns_metrics_scores(classes); k++) {
    size_t c = class_of_score(classes, k);
    for (size_t i = 0; i < rows; i++) {
      score[i] = cns_metrics_score(classes, logits + i * classes, c);
      positive[i] = label[i] == c;
    }
    double area;
    r = cns_auc_exact(score, positive, rows, &area);
    if (r != 0) continue; /* a class without both sides has no area */
    areas += area;
    metrics.auc_classes++;
  }
  free(score);
  free(positive);
  if (r < 0) return r;
  if (rows) metrics.loss = loss / (double)rows;
  metrics.has_auc = metrics.auc_classes > 0;
  if (metrics.has_auc) metrics.auc = areas / (double)metrics.auc_classes;
  *ret_metrics = metrics;
  return 0;
}
