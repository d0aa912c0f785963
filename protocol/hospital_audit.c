/* SPDX-License-Identifier: Apache-2.0 */
/* The hospital in phase audit, and its own z in phase agree. docs/protocol.md,
 * phases audit and agree. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/hospital_internal.h"

#define REFUSE(...) return cns_problem_set(problem, CNS_ERR_REFUSED, __VA_ARGS__)

/* The seeds of all masks in y, in the order of the terms: oneself, then U2. */
static int list_masks(struct cns_hospital *h) {
  struct cns_hospital_sketches *s = &h->sketches;
  struct cns_mask_seed *seeds = sodium_malloc(h->term_count * sizeof *seeds);
  uint16_t *partners = calloc(h->term_count, sizeof *partners);
  if (!seeds || !partners) {
    sodium_free(seeds);
    free(partners);
    return CNS_ERR_MEMORY;
  }
  size_t count = 0;
  partners[count++] = h->own;
  for (size_t k = 0; k < h->round.descriptor.member_count; k++)
    if (k != h->own && cns_round_present(&h->round, CNS_PHASE_READY, k)) partners[count++] = (uint16_t)k;
  for (size_t m = 0; m < h->term_count; m++)
    seeds[m] = h->terms[m].seed;
  s->seeds = seeds;
  s->partners = partners;
  return 0;
}

int cns_hospital_open_audit(struct cns_hospital *h, const uint8_t *tail, size_t len,
                            struct cns_problem *problem) {
  struct cns_hospital_sketches *s = &h->sketches;
  if (h->abandoned) REFUSE("this round was abandoned; nothing more is said about its update");
  if (len != CNS_SKETCH_NONCE_BYTES)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "the coordinator's request is malformed at its end");
  if (!h->has_upload || !h->terms || !cns_round_present(&h->round, CNS_PHASE_UPLOAD, h->own))
    REFUSE("an audit was asked for of an upload that isn't in the signed list");
  if (!cns_nonce_opens(&h->round.descriptor, tail))
    REFUSE("the audit's nonce isn't the one that the descriptor commits to");
  if (!s->opened) {
    int r = list_masks(h);
    if (r < 0) return r;
    memcpy(s->nonce, tail, sizeof s->nonce);
    s->opened = true;
  }
  return CNS_HOSPITAL_AUDIT;
}

int cns_hospital_audit(const struct cns_hospital *h, struct cns_hospital_audit *ret_audit) {
  const struct cns_hospital_sketches *s = &h->sketches;
  if (!s->opened) return CNS_ERR_STATE;
  struct cns_hospital_audit audit = {
      .k = h->round.descriptor.sketch,
      .dim = h->round.descriptor.dim,
      .seeds = s->seeds,
      .partners = s->partners,
      .count = h->term_count,
  };
  cns_sketch_key_derive(&h->round.transcript[CNS_PHASE_UPLOAD], s->nonce, &audit.key);
  *ret_audit = audit;
  return 0;
}

/* A*y - q - sum of sign*p - A*x = 0? A faulty honest machine must not look like
 * a liar's. */
static bool adds_up(const struct cns_hospital *h, const uint32_t *masks, const uint32_t *of_y,
                    const uint32_t *of_x) {
  uint32_t k = h->round.descriptor.sketch, rest[CNS_SKETCH_MAX];
  memcpy(rest, of_y, k * sizeof *rest);
  cns_sketch_add(rest, of_x, -1, k);
  for (size_t m = 0; m < h->term_count; m++)
    cns_sketch_add(rest, masks + m * k, -h->terms[m].sign, k);
  return cns_sketch_is_zero(rest, k);
}

static int seal_sketches(struct cns_hospital *h, const uint32_t *masks) {
  const struct cns_descriptor *d = &h->round.descriptor;
  struct cns_private_part part;
  struct cns_digest *digests = calloc(h->term_count, sizeof *digests);
  int r = digests ? 0 : CNS_ERR_MEMORY;
  cns_writer_init(&part.bytes, CNS_ANSWER_BYTES_MAX);
  for (size_t m = 0; m < h->term_count && r == 0; m++) {
    uint8_t *words = cns_write_space(&part.bytes, (size_t)4 * d->sketch);
    if (!words) break;
    cns_audit_words_write(masks + m * d->sketch, d->sketch, words);
    cns_audit_leaf_digest(h->index, d->members[h->sketches.partners[m]].index, words, d->sketch, &digests[m]);
  }
  if (r == 0) r = cns_writer_finish(&part.bytes);
  if (r == 0) r = cns_merkle_root(digests, h->term_count, &part.root);
  if (r == 0) r = cns_hospital_seal(h, CNS_PHASE_AUDIT, NULL, NULL, 0, &part);
  cns_writer_deinit(&part.bytes);
  free(digests);
  return r;
}

int cns_hospital_answer_audit(struct cns_hospital *h, const uint32_t *masks, const uint32_t *of_y,
                              const uint32_t *of_x, struct cns_problem *problem) {
  struct cns_hospital_sketches *s = &h->sketches;
  size_t k = h->round.descriptor.sketch, numbers = h->term_count * k;
  if (!adds_up(h, masks, of_y, of_x))
    return cns_problem_set(problem, CNS_ERR_PROOF,
                           "this machine's sketches don't add up to that of its own update: it computes "
                           "wrongly, so nothing is sent; have its memory and processor checked");
  uint32_t *kept = malloc(numbers * sizeof *kept);
  if (!kept) return CNS_ERR_MEMORY;
  memcpy(kept, masks, numbers * sizeof *kept);
  int r = seal_sketches(h, masks);
  if (r < 0) {
    free(kept);
    return cns_problem_set(problem, r, "the answer of phase audit could not be made");
  }
  s->masks = kept;
  memcpy(s->own, of_x, k * sizeof *s->own);
  s->answered = true;
  return 0;
}

/* ---- phase agree ---- */

int cns_hospital_check_shown_sketch(const struct cns_hospital *h, const struct cns_agreement *agreement,
                                    const uint8_t *words, size_t len, struct cns_problem *problem) {
  const struct cns_hospital_sketches *s = &h->sketches;
  uint32_t k = h->round.descriptor.sketch, shown[CNS_SKETCH_MAX];
  if (!cns_agreement_sketch(agreement, h->own)) {
    if (len != 0) REFUSE("the coordinator shows a sketch of ours where there can be none");
    return 0;
  }
  if (len != (size_t)4 * k || !s->answered)
    REFUSE("the coordinator doesn't show what it takes for the sketch of our update");
  cns_audit_words_read(words, k, shown);
  cns_sketch_add(shown, s->own, -1, k);
  if (!cns_sketch_is_zero(shown, k))
    REFUSE("what the coordinator takes for the sketch of our update is another's, or altered");
  return 0;
}

int cns_hospital_check_own_sketch(const struct cns_hospital *h, const struct cns_agreement *agreement,
                                  struct cns_problem *problem) {
  const struct cns_hospital_sketches *s = &h->sketches;
  const struct cns_digest *stated = cns_agreement_sketch(agreement, h->own);
  uint32_t k = h->round.descriptor.sketch;
  uint8_t q[CNS_AUDIT_SKETCH_BYTES_MAX];
  struct cns_digest digest;
  if (!stated) return 0;
  if (!s->answered) REFUSE("the agreement has a sketch of ours, and none was given");
  cns_audit_words_write(s->masks, k, q);
  cns_audit_sketch_digest(&h->round.transcript[CNS_PHASE_UPLOAD], h->index, s->own, q, k, &digest);
  if (!cns_digest_equal(&digest, stated)) REFUSE("the agreement has another sketch of our update than A*x");
  return 0;
}
