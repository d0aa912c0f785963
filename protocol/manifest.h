/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The result of a round: a document of kind "manifest", role "coordinator",
 * that names the new model and how it came about. Hospitals verify it before
 * they train on that model.
 *
 * Fields: study (digest), plan, roster, policy (digests), round, attempt,
 * descriptor (digest of R), transcript (T_unmask, or T of the last forfeit), parent, model (digests),
 * sum (digest of the unmasked sum), hospitals: [{"hospital", "weight",
 * "outcome"}], clipped (coordinates beyond the honest range), metrics: null or
 * {"loss", "auc", "rows", "void"} of the *parent* model (of the new one where the policy's
 * metrics are public), privacy: {"unit",
 * "noise", "epsilon": null}, with noise also "noise_multiplier", "sampling_rate", "delta"
 * (epsilon of all rounds so far towards readers of the models), journal_head. With an
 * adaptive clip norm also clip: {"norm", "released", "unit", "next"}, from which anybody
 * computes the next round's norm again (dp/adaptive_clip.h). With noised metrics, metrics is
 * {"loss", "loss_error", "accuracy", "accuracy_error", "released": {"loss", "right", "unit",
 * "sigma"}} of the parent model on the patients that trained, from whose released whole numbers anybody
 * computes the first four again (dp/noised_metrics.h).
 */
#pragma once

#include "dp/adaptive_clip.h"
#include "dp/noised_metrics.h"
#include "protocol/round.h"

struct cns_manifest_metrics {
  bool known; /* false: off, or void */
  bool has_auc;
  double loss;
  double auc;
  uint64_t rows;
};

/* What the rounds so far have cost readers of the models, the charged one included. */
struct cns_manifest_privacy {
  enum cns_privacy_unit unit;
  enum cns_noise_placement placement;
  double noise_multiplier, sampling_rate; /* of this round; 0 without noise */
  double epsilon, delta;                  /* 0 without noise; epsilon may be infinite: null */
};

/* Of an adaptive clip norm; norm 0: it is fixed. */
struct cns_manifest_clip {
  double norm;      /* this round's */
  int64_t released; /* the indicators' sum, with its noise, in steps */
  uint64_t unit;    /* steps of one patient's indicator */
  double next;      /* the next round's norm */
};

/* Noised metrics; sums.unit 0: there are none. */
struct cns_manifest_noised {
  struct cns_noised_metrics_sums sums;
  struct cns_noised_metrics_estimate estimate;
};

struct cns_manifest {
  struct cns_digest study, plan, roster, policy;
  uint64_t round;
  uint32_t attempt;
  struct cns_digest descriptor, transcript, parent, model, sum, journal_head;
  uint16_t member_count;
  struct cns_member *members;
  uint8_t *outcomes; /* cns_outcome a member */
  uint64_t clipped;
  struct cns_manifest_metrics metrics; /* exact or public ones; not known with noised ones */
  struct cns_manifest_noised noised;
  struct cns_manifest_privacy privacy;
  struct cns_manifest_clip clip;
};
void cns_manifest_deinit(struct cns_manifest *manifest);
/* Members and outcomes (cns_coordinator_outcomes) from a finished round; digests
 * of the round. */
CNS_MUST_CHECK int cns_manifest_of_round(const struct cns_round *round, const struct cns_agreement *outcomes,
                                         struct cns_manifest *ret_manifest);
/* The released fraction of patients within the round's clip norm, if that is adaptive. */
double cns_manifest_fraction(const struct cns_manifest *manifest);
/* The estimate that follows from manifest->noised.sums. */
void cns_manifest_estimate(const struct cns_manifest *manifest, double loss_max,
                           struct cns_noised_metrics_estimate *ret_estimate);
/* Does it say that one, by the study's largest loss? CNS_ERR_REFUSED with a sentence, also
 * where there are noised metrics and the study has none or the other way round. */
CNS_MUST_CHECK int cns_manifest_check_noised(const struct cns_manifest *manifest,
                                             const struct cns_noised_metrics *noised,
                                             struct cns_problem *problem);
/* Does the next clip norm follow from what the manifest says, by the study's rule?
 * CNS_ERR_REFUSED with a sentence, also where a fixed one is said to be adaptive or the
 * other way round. */
CNS_MUST_CHECK int cns_manifest_check_clip(const struct cns_manifest *manifest,
                                           const struct cns_adaptive_clip *adaptive,
                                           struct cns_problem *problem);
/* How many updates are in the sum. */
size_t cns_manifest_included(const struct cns_manifest *manifest);
/* Signed document, serialised; malloc'd. */
CNS_MUST_CHECK int cns_manifest_make(const struct cns_manifest *manifest,
                                     const struct cns_identity *coordinator, uint8_t **ret_data,
                                     size_t *ret_len);
/* Verifies under the coordinator's key of the roster. roster NULL: no signature check, of
 * what was verified before. */
CNS_MUST_CHECK int cns_manifest_open(const uint8_t *data, size_t len, const char *where,
                                     const struct cns_roster *roster, struct cns_manifest *ret_manifest,
                                     struct cns_problem *problem);
