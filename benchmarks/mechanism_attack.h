/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of its epsilon a mechanism really costs, from below: many games
 * (mechanism_game.h) with and without the patient, decided by the likelihood ratio. By
 * the definition of differential privacy
 *   share of right alarms <= e^epsilon * share of false alarms + delta,
 * and the same of the two kinds of all-clears (Kairouz, Oh, Viswanath 2015, arXiv
 * 1311.0776). So exact bounds of the two shares bound epsilon from below (Jagielski,
 * Ullman, Oprea 2020, arXiv 2006.07709; Nasr et al. 2021, arXiv 2101.04535). The threshold
 * is chosen on one half of the games, the shares are counted on the other: no bound
 * is made better than it is by the choice.
 */
#pragma once

#include "benchmarks/mechanism_game.h"

struct attack_options {
  struct game_options game;
  double delta;
  size_t games; /* of each kind, at least 4; half of them choose the threshold */
};

/* The second confidence is for verdicts. */
#define ATTACK_ALPHA 0.05
#define ATTACK_ALPHA_SURE 1e-6

struct attack_result {
  double claimed;      /* epsilon at delta by the accountant, its upper end, for what is claimed */
  double epsilon;      /* the true one is below it with probability at most ATTACK_ALPHA */
  double epsilon_sure; /* ATTACK_ALPHA_SURE */
  /* Right alarms less false alarms, with 95 % (normal approximation) and its lower end at
   * ATTACK_ALPHA_SURE; and the most that what is claimed allows: delta at epsilon 0. */
  double advantage, advantage_low, advantage_high, advantage_sure, advantage_claimed;
};

CNS_MUST_CHECK int attack_mechanism(const struct attack_options *options, struct attack_result *ret_result,
                                    struct cns_problem *problem);

/* From log ratios of `games` games of each kind: the lower bound of epsilon with this alpha. */
CNS_MUST_CHECK int attack_epsilon(const double *without, const double *with, size_t games, double delta,
                                  double alpha, double *ret_epsilon);
