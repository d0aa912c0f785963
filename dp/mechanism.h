/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mechanism of one round in numbers that everybody knows: from clip norm,
 * cohort, privacy unit and noise to sensitivity, standard deviation and ranges on
 * the integer grid, so that a hospital computes them itself and demands equality.
 * Derivations: docs/noise.md, "What is charged".
 *
 * Unit hospital: hospital m's vector is its weight times its clipped update,
 * rounded under the bound theta_m of dp/quantize.h; what it may change the sum by
 * is theta_m, and the sensitivity is the cohort's largest.
 *
 * Unit patient: hospital m's vector is the sum of its sampled patients' clipped
 * gradients (model/private.h), at most the public radius
 *   R_m = clip * (q*N_m + 6*sqrt(q*N_m) + 10)
 * long (longer ones are projected onto that ball, which can't increase the
 * sensitivity), rounded by dp/grid.h. The weights are the declared numbers of
 * patients N_m.
 *
 * With an adaptive clip norm (dp/adaptive_clip.h; unit patient only) one whole number
 * follows the gradients' d: the sum over the sampled patients of +a for a gradient
 * within the clip norm and -a for a longer one, a = floor(S_g * sqrt(w/(1-w))) steps, S_g
 * the gradients' sensitivity and w the indicator's share. Both are one vector under one
 * noise, of sensitivity ceil(sqrt(S_g^2 + a^2)): docs/sensitivity.md, "The indicator".
 *
 * With noised metrics (dp/noised_metrics.h; unit patient only) two whole numbers follow, the sums
 * of the sampled patients' loss and of their right answers, each within +-h of a patient:
 * with S the sensitivity without them and v their share, b = floor(S * sqrt(v/(1-v))) and
 * h = floor(b/sqrt(2)), and the sensitivity is ceil(sqrt(S_g^2 + a^2 + 2*h^2)): the same document,
 * "Metrics". The indicator and these are the extra numbers of a vector: bounded by whole
 * numbers for each patient, and cut off at as many patients as the public radius is made for.
 *
 * Noise: discrete Gaussian of total standard deviation sigma, so that sigma is
 * never below sqrt((z*sensitivity)^2 + 3): what is lost by being discrete is
 * covered, and the noise multiplier that is charged is z itself. Distributed, each
 * hospital adds sigma_local = sigma/sqrt(shares); with as many shares in the sum that
 * nobody but their owner knows (the smallest sum that may be opened, less the
 * colluders), the sum has sigma at least.
 */
#pragma once

#include "dp/quantize.h"

enum cns_noise_placement { CNS_NOISE_NONE = 0, CNS_NOISE_CENTRAL = 1, CNS_NOISE_DISTRIBUTED = 2 };
enum cns_privacy_unit { CNS_UNIT_HOSPITAL = 0, CNS_UNIT_PATIENT = 1 };

/* Least standard deviation of anybody's noise, in steps. */
#define CNS_MECHANISM_SIGMA_MIN 8.0
/* A coordinate of the noise is beyond so many standard deviations with probability below 2^-180. */
#define CNS_MECHANISM_TAIL 16.0
/* Up to this total epsilon cns_mechanism_extra_delta covers what it is for: 1 + e^22 < 2^32. */
#define CNS_MECHANISM_EPSILON 22
/* What rounding errors of the clipped sum may add to the sensitivity, relative
 * (model/private.h proves less). */
#define CNS_MECHANISM_SLACK 0x1p-16
/* Least h: a patient's loss is rounded by a 64th of the largest one at most, an answer by as much. */
#define CNS_MECHANISM_METRIC_MIN 16

struct cns_mechanism {
  enum cns_privacy_unit unit;
  enum cns_noise_placement placement;
  double noise_multiplier; /* z; 0 without noise */
  double sampling_rate;    /* q; 1 in unit hospital, 0 without noise */
  double clip;
  double indicator_share; /* w, of an adaptive clip norm; 0: the clip norm is fixed */
  double metrics_share;   /* v, of noised metrics; 0: there are none */
  uint64_t dim;           /* numbers with noise: the gradients', and the extra ones */
  int scale_log2;
  uint16_t colluders;
  uint16_t minimum_included; /* > colluders */
  size_t count;              /* cohort */
  const uint32_t *weights;   /* count of them, public */
};

struct cns_mechanism_numbers {
  uint64_t sensitivity; /* steps, of the integer sum to one unit, extra numbers included */
  uint64_t indicator;   /* a: steps of one patient's indicator; 0 with a fixed clip norm */
  uint64_t metric;      /* h: steps of one patient's loss, or right answer; 0 without noised metrics */
  double sigma;         /* steps; of the released sum, at least; 0 without noise */
  double sigma_local;   /* steps; of each hospital's own share; 0 unless distributed */
  struct cns_quantize_range range;
};

/* Largest L2 norm of hospital m's vector before rounding, in the model's units. */
CNS_MUST_CHECK int cns_mechanism_radius(const struct cns_mechanism *mechanism, uint32_t weight,
                                        double *ret_radius);
/* The same of the integer vector without its noise, in steps. */
CNS_MUST_CHECK int cns_mechanism_theta(const struct cns_mechanism *mechanism, uint32_t weight,
                                       uint64_t *ret_theta);
/* How many extra numbers: one with an indicator, two with metrics. They follow the gradients', in
 * the order indicator, loss, right answers. */
size_t cns_mechanism_extras(const struct cns_mechanism *mechanism);
#define CNS_MECHANISM_EXTRAS_MAX 3
/* How many patients' extra numbers hospital m may send, in unit patient: R_m over the clip
 * norm. More are cut off at a, or h, times that, which moves no two sums apart. */
uint64_t cns_mechanism_patients(const struct cns_mechanism *mechanism, uint32_t weight);
/* And with its noise share: B of docs/protocol.md, "Detection", exceeded with probability below 2^-72. */
CNS_MUST_CHECK int cns_mechanism_bound(const struct cns_mechanism *mechanism, uint32_t weight,
                                       double sigma_local, uint64_t *ret_bound);
/* Ranges of a sum of some of the cohort, with these weights: the mechanism and its
 * numbers are the whole cohort's, since that is whose noise is in the sum, however
 * little those who are left can change. CNS_ERR_ARGUMENT for none of them;
 * CNS_ERR_RANGE: could wrap. */
CNS_MUST_CHECK int cns_mechanism_range(const struct cns_mechanism *mechanism,
                                       const struct cns_mechanism_numbers *numbers, const uint32_t *weights,
                                       size_t count, struct cns_quantize_range *ret_range);
/* CNS_ERR_RANGE with a sentence: parameters out of range, a sum that could wrap,
 * or noise of less than CNS_MECHANISM_SIGMA_MIN steps. */
CNS_MUST_CHECK int cns_mechanism_compute(const struct cns_mechanism *mechanism,
                                         struct cns_mechanism_numbers *ret_numbers,
                                         struct cns_problem *problem);
/* The finest step that passes; mechanism->scale_log2 is not looked at. */
CNS_MUST_CHECK int cns_mechanism_choose_scale(const struct cns_mechanism *mechanism, int8_t *ret_scale_log2,
                                              struct cns_problem *problem);
/* Standard deviation of the noise in a sum of so many, if all of them are honest, in steps. */
double cns_mechanism_sum_sigma(const struct cns_mechanism *mechanism,
                               const struct cns_mechanism_numbers *numbers, size_t count);
/* What a mean is divided by, given the weights in the sum: their sum, in unit
 * patient times the sampling rate, the public expected batch. */
double cns_mechanism_divisor(const struct cns_mechanism *mechanism, const uint32_t *weights, size_t count);
/* Added to delta for each round. Noise that is drawn within a statistical distance D
 * of what is accounted turns (epsilon, delta) into (epsilon, delta + (1 + e^epsilon) D),
 * epsilon the total that is asked about; over rounds the D add up. This is D of all
 * coordinates and samplers times 2^32. */
double cns_mechanism_extra_delta(const struct cns_mechanism *mechanism);
