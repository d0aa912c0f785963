/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/detect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "robust/cohort.h"

/* Bonferroni: six of one round, EWMA and CUSUM. */
#define RELATIVE_STATISTICS (CNS_SCORES + 2)
#define RATE_MAX 0.2

const char *cns_detect_statistic_name(enum cns_detect_statistic statistic) {
  static const char *const names[CNS_DETECT_STATISTIC_COUNT] = {
      "norm-bound", "norm", "direction", "distance", "central", "twins", "spectral", "ewma", "cusum"};
  return (unsigned)statistic < CNS_DETECT_STATISTIC_COUNT ? names[statistic] : "unknown";
}

struct cns_detect_options cns_detect_options_default(void) {
  return (struct cns_detect_options){.rate = 0.01, .bound_rate = 1e-6, .tightening = 1};
}

int cns_detect_rate_each(const struct cns_detect_options *options, double *ret_rate,
                         struct cns_problem *problem) {
  if (!(options->rate >= 1e-4) || !(options->rate <= RATE_MAX))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "a false-positive rate is between 0.0001 and %g, not %g", RATE_MAX, options->rate);
  if (!(options->bound_rate >= 1e-9) || !(options->bound_rate <= 0.1))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "the rate of the norm bound is between 1e-9 and 0.1, not %g", options->bound_rate);
  if (!(options->tightening >= 1) || !(options->tightening <= 100))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "thresholds are tightened by a factor of 1 to 100, not %g", options->tightening);
  *ret_rate = fmin(options->rate * options->tightening, RATE_MAX) / RELATIVE_STATISTICS;
  return 0;
}

void cns_detect_result_deinit(struct cns_detect_result *result) {
  free(result->flags);
  free(result->values);
  free(result->surprise);
  *result = (struct cns_detect_result){0};
}

bool cns_detect_is_flagged(const struct cns_detect_result *result, size_t row) {
  for (size_t f = 0; f < result->flag_count; f++)
    if (result->flags[f].row == row) return true;
  return false;
}

static int compare_flags(const void *left, const void *right) {
  const struct cns_detect_flag *a = left, *b = right;
  bool bound_a = a->statistic == CNS_DETECT_BOUND, bound_b = b->statistic == CNS_DETECT_BOUND;
  if (bound_a != bound_b) return bound_a ? -1 : 1;
  if (a->strength != b->strength) return a->strength > b->strength ? -1 : 1;
  if (a->hospital != b->hospital) return a->hospital < b->hospital ? -1 : 1;
  return (a->statistic > b->statistic) - (a->statistic < b->statistic);
}

void cns_detect_flags_sort(struct cns_detect_flag *flags, size_t count) {
  qsort(flags, count, sizeof *flags, compare_flags);
}

/* result->flags has room for one flag of every hospital and statistic. */
static struct cns_detect_flag *add_flag(const struct cns_cohort *cohort, struct cns_detect_result *result,
                                        size_t row, enum cns_detect_statistic statistic) {
  struct cns_detect_flag *flag = &result->flags[result->flag_count++];
  *flag = (struct cns_detect_flag){.row = row,
                                   .hospital = cns_cohort_index(cohort->input, row),
                                   .statistic = statistic,
                                   .median = NAN,
                                   .mad = NAN,
                                   .twin = CNS_DETECT_NONE,
                                   .cluster = CNS_DETECT_NONE};
  return flag;
}

/* Plain vectors have a norm, not an estimate of it. */
static int check_bounds(const struct cns_cohort *cohort, const struct cns_detect_options *options,
                        struct cns_detect_result *result) {
  const struct cns_detect_input *input = cohort->input;
  result->bound_factor = NAN;
  if (!input->bounds) return 0;
  result->bound_factor = 1 + 1e-9;
  if (input->blocks > 1) {
    int r = cns_detect_bound_factor((uint32_t)input->columns, options->bound_rate, &result->bound_factor);
    if (r < 0) return r;
  }
  for (size_t i = 0; i < cohort->n; i++) {
    double value = cohort->length[i] * input->weights[i] / input->bounds[i];
    result->values[i * CNS_DETECT_ROUND_STATISTICS + CNS_DETECT_BOUND] = value;
    if (!(value > result->bound_factor)) continue;
    struct cns_detect_flag *flag = add_flag(cohort, result, i, CNS_DETECT_BOUND);
    flag->value = value;
    flag->threshold = result->bound_factor;
    flag->rate = input->blocks > 1 ? options->bound_rate : 0;
    flag->strength = value / result->bound_factor;
  }
  return 0;
}

static double plain(const struct cns_score *score, double value) {
  return score->logarithm ? exp(value) : value;
}

static void add_score_flag(const struct cns_cohort *cohort, const struct cns_score *score, double rate,
                           size_t row, struct cns_detect_result *result) {
  double z = cns_score_z(score, row);
  double way = score->value[row] > score->median ? score->z_limit : -score->z_limit;
  struct cns_detect_flag *flag = add_flag(cohort, result, row, score->statistic);
  flag->value = plain(score, score->value[row]);
  flag->threshold = plain(score, score->median + way * score->sigma);
  flag->median = plain(score, score->median);
  flag->mad = score->logarithm ? flag->median * expm1(score->mad) : score->mad;
  flag->rate = rate;
  flag->strength = z / score->z_limit;
}

/* A twin is one by the fixed limits, or by comparison with the cohort; and so is
 * the hospital that it is the twin of. */
static void mark_twins(const struct cns_cohort *cohort, const struct cns_score *score, double *limit,
                       size_t *partner) {
  for (size_t i = 0; i < cohort->n; i++) {
    const struct cns_twin *twin = &cohort->twin[i];
    double below, compared = fmin(exp(score->median - score->z_limit * score->sigma), CNS_TWINS_COHORT);
    if (!cns_cohort_is_twin(cohort, i, &below)) below = 0;
    if (twin->distance <= compared && cns_cohort_may_be_twin(cohort, i)) below = fmax(below, compared);
    if (!(below > 0)) continue;
    limit[i] = fmax(limit[i], below);
    partner[i] = twin->nearest;
    if (partner[twin->nearest] == CNS_DETECT_NONE) {
      limit[twin->nearest] = below;
      partner[twin->nearest] = i;
    }
  }
}

/* cluster[i]: the smallest row that i is linked to. */
static void link_clusters(const size_t *partner, size_t n, size_t *cluster) {
  for (size_t i = 0; i < n; i++)
    cluster[i] = i;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < n; i++) {
      if (partner[i] == CNS_DETECT_NONE) continue;
      size_t j = partner[i], smaller = cluster[i] < cluster[j] ? cluster[i] : cluster[j];
      changed |= cluster[i] != cluster[j];
      cluster[i] = cluster[j] = smaller;
    }
  }
}

static int flag_twins(const struct cns_cohort *cohort, const struct cns_score *score, double rate,
                      struct cns_detect_result *result) {
  size_t n = cohort->n, *partner = malloc(n * sizeof *partner), *cluster = malloc(n * sizeof *cluster);
  double *limit = calloc(n, sizeof *limit);
  int r = partner && cluster && limit ? 0 : CNS_ERR_MEMORY;
  for (size_t i = 0; r == 0 && i < n; i++)
    partner[i] = CNS_DETECT_NONE;
  if (r == 0) {
    mark_twins(cohort, score, limit, partner);
    link_clusters(partner, n, cluster);
  }
  for (size_t i = 0; r == 0 && i < n; i++) {
    if (partner[i] == CNS_DETECT_NONE) continue;
    struct cns_detect_flag *flag = add_flag(cohort, result, i, CNS_DETECT_TWINS);
    flag->value = exp(score->value[i]);
    if (cohort->twin[i].distance == 0) flag->value = 0;
    flag->threshold = limit[i];
    flag->median = exp(score->median);
    flag->mad = flag->median * expm1(score->mad);
    flag->rate = rate;
    flag->strength = 1 + fmax(0, log(limit[i] / fmax(flag->value, 1e-3 * limit[i])));
    flag->twin = partner[i];
    flag->cluster = cluster[i];
  }
  free(partner);
  free(cluster);
  free(limit);
  return r;
}

static int flag_scores(const struct cns_cohort *cohort, const struct cns_reference *reference,
                       const struct cns_score *scores, double rate, struct cns_detect_result *result) {
  int r = 0;
  for (size_t i = 0; i < cohort->n; i++) {
    double least = 1;
    for (size_t s = 0; s < CNS_SCORES; s++) {
      const struct cns_score *score = &scores[s];
      result->values[i * CNS_DETECT_ROUND_STATISTICS + score->statistic] = plain(score, score->value[i]);
      if (score->statistic != CNS_DETECT_TWINS || cns_cohort_may_be_twin(cohort, i))
        least = fmin(least, cns_score_tail(score, reference, i));
      if (score->statistic != CNS_DETECT_TWINS && cns_score_z(score, i) > score->z_limit)
        add_score_flag(cohort, score, rate, i, result);
    }
    result->surprise[i] = -log10(fmin(1, least * CNS_SCORES));
  }
  for (size_t s = 0; r == 0 && s < CNS_SCORES; s++)
    if (scores[s].statistic == CNS_DETECT_TWINS) r = flag_twins(cohort, &scores[s], rate, result);
  return r;
}

static int allocate(struct cns_detect_result *result, size_t n) {
  *result = (struct cns_detect_result){.hospitals = n};
  result->flags = calloc(n * CNS_DETECT_STATISTIC_COUNT, sizeof *result->flags);
  result->values = calloc(n * CNS_DETECT_ROUND_STATISTICS, sizeof *result->values);
  result->surprise = calloc(n, sizeof *result->surprise);
  return result->flags && result->values && result->surprise ? 0 : CNS_ERR_MEMORY;
}

static int compare_cohort(const struct cns_cohort *cohort, double rate, struct cns_detect_result *result) {
  struct cns_reference reference;
  struct cns_score scores[CNS_SCORES] = {0};
  double *room = calloc(CNS_SCORES * cohort->n, sizeof *room);
  int r = room ? cns_reference_init(&reference, cohort->n) : CNS_ERR_MEMORY;
  if (r == 0) {
    for (size_t s = 0; s < CNS_SCORES; s++)
      scores[s].value = &room[s * cohort->n];
    r = cns_cohort_scores(cohort, &reference, rate, scores);
    if (r == 0) r = flag_scores(cohort, &reference, scores, rate, result);
    cns_reference_deinit(&reference);
  }
  free(room);
  return r;
}

int cns_detect_round(const struct cns_detect_input *input, const struct cns_detect_options *options,
                     struct cns_detect_result *ret_result, struct cns_problem *problem) {
  struct cns_cohort cohort;
  struct cns_detect_result result;
  double rate;
  int r = cns_detect_rate_each(options, &rate, problem);
  if (r == 0) r = cns_cohort_init(&cohort, input, problem);
  if (r < 0) return r;
  r = allocate(&result, cohort.n);
  if (r == 0) r = check_bounds(&cohort, options, &result);
  if (r == 0) r = compare_cohort(&cohort, rate, &result);
  if (r == 0) {
    for (size_t f = 0; f < result.flag_count; f++)
      cns_detect_flag_text(&cohort, &result.flags[f]);
    cns_detect_flags_sort(result.flags, result.flag_count);
    cns_detect_claim_text(cohort.n, result.claim);
    result.rate = rate * RELATIVE_STATISTICS;
    *ret_result = result;
  } else {
    cns_detect_result_deinit(&result);
    cns_problem_set(problem, r, "these sketches can't be compared (%zu numbers a hospital, %u blocks): %s",
                    input->columns, input->blocks, cns_error_name(r));
  }
  cns_cohort_deinit(&cohort);
  return r;
}
