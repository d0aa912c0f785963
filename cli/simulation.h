/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole federation in one process: the machines that hospitals and the
 * coordinator run, driven round by round without network and disk. Everything
 * random comes from the seed, so the same options give the same round.
 *
 * Vectors aren't kept: a hospital's update is drawn, clipped, rounded, masked
 * and added to the running sums, and then the next one takes its place.
 * Memory is therefore a few vectors, whatever the number of hospitals.
 */
#pragma once

#include "protocol/coordinator.h"

#define CNS_SIMULATION_HOSPITALS_MIN 4
#define CNS_SIMULATION_ROUNDS_MAX 1000
#define CNS_SIMULATION_CLIP_NORM 1.0
/* Weights that are drawn: numbers of patients in steps of 5. */
#define CNS_SIMULATION_WEIGHT_MIN 50
#define CNS_SIMULATION_WEIGHT_MAX 200

/* Fills the update of the hospital at position k (0..hospitals-1); it is
 * clipped afterwards. Called from several threads at once. */
typedef int cns_simulation_update_fn(void *context, size_t k, float *update, size_t dim);

struct cns_simulation_options {
  size_t hospitals; /* 4..CNS_HOSPITALS_MAX */
  uint64_t dim;     /* 1..CNS_DIM_MAX */
  uint64_t seed;
  size_t threshold;                 /* 0: the policy's own rule; else see cns_simulation_colluders */
  size_t drops[CNS_PHASE_COUNT];    /* hospitals that are silent from this phase on */
  double clip_norm;                 /* 0: CNS_SIMULATION_CLIP_NORM */
  const uint32_t *weights;          /* one a hospital; NULL: drawn from the seed */
  cns_simulation_update_fn *update; /* NULL: drawn from the seed, some above the clip norm */
  void *context;
};

/* How the last round went. Lists are by position, 0..hospitals-1; the roster
 * index is one more. */
struct cns_simulation_result {
  uint64_t round; /* of the study; a round without a result is tried again */
  uint32_t attempt;
  bool completed;
  bool exact;       /* all coordinates of the sum equal the plain 64-bit sum */
  char reason[256]; /* why the round ended without a result; "" if it completed */
  uint16_t threshold, colluders;
  int scale_log2;
  size_t included_count;
  bool *included;
  enum cns_phase *missing;          /* the first phase without an answer; CNS_PHASE_COUNT: none */
  double phase_ms[CNS_PHASE_COUNT]; /* wall clock; CNS_PHASE_RESULT: from the terms to the model's mean */
  double client_mask_ms_median;     /* mask generator over one vector */
  double server_unmask_ms;          /* from the last answer of phase unmask to the sum */
  double bytes_up_per_hospital, bytes_down_per_hospital;
  uint64_t model_bytes;         /* what a hospital downloads besides: the model, 4 bytes a parameter */
  double max_error;             /* largest |mean of the sum - mean of the clipped float updates| */
  uint64_t clipped_coordinates; /* of the sum, beyond the honest range */
};

struct cns_simulation;

/* c for a cohort of n and this threshold: the policy's default if t is its
 * threshold or smaller (such a descriptor is then refused by the hospitals),
 * otherwise the largest c >= 1 with n >= 3c+1 and t = floor((n+c)/2)+1.
 * CNS_ERR_RANGE, with the values that are possible in the sentence. */
CNS_MUST_CHECK int cns_simulation_colluders(size_t hospitals, size_t threshold, uint16_t *ret_colluders,
                                            struct cns_problem *problem);
/* CNS_ERR_RANGE with a sentence for options outside their limits. */
CNS_MUST_CHECK int cns_simulation_check(const struct cns_simulation_options *options,
                                        struct cns_problem *problem);
/* Upper estimate of the memory for these options, in bytes. */
uint64_t cns_simulation_memory_bytes(const struct cns_simulation_options *options);

/* Checks the options, then makes identities, roster and policy. weights is
 * copied. */
CNS_MUST_CHECK int cns_simulation_new(const struct cns_simulation_options *options,
                                      struct cns_simulation **ret_simulation, struct cns_problem *problem);
struct cns_simulation *cns_simulation_free(struct cns_simulation *simulation);
/*
 * The next round from the announcement to the mean. 0 also for a round that
 * ended cleanly without a result; CNS_ERR_REFUSED when a hospital refuses the
 * announcement; other errors are faults of this program or of the machine.
 * *ret_result is the simulation's, good until the next call.
 */
CNS_MUST_CHECK int cns_simulation_round(struct cns_simulation *simulation,
                                        const struct cns_simulation_result **ret_result,
                                        struct cns_problem *problem);
