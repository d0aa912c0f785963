/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/mechanism.h"

#include <math.h>

#include "dp/adaptive_clip.h"
#include "dp/grid.h"
#include "dp/noised_metrics.h"
#include "dp/root.h"

__extension__ typedef unsigned __int128 u128;

/* Above what a few roundings of doubles can take away. */
#define UP (1 + 0x1p-40)
/* Distance of a sampled coordinate, in log2: what dp/discrete_gaussian.h promises. */
#define SAMPLE_DISTANCE_LOG2 (-104)
/* 1 + e^epsilon, in log2, up to CNS_MECHANISM_EPSILON. */
#define DELTA_PER_DISTANCE_LOG2 32

/* Beyond it with probability below 10^-8, should the declared number be the true one. */
static double patients_of(const struct cns_mechanism *m, uint32_t weight) {
  double expected = m->sampling_rate * weight;
  return ceil(expected + 6 * sqrt(expected) + 10);
}

uint64_t cns_mechanism_patients(const struct cns_mechanism *m, uint32_t weight) {
  return (uint64_t)patients_of(m, weight);
}

size_t cns_mechanism_extras(const struct cns_mechanism *m) {
  return (m->indicator_share > 0 ? 1 : 0) + (m->metrics_share > 0 ? 2 : 0);
}

static uint64_t gradient_dim(const struct cns_mechanism *m) {
  return m->dim - cns_mechanism_extras(m);
}

int cns_mechanism_radius(const struct cns_mechanism *m, uint32_t weight, double *ret_radius) {
  if (!isfinite(m->clip) || m->clip <= 0 || weight == 0) return CNS_ERR_RANGE;
  if (m->unit == CNS_UNIT_HOSPITAL) {
    *ret_radius = m->clip * weight;
    return 0;
  }
  if (!(m->sampling_rate > 0 && m->sampling_rate <= 1)) return CNS_ERR_RANGE;
  *ret_radius = m->clip * patients_of(m, weight);
  return 0;
}

/* S_g, of any hospital of the cohort in unit patient. */
static int gradient_sensitivity(const struct cns_mechanism *m, uint64_t *ret_steps) {
  double widest = 0, radius;
  for (size_t k = 0; k < m->count; k++) {
    int r = cns_mechanism_radius(m, m->weights[k], &radius);
    if (r) return r;
    if (radius > widest) widest = radius;
  }
  return cns_grid_sensitivity(m->clip * (1 + CNS_MECHANISM_SLACK), widest, gradient_dim(m), m->scale_log2,
                              ret_steps);
}

/* Steps that one patient's extra numbers are worth. */
struct extras {
  uint64_t indicator; /* a */
  uint64_t metric;    /* h, twice */
};

/* Of the extra numbers of so many patients: a, h below 2^32 and fewer than 2^21 patients. */
static u128 extra_squares(const struct extras *e, uint64_t patients) {
  u128 a = (u128)e->indicator * patients, h = (u128)e->metric * patients;
  return a * a + 2 * h * h;
}

/* L2 norm of so many steps of gradients, at most 2^31, with the extra numbers. */
static uint64_t joint(uint64_t steps, const struct extras *e, uint64_t patients) {
  u128 squares = extra_squares(e, patients);
  return squares == 0 ? steps : cns_root_ceil((u128)steps * steps + squares);
}

/* steps is below 2^53, so that every factor is exact or rounded alike everywhere. */
static uint64_t worth(uint64_t steps, double share) {
  return (uint64_t)((double)steps * sqrt(share / (1 - share)));
}

/* floor(b/sqrt(2)) */
static uint64_t half_of_square(uint64_t b) {
  u128 square = (u128)b * b / 2;
  uint64_t root = cns_root_ceil(square);
  return root - ((u128)root * root > square);
}

static int extras_of(const struct cns_mechanism *m, struct extras *ret_extras) {
  struct extras e = {0};
  uint64_t gradient;
  *ret_extras = e;
  if (cns_mechanism_extras(m) == 0) return 0;
  int r = gradient_sensitivity(m, &gradient);
  if (r) return r;
  if (gradient >> 31) return CNS_ERR_RANGE;
  if (m->indicator_share > 0) e.indicator = worth(gradient, m->indicator_share);
  if (m->metrics_share > 0) e.metric = half_of_square(worth(joint(gradient, &e, 1), m->metrics_share));
  *ret_extras = e;
  return 0;
}

/* Of one hospital's vector. */
static int theta_with(const struct cns_mechanism *m, const struct extras *e, uint32_t weight,
                      uint64_t *ret_theta) {
  double radius;
  uint64_t theta;
  if (m->unit == CNS_UNIT_HOSPITAL) return cns_quantize_theta(m->clip, weight, m->scale_log2, ret_theta);
  int r = cns_mechanism_radius(m, weight, &radius);
  if (r == 0) r = cns_grid_radius_steps(radius, gradient_dim(m), m->scale_log2, &theta);
  if (r) return r;
  *ret_theta = joint(theta, e, cns_mechanism_patients(m, weight));
  return 0;
}

int cns_mechanism_theta(const struct cns_mechanism *m, uint32_t weight, uint64_t *ret_theta) {
  struct extras e;
  int r = extras_of(m, &e);
  return r ? r : theta_with(m, &e, weight, ret_theta);
}

/* ||x + noise||^2 <= theta^2 + 2 theta sigma t + sigma^2 (sqrt(d) + t)^2, but with
 * probability exp(-t^2/2) for each of the two (the noise along x, and its length:
 * Laurent and Massart 2000); t = 10. */
static int bound_with(const struct cns_mechanism *m, const struct extras *e, uint32_t weight,
                      double sigma_local, uint64_t *ret_bound) {
  const double t = 10;
  uint64_t theta;
  int r = theta_with(m, e, weight, &theta);
  if (r) return r;
  if (sigma_local > 0) {
    double x = (double)theta, length = sigma_local * (sqrt((double)m->dim) + t);
    double bound = ceil(sqrt(x * x + 2 * x * sigma_local * t + length * length) * UP);
    if (!(bound < 0x1p60)) return CNS_ERR_RANGE;
    theta = (uint64_t)bound;
  }
  *ret_bound = theta;
  return 0;
}

int cns_mechanism_bound(const struct cns_mechanism *m, uint32_t weight, double sigma_local,
                        uint64_t *ret_bound) {
  struct extras e;
  int r = extras_of(m, &e);
  return r ? r : bound_with(m, &e, weight, sigma_local, ret_bound);
}

static bool weights_are_sound(const uint32_t *weights, size_t count) {
  for (size_t k = 0; k < count; k++)
    if (weights[k] == 0 || weights[k] > CNS_QUANTIZE_WEIGHT_MAX) return false;
  return true;
}

/* Too little, too much or NaN of the noise; or not of a sum over patients. */
static bool share_is_wrong(const struct cns_mechanism *m, double share, double min, double max) {
  return share != 0 && (m->unit != CNS_UNIT_PATIENT || m->dim <= cns_mechanism_extras(m) ||
                        !(share >= min && share <= max));
}

static int check(const struct cns_mechanism *m, struct cns_problem *problem) {
  const char *wrong = NULL;
  if (m->count == 0 || m->count > CNS_HOSPITALS_MAX)
    wrong = "the number of hospitals";
  else if (!weights_are_sound(m->weights, m->count))
    wrong = "a weight";
  if (m->dim == 0 || m->dim > CNS_GRID_LEN_MAX) wrong = "the number of parameters";
  if (share_is_wrong(m, m->indicator_share, CNS_ADAPTIVE_CLIP_SHARE_MIN, CNS_ADAPTIVE_CLIP_SHARE_MAX))
    wrong = "the share of the indicator of an adaptive clip norm, which is for unit patient: it";
  if (share_is_wrong(m, m->metrics_share, CNS_NOISED_METRICS_SHARE_MIN, CNS_NOISED_METRICS_SHARE_MAX))
    wrong = "the share of noised metrics, which are for unit patient: it";
  bool noisy = m->placement != CNS_NOISE_NONE;
  if (noisy ? !(m->noise_multiplier >= 0.01 && m->noise_multiplier <= 1e6) : m->noise_multiplier != 0)
    wrong = "the noise multiplier";
  double rate = m->sampling_rate;
  if (!noisy ? rate != 0 : m->unit == CNS_UNIT_HOSPITAL ? rate != 1 : !(rate > 0 && rate <= 1))
    wrong = "the sampling rate";
  if (m->unit == CNS_UNIT_PATIENT && m->placement == CNS_NOISE_NONE) wrong = "noise of unit patient";
  if (m->placement == CNS_NOISE_DISTRIBUTED && m->minimum_included <= m->colluders)
    wrong = "the smallest sum, which must be of more hospitals than may collude: it";
  if (!isfinite(m->clip) || m->clip <= 0) wrong = "the clip norm";
  if ((unsigned)m->unit > CNS_UNIT_PATIENT) wrong = "the privacy unit";
  if ((unsigned)m->placement > CNS_NOISE_DISTRIBUTED) wrong = "the noise's placement";
  if (!wrong) return 0;
  return cns_problem_set(problem, CNS_ERR_RANGE, "%s is out of range", wrong);
}

/* Sum and largest of theta; all below 2^31. */
static int thetas(const struct cns_mechanism *m, const struct extras *e, const uint32_t *weights,
                  size_t count, uint64_t *ret_sum, uint64_t *ret_largest) {
  uint64_t sum = 0, largest = 0, theta;
  for (size_t k = 0; k < count; k++) {
    int r = theta_with(m, e, weights[k], &theta);
    if (r) return r;
    if (theta >> 31) return CNS_ERR_RANGE;
    sum += theta;
    if (theta > largest) largest = theta;
  }
  *ret_sum = sum;
  *ret_largest = largest;
  return 0;
}

static struct extras extras_in(const struct cns_mechanism_numbers *n) {
  return (struct extras){.indicator = n->indicator, .metric = n->metric};
}

/* A unit moves the gradients by S_g at most, the indicator by a, and each metric by h. */
static int sensitivity(const struct cns_mechanism *m, uint64_t largest, struct cns_mechanism_numbers *n) {
  const struct extras e = extras_in(n);
  uint64_t gradient;
  n->sensitivity = largest;
  if (m->unit == CNS_UNIT_HOSPITAL) return 0;
  int r = gradient_sensitivity(m, &gradient);
  if (r == 0) n->sensitivity = joint(gradient, &e, 1);
  return r;
}

static void noise(const struct cns_mechanism *m, struct cns_mechanism_numbers *n) {
  double scaled = m->noise_multiplier * (double)n->sensitivity;
  n->sigma = n->sigma_local = 0;
  if (m->placement == CNS_NOISE_NONE) return;
  n->sigma = sqrt(scaled * scaled + 3) * UP;
  if (m->placement == CNS_NOISE_DISTRIBUTED)
    n->sigma_local = n->sigma / sqrt((double)(m->minimum_included - m->colluders)) * UP;
}

static int largest_bound(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n,
                         const uint32_t *weights, size_t count, uint64_t *ret_bound) {
  const struct extras e = extras_in(n);
  uint64_t largest = 0, bound;
  for (size_t k = 0; k < count; k++) {
    int r = bound_with(m, &e, weights[k], n->sigma_local, &bound);
    if (r) return r;
    if (bound > largest) largest = bound;
  }
  *ret_bound = largest;
  return 0;
}

double cns_mechanism_sum_sigma(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n,
                               size_t count) {
  return m->placement == CNS_NOISE_DISTRIBUTED ? sqrt((double)count) * n->sigma_local : n->sigma;
}

int cns_mechanism_range(const struct cns_mechanism *m, const struct cns_mechanism_numbers *n,
                        const uint32_t *weights, size_t count, struct cns_quantize_range *ret_range) {
  struct cns_quantize_range range;
  const struct extras e = extras_in(n);
  uint64_t sum = 0, largest = 0, bound = 0;
  if (count == 0 || count > CNS_HOSPITALS_MAX) return CNS_ERR_ARGUMENT;
  int r = thetas(m, &e, weights, count, &sum, &largest);
  if (!r) r = largest_bound(m, n, weights, count, &bound);
  double reach = ceil(CNS_MECHANISM_TAIL * cns_mechanism_sum_sigma(m, n, count));
  /* sqrt(8)*bound < 2^30: a bucket of a sketch can't wrap. */
  if (r || bound >> 31 || 8 * (u128)bound * bound >= (u128)1 << 60 || !(reach < 0x1p31)) return CNS_ERR_RANGE;
  range.honest = sum + (uint64_t)reach;
  range.second = cns_quantize_second(range.honest, m->colluders, bound);
  if (range.second >> 31) return CNS_ERR_RANGE;
  *ret_range = range;
  return 0;
}

/* All but whether the noise is in enough steps. CNS_ERR_RANGE: could wrap. */
static int numbers_of(const struct cns_mechanism *m, struct cns_mechanism_numbers *ret_numbers) {
  struct cns_mechanism_numbers n = {0};
  struct extras e;
  uint64_t sum, largest;
  int r = extras_of(m, &e);
  n.indicator = e.indicator;
  n.metric = e.metric;
  if (!r) r = thetas(m, &e, m->weights, m->count, &sum, &largest);
  if (!r) r = sensitivity(m, largest, &n);
  if (r) return r;
  noise(m, &n);
  r = cns_mechanism_range(m, &n, m->weights, m->count, &n.range);
  if (!r) *ret_numbers = n;
  return r;
}

int cns_mechanism_compute(const struct cns_mechanism *m, struct cns_mechanism_numbers *ret_numbers,
                          struct cns_problem *problem) {
  struct cns_mechanism_numbers n;
  int r = check(m, problem);
  if (r) return r;
  if (numbers_of(m, &n))
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "scale 2^%d is too fine: a sum of %zu updates%s with clip norm %g could wrap in 32 "
        "bits",
        m->scale_log2, m->count, m->placement == CNS_NOISE_NONE ? "" : " and their noise", m->clip);
  double least = m->placement == CNS_NOISE_DISTRIBUTED ? n.sigma_local : n.sigma;
  if (m->placement != CNS_NOISE_NONE && least < CNS_MECHANISM_SIGMA_MIN)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "the noise has a standard deviation of %.3g steps of the 32-bit grid, but needs %g: "
        "a smaller cohort, smaller weights or more noise are needed",
        least, CNS_MECHANISM_SIGMA_MIN);
  if (m->indicator_share > 0 && n.indicator == 0)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "the indicator of the adaptive clip norm has less than a step of the grid: a larger "
        "share for it, a smaller cohort or smaller weights are needed");
  if (m->metrics_share > 0 && n.metric < CNS_MECHANISM_METRIC_MIN)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "a patient's loss has %llu steps of the grid, and %d are needed: a larger share for metrics, a "
        "smaller cohort or smaller weights",
        (unsigned long long)n.metric, CNS_MECHANISM_METRIC_MIN);
  *ret_numbers = n;
  return 0;
}

/* Everything grows with the scale, so the scales that don't wrap are a lower range. */
int cns_mechanism_choose_scale(const struct cns_mechanism *mechanism, int8_t *ret_scale_log2,
                               struct cns_problem *problem) {
  struct cns_mechanism m = *mechanism;
  struct cns_mechanism_numbers numbers;
  int low = INT8_MIN, high = INT8_MAX;
  int r = check(&m, problem);
  if (r) return r;
  while (low < high) {
    m.scale_log2 = low + (high - low + 1) / 2;
    if (numbers_of(&m, &numbers) == 0)
      low = m.scale_log2;
    else
      high = m.scale_log2 - 1;
  }
  m.scale_log2 = low;
  r = cns_mechanism_compute(&m, &numbers, problem);
  if (r == 0) *ret_scale_log2 = (int8_t)low;
  return r;
}

double cns_mechanism_divisor(const struct cns_mechanism *m, const uint32_t *weights, size_t count) {
  double sum = 0;
  for (size_t k = 0; k < count; k++)
    sum += weights[k]; /* exact: at most 1000 * 2^20 */
  return m->unit == CNS_UNIT_PATIENT ? m->sampling_rate * sum : sum;
}

double cns_mechanism_extra_delta(const struct cns_mechanism *m) {
  if (m->placement == CNS_NOISE_NONE) return 0;
  size_t samplers = m->placement == CNS_NOISE_DISTRIBUTED ? m->count : 1;
  return ldexp((double)m->dim * (double)samplers, SAMPLE_DISTANCE_LOG2 + DELTA_PER_DISTANCE_LOG2);
}
