/* SPDX-License-Identifier: Apache-2.0 */
/* Liars in the audit; tests/protocol/attack.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

void attack_poison(struct federation *f, size_t k) {
  for (uint64_t w = 0; w < f->descriptor.dim; w++)
    f->x[k][w] += ATTACK_POISON;
}

void attack_poison_sketch(const struct federation *f, int divisor, uint32_t *ret_sketch) {
  uint32_t *vector = calloc(f->descriptor.dim, sizeof *vector);
  assert_non_null(vector);
  for (uint64_t w = 0; w < f->descriptor.dim; w++)
    vector[w] = (uint32_t)((int32_t)ATTACK_POISON / divisor);
  federation_sketch_of(f, vector, ret_sketch);
  free(vector);
}

static uint32_t *pair_of(const struct federation *f, size_t k, size_t partner, uint32_t *masks) {
  struct cns_hospital_audit a;
  assert_int_equal(cns_hospital_audit(f->hospitals[k], &a), 0);
  for (size_t m = 1; m < a.count; m++)
    if (a.partners[m] == partner) return masks + m * a.k;
  return NULL;
}

void attack_lie_self(struct federation *f, size_t k, uint32_t *masks) {
  uint32_t sketch[CNS_SKETCH_MAX];
  attack_poison_sketch(f, 1, sketch);
  cns_sketch_add(masks, sketch, 1, f->descriptor.sketch);
}

static void add_to_pair(struct federation *f, size_t k, uint32_t *masks, int sign) {
  uint32_t sketch[CNS_SKETCH_MAX], *pair = pair_of(f, k, f->lie_partner[k], masks);
  attack_poison_sketch(f, 1, sketch);
  if (pair) cns_sketch_add(pair, sketch, sign, f->descriptor.sketch);
}

void attack_lie_pair(struct federation *f, size_t k, uint32_t *masks) {
  add_to_pair(f, k, masks, cns_pair_sign((uint16_t)(k + 1), (uint16_t)(f->lie_partner[k] + 1)));
}

void attack_lie_along(struct federation *f, size_t k, uint32_t *masks) {
  add_to_pair(f, k, masks, cns_pair_sign((uint16_t)(f->lie_partner[k] + 1), (uint16_t)(k + 1)));
}

void attack_lie_slightly(struct federation *f, size_t k, uint32_t *masks) {
  masks[0]++;
}

void attack_lie_to_all(struct federation *f, size_t k, uint32_t *masks) {
  for (size_t j = 0; j < f->n; j++) {
    uint32_t *pair = j == k ? NULL : pair_of(f, k, j, masks);
    if (pair) pair[7]++;
  }
}

void attack_lie_wildly(struct federation *f, size_t k, uint32_t *masks) {
  uint32_t *pair = pair_of(f, k, f->lie_partner[k], masks);
  struct cns_rng_seeded rng;
  cns_rng_seeded_init_label(&rng, f->seed + k, "wild");
  if (pair)
    assert_int_equal(cns_rng_fill(cns_rng_seeded(&rng), (uint8_t *)pair, f->descriptor.sketch * sizeof *pair),
                     0);
}

bool attack_is_named(const struct federation *f, size_t k) {
  size_t count;
  const struct cns_verdict *verdicts = cns_coordinator_verdicts(f->coordinator, &count);
  for (size_t v = 0; v < count; v++)
    if (verdicts[v].index == f->descriptor.members[k].index) return true;
  return false;
}

struct attack_bytes attack_audit_answer(const struct federation *f, size_t k, const uint32_t *masks) {
  struct cns_hospital_audit a;
  struct cns_digest digests[FEDERATION_MAX], root;
  assert_int_equal(cns_hospital_audit(f->hospitals[k], &a), 0);
  size_t bytes = (size_t)4 * a.k;
  uint8_t *words = calloc(a.count, bytes);
  assert_non_null(words);
  for (size_t m = 0; m < a.count; m++) {
    cns_audit_words_write(masks + m * a.k, a.k, words + m * bytes);
    cns_audit_leaf_digest((uint16_t)(k + 1), (uint16_t)(a.partners[m] + 1), words + m * bytes, a.k,
                          &digests[m]);
  }
  assert_int_equal(cns_merkle_root(digests, a.count, &root), 0);
  struct attack_bytes answer = attack_answer(f, k, NULL, 0, &root, words, a.count * bytes);
  free(words);
  return answer;
}

uint8_t attack_outcome(const struct federation *f, size_t k) {
  return cns_coordinator_outcomes(f->coordinator)->outcomes[k];
}
