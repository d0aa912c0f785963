/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the simulation, shared by its files only. */
#pragma once

#include "cli/simulation.h"
#include "crypto/parallel.h"
#include "protocol/hospital.h"

/* One vector being made: as many slots as processors. */
struct cns_simulation_slot {
  size_t k; /* whose */
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
};

struct cns_simulation_hospital {
  struct cns_identity *identity;
  struct cns_rng_seeded rng;
  uint32_t weight;
  enum cns_phase silent_from; /* answers only the phases before */
  struct cns_hospital *machine;
  const uint8_t *answer; /* in the present phase; the machine's. NULL: none */
  size_t answer_len;
  bool wants_upload;
  bool uploaded;
  double mask_ms;
  uint64_t bytes_up, bytes_down;
  int result;
  struct cns_problem problem;
};

struct cns_simulation {
  struct cns_simulation_options options;
  struct cns_parallel parallel;
  size_t threads; /* vectors made at a time */
  struct cns_roster roster;
  struct cns_policy policy;
  struct cns_identity *authority, *officer, *coordinator_identity;
  struct cns_simulation_hospital *hospitals;
  struct cns_digest study, plan, parent;
  uint64_t last_round;
  uint32_t last_attempt;
  struct cns_descriptor descriptor; /* of the present round */
  struct cns_writer announcement;
  struct cns_coordinator *coordinator;
  struct cns_simulation_vectors vectors;
  struct cns_simulation_result result;
};

double cns_simulation_now_ms(void);

/* simulation_vectors.c */
CNS_MUST_CHECK int cns_simulation_vectors_new(struct cns_simulation *simulation);
void cns_simulation_vectors_free(struct cns_simulation *simulation);
/* Makes, masks and adds the vectors of all who are asked to upload, and gives
 * the coordinator their closing messages. */
CNS_MUST_CHECK int cns_simulation_upload(struct cns_simulation *simulation, struct cns_problem *problem);
/* Takes the masks off the sum. */
CNS_MUST_CHECK int cns_simulation_unmask(struct cns_simulation *simulation);
/* Compares the sum with the plain one and its mean with the mean of the floats. */
CNS_MUST_CHECK int cns_simulation_compare(struct cns_simulation *simulation, struct cns_problem *problem);
