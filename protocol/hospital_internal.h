/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the hospital machine, shared by its files only. */
#pragma once

#include "protocol/hospital.h"

/* In sodium_malloc'd (locked, guarded) memory. */
struct cns_hospital_secrets {
  struct cns_scalar s, e, b;
  struct cns_hospital_pair {
    struct cns_share_pair share; /* of this dealer */
    struct cns_point pair;       /* e*E, for sealing and opening; zeros before phase shares */
  } with[];                      /* by position */
};

struct cns_hospital_answer {
  uint8_t *bytes;
  size_t len;
  struct cns_digest message; /* m_i */
};

struct cns_hospital {
  struct cns_hospital_config config;
  struct cns_floor floor;
  struct cns_round round;
  uint16_t index;
  uint16_t own; /* position in the cohort */
  struct cns_hospital_secrets *secrets;
  struct cns_keys *keys; /* by position */
  uint8_t *share_good;   /* by position: shares of this dealer were opened and match */
  struct cns_complaint *complaints;
  size_t complaint_count;
  struct cns_mask_term *terms; /* sodium_malloc'd */
  size_t term_count;
  struct cns_agreement agreement; /* once phase agree is closed */
  bool has_upload;
  struct cns_digest upload_root;
  bool abandoned;
  struct cns_hospital_answer answers[CNS_PHASE_COUNT];
  enum cns_phase answered;
};

const struct cns_identity_public *cns_hospital_identity_of(const struct cns_hospital *hospital,
                                                           size_t position);

/* hospital_close.c: takes in one closing; skips one that is known and equal. */
CNS_MUST_CHECK int cns_hospital_apply_closing(struct cns_hospital *hospital, const uint8_t *closing,
                                              size_t len, struct cns_problem *problem);
/* hospital_answer.c: seals an answer (message, then private leaves) into the
 * table; the previous phases must be closed. */
CNS_MUST_CHECK int cns_hospital_answer_keys(struct cns_hospital *hospital, struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_shares(struct cns_hospital *hospital, struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_ready(struct cns_hospital *hospital, struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_upload(struct cns_hospital *hospital, struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_agree(struct cns_hospital *hospital, const uint8_t *body, size_t len,
                                             struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_unmask(struct cns_hospital *hospital, struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_make_masks(struct cns_hospital *hospital);
