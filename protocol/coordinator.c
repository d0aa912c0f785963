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
  c->members = calloc(n, sizeof *c->members);
  c->dealt = calloc(n, sizeof *c->dealt);
  c->expected = calloc(n, sizeof *c->expected);
  c->expected_positions = calloc(n, sizeof *c->expected_positions);
  c->verdicts = calloc(CNS_VERDICTS_MAX, sizeof *c->verdicts);
  bool allocated = c->members && c->dealt && c->expected && c->expected_positions && c->verdicts;
  r = allocated ? look_up_members(c, problem) : CNS_ERR_MEMORY;
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
}

struct cns_coordinator *cns_coordinator_free(struct cns_coordinator *c) {
  if (!c) return NULL;
  for (size_t k = 0; c->members && k < c->round.descriptor.member_count; k++)
    free_member(&c->members[k]);
  for (size_t k = 0; k < c->verdict_count; k++)
    cns_verdict_deinit(&c->verdicts[k]);
  free(c->members);
  free(c->dealt);
  free(c->expected);
  free(c->expected_positions);
  free(c->verdicts);
  cns_agreement_deinit(&c->agreement);
  free(c->agreement_bytes);
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

bool cns_coordinator_awaits(const struct cns_coordinator *c, size_t k) {
  return c->end == CNS_END_NONE && c->phase < CNS_PHASE_RESULT && cns_round_asked(&c->round, c->phase, k) &&
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
