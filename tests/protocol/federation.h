/* SPDX-License-Identifier: Apache-2.0 */
/* A whole consortium in one process for tests of the machines: keys, roster and
 * policy from a seed, and a driver that plays one round phase by phase. */
#pragma once

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
};

/* Hospitals get the roster indices 1..n. Fails the test on any error. */
void federation_init(struct federation *f, size_t n, uint64_t dim, uint64_t seed);
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
