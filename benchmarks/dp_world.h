/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's federation without processes, masks and ledgers: what a round computes, by
 * the functions that compute it. For benchmarks/dp_study.c and membership_study.c.
 * Failures end the program. */
#pragma once

#include "cli/demo.h"

#define DP_WORLD_HOSPITALS 5
/* As the demo's policy has it: one hospital may be missing, and one may collude. */
#define DP_WORLD_COLLUDERS 1

void dp_world_check(int result, const struct cns_problem *problem);
void *dp_world_need(void *pointer);

/* The shipped table dealt out with this seed; epsilon 0: the study as it is, without noise. */
void dp_world_open(uint64_t seed, double epsilon, struct cns_demo_parts *ret_parts);

/* ret_params: of the model after all rounds, plan.dim of them. seed: of samples, roundings
 * and noise. Each hospital adds its share of the noise (dp/mechanism.h). */
void dp_world_federated(const struct cns_demo_parts *parts, uint64_t seed, float *ret_params);
/* DP-SGD over these tables (model/central.h). */
void dp_world_central(const struct cns_demo_parts *parts, const struct cns_table *const *tables, size_t count,
                      double noise_factor, uint64_t seed, float *ret_params);
/* FedAvg without noise, `times` as many rounds as the study's. */
void dp_world_fedavg(const struct cns_demo_parts *parts, uint32_t times, float *ret_params);

double dp_world_auc(const struct cns_demo_parts *parts, const float *params);
