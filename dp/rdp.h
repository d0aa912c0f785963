/* SPDX-License-Identifier: Apache-2.0 */
/* Renyi divergence of one round, and of many with the best order. */
#pragma once

#include "dp/dp.h"

/* One round; arguments checked by the caller. CNS_ERR_MEMORY, CNS_ERR_RANGE. */
CNS_MUST_CHECK int cns_rdp_round(const struct cns_dp_segment *round, enum cns_dp_relation relation,
                                 double order, double *ret_rdp);
/* log(E_Q[(P/Q)^order] - 0) by the two signed series of Mironov, Talwar, Zhang 2019, section
 * 3.3, add/remove, any order > 1. Loses digits where the result is far below 1. */
double cns_rdp_series(double sigma, double rate, double order);

/* Epsilon >= 0 of one order's divergence: r + log(1 - 1/a) - log(delta a)/(a - 1)
 * (Canonne, Kamath, Steinke 2020, Prop. 12). */
double cns_rdp_convert(double order, double rdp, double log_delta);
/* log delta <= 0, the same the other way round. */
double cns_rdp_convert_delta(double order, double rdp, double epsilon);

/* Divergence of everything at one order, whatever it is made of. */
struct cns_rdp_curve {
  int (*rdp)(const void *context, double order, double *ret_rdp);
  const void *context;
};
/* The least epsilon (or log delta) over the orders 1.1 .. 1024 and, by golden
 * section, around the best of them. ret_order may be NULL. */
CNS_MUST_CHECK int cns_rdp_best(const struct cns_rdp_curve *curve, bool wants_delta, double value,
                                double *ret_answer, double *ret_order);
/* The curve of segments. */
struct cns_rdp_rounds {
  const struct cns_dp_segment *segments;
  size_t count;
  enum cns_dp_relation relation;
};
CNS_MUST_CHECK int cns_rdp_of_rounds(const void *rounds, double order, double *ret_rdp);
