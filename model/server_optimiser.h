/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the coordinator makes of a round's mean update D, coordinate by coordinate,
 * x being the model, s the server's learning rate:
 *
 *   FedAvg      x += s D                                   McMahan et al. 2017 with s = 1
 *   FedAvgM     m = b1 m + D;  x += s m                    Hsu, Qi, Brown 2019, arXiv 1909.06335, section 4.3
 *   FedAdam     v = b2 v + (1 - b2) D^2
 *   FedYogi     v = v - (1 - b2) D^2 sign(v - D^2)
 *   FedAdagrad  v = v + D^2
 *     these:    m = b1 m + (1 - b1) D;  x += s m / (sqrt(v) + tau)
 *                                                          Reddi et al. 2021, arXiv 2003.00295, Algorithm 2
 *
 * m begins at 0 and v at tau^2, the least that Algorithm 2 allows. There is no bias
 * correction, as there is none in Algorithm 2. docs/optimisers.md.
 */
#pragma once

#include "crypto/base.h"

enum cns_server_optimiser_kind {
  CNS_SERVER_FEDAVG = 0,
  CNS_SERVER_FEDAVGM = 1,
  CNS_SERVER_FEDADAM = 2,
  CNS_SERVER_FEDYOGI = 3,
  CNS_SERVER_FEDADAGRAD = 4,
};

/* Numbers that a kind doesn't have are 0. */
struct cns_server_optimiser {
  enum cns_server_optimiser_kind kind;
  double learning_rate; /* s > 0 */
  double beta1;         /* b1, 0 <= b1 < 1; FedAvgM's momentum */
  double beta2;         /* b2, 0 <= b2 < 1 */
  double tau;           /* > 0 */
};

#define CNS_SERVER_OPTIMISER_ARRAYS_MAX 2

/* "FedAdam" */
const char *cns_server_optimiser_name(const struct cns_server_optimiser *optimiser);
/* Numbers that are remembered for each parameter: 0 (FedAvg), 1 (m), 2 (m and v). */
size_t cns_server_optimiser_arrays(const struct cns_server_optimiser *optimiser);

/* Before the first round. An array that the kind doesn't have may be NULL, also below. */
void cns_server_optimiser_begin(const struct cns_server_optimiser *optimiser, size_t count, float *ret_m,
                                float *ret_v);

/* One coordinate in double: what is added to it. m and v are moved on. */
double cns_server_optimiser_move(const struct cns_server_optimiser *optimiser, double mean_update, double *m,
                                 double *v);

/*
 * `count` parameters from any place on: each computed in double, and new parameter, m
 * and v rounded to float once, so that the same state and update give the same bits
 * whatever the blocks are. ret_params may be parent itself. CNS_ERR_RANGE, naming the
 * first parameter (counted from `parent`) that stops being finite; what was written
 * until then is void.
 */
CNS_MUST_CHECK int cns_server_optimiser_step(const struct cns_server_optimiser *optimiser,
                                             const float *parent, const float *mean_update, size_t count,
                                             float *m, float *v, float *ret_params,
                                             struct cns_problem *problem);
