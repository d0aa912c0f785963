/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "dp/accountant.h"
#include "dp/rdp.h"

int cns_dp_distributed_tau(uint32_t parties, double sigma_local, double *ret_tau,
                           struct cns_problem *problem) {
  int r = cns_dp_check_number(parties, 1, 1e6, "number of parties", problem);
  if (r == 0) r = cns_dp_check_number(sigma_local, 0.5, 1e15, "local deviation in steps", problem);
  if (r < 0) return r;
  double sum = 0;
  for (uint32_t k = 1; k < parties; k++)
    sum += exp(-2 * M_PI * M_PI * sigma_local * sigma_local * k / (k + 1.0));
  *ret_tau = 10 * sum;
  return 0;
}

static int check_sum(const struct cns_dp_distributed *sum, struct cns_problem *problem) {
  int r = cns_dp_check_number(sum->dim, 1, 1e15, "number of coordinates", problem);
  if (r == 0) r = cns_dp_check_number(sum->l2, 1e-300, 1e150, "L2 sensitivity in steps", problem);
  /* Of integers: l2 <= l1 <= sqrt(dim) * l2. */
  if (r == 0)
    r = cns_dp_check_number(sum->l1, sum->l2, sqrt(sum->dim) * sum->l2 * (1 + 1e-9),
                            "L1 sensitivity in steps", problem);
  return r;
}

/* A sum with its tau, which takes long for many parties. */
struct known {
  const struct cns_dp_distributed *sum;
  double tau, rounds;
};

/* Theorem 1: the least of three bounds. */
static int rdp_of_sum(const void *context, double order, double *ret_rdp) {
  const struct known *known = context;
  const struct cns_dp_distributed *sum = known->sum;
  double deviation = sqrt((double)sum->parties) * sum->sigma_local, tau = known->tau, dim = sum->dim;
  double l1 = sum->l1 / deviation, l2 = sum->l2 / deviation;
  double first = order / 2 * l2 * l2 + tau * dim;
  double second = order / 2 * (l2 * l2 + 2 * l1 * tau + tau * tau * dim);
  double third = order / 2 * pow(l2 + sqrt(dim) * tau, 2);
  *ret_rdp = known->rounds * fmin(first, fmin(second, third));
  return 0;
}

static int know(const struct cns_dp_distributed *sum, double rounds, struct known *ret_known,
                struct cns_problem *problem) {
  struct known known = {.sum = sum, .rounds = rounds};
  int r = cns_dp_distributed_tau(sum->parties, sum->sigma_local, &known.tau, problem);
  if (r == 0) r = check_sum(sum, problem);
  if (r < 0) return r;
  *ret_known = known;
  return 0;
}

int cns_dp_distributed_rdp(const struct cns_dp_distributed *sum, double order, double *ret_rdp,
                           struct cns_problem *problem) {
  struct known known;
  int r = cns_dp_check_number(order, CNS_DP_ORDER_MIN, CNS_DP_ORDER_MAX, "order", problem);
  if (r == 0) r = know(sum, 1, &known, problem);
  return r < 0 ? r : rdp_of_sum(&known, order, ret_rdp);
}

int cns_dp_distributed_epsilon(const struct cns_dp_distributed *sum, uint64_t rounds, double delta,
                               double *ret_epsilon, struct cns_problem *problem) {
  struct known known;
  int r = cns_dp_check_delta(delta, problem);
  if (r == 0) r = cns_dp_check_number((double)rounds, 1, CNS_DP_ROUNDS_MAX, "number of rounds", problem);
  if (r == 0) r = know(sum, (double)rounds, &known, problem);
  if (r < 0) return r;
  struct cns_rdp_curve curve = {rdp_of_sum, &known};
  r = cns_rdp_best(&curve, false, log(delta), ret_epsilon, NULL);
  return r < 0 ? cns_dp_fail(r, problem) : 0;
}

int cns_dp_distributed_norm(double norm, double dim, double beta, double *ret_norm,
                            struct cns_problem *problem) {
  int r = cns_dp_check_number(norm, 0, 1e150, "norm in steps", problem);
  if (r == 0) r = cns_dp_check_number(dim, 1, 1e15, "number of coordinates", problem);
  if (r == 0) r = cns_dp_check_number(beta, 1e-300, 1 - 1e-9, "failure probability", problem);
  if (r < 0) return r;
  double always = norm + sqrt(dim);
  double likely = sqrt(norm * norm + dim / 4 + sqrt(-2 * log(beta)) * (norm + sqrt(dim) / 2));
  *ret_norm = fmin(always, likely);
  return 0;
}
