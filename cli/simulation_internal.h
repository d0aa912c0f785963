/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the simulation, shared by its files only. */
#pragma once

#include "cli/simulation.h"
#include "coordinator/judge.h"
#include "crypto/parallel.h"
#include "protocol/claim.h"
#include "protocol/hospital.h"

#define CNS_SIMULATION_NOBODY SIZE_MAX

/* One vector being made: as many slots as processors. */
struct cns_simulation_slot {
  size_t p; /* whose, a position in the cohort */
  float *update;
  uint32_t *x; /* on the grid, later masked in place */
  double mask_ms;
  struct cns_digest root;
  int result;
  struct cns_problem problem;
};

struct cns_simulation_vectors {
  struct cns_simulation_slot *slots;
  uint32_t *sum;     /* of what was uploaded */
  int64_t *plain;    /* of the same hospitals' x, without masks and without wrapping */
  double *reference; /* of their weighted clipped updates */
  float *mean;       /* what came out, for training; else NULL */
  /* By position, dim each; NULL where nobody looks at them. */
  float *own;      /* clipped: what an honest machine sends */
  uint32_t *x, *y; /* with an audit */
  bool measured;   /* own holds what was measured: unclipped, of round 1 */
};

struct cns_simulation_training; /* simulation_training.c */

struct cns_simulation_hospital {
  struct cns_identity *identity;
  struct cns_rng_seeded rng;
  uint32_t weight;
  const struct cns_simulation_attack *attack; /* NULL: honest */
  size_t partner;                             /* with whom, or about whom, it lies; CNS_SIMULATION_NOBODY */
  size_t mate;                                /* of agreed pairs, in every round */
  float *poison;                              /* dim: what it sends instead of its own, if poisoned */
  bool poisoned;
  size_t position;      /* in the cohort; CNS_SIMULATION_NOBODY: kept out */
  uint64_t quarantined; /* since that round; 0: it isn't */
  uint64_t sketch_spent;
  enum cns_phase silent_from; /* answers only the phases before */
  enum cns_phase silent_in;   /* and not this one */
  struct cns_hospital *machine;
  const uint8_t *answer; /* in the present phase; the machine's or forged. NULL: none */
  size_t answer_len;
  struct cns_writer forged;
  bool wants_upload;
  bool uploaded;
  double mask_ms, audit_ms;
  uint32_t *of_x; /* A*x as it really is; NULL: not audited */
  uint64_t bytes_up, bytes_down, audit_bytes_up;
  int result;
  struct cns_problem problem;
};

struct cns_simulation {
  struct cns_simulation_options options; /* dim and clip norm are the real ones */
  struct cns_parallel parallel;
  size_t threads; /* vectors made at a time */
  struct cns_roster roster;
  struct cns_document roster_document;
  struct cns_policy policy;
  struct cns_identity *authority, *officer, *coordinator_identity;
  struct cns_simulation_hospital *hospitals;
  size_t *cohort; /* by position: which hospital */
  size_t members;
  struct cns_simulation_training *training; /* NULL: nothing is trained */
  struct cns_digest study, plan, parent;
  uint64_t last_round;
  uint32_t last_attempt;
  struct cns_descriptor descriptor; /* of the present round */
  uint8_t nonce[CNS_SKETCH_NONCE_BYTES];
  struct cns_writer announcement;
  struct cns_coordinator *coordinator;
  struct cns_simulation_vectors vectors;
  struct cns_watch *watch; /* with an audit */
  struct cns_simulation_result result;
};

double cns_simulation_now_ms(void);
static inline struct cns_simulation_hospital *cns_simulation_member(const struct cns_simulation *s,
                                                                    size_t p) {
  return &s->hospitals[s->cohort[p]];
}
/* Are all updates of a round held at once? */
bool cns_simulation_keeps(const struct cns_simulation_options *options);

/* simulation_training.c */

/* The model nearest to options.dim, the table dealt out, and the first round's
 * honest updates; the caller takes dim, weights and clip norm from it. */
CNS_MUST_CHECK int cns_simulation_training_new(const struct cns_simulation_options *options,
                                               struct cns_simulation_training **ret_training,
                                               struct cns_problem *problem);
struct cns_simulation_training *cns_simulation_training_free(struct cns_simulation_training *training);
uint64_t cns_simulation_training_dim(const struct cns_simulation_training *training);
size_t cns_simulation_training_hidden(const struct cns_simulation_training *training,
                                      size_t ret_widths[static 2]);
uint32_t cns_simulation_training_patients(const struct cns_simulation_training *training, size_t hospital);
/* From now on this hospital trains on swapped labels. */
void cns_simulation_training_flip(struct cns_simulation_training *training, size_t hospital);
/* One hospital's update from the present model, unclipped. Thread-safe. */
CNS_MUST_CHECK int cns_simulation_training_update(const struct cns_simulation_training *training,
                                                  size_t hospital, uint64_t round, uint32_t attempt,
                                                  float *ret_update, struct cns_problem *problem);
/* The model moves by the mean update. */
CNS_MUST_CHECK int cns_simulation_training_step(struct cns_simulation_training *training, const float *mean,
                                                struct cns_problem *problem);
CNS_MUST_CHECK int cns_simulation_training_score(const struct cns_simulation_training *training,
                                                 double *ret_loss, double *ret_auc,
                                                 struct cns_problem *problem);

/* simulation_updates.c */

/* All updates of the round, and what attackers make of theirs; nothing where
 * updates aren't kept. CNS_ERR_RANGE with a sentence: the model can't be trained
 * any more. */
CNS_MUST_CHECK int cns_simulation_updates_make(struct cns_simulation *s, struct cns_problem *problem);
/* The norm to clip to: the lower quartile of the norms of the honest updates of the
 * first round, or half of it where they are trained, since later ones are shorter. */
CNS_MUST_CHECK int cns_simulation_updates_measure(struct cns_simulation *s, double *ret_norm,
                                                  struct cns_problem *problem);
/* x of one member on the grid, from what is kept. */
CNS_MUST_CHECK int cns_simulation_updates_round(struct cns_simulation *s, size_t p, struct cns_rng rng,
                                                uint32_t *x, struct cns_problem *problem);
/* What the honest machine makes of its update. */
CNS_MUST_CHECK int cns_simulation_updates_honest(struct cns_simulation *s, size_t p, struct cns_rng rng,
                                                 uint32_t *x, struct cns_problem *problem);
/* Is x what its honest machine makes of the update? */
bool cns_simulation_sends_own(const struct cns_simulation_hospital *hospital);
/* A vector that respects nothing but the width of a number. */
void cns_simulation_round_freely(const float *update, size_t dim, double factor, uint32_t *x);

/* simulation_liars.c */

/* Who attacks: a seeded choice. */
CNS_MUST_CHECK int cns_simulation_liars_choose(struct cns_simulation *s);
/* With whom they lie in this round, and where they are silent. */
void cns_simulation_liars_begin(struct cns_simulation *s);
bool cns_simulation_lies_in_audit(const struct cns_simulation_hospital *hospital);
/* Changes the sketches that member p is about to sign, so that they hide what is
 * in y; of_x is then what is claimed. of_own: A of its honest update. */
CNS_MUST_CHECK int cns_simulation_liars_sketch(struct cns_simulation *s, size_t p,
                                               const struct cns_hospital_audit *audit, const uint32_t *of_y,
                                               uint32_t *masks, uint32_t *of_x);
/* Puts another answer in the place of the machine's. */
CNS_MUST_CHECK int cns_simulation_liars_answer(struct cns_simulation *s, size_t p, enum cns_phase phase);
/* What is sent besides it, once it is accepted. */
CNS_MUST_CHECK int cns_simulation_liars_answer_again(struct cns_simulation *s, size_t p, enum cns_phase phase,
                                                     struct cns_problem *problem);

/* simulation_audit.c */

/* Member p's answer of phase audit. Called from several threads at once. */
CNS_MUST_CHECK int cns_simulation_audit_answer(struct cns_simulation *s, size_t p);
/* A*y of every upload, to the coordinator. */
CNS_MUST_CHECK int cns_simulation_audit_sketch(struct cns_simulation *s, struct cns_problem *problem);
/* Detection over all z, and the decision that follows. */
CNS_MUST_CHECK int cns_simulation_audit_decide(struct cns_simulation *s, struct cns_problem *problem);
/* The cohort of the next round: all but those in quarantine, as far as the
 * policy's smallest cohort allows. */
void cns_simulation_audit_cohort(struct cns_simulation *s);
/* Verdicts with their evidence checked. */
CNS_MUST_CHECK int cns_simulation_audit_verdicts(struct cns_simulation *s, struct cns_problem *problem);

/* simulation_evidence.c */

/* Signed by the authority, like a real one. */
CNS_MUST_CHECK int cns_simulation_roster_make(struct cns_simulation *s, struct cns_problem *problem);
/* Writes roster and authority's key, if evidence is written. */
CNS_MUST_CHECK int cns_simulation_evidence_begin(const struct cns_simulation *s, struct cns_problem *problem);
/* And the evidence of a verdict of the present round. */
CNS_MUST_CHECK int cns_simulation_evidence_save(const struct cns_simulation *s,
                                                const struct cns_verdict *verdict,
                                                const struct cns_simulation_blame *blame,
                                                struct cns_problem *problem);

/* simulation_vectors.c */
/* An update from the seed, or by options.update; unclipped. */
CNS_MUST_CHECK int cns_simulation_draw(const struct cns_simulation *s, size_t hospital, uint64_t round,
                                       uint32_t attempt, float *ret_update);
CNS_MUST_CHECK int cns_simulation_vectors_new(struct cns_simulation *simulation);
void cns_simulation_vectors_free(struct cns_simulation *simulation);
/* Makes, masks and adds the vectors of all who are asked to upload, and gives
 * the coordinator their closing messages. */
CNS_MUST_CHECK int cns_simulation_upload(struct cns_simulation *simulation, struct cns_problem *problem);
/* With an audit, once it is known whose uploads are in the sum: adds them. */
void cns_simulation_add_included(struct cns_simulation *simulation);
/* Takes the masks off the sum. */
CNS_MUST_CHECK int cns_simulation_unmask(struct cns_simulation *simulation);
/* Compares the sum with the plain one and its mean with the mean of the floats.
 * CNS_ERR_RANGE: the sum is void. */
CNS_MUST_CHECK int cns_simulation_compare(struct cns_simulation *simulation, struct cns_problem *problem);
