/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/coordinator.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/coordinator_internal.h"

static int look_up_members(struct cns_coordinator *c, struct cns_problem *problem) {
  const struct cns_descriptor *d = &c->round.descriptor;
  for (size_t k = 0; k < d->member_count; k++) {
    c->members[k].hospital = cns_roster_find(c->config.roster, d->members[k].index);
    if (!c->members[k].hospital)
      return cns_problem_set(problem, CNS_ERR_REFUSED, "hospital %u is not in the roster",
                             d->members[k].index);
  }
  return 0;
}

static int take_nonce(struct cns_coordinator *c, struct cns_problem *problem) {
  if (c->round.descriptor.audit_level == CNS_AUDIT_NONE) return 0;
  if (!c->config.nonce || !cns_nonce_opens(&c->round.descriptor, c->config.nonce))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "the audit's nonce isn't the one that the descriptor commits to");
  memcpy(c->audit.nonce, c->config.nonce, sizeof c->audit.nonce);
  return 0;
}

int cns_coordinator_begin(const struct cns_coordinator_config *config,
                          const struct cns_descriptor *descriptor, struct cns_coordinator **ret_coordinator,
                          struct cns_problem *problem) {
  size_t n = descriptor->member_count;
  struct cns_coordinator *c = calloc(1, sizeof *c);
  if (!c) return CNS_ERR_MEMORY;
  int r = cns_round_init(&c->round, descriptor);
  if (r < 0) {
    free(c);
    return r;
  }
  c->config = *config;
  c->phase = CNS_PHASE_KEYS;
  cns_writer_init(&c->audit.cases, CNS_REQUEST_BYTES_MAX);
  c->members = calloc(n, sizeof *c->members);
  c->rank = calloc(n, sizeof *c->rank);
  c->dealt = calloc(n, sizeof *c->dealt);
  c->expected = calloc(n, sizeof *c->expected);
  c->expected_positions = calloc(n, sizeof *c->expected_positions);
  c->still = calloc(n, sizeof *c->still);
  c->others = calloc(n, sizeof *c->others);
  c->verdicts = calloc(CNS_VERDICTS_MAX, sizeof *c->verdicts);
  bool allocated = c->rank && c->members && c->dealt && c->expected && c->expected_positions && c->verdicts &&
                   c->still && c->others;
  r = allocated ? look_up_members(c, problem) : CNS_ERR_MEMORY;
  if (r == 0) r = take_nonce(c, problem);
  if (r < 0) {
    cns_coordinator_free(c);
    return r;
  }
  *ret_coordinator = c;
  return 0;
}

static void free_member(struct cns_coordinator_member *member) {
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++) {
    if (member->messages[p].bytes) cns_wipe(member->messages[p].bytes, member->messages[p].len);
    free(member->messages[p].bytes);
  }
  free(member->leaves);
  cns_merkle_tree_free(member->tree);
  sodium_free(member->released);
  free(member->released_good);
  free(member->of_y);
  if (member->openings) cns_wipe(member->openings, member->opening_count * sizeof *member->openings);
  free(member->openings);
  sodium_free(member->forfeit_released);
  free(member->forfeit_good);
}

struct cns_coordinator *cns_coordinator_free(struct cns_coordinator *c) {
  if (!c) return NULL;
  for (size_t k = 0; c->members && k < c->round.descriptor.member_count; k++)
    free_member(&c->members[k]);
  for (size_t k = 0; k < c->verdict_count; k++)
    cns_verdict_deinit(&c->verdicts[k]);
  free(c->members);
  free(c->rank);
  free(c->dealt);
  free(c->expected);
  free(c->expected_positions);
  free(c->verdicts);
  free(c->still);
  free(c->others);
  free(c->audit.z);
  free(c->audit.corrected);
  free(c->audit.false_claims);
  cns_writer_deinit(&c->audit.cases);
  cns_agreement_deinit(&c->agreement);
  cns_agreement_deinit(&c->outcomes);
  free(c->agreement_bytes);
  sodium_free(c->secrets);
  sodium_free(c->forfeited);
  sodium_free(c->terms);
  cns_round_deinit(&c->round);
  free(c);
  return NULL;
}

const struct cns_round *cns_coordinator_round(const struct cns_coordinator *c) {
  return &c->round;
}

enum cns_phase cns_coordinator_phase(const struct cns_coordinator *c) {
  return c->phase;
}

enum cns_end cns_coordinator_end(const struct cns_coordinator *c) {
  return c->end;
}

const char *cns_coordinator_end_reason(const struct cns_coordinator *c) {
  return c->end_reason;
}

void cns_coordinator_stop(struct cns_coordinator *c, enum cns_end end, const char *reason) {
  c->end = end;
  c->phase = CNS_PHASE_RESULT;
  snprintf(c->end_reason, sizeof c->end_reason, "%s", reason);
}

bool cns_coordinator_asks(const struct cns_coordinator *c, size_t k) {
  if (!cns_round_asked(&c->round, c->phase, k)) return false;
  if (c->phase == CNS_PHASE_DISPUTE) return c->members[k].disputed;
  if (c->phase == CNS_PHASE_FORFEIT)
    return !cns_forfeits_has(&c->audit.forfeits, c->round.descriptor.members[k].index);
  return true;
}

bool cns_coordinator_awaits(const struct cns_coordinator *c, size_t k) {
  return c->end == CNS_END_NONE && c->phase != CNS_PHASE_RESULT && cns_coordinator_asks(c, k) &&
         !c->members[k].messages[c->phase].bytes;
}

size_t cns_coordinator_awaited(const struct cns_coordinator *c) {
  size_t awaited = 0;
  for (size_t k = 0; k < c->round.descriptor.member_count; k++)
    awaited += cns_coordinator_awaits(c, k);
  return awaited;
}

int cns_coordinator_receipt(const struct cns_coordinator *c, size_t k, struct cns_signature *ret_signature) {
  const struct cns_coordinator_message *upload = &c->members[k].messages[CNS_PHASE_UPLOAD];
  struct cns_digest root;
  if (!upload->bytes) return CNS_ERR_STATE;
  memcpy(root.bytes, upload->view.body, CNS_DIGEST_BYTES);
  return cns_receipt_sign(c->config.identity, &c->round.digest, upload->view.index, &root, ret_signature);
}

const struct cns_agreement *cns_coordinator_agreement(const struct cns_coordinator *c) {
  return c->agreement.outcomes ? &c->agreement : NULL;
}

const struct cns_agreement *cns_coordinator_outcomes(const struct cns_coordinator *c) {
  return c->outcomes.outcomes ? &c->outcomes : cns_coordinator_agreement(c);
}

int cns_coordinator_unmasking(const struct cns_coordinator *c, const struct cns_mask_term **ret_terms,
                              size_t *ret_count) {
  if (c->end != CNS_END_COMPLETED || !c->terms) return CNS_ERR_STATE;
  *ret_terms = c->terms;
  *ret_count = c->term_count;
  return 0;
}

const struct cns_verdict *cns_coordinator_verdicts(const struct cns_coordinator *c, size_t *ret_count) {
  *ret_count = c->verdict_count;
  return c->verdicts;
}
