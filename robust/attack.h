/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poisoned updates for research and tests: what f colluding hospitals send that
 * know everybody's update (the strongest position that the papers assume). On
 * numbers only; attacks on the protocol are elsewhere.
 *
 *   name               what each attacker sends                         parameter
 *   sign-flip          -scale * its own update                          scale 1
 *   mean-flip          -scale * honest mean                             scale 1
 *   ipm                -epsilon * honest mean (Xie et al. 2020,
 *                      section 4)                                       epsilon 0.5
 *   alie               honest mean - z * honest standard deviation by
 *                      coordinate (Baruch et al. 2019, section 3)       z: z_max(n, f)
 *   min-max            mean - gamma * deviation, gamma the largest that
 *                      keeps within the largest honest distance
 *                      (Shejwalkar, Houmansadr 2021, section 4)         scale 1, times gamma
 *   min-sum            the same with sums of squared distances          scale 1, times gamma
 *   mimic              a copy of one honest update (Karimireddy et al.
 *                      2022, section 3)                                 victim: the one farthest
 *                                                                       along the main direction
 *   gaussian           noise of the length of its own update            scale 1
 *   label-flip         scale * its update, trained on flipped labels    scale 1
 *   model-replacement  scale * its update, trained on flipped labels
 *                      (Bagdasaryan et al. 2020, section 4.2)           scale: total over the
 *                                                                       attackers' weight
 *
 * Each takes jitter: every attacker adds Gaussian noise of that length,
 * relative to what it sends.
 */
#pragma once

#include "crypto/base.h"
#include "crypto/rng.h"

enum cns_attack_kind {
  CNS_ATTACK_SIGN_FLIP = 0,
  CNS_ATTACK_MEAN_FLIP,
  CNS_ATTACK_IPM,
  CNS_ATTACK_ALIE,
  CNS_ATTACK_MIN_MAX,
  CNS_ATTACK_MIN_SUM,
  CNS_ATTACK_MIMIC,
  CNS_ATTACK_GAUSSIAN,
  CNS_ATTACK_LABEL_FLIP,
  CNS_ATTACK_MODEL_REPLACEMENT,
  CNS_ATTACK_KIND_COUNT
};

struct cns_attack {
  enum cns_attack_kind kind;
  size_t count;      /* hospitals that take part, >= 1 */
  bool has_strength; /* else the table's default */
  double strength;   /* scale, epsilon, z or victim (index among the honest ones, from 0) */
  double jitter;     /* 0..10 */
};

#define CNS_ATTACK_SPEC_MAX 200 /* bytes of a spec */
#define CNS_ATTACK_STRENGTH_MAX 1e6

const char *cns_attack_name(enum cns_attack_kind kind);      /* never NULL */
const char *cns_attack_parameter(enum cns_attack_kind kind); /* "scale", "epsilon", "z", "victim" */
/* Must the caller train this attack's hospitals on flipped labels first? */
bool cns_attack_flips_labels(enum cns_attack_kind kind);

/* Is the text before the first ':' (or all of it) one of the names above? */
bool cns_attack_is_name(const char *spec);
/* NAME:COUNT[:param=value]..., for example "alie:4:z=1.5:jitter=0.1".
 * CNS_ERR_FORMAT or CNS_ERR_RANGE with a sentence that says what is possible. */
CNS_MUST_CHECK int cns_attack_parse(const char *spec, struct cns_attack *ret_attack,
                                    struct cns_problem *problem);

/*
 * updates: n x dim, row by row; the rows of attackers (attack->count distinct
 * indices) are replaced, their own updates being what is there. weights: n,
 * public, NULL for equal. The same rng gives the same bytes. CNS_ERR_ARGUMENT
 * for indices or counts that don't fit, no honest row (two for alie, min-max,
 * min-sum) or a victim that isn't there; CNS_ERR_RANGE for updates that are not finite.
 */
CNS_MUST_CHECK int cns_attack_apply(const struct cns_attack *attack, float *updates, size_t n, size_t dim,
                                    const double *weights, const size_t *attackers, struct cns_rng rng,
                                    struct cns_problem *problem);
/* The z_max of ALIE: Phi^-1((n-f-s)/(n-f)), s = floor(n/2+1)-f; never below 0. */
double cns_attack_alie_z(size_t n, size_t attackers);
