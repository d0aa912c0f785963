/* SPDX-License-Identifier: Apache-2.0 */
/* What a flag says to a physician: what was seen, against what, and what it can
 * mean. No accusation: none of the relative statistics proves bad will. */
#include <math.h>
#include <stdio.h>

#include "robust/cohort.h"

static void bound_text(const char *name, struct cns_detect_flag *flag) {
  snprintf(
      flag->text, sizeof flag->text,
      "%s: the update is %.3g times as long as clipping allows (limit %.3g). An honest update passes this "
      "limit with probability %.0e at most: the software there doesn't clip, or the update was enlarged.",
      name, flag->value, flag->threshold, flag->rate);
}

static void size_text(const char *name, struct cns_detect_flag *flag) {
  snprintf(
      flag->text, sizeof flag->text,
      "%s: the update, per unit of weight, is %.3g times as long as the cohort's middle one (limit here %.3g "
      "times). Other units, other data, or an enlarged update.",
      name, flag->value / flag->median, flag->threshold / flag->median);
}

static void direction_text(const char *name, struct cns_detect_flag *flag) {
  snprintf(flag->text, sizeof flag->text,
           "%s: the update points away from the cohort's common direction (agreement %.2f of 1; middle %.2f, "
           "limit "
           "here %.2f). Unusual patients, swapped labels, or an update turned round.",
           name, flag->value, flag->median, flag->threshold);
}

static void distance_text(const char *name, struct cns_detect_flag *flag) {
  snprintf(flag->text, sizeof flag->text,
           "%s: the update is %.3g times as far from its nearest neighbours as is usual in this cohort "
           "(limit here "
           "%.3g times). Unusual patients, or an altered update.",
           name, flag->value / flag->median, flag->threshold / flag->median);
}

static void central_text(const char *name, struct cns_detect_flag *flag) {
  snprintf(
      flag->text, sizeof flag->text,
      "%s: the update is nearer to the middle of all updates than patients' data bring it (%.3g of the usual "
      "distance, limit here %.3g). It may have been made from the other updates.",
      name, flag->value / flag->median, flag->threshold / flag->median);
}

static void twins_text(const struct cns_cohort *cohort, const char *name, struct cns_detect_flag *flag) {
  char other[72];
  cns_cohort_name(cohort, flag->twin, other);
  snprintf(flag->text, sizeof flag->text,
           "%s and %s: their updates differ by %.2g %% of their length (limit here %.2g %%, middle of the "
           "cohort %.2g "
           "%%). The same patients at both, one update sent twice, or one copied: the copied one is honest.",
           name, other, 100 * flag->value, 100 * flag->threshold, 100 * flag->median);
}

static void spectral_text(const char *name, struct cns_detect_flag *flag) {
  snprintf(
      flag->text, sizeof flag->text,
      "%s: along the direction in which this cohort's updates differ most, the update lies far out (%.2f; "
      "middle %.2f, limit here %.2f). Unusual patients, or several who pull one way.",
      name, flag->value, flag->median, flag->threshold);
}

static void rounds_text(const char *name, struct cns_detect_flag *flag) {
  snprintf(flag->text, sizeof flag->text,
           "%s: the updates were a little unusual over several rounds (%s %.2f, limit %.2f). Patients that "
           "differ from "
           "the others', or a slow manipulation.",
           name, cns_detect_statistic_name(flag->statistic), flag->value, flag->threshold);
}

void cns_detect_flag_text(const struct cns_cohort *cohort, struct cns_detect_flag *flag) {
  char name[72];
  cns_cohort_name(cohort, flag->row, name);
  switch (flag->statistic) {
  case CNS_DETECT_BOUND:
    bound_text(name, flag);
    break;
  case CNS_DETECT_SIZE:
    size_text(name, flag);
    break;
  case CNS_DETECT_DIRECTION:
    direction_text(name, flag);
    break;
  case CNS_DETECT_DISTANCE:
    distance_text(name, flag);
    break;
  case CNS_DETECT_CENTRAL:
    central_text(name, flag);
    break;
  case CNS_DETECT_TWINS:
    twins_text(cohort, name, flag);
    break;
  case CNS_DETECT_SPECTRAL:
    spectral_text(name, flag);
    break;
  case CNS_DETECT_EWMA:
  case CNS_DETECT_CUSUM:
  case CNS_DETECT_STATISTIC_COUNT:
    rounds_text(name, flag);
    break;
  }
}

void cns_detect_claim_text(size_t hospitals, char ret_text[static CNS_DETECT_TEXT_BYTES]) {
  ret_text[0] = 0;
  if (hospitals >= CNS_DETECT_COHORT_SMALL) return;
  snprintf(
      ret_text, CNS_DETECT_TEXT_BYTES,
      "With %zu hospitals the comparisons only find what stands out grossly; that nobody is flagged doesn't "
      "show that all are honest, and %zu who act together can make the honest ones look unusual. The norm "
      "bound holds for any number.",
      hospitals, (hospitals - 1) / 2);
}
