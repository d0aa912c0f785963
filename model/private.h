/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One step of DP-SGD with the patient as the unit (Abadi et al. 2016, arXiv
 * 1607.00133, over the union of the hospitals' patients): each patient takes
 * part with probability q, the gradient of the patient's loss (the *mean*
 * cross-entropy over the patient's rows, so that a patient with many rows has
 * no more weight than others) is clipped to L2 norm C, and the sum over those
 * who take part leaves, rounded (dp/grid.h), noised and masked by others.
 * Nothing here divides by how many took part: that number is a secret. Thread-safe.
 *
 * Sensitivity is proved in floating point, constants included: docs/sensitivity.md.
 */
#pragma once

#include <stdatomic.h>

#include "crypto/rng.h"
#include "model/plan.h"
#include "model/table.h"

#define CNS_PRIVATE_PATIENTS_MAX CNS_TABLE_ROWS_MAX
/* Rows of one patient: their activations of all layers are in memory at once. */
#define CNS_PRIVATE_ROWS_MAX 65536u

/*
 * Who takes part: each patient independently with probability
 * floor(rate * 2^64) / 2^64, which is at most `rate` and for 1 exactly 1;
 * ret_in[patients]. Who and how many (ret_count) are secrets of the hospital.
 * What is done doesn't depend on the outcome. CNS_ERR_ARGUMENT unless
 * 0 <= rate <= 1, CNS_ERR_RANDOM; on failure nobody is in and the count is 0.
 */
CNS_MUST_CHECK int cns_private_sample(struct cns_rng rng, double rate, size_t patients, bool *ret_in,
                                      size_t *ret_count);

/*
 * Private, each of them: a function of patients' data and of who was sampled,
 * without noise. They must not leave the hospital, nor be logged or shown,
 * unless that is charged to the privacy budget. What is in a refusal's sentence
 * is public.
 */
struct cns_private_stats {
  size_t sampled;  /* patients with rows who took part */
  size_t rows;     /* theirs */
  size_t clipped;  /* patients whose factor is below 1 */
  size_t combined; /* patients whose rows were added up before all else */
};

/*
 * ret_sum[plan->dim] = sum over the patients p with in[p] of V_p, where V_p is
 * g_p * min(1, clip/|g_p|), g_p the gradient of p's mean loss at params, laid
 * out as the parameters are. In floating point the following holds exactly:
 *
 *  1. V_p is a function of plan, params, clip and the rows of p, in their
 *     order: not a bit of it depends on other patients or on p's place.
 *  2. |V_p| <= clip.
 *  3. |ret_sum - sum of the V_p| <= (patients who took part) * clip * 2^-40.
 *
 * clip is CNS_CLIP_MIN..CNS_CLIP_MAX. cancel may be NULL; looked at after each
 * few hundred rows. ret_stats may be NULL. On failure ret_sum holds zeros.
 * CNS_ERR_ARGUMENT: the table doesn't fit the plan, has a row without a label,
 * or clip is out of range. CNS_ERR_LIMIT: more rows or patients than the limits
 * above. CNS_ERR_RANGE: a parameter isn't finite; or a sampled patient's
 * gradient isn't (refused and never clipped to something: NaN compares false
 * with every bound). That a step was refused tells something about the
 * patients, and so does how long it took: neither is covered by the noise.
 */
CNS_MUST_CHECK int cns_private_gradient(const struct cns_plan *plan, const float *params,
                                        const struct cns_table *table, const bool *in, double clip,
                                        const atomic_bool *cancel, double *ret_sum,
                                        struct cns_private_stats *ret_stats, struct cns_problem *problem);

/*
 * The sums of the sampled patients' metrics at params, each patient's a whole number within
 * +-unit and a function of the rows of that patient alone (dp/noised_metrics.h). Private as the stats are.
 * A row is right if its class has the largest logit, the first one among equals.
 */
struct cns_private_metrics {
  double loss_max;     /* the caller's */
  uint64_t unit;       /* the caller's; below 2^32 */
  int64_t loss, right; /* zeros on failure */
};

/* cns_private_gradient, and the metrics of the same patients; metrics may be NULL. */
CNS_MUST_CHECK int cns_private_gradient_metrics(const struct cns_plan *plan, const float *params,
                                                const struct cns_table *table, const bool *in, double clip,
                                                const atomic_bool *cancel, double *ret_sum,
                                                struct cns_private_stats *ret_stats,
                                                struct cns_private_metrics *metrics,
                                                struct cns_problem *problem);

/*
 * How far ret_sum can move in L2 when one patient is added to or removed from
 * the table, `in` being the same for all others: clip*(1 + 2^-30) + 2 * patients
 * * clip * 2^-40, rounded up. (Replacing a patient: twice that.) patients is a
 * *public* bound on the patients of any hospital's table, not the number in this
 * one; with CNS_PRIVATE_PATIENTS_MAX the second term is under clip * 2^-17.
 * NaN for a clip out of range or more than CNS_PRIVATE_PATIENTS_MAX patients.
 */
double cns_private_sensitivity(double clip, size_t patients);
