/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A round in the privacy ledger's terms: what it costs each observer, and which
 * limits the policy sets. The same on both sides, from the descriptor alone.
 *
 * Readers of the models see the sum with its noise: the descriptor's noise
 * multiplier and sampling rate, whoever drops out. (Where more hospitals are in a
 * sum than the least that may be opened, more noise arrives than is charged. It
 * isn't credited: who drops out may depend on what earlier rounds gave, and the
 * accountant needs parameters that are fixed beforehand.)
 *
 * The coordinator sees the same, and in an audited round A*x of each single vector
 * too, behind that hospital's share of the noise alone, which is worth
 *   sqrt(sigma_local^2 - 3) / sensitivity.
 * Sum and sketches together are a function of that vector and of others that the
 * unit isn't in, so this one multiplier covers both. With central noise it sees the
 * sum itself: no multiplier, epsilon is infinite.
 */
#pragma once

#include "model/plan.h"
#include "protocol/descriptor.h"
#include "store/ledger.h"

/* costs[CNS_LEDGER_OBSERVERS] of one round. Errors of cns_descriptor_numbers;
 * CNS_ERR_ARGUMENT for a round without noise, which has no place in a ledger. */
CNS_MUST_CHECK int cns_charge_costs(const struct cns_descriptor *descriptor,
                                    struct cns_budget_cost *ret_costs);
/* A round as it is reserved. data_set: NULL at the coordinator. */
CNS_MUST_CHECK int cns_charge_round(const struct cns_descriptor *descriptor, const char *study_name,
                                    const struct cns_digest *data_set, struct cns_ledger_round *ret_round);

/* What the studies on one data set may cost readers together; epsilon 0: what the
 * policy says of the study. */
struct cns_charge_data_limit {
  double epsilon, delta;
};
/* The policy's limits for its study and, at a hospital, that of the data set
 * (NULL at the coordinator). ret_limits: room for CNS_LEDGER_LIMITS_MAX. */
size_t cns_charge_limits(const struct cns_policy *policy, const struct cns_charge_data_limit *data_set,
                         struct cns_ledger_limit *ret_limits);

/* What a round of a study will cost, before there is a descriptor; never less than it
 * does, if the smallest sum that it allows is the policy's. In unit hospital an audited
 * round's multiplier towards the coordinator may be a fortieth less than it will be. */
CNS_MUST_CHECK int cns_charge_expected(const struct cns_policy *policy, double noise_multiplier,
                                       double sampling_rate, uint64_t dim, struct cns_budget_cost *ret_costs);
/* The round is over: cancels it if it is reserved and no more, so that it costs nothing. */
CNS_MUST_CHECK int cns_charge_cancel(struct cns_ledger *ledger, const struct cns_digest *round, int64_t now,
                                     struct cns_problem *problem);
/* t abandons were verified: refunds what was charged, if it was; not towards the
 * coordinator where an audit may have been answered: what it saw stays seen. */
CNS_MUST_CHECK int cns_charge_refund(struct cns_ledger *ledger, const struct cns_descriptor *descriptor,
                                     const struct cns_digest *round, int64_t now,
                                     struct cns_problem *problem);
/* Cancels what is still reserved for rounds of the study, but `running` (NULL: none):
 * after a restart nothing of them can have left. */
CNS_MUST_CHECK int cns_charge_cancel_stale(struct cns_ledger *ledger, const struct cns_digest *study,
                                           const struct cns_digest *running, int64_t now,
                                           struct cns_problem *problem);

/* Where a study stands towards one of the limits. */
struct cns_charge_standing {
  double spent; /* epsilon at the limit's delta; may be infinite */
  double limit; /* 0: none */
  double delta;
  double alert;         /* the largest alert share reached; 0: none */
  uint64_t rounds_left; /* more like `next`, at the most `max`; under all limits of this observer and scope */
  size_t rounds;        /* that count */
};
/*
 * Is one more round of the plan, as cns_charge_expected has its cost, beyond one of the
 * limits, this month or a later one? Then *ret_spent is true and ret_sentence says which:
 * "the privacy budget of the study is spent: epsilon 2.95 of 3 at delta 1e-05, and one more
 * round isn't within it".
 */
CNS_MUST_CHECK int cns_charge_is_spent(struct cns_ledger *ledger, const struct cns_digest *study,
                                       const struct cns_ledger_limit *limits, size_t limit_count,
                                       const struct cns_policy *policy, const struct cns_plan *plan,
                                       int64_t now, bool *ret_spent, struct cns_problem *ret_sentence,
                                       struct cns_problem *problem);
/* next NULL: rounds_left is 0. */
CNS_MUST_CHECK int cns_charge_standing(struct cns_ledger *ledger, const struct cns_digest *study,
                                       const struct cns_ledger_limit *limit, const struct cns_policy *policy,
                                       const struct cns_budget_cost *next, uint64_t max, int64_t now,
                                       struct cns_charge_standing *ret_standing, struct cns_problem *problem);
/* Has another alert share been reached since the one that was said last (*said, 0 at
 * first)? Then ret_sentence says it. */
bool cns_charge_alert(const struct cns_charge_standing *standing, double *said,
                      struct cns_problem *ret_sentence);
