/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the hospital machine, shared by its files only. */
#pragma once

#include "protocol/forfeit.h"
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

/* What goes to single recipients only, and the root that the message has of it. */
struct cns_private_part {
  struct cns_digest root;
  struct cns_writer bytes;
};

/* Phase audit and what hangs on it. */
struct cns_hospital_sketches {
  bool opened; /* the nonce is known, and A with it */
  uint8_t nonce[CNS_SKETCH_NONCE_BYTES];
  struct cns_mask_seed *seeds; /* sodium_malloc'd, like terms */
  uint16_t *partners;          /* positions; partners[0] is one's own */
  bool answered;
  uint32_t *masks;               /* term_count * k, in that order */
  uint32_t own[CNS_SKETCH_MAX];  /* A*x, which must be z */
  struct cns_digest *roots;      /* by position, of the messages in the list of phase audit */
  struct cns_forfeits *forfeits; /* answered so far; NULL: none */
};

struct cns_hospital {
  struct cns_hospital_config config;
  struct cns_floor floor;
  struct cns_round round;
  uint16_t index;
  uint16_t own; /* position in the cohort */
  struct cns_hospital_secrets *secrets;
  struct cns_keys *keys;      /* by position */
  struct cns_point *points_b; /* by position, from phase shares */
  uint8_t *share_good;        /* by position: shares of this dealer were opened and match */
  struct cns_complaint *complaints;
  size_t complaint_count;
  struct cns_mask_term *terms; /* sodium_malloc'd */
  size_t term_count;
  struct cns_agreement agreement; /* once phase agree is closed */
  bool has_upload;
  struct cns_digest upload_root;
  struct cns_hospital_sketches sketches;
  bool abandoned;
  struct cns_hospital_answer answers[CNS_PHASE_COUNT];
  enum cns_phase answered;
};

const struct cns_identity_public *cns_hospital_identity_of(const struct cns_hospital *hospital,
                                                           size_t position);

/* hospital_close.c: takes in one closing; skips one that is known and equal. */
CNS_MUST_CHECK int cns_hospital_apply_closing(struct cns_hospital *hospital, const uint8_t *closing,
                                              size_t len, struct cns_problem *problem);
/* hospital_answer.c: signs an answer and keeps it in the table; the private part,
 * if any, follows the message. transcript NULL: that of the previous phase. */
CNS_MUST_CHECK int cns_hospital_seal(struct cns_hospital *hospital, enum cns_phase phase,
                                     const struct cns_digest *transcript, const uint8_t *body,
                                     size_t body_len, const struct cns_private_part *part);
/* The previous phases must be closed. */
CNS_MUST_CHECK int cns_hospital_answer_keys(struct cns_hospital *hospital, struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_shares(struct cns_hospital *hospital, struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_ready(struct cns_hospital *hospital, struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_upload(struct cns_hospital *hospital, struct cns_problem *problem);
/* tail: what stands in the request behind the lists. */
CNS_MUST_CHECK int cns_hospital_answer_agree(struct cns_hospital *hospital, const uint8_t *tail, size_t len,
                                             struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_unmask(struct cns_hospital *hospital, struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_make_masks(struct cns_hospital *hospital);

/* hospital_audit.c. Opens the nonce: CNS_HOSPITAL_AUDIT. */
CNS_MUST_CHECK int cns_hospital_open_audit(struct cns_hospital *hospital, const uint8_t *tail, size_t len,
                                           struct cns_problem *problem);
CNS_MUST_CHECK int cns_hospital_answer_audit(struct cns_hospital *hospital, const uint32_t *masks,
                                             const uint32_t *of_y, const uint32_t *of_x,
                                             struct cns_problem *problem);
/* Is our own z, as the agreement has it, A*x? Nothing to say without one. */
CNS_MUST_CHECK int cns_hospital_check_own_sketch(const struct cns_hospital *hospital,
                                                 const struct cns_agreement *agreement,
                                                 struct cns_problem *problem);
/* The z that came with the proposal: k words, or empty if there is none. */
CNS_MUST_CHECK int cns_hospital_check_shown_sketch(const struct cns_hospital *hospital,
                                                   const struct cns_agreement *agreement,
                                                   const uint8_t *words, size_t len,
                                                   struct cns_problem *problem);
/* hospital_dispute.c */
CNS_MUST_CHECK int cns_hospital_answer_dispute(struct cns_hospital *hospital, const uint8_t *tail, size_t len,
                                               struct cns_problem *problem);
/* hospital_forfeit.c */
CNS_MUST_CHECK int cns_hospital_answer_forfeit(struct cns_hospital *hospital, const uint8_t *tail, size_t len,
                                               struct cns_problem *problem);
