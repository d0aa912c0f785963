/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in models: logistic regression (one layer) and multi-layer
 * perceptrons, softmax cross-entropy, trained by mini-batch SGD with momentum
 * (v <- momentum*v + gradient; w <- w - learning_rate*v; v starts at zero each
 * round). Matrix products by OpenBLAS, single-threaded: these functions run on
 * worker threads, and give the same bits twice on one machine. Thread-safe.
 *
 * All vectors of parameters have cns_plan_dim(plan) floats, laid out as
 * model/plan.h says.
 */
#pragma once

#include <stdatomic.h>

#include "crypto/rng.h"
#include "model/plan.h"
#include "model/table.h"

/* Uniform He initialisation, +-sqrt(6/inputs), before a ReLU; Glorot,
 * +-sqrt(6/(inputs+outputs)), otherwise; biases zero; logistic regression all
 * zero. ChaCha20 from the seed and exactly rounded arithmetic only, so it is
 * the same on all machines. */
CNS_MUST_CHECK int cns_network_init(const struct cns_plan *plan, uint64_t seed, float *ret_params);

/* Which shuffle: all four numbers enter the seed. */
struct cns_network_seed {
  uint64_t study; /* plan->seed */
  uint64_t round;
  uint32_t attempt;
  uint32_t hospital; /* roster index */
};

/* The stream from which orders of rows are drawn, one shuffle after another of what the last left, an epoch
 * each. */
void cns_network_shuffles(const struct cns_network_seed *seed, struct cns_rng_seeded *ret_generator);

struct cns_network_stats {
  double first_loss; /* mean loss over the first epoch, */
  double last_loss;  /* and the last one */
  uint64_t steps;
};

/*
 * plan->local_epochs epochs from parent on the table's rows, with the plan's proximal term
 * mu/2 |w - parent|^2 beside the loss of every batch (FedProx: Li et al. 2020, arXiv
 * 1812.06127, equation 2; not in the stats' losses); ret_update gets
 * trained minus parent, *unclipped*. cancel may be NULL; when it becomes true
 * training stops with CNS_ERR_CANCELLED after the batch. CNS_ERR_RANGE if loss
 * or parameters stop being finite, CNS_ERR_ARGUMENT for a table that doesn't
 * fit the plan or is empty. ret_stats may be NULL. ret_update is zeroed on failure.
 */
CNS_MUST_CHECK int cns_network_train(const struct cns_plan *plan, const float *parent,
                                     const struct cns_table *table, const struct cns_network_seed *seed,
                                     const atomic_bool *cancel, float *ret_update,
                                     struct cns_network_stats *ret_stats, struct cns_problem *problem);

/* The same with correction[dim] added to every batch's gradient (SCAFFOLD's c - c_i: Karimireddy et
 * al. 2020, arXiv 1910.06378, equation 3); NULL: nothing. */
CNS_MUST_CHECK int cns_network_train_corrected(const struct cns_plan *plan, const float *parent,
                                               const float *correction, const struct cns_table *table,
                                               const struct cns_network_seed *seed, const atomic_bool *cancel,
                                               float *ret_update, struct cns_network_stats *ret_stats,
                                               struct cns_problem *problem);

/* Mean cross-entropy over the rows and its gradient (ret_gradient may be NULL). */
CNS_MUST_CHECK int cns_network_gradient(const struct cns_plan *plan, const float *params, const float *x,
                                        const uint16_t *label, size_t rows, double *ret_loss,
                                        float *ret_gradient);

/* Logits, rows x classes, row by row. */
CNS_MUST_CHECK int cns_network_logits(const struct cns_plan *plan, const float *params, const float *x,
                                      size_t rows, float *ret_logits);
