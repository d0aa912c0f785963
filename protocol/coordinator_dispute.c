/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator in phase dispute: who contradicts whom is shown to both, and
 * an opened pair names the liar. docs/protocol.md, phase dispute. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/coordinator_internal.h"

#define MALFORMED(...) cns_problem_set(problem, CNS_ERR_FORMAT, __VA_ARGS__)
#define PAIRS_AT_A_TIME 256

int cns_coordinator_write_contradictions(const struct cns_coordinator *c, size_t k,
                                         struct cns_writer *writer) {
  size_t n = c->round.descriptor.member_count;
  uint16_t count = 0;
  for (size_t j = 0; j < n; j++)
    count = (uint16_t)(count + (j != k && cns_coordinator_contradict(c, k, j)));
  cns_write_u16(writer, count);
  for (size_t j = 0; j < n; j++) {
    struct cns_merkle_tree *tree = NULL;
    struct cns_claim claim;
    if (j == k || !cns_coordinator_contradict(c, k, j)) continue;
    int r = cns_coordinator_audit_tree(c, j, &tree);
    if (r == 0) r = cns_coordinator_claim(c, tree, j, k, &claim);
    cns_merkle_tree_free(tree);
    if (r < 0) return r;
    cns_write_u16(writer, claim.index);
    cns_write_bytes(writer, claim.words, (size_t)4 * c->round.descriptor.sketch);
    cns_path_write(writer, &claim.path);
  }
  return 0;
}

/* Exactly the pairs that were asked for, each with its proof. One that isn't
 * proven proves nothing about anybody: the answer is refused. */
static int read_openings(const struct cns_coordinator *c, size_t k, const uint16_t *partners, size_t count,
                         struct cns_reader *reader, struct cns_opening *openings,
                         struct cns_digest *digests) {
  const struct cns_descriptor *d = &c->round.descriptor;
  size_t at = 0;
  for (size_t j = 0; j < d->member_count; j++) {
    if (j == k || !cns_coordinator_contradict(c, k, j)) continue;
    if (at == count || partners[at] != d->members[j].index) return CNS_ERR_FORMAT;
    openings[at].opener = d->members[k].index;
    cns_opening_read(reader, &openings[at]);
    if (reader->error || openings[at].partner != partners[at]) return CNS_ERR_FORMAT;
    if (cns_opening_check(&c->round, &c->members[k].keys.s, &c->members[j].keys.s, &openings[at]) < 0)
      return CNS_ERR_PROOF;
    cns_opening_leaf(&openings[at], &digests[at]);
    at++;
  }
  return at == count ? cns_reader_finish(reader) : CNS_ERR_FORMAT;
}

int cns_coordinator_take_dispute(struct cns_coordinator *c, size_t k, const struct cns_message *message,
                                 struct cns_reader *reader, struct cns_problem *problem) {
  uint16_t partners[CNS_HOSPITALS_MAX];
  size_t count = 0;
  struct cns_digest root;
  const char *name = c->members[k].hospital->name;
  int r = cns_ready_read(message->body, message->body_len, partners, CNS_HOSPITALS_MAX, &count);
  if (r < 0 || count == 0) return MALFORMED("hospital %s's openings are malformed", name);
  struct cns_opening *openings = calloc(count, sizeof *openings);
  struct cns_digest *digests = calloc(count, sizeof *digests);
  r = openings && digests ? 0 : CNS_ERR_MEMORY;
  if (r == 0) r = read_openings(c, k, partners, count, reader, openings, digests);
  if (r == 0) r = cns_merkle_root(digests, count, &root);
  if (r == 0 && !cns_digest_equal(&root, &message->root)) r = CNS_ERR_FORMAT;
  if (r == CNS_ERR_FORMAT) MALFORMED("hospital %s opens other pairs than it was asked for", name);
  if (r == CNS_ERR_PROOF)
    cns_problem_set(problem, r, "hospital %s opens a pair without a proof that it is the one", name);
  free(digests);
  if (r < 0) {
    free(openings);
    return r;
  }
  free(c->members[k].openings); /* of an answer that could not be kept */
  c->members[k].openings = openings;
  c->members[k].opening_count = count;
  return 0;
}

/* ---- judging ---- */

struct pair {
  size_t i, j;
  const struct cns_opening *opening;
};

static const struct cns_opening *opening_of(const struct cns_coordinator *c, size_t opener, size_t partner) {
  const struct cns_coordinator_member *member = &c->members[opener];
  if (!member->messages[CNS_PHASE_DISPUTE].bytes) return NULL;
  for (size_t o = 0; o < member->opening_count; o++)
    if (member->openings[o].partner == c->round.descriptor.members[partner].index)
      return &member->openings[o];
  return NULL;
}

/* Did k lie about the mask that it shares with j, whose sketch is `truth`? */
static int judge_side(struct cns_coordinator *c, size_t k, size_t j, const struct cns_opening *opening,
                      const uint8_t *truth) {
  struct cns_merkle_tree *tree = NULL;
  struct cns_claim claim;
  if (memcmp(cns_coordinator_words(c, k, j), truth, (size_t)4 * c->round.descriptor.sketch) == 0) return 0;
  c->members[k].audit_outcome = CNS_OUT_CONVICTED;
  int r = cns_coordinator_audit_tree(c, k, &tree);
  if (r == 0) r = cns_coordinator_claim(c, tree, k, j, &claim);
  cns_merkle_tree_free(tree);
  if (r < 0) return r;
  claim.opening = *opening;
  return cns_coordinator_blame_sketch(c, k, j, &claim, false);
}

static int judge_pairs(struct cns_coordinator *c, const struct pair *pairs, size_t count) {
  const struct cns_descriptor *d = &c->round.descriptor;
  struct cns_mask_seed *seeds = sodium_malloc(count * sizeof *seeds);
  uint32_t *truths = calloc(count * d->sketch, sizeof *truths);
  uint8_t words[CNS_AUDIT_SKETCH_BYTES_MAX];
  struct cns_sketch_key key;
  int r = seeds && truths ? 0 : CNS_ERR_MEMORY;
  for (size_t p = 0; p < count && r == 0; p++)
    cns_pair_seed(&c->round.transcript[CNS_PHASE_READY], d->members[pairs[p].i].index,
                  d->members[pairs[p].j].index, &pairs[p].opening->pair, &seeds[p]);
  if (r == 0) r = cns_coordinator_sketch_key(c, &key);
  if (r == 0)
    r = cns_sketcher_masks(c->config.sketcher, c->config.parallel, &key, d->sketch, seeds, count, d->dim,
                           truths);
  for (size_t p = 0; p < count && r == 0; p++) {
    cns_audit_words_write(truths + p * d->sketch, d->sketch, words);
    r = judge_side(c, pairs[p].i, pairs[p].j, pairs[p].opening, words);
    if (r == 0) r = judge_side(c, pairs[p].j, pairs[p].i, pairs[p].opening, words);
  }
  sodium_free(seeds);
  free(truths);
  return r;
}

/* A pair that neither opened: both are missing, for nobody knows who lied; but
 * where one of them is convicted by another pair, the other one stays, and what
 * it said about this pair is checked when the convicted one's s is known. */
static void drop_silent(struct cns_coordinator *c) {
  size_t n = c->round.descriptor.member_count;
  for (size_t i = 0; i < n; i++)
    for (size_t j = i + 1; j < n; j++) {
      if (!cns_coordinator_contradict(c, i, j) || opening_of(c, i, j) || opening_of(c, j, i)) continue;
      if (c->members[i].audit_outcome == CNS_OUT_CONVICTED ||
          c->members[j].audit_outcome == CNS_OUT_CONVICTED)
        continue;
      c->members[i].audit_outcome = c->members[j].audit_outcome = CNS_MISSING_DISPUTE;
    }
}

int cns_coordinator_judge_disputes(struct cns_coordinator *c) {
  size_t n = c->round.descriptor.member_count, count = 0;
  struct pair pairs[PAIRS_AT_A_TIME];
  int r = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = i + 1; j < n && r == 0; j++) {
      if (!cns_coordinator_contradict(c, i, j)) continue;
      const struct cns_opening *opening = opening_of(c, i, j);
      if (!opening) opening = opening_of(c, j, i);
      if (opening) pairs[count++] = (struct pair){i, j, opening};
      if (count < PAIRS_AT_A_TIME) continue;
      r = judge_pairs(c, pairs, count);
      count = 0;
    }
  if (r == 0 && count > 0) r = judge_pairs(c, pairs, count);
  if (r == 0) drop_silent(c);
  return r;
}
