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
  const uint8_t *audit_words; /* behind the message of phase audit: k of each leaf, little-endian */
  uint32_t *of_y;             /* A*y, NULL until it is given */
  bool disputed;              /* contradicts somebody: asked in phase dispute */
  struct cns_opening *openings;
  size_t opening_count;
  uint8_t audit_outcome;                 /* included, missing in dispute, convicted */
  struct cns_released *forfeit_released; /* one an accused of the last forfeit; sodium_malloc'd */
  uint8_t *forfeit_good;
};

/* A claim that turned out false after phase unmask: about the mask that the
 * claimant (a position) shares with partner; itself: the self mask. */
struct cns_false_claim {
  uint16_t claimant, partner;
};

struct cns_coordinator_audit {
  uint8_t nonce[CNS_SKETCH_NONCE_BYTES];
  bool undecided;
  uint32_t *z;         /* n * k, as claimed; NULL before */
  uint32_t *corrected; /* n * k, with every false claim put right */
  struct cns_false_claim *false_claims;
  size_t false_count;
  struct cns_forfeits forfeits;
  struct cns_digest forfeit_transcripts[CNS_FORFEIT_ROUNDS_MAX];
  struct cns_writer cases; /* of the last round of forfeits */
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
  uint16_t *rank;  /* by position: how many of U2 come before, from the closing of phase ready on */
  uint16_t *dealt; /* positions present in phase keys: order of the leaves */
  size_t dealt_count;
  struct cns_coordinator_audit audit;
  struct cns_agreement agreement;
  struct cns_agreement outcomes;
  uint8_t *agreement_bytes;
  size_t agreement_len;
  struct cns_released *expected; /* of every holder */
  uint16_t *expected_positions;
  size_t expected_count;
  /* By position, sodium_malloc'd: b of the included and s of the leavers, then s
   * of those that forfeited. */
  struct cns_scalar *secrets, *forfeited;
  /* sodium_malloc'd: the self masks of the still included, then for each that
   * isn't (others, by position) the pair masks with them. */
  struct cns_mask_term *terms;
  size_t term_count;
  uint16_t *still;
  size_t still_count;
  uint16_t *others;
  size_t other_count;
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

/* coordinator.c: is member k asked in the present phase, answered or not? */
bool cns_coordinator_asks(const struct cns_coordinator *c, size_t k);

/* coordinator_close.c: list, transcript and head of a phase. */
CNS_MUST_CHECK int cns_coordinator_close_list(struct cns_coordinator *c, enum cns_phase phase);
CNS_MUST_CHECK int cns_coordinator_keep_agreement(struct cns_coordinator *c);
/* Ends the round if fewer than needed are left. */
void cns_coordinator_end_if_left(struct cns_coordinator *c, size_t left, const char *why);

/* coordinator_audit.c */
CNS_MUST_CHECK int cns_coordinator_take_audit(struct cns_coordinator *c, size_t k,
                                              const struct cns_message *message, struct cns_reader *reader,
                                              struct cns_problem *problem);
/* After an answer of phase audit is kept. */
void cns_coordinator_keep_audit(struct cns_coordinator *c, size_t k);
/* Words of what member k sent about the mask it shares with j. */
const uint8_t *cns_coordinator_words(const struct cns_coordinator *c, size_t k, size_t j);
bool cns_coordinator_contradict(const struct cns_coordinator *c, size_t i, size_t j);
/* Marks who contradicts whom; returns how many do. */
size_t cns_coordinator_find_contradictions(struct cns_coordinator *c);
CNS_MUST_CHECK int cns_coordinator_check_sketches_given(const struct cns_coordinator *c,
                                                        struct cns_problem *problem);
/* All z, then a decision is due, or the round ends. */
CNS_MUST_CHECK int cns_coordinator_finish_audit(struct cns_coordinator *c);
/* Words and path of a claim; the tree is member k's. */
CNS_MUST_CHECK int cns_coordinator_audit_tree(const struct cns_coordinator *c, size_t k,
                                              struct cns_merkle_tree **ret_tree);
CNS_MUST_CHECK int cns_coordinator_claim(const struct cns_coordinator *c, const struct cns_merkle_tree *tree,
                                         size_t k, size_t j, struct cns_claim *ret_claim);

/* coordinator_dispute.c */
CNS_MUST_CHECK int cns_coordinator_take_dispute(struct cns_coordinator *c, size_t k,
                                                const struct cns_message *message, struct cns_reader *reader,
                                                struct cns_problem *problem);
CNS_MUST_CHECK int cns_coordinator_write_contradictions(const struct cns_coordinator *c, size_t k,
                                                        struct cns_writer *writer);
CNS_MUST_CHECK int cns_coordinator_judge_disputes(struct cns_coordinator *c);

/* coordinator_unmask.c */
CNS_MUST_CHECK int cns_coordinator_rebuild(struct cns_coordinator *c, struct cns_problem *problem);
/* Terms, blocks and whose they are, for those that are still included. */
CNS_MUST_CHECK int cns_coordinator_make_terms(struct cns_coordinator *c);

/* coordinator_forfeit.c: checks what secrets known by now say about the sketches
 * (blocks of terms from first_block on), and opens phase forfeit or completes. */
CNS_MUST_CHECK int cns_coordinator_check_claims(struct cns_coordinator *c, size_t first_block);
CNS_MUST_CHECK int cns_coordinator_take_forfeit(struct cns_coordinator *c, size_t k,
                                                const struct cns_message *message,
                                                struct cns_problem *problem);
CNS_MUST_CHECK int cns_coordinator_close_forfeit(struct cns_coordinator *c, struct cns_problem *problem);

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
CNS_MUST_CHECK int cns_coordinator_blame_wrong_share(struct cns_coordinator *c, size_t holder, size_t dealer,
                                                     enum cns_phase phase);
/* The claim is false, and about the mask shared with member j, or k's own. */
CNS_MUST_CHECK int cns_coordinator_blame_sketch(struct cns_coordinator *c, size_t k, size_t j,
                                                const struct cns_claim *claim, bool within_bound);
