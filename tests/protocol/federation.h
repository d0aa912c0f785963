/* SPDX-License-Identifier: Apache-2.0 */
/* A whole consortium in one process for tests of the machines: keys, roster and
 * policy from a seed, and a driver that plays one round phase by phase. */
#pragma once

#include "protocol/claim.h"
#include "protocol/coordinator.h"
#include "protocol/hospital.h"

#define FEDERATION_MAX 64

struct federation {
  uint64_t seed;
  size_t n;
  struct cns_roster roster;
  struct cns_policy policy;
  struct cns_identity *authority, *officer, *coordinator_identity;
  struct cns_identity *identities[FEDERATION_MAX];
  struct cns_rng_seeded rngs[FEDERATION_MAX];
  struct cns_digest study, plan, parent;
  uint64_t dim;
  uint32_t metrics_dim;
  double clip_norm;
  struct cns_descriptor descriptor;
  struct cns_coordinator *coordinator;
  struct cns_hospital *hospitals[FEDERATION_MAX];
  uint32_t *x[FEDERATION_MAX]; /* words each: the plain inputs */
  uint32_t *y[FEDERATION_MAX]; /* what was uploaded; NULL if not */
  struct cns_digest root[FEDERATION_MAX];
  /* Member k answers only phases before silent_from[k]. */
  enum cns_phase silent_from[FEDERATION_MAX];
  /* With an audit. */
  uint8_t nonce[CNS_SKETCH_NONCE_BYTES];
  bool unaudited;                    /* the descriptor's level is none all the same */
  uint8_t decisions[FEDERATION_MAX]; /* cns_outcome, given when the coordinator asks */
  /* Changes the sketches that member k is about to sign, in the order of
   * cns_hospital_audit: a liar's machine is told that all is well. */
  void (*lies[FEDERATION_MAX])(struct federation *f, size_t k, uint32_t *masks);
  size_t lie_partner[FEDERATION_MAX];            /* about the pair with whom */
  uint32_t of_y[FEDERATION_MAX][CNS_SKETCH_MAX]; /* A*y, once k was audited */
};

/* Hospitals get the roster indices 1..n. Fails the test on any error. */
void federation_init(struct federation *f, size_t n, uint64_t dim, uint64_t seed);
/* The same with a policy of level open: dim 4096, sketches of 128 numbers, no
 * budget to speak of, one exclusion a colluder. */
#define FEDERATION_DIM 4096
#define FEDERATION_SKETCH 128
void federation_init_audited(struct federation *f, size_t n, uint64_t seed);
/* Is member k silent in this phase? */
bool federation_is_silent(const struct federation *f, size_t k, enum cns_phase phase);
/* Gives the coordinator A*y of every upload that it wants one of. */
void federation_sketch(struct federation *f);
/* Closes the present phase, and decides if that is due. */
int federation_close(struct federation *f, struct cns_problem *problem);
/* A*v of the first dim words, A the present round's. */
void federation_sketch_of(const struct federation *f, const uint32_t *vector, uint32_t *ret_sketch);
void federation_deinit(struct federation *f);

/* What hospital k expects of descriptors. */
struct cns_hospital_config federation_hospital_config(struct federation *f, size_t k);
/* Begins round and attempt at the coordinator and, by the announcement, at every
 * hospital. */
void federation_begin(struct federation *f, uint64_t round, uint32_t attempt);
/* Random inputs. */
void federation_draw_inputs(struct federation *f);
/* One hospital's answer in the present phase (upload included); returns the
 * machine's result, 0 with bytes that belong to the machine. */
int federation_answer(struct federation *f, size_t k, const uint8_t **ret_answer, size_t *ret_len,
                      struct cns_problem *problem);
/* The answer to this request, upload included. */
int federation_handle(struct federation *f, size_t k, const uint8_t *request, size_t len,
                      const uint8_t **ret_answer, size_t *ret_len, struct cns_problem *problem);
/* All who aren't silent answer the present phase; all must be accepted. */
void federation_play_phase(struct federation *f);
/* play_phase and close until the round ends. */
void federation_play(struct federation *f);
/* Unmasks the sum over the included; true if it equals the plain sum. */
bool federation_sum_is_exact(struct federation *f);
