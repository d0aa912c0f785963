/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the coordinator machine, shared by its files only. */
#pragma once

#include "protocol/coordinator.h"

struct cns_coordinator_message {
  uint8_t *bytes; /* message as it came, then leaves in phase shares; NULL: none */
  size_t len;
  struct cns_message view;  /* into bytes */
  struct cns_digest digest; /* m_i */
};

struct cns_coordinator_member {
  const struct cns_roster_hospital *hospital;
  struct cns_coordinator_message messages[CNS_PHASE_COUNT];
  struct cns_keys keys;
  struct cns_leaf *leaves; /* by position among those present in phase keys */
  struct cns_merkle_tree *tree;
  bool disqualified;
  struct cns_released *released; /* one a member of U2; sodium_malloc'd */
  uint8_t *released_good;
};

#define CNS_VERDICTS_MAX (2 * CNS_HOSPITALS_MAX)

struct cns_coordinator {
  struct cns_coordinator_config config;
  struct cns_round round;
  enum cns_phase phase;
  enum cns_end end;
  char end_reason[256];
  struct cns_coordinator_member *members;
  struct cns_signature heads[CNS_PHASE_COUNT];
  uint16_t *dealt; /* positions present in phase keys: order of the leaves */
  size_t dealt_count;
  struct cns_agreement agreement;
  uint8_t *agreement_bytes;
  size_t agreement_len;
  struct cns_released *expected; /* of every holder */
  uint16_t *expected_positions;
  size_t expected_count;
  struct cns_mask_term *terms; /* sodium_malloc'd */
  size_t term_count;
  struct cns_verdict *verdicts;
  size_t verdict_count;
};

/* coordinator_receive.c */
CNS_MUST_CHECK int cns_coordinator_take_keys(struct cns_coordinator *c, size_t k,
                                             const struct cns_message *message, struct cns_problem *problem);
/* Index among the leaves of member k, or -1. */
int cns_coordinator_leaf_position(const struct cns_coordinator *c, size_t k);
struct cns_dispute cns_coordinator_dispute(const struct cns_coordinator *c, size_t accused,
                                           size_t complainer);

/* The next complaint behind a message of phase ready, and its digest under the
 * message's root. */
CNS_MUST_CHECK int cns_coordinator_next_complaint(struct cns_reader *reader,
                                                  struct cns_complaint *ret_complaint,
                                                  struct cns_digest *ret_leaf);

/* coordinator_close.c */
CNS_MUST_CHECK int cns_coordinator_judge_dealers(struct cns_coordinator *c);
CNS_MUST_CHECK int cns_coordinator_judge_complaints(struct cns_coordinator *c);

/* coordinator_unmask.c */
CNS_MUST_CHECK int cns_coordinator_rebuild(struct cns_coordinator *c, struct cns_problem *problem);

/* coordinator_blame.c: adds a verdict with its evidence (once a hospital and
 * blame). */
CNS_MUST_CHECK int cns_coordinator_blame_message(struct cns_coordinator *c, size_t k, enum cns_blame blame,
                                                 const struct cns_message *message,
                                                 const struct cns_message *second);
CNS_MUST_CHECK int cns_coordinator_blame_dealer(struct cns_coordinator *c, size_t k, enum cns_blame blame);
CNS_MUST_CHECK int cns_coordinator_blame_points(struct cns_coordinator *c, size_t k,
                                                const struct cns_message *message,
                                                const struct cns_leaf *leaves, size_t count);
CNS_MUST_CHECK int cns_coordinator_blame_bad_share(struct cns_coordinator *c, size_t accused,
                                                   size_t complainer, const struct cns_complaint *complaint);
CNS_MUST_CHECK int cns_coordinator_blame_complainer(struct cns_coordinator *c, size_t complainer,
                                                    size_t accused, const struct cns_complaint *complaint,
                                                    const struct cns_merkle_path *path);
CNS_MUST_CHECK int cns_coordinator_blame_wrong_share(struct cns_coordinator *c, size_t holder, size_t dealer);
