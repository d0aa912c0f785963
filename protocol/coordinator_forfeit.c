/* SPDX-License-Identifier: Apache-2.0 */
/* After unmasking, the coordinator knows what the masks were, and so which of
 * the sketches in the audit were false: cases, forfeits, and the end of the
 * round. docs/protocol.md, phases unmask and forfeit. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/coordinator_internal.h"

/* What is put into one request of cases, beside lists. */
#define CASES_BYTES_MAX (3u << 19)

/* The proof's nonce is a hash of the secret and the statement (crypto/proof.c),
 * so the same journal gives the same proof. */
static int no_randomness(void *context, uint8_t *out, size_t len) {
  memset(out, 0, len);
  return 0;
}

/* ---- claims against known masks ---- */

static int note_false(struct cns_coordinator *c, size_t claimant, size_t partner,
                      const uint32_t *difference) {
  const struct cns_descriptor *d = &c->round.descriptor;
  struct cns_coordinator_audit *a = &c->audit;
  struct cns_false_claim *grown = realloc(a->false_claims, (a->false_count + 1) * sizeof *grown);
  if (!grown) return CNS_ERR_MEMORY;
  a->false_claims = grown;
  grown[a->false_count++] = (struct cns_false_claim){(uint16_t)claimant, (uint16_t)partner};
  int sign = claimant == partner ? 1 : cns_pair_sign(d->members[claimant].index, d->members[partner].index);
  cns_sketch_add(a->corrected + claimant * d->sketch, difference, sign, d->sketch);
  return 0;
}

/* One block of terms: sketches of the masks of all still included. */
static int check_block(struct cns_coordinator *c, size_t block) {
  const struct cns_descriptor *d = &c->round.descriptor;
  size_t m = c->still_count;
  struct cns_mask_seed *seeds = sodium_malloc((m ? m : 1) * sizeof *seeds);
  uint32_t *truths = calloc(m ? m * d->sketch : 1, sizeof *truths), claimed[CNS_SKETCH_MAX];
  struct cns_sketch_key key;
  int r = seeds && truths ? 0 : CNS_ERR_MEMORY;
  for (size_t s = 0; s < m && r == 0; s++)
    seeds[s] = c->terms[block * m + s].seed;
  if (r == 0) r = cns_coordinator_sketch_key(c, &key);
  if (r == 0)
    r = cns_sketcher_masks(c->config.sketcher, c->config.parallel, &key, d->sketch, seeds, m, d->dim, truths);
  for (size_t s = 0; s < m && r == 0; s++) {
    size_t k = c->still[s], partner = block == 0 ? k : c->others[block - 1];
    cns_audit_words_read(cns_coordinator_words(c, k, partner), d->sketch, claimed);
    cns_sketch_add(claimed, truths + s * d->sketch, -1, d->sketch);
    if (!cns_sketch_is_zero(claimed, d->sketch)) r = note_false(c, k, partner, claimed);
  }
  sodium_free(seeds);
  free(truths);
  return r;
}

/* ---- evidence ---- */

/* A claim of k with what opens it: b, or the pair by the s of the one that isn't
 * in the sum. */
static int open_claim(const struct cns_coordinator *c, const struct cns_merkle_tree *tree, size_t k, size_t j,
                      struct cns_claim *ret_claim) {
  const struct cns_rng rng = {.fill = no_randomness};
  int r = cns_coordinator_claim(c, tree, k, j, ret_claim);
  if (r < 0) return r;
  if (j == k) {
    ret_claim->b = c->secrets[k];
    return 0;
  }
  const struct cns_scalar *s = c->agreement.outcomes[j] == CNS_INCLUDED ? &c->forfeited[j] : &c->secrets[j];
  ret_claim->opening.opener = ret_claim->partner;
  ret_claim->opening.partner = ret_claim->index;
  return cns_opening_make(&c->round, s, &c->members[j].keys.s, &c->members[k].keys.s, rng,
                          &ret_claim->opening);
}

static int blame(struct cns_coordinator *c, size_t k, bool within) {
  struct cns_merkle_tree *tree = NULL;
  int r = cns_coordinator_audit_tree(c, k, &tree);
  for (size_t f = 0; f < c->audit.false_count && r == 0; f++) {
    const struct cns_false_claim *false_claim = &c->audit.false_claims[f];
    struct cns_claim claim = {0};
    if (false_claim->claimant != k) continue;
    r = open_claim(c, tree, k, false_claim->partner, &claim);
    if (r == 0) r = cns_coordinator_blame_sketch(c, k, false_claim->partner, &claim, within);
    cns_wipe(&claim.b, sizeof claim.b);
  }
  cns_merkle_tree_free(tree);
  return r;
}

static bool is_false(const struct cns_coordinator *c, size_t k, size_t j) {
  for (size_t f = 0; f < c->audit.false_count; f++)
    if (c->audit.false_claims[f].claimant == k && c->audit.false_claims[f].partner == j) return true;
  return false;
}

/* z as agreed, the self mask, and every pair that is known to be false. */
static int write_case(const struct cns_coordinator *c, size_t k, struct cns_writer *writer) {
  const struct cns_descriptor *d = &c->round.descriptor;
  struct cns_merkle_tree *tree = NULL;
  uint16_t count = 1;
  uint8_t *words = cns_write_space(writer, (size_t)4 * d->sketch);
  if (words) cns_audit_words_write(c->audit.z + k * d->sketch, d->sketch, words);
  for (size_t j = 0; j < d->member_count; j++)
    count = (uint16_t)(count + (j != k && is_false(c, k, j)));
  cns_write_u16(writer, count);
  int r = cns_coordinator_audit_tree(c, k, &tree);
  for (size_t at = 0; at <= d->member_count && r == 0; at++) {
    size_t j = at == 0 ? k : at - 1; /* the self mask comes first */
    struct cns_claim claim = {0};
    if (at > 0 && (j == k || !is_false(c, k, j))) continue;
    r = open_claim(c, tree, k, j, &claim);
    if (r == 0) cns_claim_write(writer, &claim, d->sketch);
    cns_wipe(&claim.b, sizeof claim.b);
  }
  cns_merkle_tree_free(tree);
  return r < 0 ? r : cns_writer_finish(writer);
}

/* ---- opening a round of forfeits ---- */

static void forget_answers(struct cns_coordinator *c) {
  for (size_t k = 0; k < c->round.descriptor.member_count; k++) {
    struct cns_coordinator_member *member = &c->members[k];
    struct cns_coordinator_message *message = &member->messages[CNS_PHASE_FORFEIT];
    if (message->bytes) cns_wipe(message->bytes, message->len);
    free(message->bytes);
    *message = (struct cns_coordinator_message){0};
    sodium_free(member->forfeit_released);
    free(member->forfeit_good);
    member->forfeit_released = NULL;
    member->forfeit_good = NULL;
  }
}

/* Cases one after another, as many as fit: the first always does. Whose case
 * doesn't fit is accused in the next round. */
static int write_cases(struct cns_coordinator *c, const bool *accused) {
  struct cns_coordinator_audit *a = &c->audit;
  size_t at = cns_forfeits_count(&a->forfeits), first = at;
  int r = 0;
  cns_writer_reset(&a->cases);
  for (size_t k = 0; k < c->round.descriptor.member_count && r == 0; k++) {
    struct cns_writer one;
    if (!accused[k]) continue;
    cns_writer_init(&one, CNS_FORFEIT_CASE_BYTES_MAX);
    r = write_case(c, k, &one);
    bool fits = at == first || a->cases.len + one.len <= CASES_BYTES_MAX;
    if (r == 0 && fits) {
      cns_write_blob(&a->cases, one.data, one.len);
      a->forfeits.accused[at++] = c->round.descriptor.members[k].index;
      r = cns_writer_finish(&a->cases);
    }
    cns_writer_deinit(&one);
  }
  a->forfeits.ends[a->forfeits.rounds] = (uint16_t)at;
  a->forfeits.rounds++;
  cns_forfeits_transcript(&c->round.transcript[CNS_PHASE_AGREE], &a->forfeits,
                          &a->forfeit_transcripts[a->forfeits.rounds - 1]);
  return r;
}

static int open_forfeit(struct cns_coordinator *c, const bool *accused, size_t count) {
  if (c->audit.forfeits.rounds == CNS_FORFEIT_ROUNDS_MAX) {
    cns_coordinator_stop(
        c, CNS_END_TOO_FEW,
        "liars came to light one after another in more rounds of forfeits than there may be: "
        "the round ends without a result");
    return 0;
  }
  cns_coordinator_end_if_left(c, c->still_count - count, "less those that forfeit their places");
  if (c->end != CNS_END_NONE) return 0;
  forget_answers(c);
  c->phase = CNS_PHASE_FORFEIT;
  return write_cases(c, accused);
}

static int complete(struct cns_coordinator *c) {
  c->end = CNS_END_COMPLETED;
  c->phase = CNS_PHASE_RESULT;
  return 0;
}

/* Who has a false claim is named; who is beyond the bound is accused. */
static int judge_claims(struct cns_coordinator *c, bool *accused, size_t *ret_count) {
  size_t count = 0;
  for (size_t s = 0; s < c->still_count; s++) {
    size_t k = c->still[s];
    bool claimed_falsely = false, within = true;
    for (size_t f = 0; f < c->audit.false_count; f++)
      claimed_falsely |= c->audit.false_claims[f].claimant == k;
    if (!claimed_falsely) continue;
    int r = cns_audit_within_bound(&c->round.descriptor, k,
                                   c->audit.corrected + k * c->round.descriptor.sketch, &within);
    if (r == 0) r = blame(c, k, within);
    if (r < 0) return r;
    accused[k] = !within;
    count += !within;
  }
  *ret_count = count;
  return 0;
}

int cns_coordinator_check_claims(struct cns_coordinator *c, size_t first_block) {
  size_t numbers = (size_t)c->round.descriptor.member_count * c->round.descriptor.sketch, count = 0;
  if (c->round.descriptor.audit_level == CNS_AUDIT_NONE) return complete(c);
  if (!c->audit.corrected) {
    c->audit.corrected = malloc(numbers * sizeof *c->audit.corrected);
    if (!c->audit.corrected) return CNS_ERR_MEMORY;
    memcpy(c->audit.corrected, c->audit.z, numbers * sizeof *c->audit.corrected);
  }
  bool *accused = calloc(c->round.descriptor.member_count, sizeof *accused);
  int r = accused ? 0 : CNS_ERR_MEMORY;
  for (size_t block = first_block; block <= c->other_count && r == 0; block++)
    r = check_block(c, block);
  if (r == 0) r = judge_claims(c, accused, &count);
  if (r == 0) r = count > 0 ? open_forfeit(c, accused, count) : complete(c);
  free(accused);
  return r;
}

/* ---- answers and closing ---- */

int cns_coordinator_take_forfeit(struct cns_coordinator *c, size_t k, const struct cns_message *message,
                                 struct cns_problem *problem) {
  const struct cns_forfeits *forfeits = &c->audit.forfeits;
  struct cns_coordinator_member *member = &c->members[k];
  size_t first = cns_forfeits_last(forfeits), count = cns_forfeits_count(forfeits) - first;
  int leaf = cns_coordinator_leaf_position(c, k);
  struct cns_released *released = sodium_malloc(count * sizeof *released);
  uint8_t *good = calloc(count, 1);
  int r = released && good ? 0 : CNS_ERR_MEMORY;
  if (r == 0 && leaf < 0) r = CNS_ERR_STATE;
  for (size_t a = 0; a < count && r == 0; a++)
    released[a] = (struct cns_released){.dealer = forfeits->accused[first + a], .kind = CNS_SHARE_S};
  if (r == 0) {
    r = cns_released_read(message->body, message->body_len, released, count);
    if (r < 0)
      cns_problem_set(problem, r, "hospital %s released other shares than were asked for",
                      member->hospital->name);
  }
  for (size_t a = 0; a < count && r == 0; a++) {
    int dealer = cns_descriptor_position(&c->round.descriptor, released[a].dealer);
    good[a] = cns_share_matches(&released[a].share, &c->members[dealer].leaves[leaf].point_s);
  }
  if (r < 0) {
    sodium_free(released);
    free(good);
    return r;
  }
  sodium_free(member->forfeit_released);
  free(member->forfeit_good);
  member->forfeit_released = released;
  member->forfeit_good = good;
  return 0;
}

/* s of the a-th accused of the last round. CNS_ERR_NOT_FOUND: too few shares. */
static int rebuild_forfeited(struct cns_coordinator *c, size_t a, size_t position) {
  const struct cns_descriptor *d = &c->round.descriptor;
  size_t t = d->threshold, found = 0;
  uint16_t *indices = calloc(t, sizeof *indices);
  struct cns_scalar *shares = sodium_malloc(t * sizeof *shares);
  struct cns_point point;
  int r = indices && shares ? 0 : CNS_ERR_MEMORY;
  for (size_t k = 0; k < d->member_count && found < t && r == 0; k++) {
    if (!c->members[k].forfeit_good || !c->members[k].forfeit_good[a]) continue;
    indices[found] = d->members[k].index;
    shares[found++] = c->members[k].forfeit_released[a].share;
  }
  if (r == 0 && found < t) r = CNS_ERR_NOT_FOUND;
  if (r == 0) r = cns_shamir_combine(indices, shares, t, &c->forfeited[position]);
  if (r == 0) r = cns_point_base(&c->forfeited[position], &point);
  if (r == 0 && !cns_point_equal(&point, &c->members[position].keys.s)) r = CNS_ERR_PROOF;
  free(indices);
  sodium_free(shares);
  return r;
}

int cns_coordinator_close_forfeit(struct cns_coordinator *c, struct cns_problem *problem) {
  const struct cns_forfeits *forfeits = &c->audit.forfeits;
  size_t first = cns_forfeits_last(forfeits), count = cns_forfeits_count(forfeits);
  int r = cns_coordinator_close_list(c, CNS_PHASE_FORFEIT);
  for (size_t a = first; a < count && r == 0; a++) {
    size_t position = (size_t)cns_descriptor_position(&c->round.descriptor, forfeits->accused[a]);
    r = rebuild_forfeited(c, a - first, position);
    c->outcomes.outcomes[position] = CNS_OUT_FORFEITED;
  }
  if (r == CNS_ERR_NOT_FOUND) {
    char reason[256];
    snprintf(
        reason, sizeof reason,
        "%zu of %u shares are needed to take a liar's update out of the sum, and fewer came: the round ends "
        "without a result",
        (size_t)c->round.descriptor.threshold, c->round.descriptor.member_count);
    cns_coordinator_stop(c, CNS_END_TOO_FEW, reason);
    return 0;
  }
  if (r == CNS_ERR_PROOF || r == CNS_ERR_FORMAT) {
    cns_problem_set(problem, r, "a rebuilt secret doesn't give its published point");
    cns_coordinator_stop(c, CNS_END_BROKEN, "a rebuilt secret doesn't give its published point");
    return 0;
  }
  if (r == 0) r = cns_coordinator_make_terms(c);
  /* Blocks: self masks, those of before, then those that became known. */
  return r < 0 ? r : cns_coordinator_check_claims(c, 1 + c->other_count - (count - first));
}
