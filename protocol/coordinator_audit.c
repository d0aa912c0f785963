/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator in phase audit: sketches of masks in, the sketch z of what
 * really is in each upload out, and the decision that follows. docs/protocol.md,
 * phases audit and agree. */
#include <stdlib.h>
#include <string.h>

#include "protocol/coordinator_internal.h"

#define REFUSED(...) cns_problem_set(problem, CNS_ERR_REFUSED, __VA_ARGS__)
#define MALFORMED(...) cns_problem_set(problem, CNS_ERR_FORMAT, __VA_ARGS__)

/* cns_audit_place, from the ranks: it is asked for of every pair. */
static int place_of(const struct cns_coordinator *c, size_t k, size_t j) {
  if (!cns_round_present(&c->round, CNS_PHASE_READY, k) || !cns_round_present(&c->round, CNS_PHASE_READY, j))
    return -1;
  return k == j ? 0 : 1 + c->rank[j] - (k < j);
}

/* Digests of the leaves of member k, in their order: itself, then U2. */
static int leaf_digests(const struct cns_coordinator *c, size_t k, const uint8_t *words,
                        struct cns_digest **ret_digests) {
  const struct cns_descriptor *d = &c->round.descriptor;
  struct cns_digest *digests = calloc(cns_audit_leaves(&c->round), sizeof *digests);
  if (!digests) return CNS_ERR_MEMORY;
  for (size_t j = 0; j < d->member_count; j++) {
    int place = place_of(c, k, j);
    if (place < 0) continue;
    cns_audit_leaf_digest(d->members[k].index, d->members[j].index, words + (size_t)place * 4 * d->sketch,
                          d->sketch, &digests[place]);
  }
  *ret_digests = digests;
  return 0;
}

int cns_coordinator_take_audit(struct cns_coordinator *c, size_t k, const struct cns_message *message,
                               struct cns_reader *reader, struct cns_problem *problem) {
  size_t leaves = cns_audit_leaves(&c->round), len = leaves * 4 * c->round.descriptor.sketch;
  const char *name = c->members[k].hospital->name;
  struct cns_digest *digests = NULL, root;
  if (message->body_len != 0 || cns_reader_left(reader) != len)
    return MALFORMED("the sketches of hospital %s are malformed", name);
  int r = leaf_digests(c, k, cns_read_view(reader, len), &digests);
  if (r == 0) r = cns_merkle_root(digests, leaves, &root);
  free(digests);
  if (r < 0) return r;
  if (!cns_digest_equal(&root, &message->root))
    return REFUSED("the sketches that hospital %s sent are not the ones it signed", name);
  return 0;
}

void cns_coordinator_keep_audit(struct cns_coordinator *c, size_t k) {
  const struct cns_coordinator_message *kept = &c->members[k].messages[CNS_PHASE_AUDIT];
  size_t len = cns_audit_leaves(&c->round) * 4 * c->round.descriptor.sketch;
  c->members[k].audit_words = kept->bytes + (kept->len - len);
}

const uint8_t *cns_coordinator_words(const struct cns_coordinator *c, size_t k, size_t j) {
  int place = place_of(c, k, j);
  if (place < 0 || !c->members[k].audit_words) return NULL;
  return c->members[k].audit_words + (size_t)place * 4 * c->round.descriptor.sketch;
}

int cns_coordinator_audit_tree(const struct cns_coordinator *c, size_t k, struct cns_merkle_tree **ret_tree) {
  struct cns_digest *digests = NULL;
  int r = leaf_digests(c, k, c->members[k].audit_words, &digests);
  if (r == 0) r = cns_merkle_tree_new(digests, cns_audit_leaves(&c->round), ret_tree);
  free(digests);
  return r;
}

int cns_coordinator_claim(const struct cns_coordinator *c, const struct cns_merkle_tree *tree, size_t k,
                          size_t j, struct cns_claim *ret_claim) {
  int place = place_of(c, k, j);
  struct cns_claim claim = {
      .index = c->round.descriptor.members[k].index,
      .partner = c->round.descriptor.members[j].index,
      .words = cns_coordinator_words(c, k, j),
  };
  if (place < 0 || !claim.words) return CNS_ERR_STATE;
  int r = cns_merkle_tree_path(tree, (size_t)place, &claim.path);
  if (r == 0) *ret_claim = claim;
  return r;
}

/* ---- contradictions ---- */

bool cns_coordinator_contradict(const struct cns_coordinator *c, size_t i, size_t j) {
  if (!cns_round_present(&c->round, CNS_PHASE_AUDIT, i) || !cns_round_present(&c->round, CNS_PHASE_AUDIT, j))
    return false;
  const uint8_t *of_i = cns_coordinator_words(c, i, j), *of_j = cns_coordinator_words(c, j, i);
  return of_i && of_j && memcmp(of_i, of_j, (size_t)4 * c->round.descriptor.sketch) != 0;
}

size_t cns_coordinator_find_contradictions(struct cns_coordinator *c) {
  size_t n = c->round.descriptor.member_count, disputed = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = i + 1; j < n; j++)
      if (cns_coordinator_contradict(c, i, j)) c->members[i].disputed = c->members[j].disputed = true;
  for (size_t k = 0; k < n; k++)
    disputed += c->members[k].disputed;
  return disputed;
}

/* ---- A*y, and z ---- */

int cns_coordinator_sketch_key(const struct cns_coordinator *c, struct cns_sketch_key *ret_key) {
  if (c->round.descriptor.audit_level == CNS_AUDIT_NONE || !c->round.entries[CNS_PHASE_UPLOAD])
    return CNS_ERR_STATE;
  cns_sketch_key_derive(&c->round.transcript[CNS_PHASE_UPLOAD], c->audit.nonce, ret_key);
  return 0;
}

bool cns_coordinator_wants_sketch(const struct cns_coordinator *c, size_t k) {
  return c->round.descriptor.audit_level != CNS_AUDIT_NONE && !c->audit.z && c->end == CNS_END_NONE &&
         cns_round_present(&c->round, CNS_PHASE_UPLOAD, k) && !c->members[k].of_y;
}

int cns_coordinator_set_sketch(struct cns_coordinator *c, size_t k, const uint32_t *of_y) {
  if (k >= c->round.descriptor.member_count) return CNS_ERR_ARGUMENT;
  if (!cns_coordinator_wants_sketch(c, k)) return CNS_ERR_STATE;
  size_t bytes = c->round.descriptor.sketch * sizeof *of_y;
  c->members[k].of_y = malloc(bytes);
  if (!c->members[k].of_y) return CNS_ERR_MEMORY;
  memcpy(c->members[k].of_y, of_y, bytes);
  return 0;
}

int cns_coordinator_check_sketches_given(const struct cns_coordinator *c, struct cns_problem *problem) {
  for (size_t k = 0; k < c->round.descriptor.member_count; k++)
    if (c->members[k].messages[CNS_PHASE_AUDIT].bytes && !c->members[k].of_y)
      return cns_problem_set(problem, CNS_ERR_STATE, "the upload of hospital %s isn't sketched yet",
                             c->members[k].hospital->name);
  return 0;
}

/* z = A*y - q - sum of sign*p, with what k itself claims. */
static void compute_z(void *argument, size_t k) {
  struct cns_coordinator *c = argument;
  const struct cns_descriptor *d = &c->round.descriptor;
  uint32_t *z = c->audit.z + k * d->sketch, claimed[CNS_SKETCH_MAX];
  if (!cns_round_present(&c->round, CNS_PHASE_AUDIT, k)) return;
  memcpy(z, c->members[k].of_y, d->sketch * sizeof *z);
  for (size_t j = 0; j < d->member_count; j++) {
    const uint8_t *words = cns_coordinator_words(c, k, j);
    if (!words) continue;
    cns_audit_words_read(words, d->sketch, claimed);
    cns_sketch_add(z, claimed, j == k ? -1 : -cns_pair_sign(d->members[k].index, d->members[j].index),
                   d->sketch);
  }
}

int cns_coordinator_finish_audit(struct cns_coordinator *c) {
  size_t n = c->round.descriptor.member_count, left = 0;
  c->audit.z = calloc(n * c->round.descriptor.sketch, sizeof *c->audit.z);
  if (!c->audit.z) return CNS_ERR_MEMORY;
  cns_parallel_run(c->config.parallel, n, compute_z, c);
  for (size_t k = 0; k < n; k++)
    left += cns_coordinator_sketch(c, k) != NULL;
  cns_coordinator_end_if_left(c, left, "after the audit's disputes");
  c->audit.undecided = c->end == CNS_END_NONE;
  return 0;
}

const uint32_t *cns_coordinator_sketch(const struct cns_coordinator *c, size_t k) {
  bool has = c->audit.z && k < c->round.descriptor.member_count &&
             cns_round_present(&c->round, CNS_PHASE_AUDIT, k) && c->members[k].audit_outcome == CNS_INCLUDED;
  return has ? c->audit.z + k * c->round.descriptor.sketch : NULL;
}

/* ---- the decision ---- */

bool cns_coordinator_is_undecided(const struct cns_coordinator *c) {
  return c->audit.undecided && c->end == CNS_END_NONE;
}

/* Outcomes of all, with the decisions in their place; the digests later. */
static int draft(const struct cns_coordinator *c, const uint8_t *decisions, struct cns_agreement *ret_draft,
                 struct cns_problem *problem) {
  const struct cns_floor none = {0};
  struct cns_agreement agreement;
  size_t excluded = 0;
  size_t needed = cns_agreement_minimum(&c->round.descriptor, c->config.policy, &none);
  int r = cns_agreement_derive(&c->round, &agreement);
  if (r < 0) return r;
  for (size_t k = 0; k < agreement.member_count; k++) {
    if (agreement.outcomes[k] != CNS_INCLUDED) continue;
    agreement.outcomes[k] = c->members[k].audit_outcome;
    bool out = decisions && (decisions[k] == CNS_OUT_FLAGGED || decisions[k] == CNS_OUT_QUARANTINED);
    if (!out || agreement.outcomes[k] != CNS_INCLUDED) continue;
    agreement.outcomes[k] = decisions[k];
    excluded++;
  }
  size_t included = cns_agreement_included(&agreement);
  if (excluded > c->config.policy->maximum_exclusions)
    r = REFUSED("%zu hospitals were to be left out; the policy allows %u", excluded,
                c->config.policy->maximum_exclusions);
  else if (included < needed)
    r = REFUSED("without those to be left out %zu updates remain; %zu are required", included, needed);
  if (r < 0)
    cns_agreement_deinit(&agreement);
  else
    *ret_draft = agreement;
  return r;
}

static int add_digests(const struct cns_coordinator *c, struct cns_agreement *agreement) {
  const struct cns_descriptor *d = &c->round.descriptor;
  agreement->sketches = calloc(d->member_count, sizeof *agreement->sketches);
  if (!agreement->sketches) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < d->member_count; k++)
    if (cns_outcome_has_sketch(agreement->outcomes[k]))
      cns_audit_sketch_digest(&c->round.transcript[CNS_PHASE_UPLOAD], d->members[k].index,
                              cns_coordinator_sketch(c, k), cns_coordinator_words(c, k, k), d->sketch,
                              &agreement->sketches[agreement->sketch_count++]);
  memcpy(agreement->nonce, c->audit.nonce, sizeof agreement->nonce);
  return 0;
}

int cns_coordinator_decide(struct cns_coordinator *c, const uint8_t *decisions, struct cns_problem *problem) {
  struct cns_agreement agreement;
  if (!cns_coordinator_is_undecided(c)) return CNS_ERR_STATE;
  int r = draft(c, decisions, &agreement, problem);
  if (r < 0) return r;
  r = add_digests(c, &agreement);
  if (r < 0) {
    cns_agreement_deinit(&agreement);
    return r;
  }
  c->agreement = agreement;
  r = cns_coordinator_keep_agreement(c);
  if (r == 0)
    c->audit.undecided = false;
  else
    cns_agreement_deinit(&c->agreement);
  return r;
}
