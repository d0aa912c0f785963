/* SPDX-License-Identifier: Apache-2.0 */
/* Whole rounds through both machines: everyone there, and hospitals silent from
 * each phase on, up to the threshold and one over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/protocol/federation.h"

static const enum cns_phase phases[] = {CNS_PHASE_KEYS,   CNS_PHASE_SHARES, CNS_PHASE_READY,
                                        CNS_PHASE_UPLOAD, CNS_PHASE_AGREE,  CNS_PHASE_UNMASK};

static void complete_rounds_are_exact(void **state) {
  static const size_t sizes[] = {4, 5, 6, 8, 16};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    struct federation f;
    federation_init(&f, sizes[s], 40000, 1 + s);
    federation_begin(&f, 1, 1);
    federation_play(&f);
    assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_COMPLETED);
    assert_int_equal(cns_agreement_included(cns_coordinator_agreement(f.coordinator)), sizes[s]);
    assert_true(federation_sum_is_exact(&f));
    federation_deinit(&f);
  }
}

/* n = 16, c = 3, t = 10: six may be lost in any phase, seven not. */
static void losses_up_to_the_threshold(void **state) {
  for (size_t p = 0; p < sizeof phases / sizeof phases[0]; p++)
    for (size_t lost = 0; lost <= 7; lost++) {
      struct federation f;
      federation_init(&f, 16, 100, 100 + p);
      for (size_t k = 0; k < lost; k++)
        f.silent_from[(5 * k + p) % 16] = phases[p];
      federation_begin(&f, 1, 1);
      federation_play(&f);
      bool enough = lost <= 6;
      assert_int_equal(cns_coordinator_end(f.coordinator), enough ? CNS_END_COMPLETED : CNS_END_TOO_FEW);
      if (enough) assert_true(federation_sum_is_exact(&f));
      size_t included_losses = phases[p] <= CNS_PHASE_UPLOAD ? lost : 0;
      if (enough)
        assert_int_equal(cns_agreement_included(cns_coordinator_agreement(f.coordinator)),
                         16 - included_losses);
      federation_deinit(&f);
    }
}

static void late_hospitals_catch_up(void **state) {
  /* Silent in upload and agree, back for unmask: its shares still count. */
  struct federation f;
  struct cns_problem problem = {0};
  federation_init(&f, 8, 100, 7);
  federation_begin(&f, 1, 1);
  while (cns_coordinator_phase(f.coordinator) != CNS_PHASE_RESULT) {
    enum cns_phase phase = cns_coordinator_phase(f.coordinator);
    f.silent_from[2] = phase == CNS_PHASE_UPLOAD || phase == CNS_PHASE_AGREE ? phase : CNS_PHASE_COUNT;
    for (size_t k = 5; k < 7; k++)
      f.silent_from[k] = CNS_PHASE_UNMASK;
    federation_play_phase(&f);
    assert_int_equal(cns_coordinator_close(f.coordinator, &problem), 0);
  }
  assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_COMPLETED);
  assert_true(federation_sum_is_exact(&f));
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(complete_rounds_are_exact),
      cmocka_unit_test(losses_up_to_the_threshold),
      cmocka_unit_test(late_hospitals_catch_up),
  };
  return cmocka_run_group_tests_name("protocol round", tests, NULL, NULL);
}
