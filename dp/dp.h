/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privacy accountant: what (epsilon, delta) a series of rounds costs.
 * Installed as <consilium/dp.h>; link with `pkg-config --libs consilium-dp`.
 *
 * A round releases the sum of the included units' vectors, each clipped to norm
 * 1 (all that is computed here scales with the clip norm), plus Gaussian noise
 * whose standard deviation is the *noise multiplier*. Each unit takes part with
 * probability *sampling rate*, independently of the others and anew in each
 * round (Poisson sampling); nobody but the curator knows who did. One round is
 * one noisy sum, not an epoch: at rate q an epoch has 1/q of them.
 *
 * An answer is an interval. The upper end is never below the true value of the
 * mechanism described above, rounding errors of the computation included; the
 * lower end is never above it. How: docs/accounting.md.
 *
 * Errors of all functions: CNS_ERR_RANGE with a sentence in *problem (may be
 * NULL) for a number outside its limits, NaN and infinity included;
 * CNS_ERR_UNSUPPORTED for a question that the accountant does not answer;
 * CNS_ERR_MEMORY. No function keeps state or needs cns_init; all may be called
 * from several threads.
 */
#pragma once

#include "crypto/base.h"

/* Limits, both ends allowed unless said. */
#define CNS_DP_NOISE_MIN 0.01
#define CNS_DP_NOISE_MAX 1e6
#define CNS_DP_RATE_MIN 1e-9 /* largest 1 */
#define CNS_DP_ROUNDS_MAX 100000000
#define CNS_DP_DELTA_MIN 1e-100 /* smaller than 1, not 1 */
#define CNS_DP_EPSILON_MAX 1e7
#define CNS_DP_SEGMENTS_MAX 1000

enum cns_dp_accountant {
  CNS_DP_PLD, /* privacy loss distribution: tight, with and without sampling */
  CNS_DP_RDP, /* Renyi: an upper bound only, looser; the lower end is 0 */
  CNS_DP_GDP, /* exact; sampling rate 1 only */
};

/* Two data sets are neighbours if one has a unit more, or if one unit's data
 * are replaced by others. */
enum cns_dp_relation { CNS_DP_ADD_REMOVE, CNS_DP_REPLACE_ONE };

/* `rounds` rounds with the same parameters. */
struct cns_dp_segment {
  double noise_multiplier, sampling_rate;
  uint64_t rounds; /* 1..CNS_DP_ROUNDS_MAX, also summed over all segments */
};

struct cns_dp_options {
  enum cns_dp_accountant accountant;
  enum cns_dp_relation relation;
  /* The width of the interval, relative to its upper end, that PLD aims at (of
   * deltas below e^-10 the width of log delta, relative to a tenth of it);
   * 1e-5..0.1, 0 stands for 5e-4. The bounds hold whatever it is. */
  double tolerance;
};

struct cns_dp_interval {
  double lower, upper;
};

/* Name of an accountant ("pld"), and the accountant of a name: false if there is none. */
const char *cns_dp_accountant_name(enum cns_dp_accountant accountant);
bool cns_dp_accountant_find(const char *name, enum cns_dp_accountant *ret_accountant);

/* Epsilon of all segments together, in any order, at this delta. options NULL:
 * PLD, add/remove. An upper end of 0 means that delta alone covers all. */
CNS_MUST_CHECK int cns_dp_epsilon(const struct cns_dp_segment *segments, size_t count, double delta,
                                  const struct cns_dp_options *options, struct cns_dp_interval *ret_epsilon,
                                  struct cns_problem *problem);

/* The other direction: delta at this epsilon, 0..CNS_DP_EPSILON_MAX. Deltas below
 * about 1e-290 are bounded from above only. */
CNS_MUST_CHECK int cns_dp_delta(const struct cns_dp_segment *segments, size_t count, double epsilon,
                                const struct cns_dp_options *options, struct cns_dp_interval *ret_delta,
                                struct cns_problem *problem);

struct cns_dp_calibration {
  double noise_multiplier;        /* its epsilon's upper end is at most the target */
  struct cns_dp_interval epsilon; /* with that noise */
};

/*
 * The smallest noise multiplier, to 1e-4 of itself, at which `rounds` rounds
 * cost at most (epsilon, delta). CNS_ERR_RANGE if CNS_DP_NOISE_MAX doesn't
 * suffice; CNS_DP_NOISE_MIN is the least that is returned.
 */
CNS_MUST_CHECK int cns_dp_calibrate(double epsilon, double delta, double sampling_rate, uint64_t rounds,
                                    const struct cns_dp_options *options,
                                    struct cns_dp_calibration *ret_calibration, struct cns_problem *problem);

/* Renyi divergence of order `order` (1.01..1e5) of one round: >= 0. Integer and
 * fractional orders (Mironov, Talwar, Zhang 2019, arXiv 1908.10530). */
#define CNS_DP_ORDER_MIN 1.01
#define CNS_DP_ORDER_MAX 1e5
CNS_MUST_CHECK int cns_dp_rdp(double noise_multiplier, double sampling_rate, double order,
                              enum cns_dp_relation relation, double *ret_rdp, struct cns_problem *problem);
/* Epsilon from a Renyi divergence of one order, 0 at the least (Canonne, Kamath, Steinke 2020, Prop. 12). */
CNS_MUST_CHECK int cns_dp_rdp_epsilon(double order, double rdp, double delta, double *ret_epsilon,
                                      struct cns_problem *problem);

/*
 * A filter: for rounds whose noise or rate is chosen *after* earlier outputs were
 * seen. Composition theorems for parameters fixed beforehand don't apply then; a
 * budget of the Renyi divergence, fixed before the first round and never
 * exceeded, does (Feldman and Zrnic 2021; Whitehouse et al. 2023). Ask before
 * each round; a round that is refused must not be run.
 */
enum cns_dp_filter_kind {
  CNS_DP_FILTER_RDP,  /* one order, the one that suits the expected parameters */
  CNS_DP_FILTER_ZCDP, /* concentrated: rounds without sampling only */
};
/* A plain value: copy or store it as you like. Don't set fields by hand. */
struct cns_dp_filter {
  enum cns_dp_filter_kind kind;
  enum cns_dp_relation relation;
  double order;         /* CNS_DP_FILTER_RDP */
  double budget, spent; /* of the divergence of that order, or rho */
  double epsilon, delta;
};
/* expected: parameters that suit the order to them; the guarantee doesn't depend on it. */
CNS_MUST_CHECK int cns_dp_filter_init(enum cns_dp_filter_kind kind, double epsilon, double delta,
                                      enum cns_dp_relation relation, const struct cns_dp_segment *expected,
                                      struct cns_dp_filter *ret_filter, struct cns_problem *problem);
/* 0: the rounds are charged and may be run. CNS_DP_FILTER_FULL: nothing is
 * charged; they would exceed the budget. */
#define CNS_DP_FILTER_FULL 1
CNS_MUST_CHECK int cns_dp_filter_spend(struct cns_dp_filter *filter, const struct cns_dp_segment *rounds,
                                       struct cns_problem *problem);

/*
 * The distributed discrete Gaussian (Kairouz, Liu, Steinke 2021, arXiv
 * 2102.06387): each of `parties` adds discrete Gaussian noise of standard
 * deviation sigma_local to integers; sensitivities in the same integer units.
 */
struct cns_dp_distributed {
  uint32_t parties; /* whose noise is in the sum and unknown to the adversary, at least 1 */
  double dim;       /* coordinates, at least 1 */
  double sigma_local;
  double l1, l2; /* sensitivities of the rounded vector, l1 >= l2 > 0 */
};
/* tau: how far the sum of the discrete Gaussians is from one discrete Gaussian, a coordinate. */
CNS_MUST_CHECK int cns_dp_distributed_tau(uint32_t parties, double sigma_local, double *ret_tau,
                                          struct cns_problem *problem);
/* Renyi divergence of order `order` of one such sum (Theorem 1 there). */
CNS_MUST_CHECK int cns_dp_distributed_rdp(const struct cns_dp_distributed *sum, double order, double *ret_rdp,
                                          struct cns_problem *problem);
/* Epsilon of `rounds` such sums. */
CNS_MUST_CHECK int cns_dp_distributed_epsilon(const struct cns_dp_distributed *sum, uint64_t rounds,
                                              double delta, double *ret_epsilon, struct cns_problem *problem);
/* Largest L2 norm after conditional rounding of a vector of norm `norm` (in
 * steps) with `dim` coordinates, at failure probability beta (0..1 exclusive). */
CNS_MUST_CHECK int cns_dp_distributed_norm(double norm, double dim, double beta, double *ret_norm,
                                           struct cns_problem *problem);

/*
 * The noise multiplier that may be charged when each of `shares` parties adds an
 * equal share of noise, `missing` shares did not arrive and `colluders` know
 * their own: noise_multiplier * sqrt((shares - missing - colluders) / shares).
 * CNS_ERR_RANGE if no share is left.
 */
CNS_MUST_CHECK int cns_dp_noise_arrived(double noise_multiplier, uint32_t shares, uint32_t missing,
                                        uint32_t colluders, double *ret_noise_multiplier,
                                        struct cns_problem *problem);

/* Root of the expected squared L2 error of the mean update of `units` units,
 * each taking part with the sampling rate, of `dim` coordinates, by the noise
 * alone: noise_multiplier * clip * sqrt(dim) / (rate * units). */
CNS_MUST_CHECK int cns_dp_mean_error(double noise_multiplier, double sampling_rate, double units, double dim,
                                     double clip, double *ret_error, struct cns_problem *problem);
