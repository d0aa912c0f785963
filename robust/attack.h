/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poisoned updates for research and tests: what f colluding hospitals send that
 * know everybody's update (the strongest position that the papers assume). On
 * numbers only; attacks on the protocol are elsewhere.
 *
 * Means and standard deviations are the honest rows', each row alike.
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
 *   infinity           +infinity in each coordinate                     none
 *   nan                NaN in each coordinate                           none
 *   backdoor           mean + gamma * (scale * target - mean): the
 *                      update that puts the poisoned model in place
 *                      (Bagdasaryan et al. 2020, section 4.2), gamma
 *                      <= 1 the largest that keeps within the largest
 *                      honest distance (the projection of Wang et al.
 *                      2020, section 4.2, with the ball of min-max)     scale: total over the
 *                                                                       attackers' weight
 *   alie-optimised     as alie, and
 *   ipm-optimised      as ipm, with the factor that harms a given rule
 *                      most (robust/optimise.h)                         limit 100, of the factor
 *
 * Each but infinity and nan takes jitter: every attacker adds Gaussian noise of that length,
 * relative to what it sends.
 */
#pragma once

#include "crypto/base.h"
#include "crypto/rng.h"
#include "robust/chain.h"

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
  CNS_ATTACK_INFINITY,
  CNS_ATTACK_NAN,
  CNS_ATTACK_BACKDOOR,
  CNS_ATTACK_ALIE_OPTIMISED,
  CNS_ATTACK_IPM_OPTIMISED,
  CNS_ATTACK_KIND_COUNT
};

/* What an attack works with besides the honest updates. */
enum cns_attack_need {
  CNS_ATTACK_NEEDS_NOTHING = 0,
  CNS_ATTACK_NEEDS_OWN,     /* the attackers' own updates */
  CNS_ATTACK_NEEDS_FLIPPED, /* the same, trained on flipped labels */
  CNS_ATTACK_NEEDS_TARGET,  /* the update that a poisoned model needs */
  CNS_ATTACK_NEEDS_RULE     /* the rule that is attacked */
};

struct cns_attack {
  enum cns_attack_kind kind;
  size_t count;      /* hospitals that take part, >= 1 */
  bool has_strength; /* else the table's default */
  double strength;   /* scale, epsilon, z, limit or victim (index among the honest ones, from 0) */
  double jitter;     /* 0..10 */
};

#define CNS_ATTACK_SPEC_MAX 200 /* bytes of a spec */
#define CNS_ATTACK_STRENGTH_MAX 1e6

struct cns_attack_about {
  const char *name;
  const char *parameter; /* "scale", "epsilon", "z", "victim", "limit"; "" if there is none */
  enum cns_attack_need need;
  bool finite;                             /* can what it sends be put on the integers of a masked sum? */
  const char *formula, *source, *standard; /* in plain text; the parameter's default */
};
const struct cns_attack_about *cns_attack_about(enum cns_attack_kind kind); /* NULL if there is none */

const char *cns_attack_name(enum cns_attack_kind kind);      /* never NULL */
const char *cns_attack_parameter(enum cns_attack_kind kind); /* "scale", "epsilon", "z", ... */
/* Must the caller train this attack's hospitals on flipped labels first? */
bool cns_attack_flips_labels(enum cns_attack_kind kind);
/* CNS_ERR_NOT_FOUND with a sentence that names the nearest one. */
CNS_MUST_CHECK int cns_attack_find(const char *name, enum cns_attack_kind *ret_kind,
                                   struct cns_problem *problem);
/* 0, or CNS_ERR_UNSUPPORTED with a sentence: an attack that needs a rule or a
 * target, or that sends what is no number, has no place in a masked sum. */
CNS_MUST_CHECK int cns_attack_check_masked(enum cns_attack_kind kind, struct cns_problem *problem);

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
 * min-sum, backdoor) or a victim that isn't there, and for attacks that need a
 * target or a rule; CNS_ERR_RANGE for updates that are not finite.
 */
CNS_MUST_CHECK int cns_attack_apply(const struct cns_attack *attack, float *updates, size_t n, size_t dim,
                                    const double *weights, const size_t *attackers, struct cns_rng rng,
                                    struct cns_problem *problem);

/* What some attacks need besides. Zeroed: nothing. */
struct cns_attack_extra {
  const void *target;                   /* backdoor: dim elements of the matrix's type */
  const struct cns_robust_chain *chain; /* alie-optimised, ipm-optimised: with a rule */
};

struct cns_attack_outcome {
  double
      strength; /* the factor used: scale, epsilon, z, gamma, or the victim's index; NAN if there is none */
  double harm;  /* alie-optimised, ipm-optimised: ||rule(matrix) - honest mean||; else NAN */
};

/*
 * The same for a matrix of float or double, and for every attack. extra: NULL
 * for nothing; CNS_ERR_ARGUMENT if what the attack needs is missing or not
 * finite. An attacker's row that isn't finite in the matrix's type is
 * CNS_ERR_RANGE, but for infinity and nan. What was in the attackers' rows must
 * be finite only if they need it. ret_outcome: NULL if not wanted.
 */
CNS_MUST_CHECK int cns_attack_apply_matrix(const struct cns_attack *attack,
                                           const struct cns_attack_extra *extra, enum cns_robust_type type,
                                           void *matrix, size_t n, size_t dim, const double *weights,
                                           const size_t *attackers, struct cns_rng rng,
                                           struct cns_attack_outcome *ret_outcome,
                                           struct cns_problem *problem);
/* The z_max of ALIE: Phi^-1((n-f-s)/(n-f)), s = floor(n/2+1)-f; never below 0. */
double cns_attack_alie_z(size_t n, size_t attackers);
