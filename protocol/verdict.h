/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital that broke the protocol is named with evidence that anyone in the
 * consortium can check with the roster of the round alone. Nobody is named for silence.
 *
 * Evidence: version u8 = 1, blame u8, index u16, descriptor blob, last list u8,
 * then the lists of the phases keys to that one (for each member standing u8 and
 * m_i), then by blame, messages as blobs (cns_message_write):
 *   bad keys         the message of phase keys
 *   bad points       the dealer's messages of phases shares and keys, number of
 *                    leaves u16, all leaves
 *   degree           the same
 *   bad share        [lists to keys] the complaint as a blob, messages of phase
 *                    keys of the accused and of the complainer
 *   false complaint  [lists to shares] the complainer's message of phase ready,
 *                    one complaint under its root as a blob, path (depth u8,
 *                    digests), the same two messages of keys
 *   wrong share      [lists to agree] the message of phase unmask, or that of
 *                    phase forfeit and the forfeits it is under, the dealer's
 *                    message of phase shares, the holder's leaf, path
 *   equivocation     two messages
 *   false pair       [lists to audit] nonce (32), the accused's messages of phases
 *                    audit and keys, the partner's of phase keys, the claim
 *                    (protocol/claim.h)
 *   false self       [lists to audit] nonce, the accused's messages of phases audit
 *                    and shares, the claim
 * The lists tie what different hospitals signed to one transcript: without them
 * a liar that signs two keys, or two sets of shares, could frame the honest
 * hospital that saw the other one. They also say where in its dealer's tree a
 * hospital's leaf is: a liar may have signed two leaves for one recipient.
 */
#pragma once

#include "protocol/forfeit.h"

enum cns_blame {
  CNS_BLAME_BAD_KEYS = 1,        /* signed keys without valid proofs of possession */
  CNS_BLAME_BAD_POINTS = 2,      /* signed points that are no points, or of nothing */
  CNS_BLAME_DEGREE = 3,          /* points not on a polynomial of degree < t through S, B */
  CNS_BLAME_BAD_SHARE = 4,       /* a sealed share that doesn't open or match its point */
  CNS_BLAME_FALSE_COMPLAINT = 5, /* complained of a good share */
  CNS_BLAME_WRONG_SHARE = 6,     /* released a share that doesn't match its point */
  CNS_BLAME_EQUIVOCATION = 7,    /* two different signed answers in one phase */
  CNS_BLAME_FALSE_PAIR = 8,      /* signed a sketch that isn't that of the pair's mask */
  CNS_BLAME_FALSE_SELF = 9,      /* the same of its self mask */
};
#define CNS_BLAME_COUNT 10
const char *cns_blame_name(enum cns_blame blame);

#define CNS_EVIDENCE_VERSION 1
#define CNS_EVIDENCE_BYTES_MAX (4u << 20)

struct cns_verdict {
  uint16_t index;
  enum cns_blame blame;
  enum cns_phase phase;
  /* Of a false sketch found after phase unmask: the true one is within the norm
   * bound, so that a faulty machine explains it. Reported; no place is forfeited. */
  bool within_bound;
  uint8_t *evidence; /* owned */
  size_t evidence_len;
};
void cns_verdict_deinit(struct cns_verdict *verdict);

/* What evidence is about. */
struct cns_conviction {
  uint16_t index;
  enum cns_blame blame;
  enum cns_phase phase;            /* in which it was signed what convicts; NONE: not read that far */
  uint16_t other;                  /* hospital with whom, or about whom, it lied; 0: none */
  struct cns_digest study, roster; /* of the round's descriptor */
  uint64_t round;
  uint32_t attempt;
};

/* What evidence claims, by its head alone: nothing of it is proven. phase and other
 * are left out. CNS_ERR_VERSION, CNS_ERR_FORMAT with a sentence. */
CNS_MUST_CHECK int cns_evidence_read(const uint8_t *evidence, size_t len, struct cns_conviction *ret_claim,
                                     struct cns_problem *problem);

/*
 * 0 if the evidence convicts; fills who and of what. CNS_ERR_PROOF with a
 * sentence that says why if it doesn't; CNS_ERR_FORMAT if malformed, CNS_ERR_VERSION
 * if it begins with another version. The roster must be the
 * one that the round's descriptor names by its digest, not a later version:
 * CNS_ERR_PROOF otherwise, with a sentence of its own. Nothing here looks at
 * journal heads: evidence is as good as the identity keys of that roster were
 * kept (docs/threat-model.md). For a false sketch a mask of dim words is computed,
 * once all else holds.
 */
CNS_MUST_CHECK int cns_evidence_judge(const struct cns_roster *roster, const uint8_t *evidence, size_t len,
                                      struct cns_conviction *ret_conviction, struct cns_problem *problem);
/* The same, of which only who and of what is wanted. */
CNS_MUST_CHECK int cns_evidence_check(const struct cns_roster *roster, const uint8_t *evidence, size_t len,
                                      uint16_t *ret_index, enum cns_blame *ret_blame,
                                      struct cns_problem *problem);
