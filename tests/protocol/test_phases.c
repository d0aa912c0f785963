/* SPDX-License-Identifier: Apache-2.0 */
/* The order of things: the transition table, who is asked when, requests out of
 * their order or round, and what abandon(R) rules out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define TARGET 5

static void begin_at(struct federation *f, enum cns_phase phase, uint64_t seed) {
  federation_init(f, 8, 50, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, phase);
}

/* ---- the table ---- */

static void the_transition_table(void **state) {
  static const enum cns_phase plain[] = {CNS_PHASE_NONE,   CNS_PHASE_KEYS,   CNS_PHASE_SHARES,
                                         CNS_PHASE_READY,  CNS_PHASE_UPLOAD, CNS_PHASE_AGREE,
                                         CNS_PHASE_UNMASK, CNS_PHASE_RESULT};
  static const enum cns_phase audited[] = {
      CNS_PHASE_NONE,  CNS_PHASE_KEYS,    CNS_PHASE_SHARES, CNS_PHASE_READY,  CNS_PHASE_UPLOAD,
      CNS_PHASE_AUDIT, CNS_PHASE_DISPUTE, CNS_PHASE_AGREE,  CNS_PHASE_UNMASK, CNS_PHASE_RESULT};
  struct cns_round round = {.descriptor = {.audit_level = CNS_AUDIT_NONE}};
  assert_int_equal(cns_round_previous(&round, CNS_PHASE_AUDIT), CNS_PHASE_NONE);
  assert_int_equal(cns_round_previous(&round, CNS_PHASE_DISPUTE), CNS_PHASE_NONE);
  assert_int_equal(cns_round_previous(&round, CNS_PHASE_FORFEIT), CNS_PHASE_NONE);
  for (size_t p = 0; p + 1 < sizeof plain / sizeof plain[0]; p++) {
    assert_int_equal(cns_round_next(&round, plain[p]), plain[p + 1]);
    assert_int_equal(cns_round_previous(&round, plain[p + 1]), plain[p]);
  }
  round.descriptor.audit_level = CNS_AUDIT_OPEN;
  for (size_t p = 0; p + 1 < sizeof audited / sizeof audited[0]; p++) {
    assert_int_equal(cns_round_next(&round, audited[p]), audited[p + 1]);
    assert_int_equal(cns_round_previous(&round, audited[p + 1]), audited[p]);
  }
  assert_int_equal(cns_round_previous(&round, CNS_PHASE_FORFEIT), CNS_PHASE_AGREE);
  assert_int_equal(cns_round_next(&round, CNS_PHASE_FORFEIT), CNS_PHASE_RESULT);
  assert_int_equal(cns_round_next(&round, CNS_PHASE_RESULT), CNS_PHASE_RESULT);
  assert_int_equal(cns_round_next(&round, CNS_PHASE_ABANDON), CNS_PHASE_ABANDON);
  assert_int_equal(cns_round_next(&round, (enum cns_phase)200), CNS_PHASE_NONE);
}

/* Late is missing in that phase; upload, agree and unmask are open to all of U2. */
static void who_is_asked(void **state) {
  struct federation f;
  federation_init(&f, 16, 20, 1);
  f.silent_from[0] = CNS_PHASE_KEYS;
  f.silent_from[1] = CNS_PHASE_SHARES;
  f.silent_from[2] = CNS_PHASE_READY;
  f.silent_from[3] = CNS_PHASE_UPLOAD;
  f.silent_from[4] = CNS_PHASE_AGREE;
  federation_begin(&f, 1, 1);
  federation_play(&f);
  const struct cns_round *round = cns_coordinator_round(f.coordinator);
  assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_COMPLETED);
  for (size_t k = 0; k < 16; k++) {
    assert_true(cns_round_asked(round, CNS_PHASE_KEYS, k));
    assert_int_equal(cns_round_asked(round, CNS_PHASE_SHARES, k), k > 0);
    assert_int_equal(cns_round_asked(round, CNS_PHASE_READY, k), k > 1);
    assert_int_equal(cns_round_asked(round, CNS_PHASE_UPLOAD, k), k > 2);
    assert_int_equal(cns_round_asked(round, CNS_PHASE_AGREE, k), k > 2);
    assert_int_equal(cns_round_asked(round, CNS_PHASE_UNMASK, k), k > 2);
    assert_false(cns_round_asked(round, CNS_PHASE_RESULT, k));
  }
  const struct cns_agreement *agreement = cns_coordinator_agreement(f.coordinator);
  static const enum cns_outcome expected[] = {CNS_MISSING_KEYS, CNS_MISSING_SHARES, CNS_MISSING_READY,
                                              CNS_MISSING_UPLOAD, CNS_INCLUDED};
  for (size_t k = 0; k < 5; k++)
    assert_int_equal(agreement->outcomes[k], expected[k]);
  struct cns_released releases[16];
  uint16_t positions[16];
  assert_int_equal(cns_round_releases(round, agreement, releases, positions), 13);
  for (size_t e = 0; e < 13; e++) {
    assert_int_equal(positions[e], e + 3);
    assert_int_equal(releases[e].dealer, e + 4);
    assert_int_equal(releases[e].kind, e == 0 ? CNS_SHARE_S : CNS_SHARE_B); /* never both */
  }
  federation_deinit(&f);
}

/* One too few in any phase up to upload: it ends, cleanly, and nobody is asked
 * for anything any more. */
static void a_round_that_ended_asks_nothing(void **state) {
  for (enum cns_phase p = CNS_PHASE_KEYS; p <= CNS_PHASE_UNMASK; p++) {
    struct federation f;
    struct cns_writer writer;
    struct cns_problem problem = {0};
    if (p == CNS_PHASE_AUDIT) continue;
    federation_init(&f, 8, 20, 2);
    for (size_t k = 0; k < 4; k++)
      f.silent_from[k] = p;
    federation_begin(&f, 1, 1);
    federation_play(&f);
    assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_TOO_FEW);
    assert_true(cns_coordinator_end_reason(f.coordinator)[0] != '\0');
    assert_int_equal(cns_coordinator_awaited(f.coordinator), 0);
    cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
    for (size_t k = 0; k < 8; k++)
      assert_int_equal(cns_coordinator_request(f.coordinator, k, &writer), CNS_NOT_ASKED);
    assert_int_equal(cns_coordinator_close(f.coordinator, &problem), CNS_ERR_STATE);
    federation_deinit(&f);
  }
}

/* ---- order ---- */

static void phases_asked_out_of_order(void **state) {
  for (enum cns_phase phase = CNS_PHASE_SHARES; phase <= CNS_PHASE_UNMASK; phase++) {
    struct federation f;
    if (phase == CNS_PHASE_AUDIT) continue;
    begin_at(&f, phase, 41);
    for (unsigned other = 0; other < 256; other++) {
      struct attack_bytes request = attack_request(&f, TARGET);
      request.data[33] = (uint8_t)other;
      if (other == phase)
        attack_bytes_free(&request);
      else
        attack_refused(&f, TARGET, request);
    }
    attack_finish(&f, 0);
    federation_deinit(&f);
  }
}

static void unmask_without_the_list_of_signatures(void **state) {
  struct federation f;
  begin_at(&f, CNS_PHASE_UNMASK, 42);
  struct attack_view *view = attack_view_new(&f, TARGET);
  attack_item_drop(&view->lists[0].items[0]);
  for (size_t k = 0; k < f.n; k++)
    attack_item_drop(&view->lists[0].items[k]);
  attack_bytes_free(&view->lists[0].agreement);
  view->count = 0;
  assert_int_equal(attack_refused(&f, TARGET, attack_view_write(&f, view)), CNS_ERR_REFUSED);
  attack_view_free(view);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void requests_of_another_round(void **state) {
  struct federation f;
  struct attack_bytes old[CNS_PHASE_COUNT] = {{0}};
  federation_init(&f, 8, 50, 43);
  federation_begin(&f, 1, 1);
  for (enum cns_phase p = CNS_PHASE_SHARES; p <= CNS_PHASE_UNMASK; p++) {
    if (p == CNS_PHASE_AUDIT) continue;
    attack_play_until(&f, p);
    old[p] = attack_request(&f, TARGET);
  }
  attack_finish(&f, 0);
  federation_begin(&f, 1, 2);
  for (enum cns_phase p = CNS_PHASE_SHARES; p <= CNS_PHASE_UNMASK; p++) {
    if (p == CNS_PHASE_AUDIT) continue;
    attack_play_until(&f, p);
    struct attack_bytes renamed = attack_bytes_copy(old[p].data, old[p].len);
    memcpy(renamed.data + 1, cns_hospital_round(f.hospitals[TARGET])->bytes, CNS_DIGEST_BYTES);
    assert_int_equal(attack_refused(&f, TARGET, renamed), CNS_ERR_SIGNATURE);
    assert_int_equal(attack_refused(&f, TARGET, old[p]), CNS_ERR_REFUSED);
  }
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- abandon ---- */

static void unmask_after_abandon(void **state) {
  struct federation f;
  struct cns_signature signature;
  const struct cns_digest *round;
  begin_at(&f, CNS_PHASE_UNMASK, 50);
  round = cns_hospital_round(f.hospitals[TARGET]);
  assert_int_equal(cns_hospital_abandon(f.hospitals[TARGET], &signature), 0);
  assert_int_equal(cns_abandon_verify(&f.roster.hospitals[TARGET].identity, round, TARGET + 1, &signature),
                   0);
  assert_true(cns_abandon_verify(&f.roster.hospitals[TARGET].identity, round, TARGET, &signature) < 0);
  assert_int_equal(attack_refused(&f, TARGET, attack_request(&f, TARGET)), CNS_ERR_REFUSED);
  assert_int_equal(attack_refused(&f, TARGET, attack_request(&f, TARGET)), CNS_ERR_REFUSED);
  f.silent_from[TARGET] = CNS_PHASE_UNMASK;
  attack_finish(&f, 0);
  federation_deinit(&f);
}

static void abandon_after_unmask(void **state) {
  struct federation f;
  struct cns_signature signature, before;
  begin_at(&f, CNS_PHASE_UNMASK, 51);
  memset(&signature, 7, sizeof signature);
  before = signature;
  federation_play_phase(&f);
  assert_int_equal(cns_hospital_abandon(f.hospitals[TARGET], &signature), CNS_ERR_STATE);
  assert_memory_equal(&signature, &before, sizeof signature);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_transition_table),
      cmocka_unit_test(who_is_asked),
      cmocka_unit_test(a_round_that_ended_asks_nothing),
      cmocka_unit_test(phases_asked_out_of_order),
      cmocka_unit_test(unmask_without_the_list_of_signatures),
      cmocka_unit_test(requests_of_another_round),
      cmocka_unit_test(unmask_after_abandon),
      cmocka_unit_test(abandon_after_unmask),
  };
  return cmocka_run_group_tests_name("protocol phases", tests, NULL, NULL);
}
