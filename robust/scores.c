/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "robust/cohort.h"
#include "robust/geometry.h"

#define RATIO_MIN 1e-12

static double log_ratio(double value, double reference) {
  return log(fmax(value, RATIO_MIN * fmax(reference, 1e-200)));
}

static void score_size(const struct cns_cohort *cohort, double typical, double *value) {
  for (size_t i = 0; i < cohort->n; i++)
    value[i] = log_ratio(cohort->length[i], typical);
}

/* Krum's score (Blanchard et al. 2017, section 4), the mean instead of the sum so
 * that it stays comparable: squared distances to the n-f-2 nearest, f a quarter. */
static void score_distance(const struct cns_cohort *cohort, double typical, double *room, double *value) {
  size_t n = cohort->n, nearest = n - (n - 1) / 4 - 2;
  for (size_t i = 0; i < n; i++) {
    double sum = 0;
    memcpy(room, &cohort->squared[i * n], n * sizeof *room);
    (void)cns_geometry_middle(room, n); /* sorts; room[0] is the row itself */
    for (size_t j = 1; j <= nearest; j++)
      sum += room[j];
    value[i] = 0.5 * log_ratio(sum / (double)nearest, typical * typical);
  }
}

static int score_central(const struct cns_cohort *cohort, double typical, double *value) {
  double *middle = malloc(cohort->columns * sizeof *middle), *gap = malloc(cohort->columns * sizeof *gap);
  int r =
      middle && gap ? cns_geometry_median(cohort->rows, cohort->n, cohort->columns, middle) : CNS_ERR_MEMORY;
  for (size_t i = 0; r >= 0 && i < cohort->n; i++) {
    for (size_t c = 0; c < cohort->columns; c++)
      gap[c] = cohort->rows[i * cohort->columns + c] - middle[c];
    value[i] = log_ratio(sqrt(cns_geometry_dot(gap, gap, cohort->columns)), typical);
  }
  free(middle);
  free(gap);
  return r < 0 ? r : 0;
}

/* Rows of length 1; a row of zeros stays. */
static void directions(const struct cns_cohort *cohort, double *unit) {
  for (size_t i = 0; i < cohort->n; i++)
    for (size_t c = 0; c < cohort->columns; c++)
      unit[i * cohort->columns + c] =
          cohort->length[i] > 0 ? cohort->rows[i * cohort->columns + c] / cohort->length[i] : 0;
}

static int score_direction(const struct cns_cohort *cohort, const double *unit, double *value) {
  double *middle = malloc(cohort->columns * sizeof *middle);
  int r = middle ? cns_geometry_median(unit, cohort->n, cohort->columns, middle) : CNS_ERR_MEMORY;
  if (r >= 0) {
    double length = sqrt(cns_geometry_dot(middle, middle, cohort->columns));
    for (size_t i = 0; i < cohort->n; i++)
      value[i] =
          length > 0 ? cns_geometry_dot(&unit[i * cohort->columns], middle, cohort->columns) / length : 0;
  }
  free(middle);
  return r < 0 ? r : 0;
}

/* Divide and conquer (Shejwalkar, Houmansadr 2021, section 5) without its
 * sampling of coordinates, which the sketch has done. */
static int score_spectral(const struct cns_cohort *cohort, const double *unit, double *room, double *value) {
  size_t n = cohort->n;
  double *gram = malloc(n * n * sizeof *gram);
  if (!gram) return CNS_ERR_MEMORY;
  cns_geometry_gram(unit, n, cohort->columns, gram);
  cns_geometry_main_direction(gram, n, room, value);
  free(gram);
  memcpy(room, value, n * sizeof *room);
  double median = cns_geometry_middle(room, n), lowest = room[0], highest = room[n - 1];
  bool turn = median - lowest > highest - median; /* the sign is free: the far end is positive */
  for (size_t i = 0; turn && i < n; i++)
    value[i] = -value[i];
  return 0;
}

static void standardise(struct cns_score *score, const struct cns_reference *reference, size_t n, double rate,
                        double *room) {
  memcpy(room, score->value, n * sizeof *room);
  score->median = cns_geometry_middle(room, n);
  for (size_t i = 0; i < n; i++)
    room[i] = fabs(score->value[i] - score->median);
  score->sigma = fmax(cns_reference_scale(score->scale, room, n), score->scale_min);
  score->mad = cns_geometry_middle(room, n);
  score->z_limit =
      cns_reference_quantile(reference, score->scale, score->side == CNS_SIDE_BOTH ? rate / 2 : rate);
}

double cns_score_z(const struct cns_score *score, size_t row) {
  double z = (score->value[row] - score->median) / score->sigma;
  return score->side == CNS_SIDE_HIGH ? z : score->side == CNS_SIDE_LOW ? -z : fabs(z);
}

double cns_score_tail(const struct cns_score *score, const struct cns_reference *reference, size_t row) {
  double tail = cns_reference_tail(reference, score->scale, cns_score_z(score, row));
  return score->side == CNS_SIDE_BOTH ? fmin(1, 2 * tail) : tail;
}

static void describe(const struct cns_cohort *cohort, struct cns_score *scores) {
  double floor = cohort->noise_floor;
  const struct cns_score kinds[CNS_SCORES] = {
      {.statistic = CNS_DETECT_SIZE, .side = CNS_SIDE_HIGH, .logarithm = true, .scale_min = floor},
      {.statistic = CNS_DETECT_DIRECTION,
       .side = CNS_SIDE_LOW,
       .scale = CNS_SCALE_RANGE,
       .scale_min = floor / 4},
      {.statistic = CNS_DETECT_DISTANCE,
       .side = CNS_SIDE_HIGH,
       .scale = CNS_SCALE_RANGE,
       .logarithm = true,
       .scale_min = floor},
      {.statistic = CNS_DETECT_CENTRAL, .side = CNS_SIDE_LOW, .logarithm = true, .scale_min = floor},
      {.statistic = CNS_DETECT_TWINS, .side = CNS_SIDE_LOW, .logarithm = true, .scale_min = floor},
      {.statistic = CNS_DETECT_SPECTRAL,
       .side = CNS_SIDE_BOTH,
       .scale = CNS_SCALE_RANGE,
       .scale_min = floor / 4},
  };
  for (size_t s = 0; s < CNS_SCORES; s++) {
    double *value = scores[s].value;
    scores[s] = kinds[s];
    scores[s].value = value;
  }
}

int cns_cohort_scores(const struct cns_cohort *cohort, const struct cns_reference *reference, double rate,
                      struct cns_score *scores) {
  size_t n = cohort->n;
  double *room = malloc(n * sizeof *room), *unit = malloc(n * cohort->columns * sizeof *unit);
  int r = room && unit ? 0 : CNS_ERR_MEMORY;
  if (r == 0) {
    describe(cohort, scores);
    directions(cohort, unit);
    memcpy(room, cohort->length, n * sizeof *room);
    double typical = cns_geometry_middle(room, n);
    score_size(cohort, typical, scores[0].value);
    r = score_direction(cohort, unit, scores[1].value);
    score_distance(cohort, typical, room, scores[2].value);
    if (r == 0) r = score_central(cohort, typical, scores[3].value);
    for (size_t i = 0; i < n; i++)
      scores[4].value[i] = log(fmax(cohort->twin[i].distance, RATIO_MIN));
    if (r == 0) r = score_spectral(cohort, unit, room, scores[5].value);
  }
  for (size_t s = 0; r == 0 && s < CNS_SCORES; s++)
    standardise(&scores[s], reference, n, rate, room);
  free(room);
  free(unit);
  return r;
}
