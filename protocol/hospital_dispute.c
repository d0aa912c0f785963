/* SPDX-License-Identifier: Apache-2.0 */
/* The hospital in phase dispute: it opens a pair only against another's signed
 * value that contradicts its own. docs/protocol.md, phase dispute. */
#include <stdlib.h>
#include <string.h>

#include "protocol/hospital_internal.h"

#define REFUSE(...) return cns_problem_set(problem, CNS_ERR_REFUSED, __VA_ARGS__)

struct contradiction {
  uint16_t position; /* of the other */
  struct cns_claim claim;
};

static int malformed(struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_FORMAT,
                         "the contradictions in the coordinator's request are malformed");
}

static int read_contradictions(const struct cns_hospital *h, const uint8_t *tail, size_t len,
                               struct contradiction *ret_list, size_t *ret_count,
                               struct cns_problem *problem) {
  struct cns_reader reader;
  uint16_t before = 0;
  cns_reader_init(&reader, tail, len);
  size_t count = cns_read_u16(&reader);
  if (reader.error || count == 0 || count >= h->round.descriptor.member_count) return malformed(problem);
  for (size_t c = 0; c < count; c++) {
    struct cns_claim claim = {.index = cns_read_u16(&reader), .partner = h->index};
    claim.words = cns_read_view(&reader, (size_t)4 * h->round.descriptor.sketch);
    cns_path_read(&reader, &claim.path);
    int position = cns_descriptor_position(&h->round.descriptor, claim.index);
    if (reader.error || position < 0 || claim.index == h->index || claim.index <= before)
      return malformed(problem);
    before = claim.index;
    ret_list[c] = (struct contradiction){.position = (uint16_t)position, .claim = claim};
  }
  if (cns_reader_finish(&reader) < 0) return malformed(problem);
  *ret_count = count;
  return 0;
}

/* What we signed about the mask that we share with a member. */
static const uint32_t *own_value(const struct cns_hospital *h, uint16_t position) {
  for (size_t m = 1; m < h->term_count; m++)
    if (h->sketches.partners[m] == position) return h->sketches.masks + m * h->round.descriptor.sketch;
  return NULL;
}

/* The other's value must be under the root in the list of phase audit, whose
 * signature was verified with the list, in the place of our pair, and differ. */
static int check_contradiction(const struct cns_hospital *h, const struct contradiction *c,
                               struct cns_problem *problem) {
  uint32_t k = h->round.descriptor.sketch, theirs[CNS_SKETCH_MAX];
  const uint32_t *ours = own_value(h, c->position);
  if (!ours || !cns_round_present(&h->round, CNS_PHASE_AUDIT, c->position))
    REFUSE("a pair with hospital %u is to be opened, which gave no sketch of it", c->claim.index);
  if (cns_claim_check_place(&h->round, &h->sketches.roots[c->position], &c->claim) < 0)
    REFUSE("the sketch that hospital %u is said to have sent isn't under its signature", c->claim.index);
  cns_audit_words_read(c->claim.words, k, theirs);
  cns_sketch_add(theirs, ours, -1, k);
  if (cns_sketch_is_zero(theirs, k))
    REFUSE("a pair with hospital %u is to be opened, whose sketch of it is the same as ours", c->claim.index);
  return 0;
}

static int open_pair(const struct cns_hospital *h, const struct contradiction *c, struct cns_writer *body,
                     struct cns_writer *openings, struct cns_digest *ret_leaf) {
  struct cns_opening opening = {.opener = h->index, .partner = c->claim.index};
  int r = cns_opening_make(&h->round, &h->secrets->s, &h->keys[h->own].s, &h->keys[c->position].s,
                           h->config.rng, &opening);
  if (r < 0) return r;
  cns_write_u16(body, opening.partner);
  cns_opening_write(openings, &opening);
  cns_opening_leaf(&opening, ret_leaf);
  return 0;
}

static int open_all(struct cns_hospital *h, const struct contradiction *list, size_t count) {
  struct cns_writer body;
  struct cns_private_part part;
  struct cns_digest *digests = calloc(count, sizeof *digests);
  int r = digests ? 0 : CNS_ERR_MEMORY;
  cns_writer_init(&body, CNS_MESSAGE_BODY_MAX);
  cns_writer_init(&part.bytes, CNS_ANSWER_BYTES_MAX);
  cns_write_u16(&body, (uint16_t)count);
  for (size_t c = 0; c < count && r == 0; c++)
    r = open_pair(h, &list[c], &body, &part.bytes, &digests[c]);
  if (r == 0) r = cns_writer_finish(&body);
  if (r == 0) r = cns_writer_finish(&part.bytes);
  if (r == 0) r = cns_merkle_root(digests, count, &part.root);
  if (r == 0) r = cns_hospital_seal(h, CNS_PHASE_DISPUTE, NULL, body.data, body.len, &part);
  cns_writer_deinit(&body);
  cns_writer_deinit(&part.bytes);
  free(digests);
  return r;
}

int cns_hospital_answer_dispute(struct cns_hospital *h, const uint8_t *tail, size_t len,
                                struct cns_problem *problem) {
  size_t count = 0;
  if (h->abandoned) REFUSE("this round was abandoned; nothing more is said about its update");
  if (!h->sketches.answered || !cns_round_present(&h->round, CNS_PHASE_AUDIT, h->own))
    REFUSE("a pair is to be opened in an audit in which this hospital has no part");
  struct contradiction *list = calloc(h->round.descriptor.member_count, sizeof *list);
  if (!list) return CNS_ERR_MEMORY;
  int r = read_contradictions(h, tail, len, list, &count, problem);
  for (size_t c = 0; c < count && r == 0; c++)
    r = check_contradiction(h, &list[c], problem);
  if (r == 0) {
    r = open_all(h, list, count);
    if (r < 0) cns_problem_set(problem, r, "the answer of phase dispute could not be made");
  }
  free(list);
  return r;
}
