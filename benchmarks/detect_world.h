/* SPDX-License-Identifier: Apache-2.0 */
/* A federation without cryptography but with the real numbers: training, grid,
 * attack, sketch, detection. For benchmarks/detect_study.c and its test. */
#pragma once

#include "model/plan.h"
#include "model/table.h"
#include "robust/attack.h"
#include "robust/detect.h"

#define DETECT_WORLD_HOSPITALS_MAX 100

struct detect_world_options {
  uint64_t seed; /* of split, attackers, shuffles, roundings, sketches */
  size_t hospitals;
  uint32_t rounds;
  uint32_t sketch;
  double alpha;      /* of the Dirichlet split; 1e9 is iid */
  double size_ratio; /* largest hospital to smallest */
  double clip;
  bool history; /* EWMA and CUSUM too */
  struct cns_detect_options detect;
  const struct cns_attack *attack; /* NULL: nobody attacks */
  bool keep_labels;                /* attackers train on true labels, whatever the attack wants */
};

struct detect_world_counts {
  /* One observation is one hospital in one round. */
  size_t attackers, attackers_flagged;
  size_t honest, honest_flagged;
  size_t attackers_ever, attackers_ever_flagged; /* one observation is one attacker */
  size_t by[2][CNS_DETECT_STATISTIC_COUNT];      /* [0] honest, [1] attackers: flagged by it */
  size_t first_honest, first_honest_flagged;     /* the first round alone */
  size_t rounds;
  double honest_norm[3]; /* smallest, mean, largest before clipping; sums over runs */
};

/* Adds one run to the counts. A run ends early when a poisoned model can't be
 * trained any more (the rounds until then count). */
CNS_MUST_CHECK int detect_world_run(const struct cns_plan *plan, const struct cns_table *table,
                                    const struct detect_world_options *options,
                                    struct detect_world_counts *counts, struct cns_problem *problem);
