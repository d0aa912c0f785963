/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to one run of a cell. */
#pragma once

#include "cli/bench.h"
#include "crypto/rng.h"

struct cns_bench_world {
  const struct cns_bench_experiment *experiment;
  const struct cns_bench_cell *cell;
  uint64_t seed;
  struct cns_plan plan; /* what model/network.h reads of it */
  size_t n, dim;
  size_t attacking;         /* hospitals that attack */
  bool *malicious;          /* n */
  size_t *attackers;        /* attacking */
  struct cns_table *tables; /* n, and the server's own as the last (no rows without root_share) */
  struct cns_table test;
  double *weights;            /* n, patients */
  uint32_t *whole_weights;    /* the same */
  float *params;              /* dim */
  float *momentum;            /* (n+1) x dim, of the mini-batch gradients */
  float *updates;             /* (n+1) x dim; the last row is the server's own */
  float *own;                 /* n x dim, what the attackers would have sent honestly; NULL unless measured */
  float *chosen;              /* n x dim, the rows that are aggregated */
  float *aggregate, *without; /* dim */
  double *chosen_weights;     /* n */
  bool *excluded;             /* n, by the audit, in this round */
  struct cns_rng_seeded generator;
  struct cns_rng rng; /* of attacks, roundings and sketches */
  struct cns_bench_audit_state *audit;
  double honest_norm; /* mean of this round */
  double moved, mean_moved;
  uint32_t moved_rounds;
};

/* Data, model and attackers from the seed (cli/bench_setup.c). deinit in any case. */
CNS_MUST_CHECK int cns_bench_world_init(struct cns_bench_world *world, const struct cns_table *all,
                                        struct cns_problem *problem);
void cns_bench_world_deinit(struct cns_bench_world *world);

/* Everybody's honest update of one round to world->updates (cli/bench_train.c).
 * CNS_ERR_RANGE: the model can't be trained any more. */
CNS_MUST_CHECK int cns_bench_train(struct cns_bench_world *world, uint32_t round,
                                   struct cns_problem *problem);

/* Sketches, detection, and world->excluded (cli/bench_audit.c). */
CNS_MUST_CHECK int cns_bench_audit_init(struct cns_bench_world *world, struct cns_problem *problem);
void cns_bench_audit_deinit(struct cns_bench_world *world);
CNS_MUST_CHECK int cns_bench_audit_round(struct cns_bench_world *world, struct cns_bench_result *result,
                                         struct cns_problem *problem);
