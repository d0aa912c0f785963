/* SPDX-License-Identifier: Apache-2.0 */
/* Lists under a signed head, with everything in them genuinely signed, that
 * can't be: a colluder where it has no part, a standing that there isn't, a
 * statement that t liars signed. n = 8, c = 1, t = 5; the hospital is member 5,
 * the colluder member 7. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define TARGET 5
#define OTHER 2
#define COLLUDER 7

static void begin_at(struct federation *f, enum cns_phase phase, enum cns_phase colluder_silent_from,
                     uint64_t seed) {
  federation_init(f, 8, 50, seed);
  f->silent_from[COLLUDER] = colluder_silent_from;
  federation_begin(f, 1, 1);
  attack_play_until(f, phase);
}

/* ---- who wasn't asked ---- */

/* What the colluder puts into the list though it was out before. */
static void intrude(struct federation *f, struct attack_view *view) {
  struct attack_list *last = &view->lists[view->count - 1];
  struct attack_item *item = &last->items[COLLUDER];
  uint8_t body[CNS_UPLOAD_BODY_BYTES] = {0};
  assert_int_equal(item->standing, CNS_ABSENT);
  if (last->phase == CNS_PHASE_SHARES) {
    struct attack_deal deal;
    struct cns_digest digests[8];
    const uint8_t *answer;
    size_t len;
    struct cns_problem problem = {0};
    /* It has keys, and never sent them. */
    assert_int_equal(cns_hospital_keys(f->hospitals[COLLUDER], &answer, &len, &problem), 0);
    attack_deal_make(f, COLLUDER, &deal);
    assert_int_equal(deal.count, 7);
    for (size_t d = 0; d < 7; d++)
      cns_leaf_digest(&deal.leaves[d], &digests[d]);
    assert_int_equal(cns_merkle_root(digests, 7, &item->root), 0);
    assert_int_equal(cns_merkle_path(digests, 7, TARGET, &item->path), 0);
    item->leaf = deal.leaves[TARGET];
    attack_view_forge(f, view, COLLUDER, deal.point_b.bytes, CNS_POINT_BYTES, f->identities[COLLUDER]);
  }
  if (last->phase == CNS_PHASE_READY) attack_view_forge(f, view, COLLUDER, body, 2, f->identities[COLLUDER]);
  if (last->phase == CNS_PHASE_UPLOAD)
    attack_view_forge(f, view, COLLUDER, body, CNS_UPLOAD_BODY_BYTES, f->identities[COLLUDER]);
  if (last->phase == CNS_PHASE_AGREE)
    attack_view_forge(f, view, COLLUDER, last->agreement.data, last->agreement.len, f->identities[COLLUDER]);
}

static void listed_without_having_been_asked(void **state) {
  static const struct {
    enum cns_phase missing, asked; /* missing from here; what is asked for behind the changed list */
  } cases[] = {
      {CNS_PHASE_KEYS, CNS_PHASE_READY},    {CNS_PHASE_SHARES, CNS_PHASE_UPLOAD},
      {CNS_PHASE_READY, CNS_PHASE_AGREE},   {CNS_PHASE_READY, CNS_PHASE_UNMASK},
      {CNS_PHASE_SHARES, CNS_PHASE_UNMASK}, {CNS_PHASE_KEYS, CNS_PHASE_AGREE},
  };
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    struct federation f;
    begin_at(&f, cases[c].asked, cases[c].missing, 1 + c);
    struct attack_view *view = attack_view_new(&f, TARGET);
    intrude(&f, view);
    assert_int_equal(
        attack_refused_saying(&f, TARGET, attack_view_write(&f, view), "hospital 8, which had no part in it"),
        CNS_ERR_REFUSED);
    attack_view_free(view);
    attack_finish(&f, 0);
    federation_deinit(&f);
  }
}

/* ---- standing ---- */

/* Disqualified is a standing of phase ready only, and there are no others. */
static void a_standing_that_there_is_not(void **state) {
  static const struct {
    enum cns_phase asked;
    uint8_t standing;
  } cases[] = {
      {CNS_PHASE_SHARES, CNS_DISQUALIFIED},
      {CNS_PHASE_READY, CNS_DISQUALIFIED},
      {CNS_PHASE_AGREE, CNS_DISQUALIFIED},
      {CNS_PHASE_UNMASK, CNS_DISQUALIFIED},
      {CNS_PHASE_SHARES, 3},
      {CNS_PHASE_UPLOAD, 3},
      {CNS_PHASE_UPLOAD, 255},
      {CNS_PHASE_UNMASK, 255},
  };
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    struct federation f;
    begin_at(&f, cases[c].asked, CNS_PHASE_COUNT, 20 + c);
    struct attack_view *view = attack_view_new(&f, TARGET);
    view->lists[view->count - 1].items[OTHER].standing = cases[c].standing;
    assert_int_equal(attack_refused_saying(&f, TARGET, attack_view_write(&f, view), "is malformed"),
                     CNS_ERR_FORMAT);
    attack_view_free(view);
    attack_finish(&f, 0);
    federation_deinit(&f);
  }
}

/* ---- statements ---- */

/* Member 2 uploaded, and t hospitals sign that it didn't. Against that many good
 * signatures a hospital still looks at what they are on: it has the lists. */
static void a_false_statement_with_t_signatures(void **state) {
  static const size_t signers[] = {0, 1, 3, 4, 6};
  struct federation f;
  begin_at(&f, CNS_PHASE_UNMASK, CNS_PHASE_COUNT, 30);
  struct attack_view *view = attack_view_new(&f, TARGET);
  struct attack_list *last = &view->lists[view->count - 1];
  last->agreement.data[32 + 2 + OTHER] = CNS_MISSING_UPLOAD;
  for (size_t k = 0; k < f.n; k++)
    attack_item_drop(&last->items[k]);
  for (size_t s = 0; s < sizeof signers / sizeof signers[0]; s++)
    attack_view_forge(&f, view, signers[s], last->agreement.data, last->agreement.len,
                      f.identities[signers[s]]);
  assert_int_equal(f.descriptor.threshold, sizeof signers / sizeof signers[0]);
  assert_int_equal(
      attack_refused_saying(&f, TARGET, attack_view_write(&f, view),
                            "calls hospital 3 \"missing in phase upload\", but by the signed lists"),
      CNS_ERR_REFUSED);
  attack_view_free(view);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(listed_without_having_been_asked),
      cmocka_unit_test(a_standing_that_there_is_not),
      cmocka_unit_test(a_false_statement_with_t_signatures),
  };
  return cmocka_run_group_tests_name("protocol lying lists", tests, NULL, NULL);
}
