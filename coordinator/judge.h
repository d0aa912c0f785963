/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the audit's sketches say of a round: detection on the z that the machine
 * holds, and whom the policy leaves out for it. A function of its arguments, so
 * it may run on any thread that has them for itself.
 */
#pragma once

#include "coordinator/watch.h"

struct cns_judgement {
  struct cns_watch watch;               /* after this round's detection */
  uint8_t decisions[CNS_HOSPITALS_MAX]; /* by position in the cohort, for cns_coordinator_decide */
  size_t judged;                        /* hospitals with a z */
  uint16_t position[CNS_HOSPITALS_MAX]; /* in the cohort, by row of the result */
  bool detected;                        /* false: too few z to compare, all zero below */
  struct cns_detect_result result;
  size_t spared;     /* flagged, and kept by a limit of the policy */
  double influence;  /* B/(n*C): cns_detect_influence */
  bool effective;    /* influence < 1 */
  double tightening; /* that this round's thresholds had */
  bool confirmed;    /* a flag of the norm bound: no honest update gives it but once in a million */
  char influence_text[CNS_DETECT_TEXT_BYTES];
};
struct cns_judgement *cns_judgement_free(struct cns_judgement *judgement); /* returns NULL */

/* The machine must be undecided. CNS_ERR_RANGE with a sentence for numbers that
 * detection can't take. */
CNS_MUST_CHECK int cns_judge_round(const struct cns_coordinator *machine, const struct cns_policy *policy,
                                   const struct cns_roster *roster, const struct cns_watch *watch,
                                   struct cns_judgement **ret_judgement, struct cns_problem *problem);
