/* SPDX-License-Identifier: Apache-2.0 */
/* Whole rounds with an audit through both machines, and what they keep to. n = 8,
 * c = 1, t = 5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

static void begin_at(struct federation *f, enum cns_phase phase, uint64_t seed) {
  federation_init_audited(f, 8, seed);
  federation_begin(f, 1, 1);
  attack_play_until(f, phase);
}

/* z is A*x of what is in the upload, the dispute's list is there and empty, and
 * the sum is exact. */
static void honest_rounds(void **state) {
  static const size_t sizes[] = {4, 5, 8, 16};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    struct federation f;
    uint32_t of_x[CNS_SKETCH_MAX];
    federation_init_audited(&f, sizes[s], 1 + s);
    federation_begin(&f, 1, 1);
    attack_play_until(&f, CNS_PHASE_AGREE);
    for (size_t k = 0; k < f.n; k++) {
      federation_sketch_of(&f, f.x[k], of_x);
      assert_memory_equal(cns_coordinator_sketch(f.coordinator, k), of_x, FEDERATION_SKETCH * 4);
    }
    const struct cns_round *round = cns_coordinator_round(f.coordinator);
    assert_int_equal(cns_round_count(round, CNS_PHASE_AUDIT), f.n);
    assert_non_null(round->entries[CNS_PHASE_DISPUTE]);
    assert_int_equal(cns_round_count(round, CNS_PHASE_DISPUTE), 0);
    attack_finish(&f, 0);
    assert_int_equal(cns_agreement_included(cns_coordinator_outcomes(f.coordinator)), f.n);
    federation_deinit(&f);
  }
}

/* n = 16, c = 3, t = 10: six may be lost in any phase, seven not; of the audit as
 * many must answer as must be in the sum, 5. */
static void losses_up_to_the_threshold(void **state) {
  static const enum cns_phase phases[] = {CNS_PHASE_KEYS,  CNS_PHASE_READY, CNS_PHASE_UPLOAD,
                                          CNS_PHASE_AUDIT, CNS_PHASE_AGREE, CNS_PHASE_UNMASK};
  for (size_t p = 0; p < sizeof phases / sizeof phases[0]; p++)
    for (size_t lost = 6; lost <= 7; lost++) {
      struct federation f;
      federation_init_audited(&f, 16, 100 + p);
      for (size_t k = 0; k < lost; k++)
        f.silent_from[(5 * k + p) % 16] = phases[p];
      federation_begin(&f, 1, 1);
      federation_play(&f);
      bool enough = lost <= 6;
      assert_int_equal(cns_coordinator_end(f.coordinator), enough ? CNS_END_COMPLETED : CNS_END_TOO_FEW);
      if (enough) assert_true(federation_sum_is_exact(&f));
      if (enough)
        assert_int_equal(cns_agreement_included(cns_coordinator_outcomes(f.coordinator)),
                         cns_phase_order(phases[p]) <= cns_phase_order(CNS_PHASE_AUDIT) ? 10 : 16);
      federation_deinit(&f);
    }
}

/* Silent in the audit, or from upload to agree, and back: missing, and a holder
 * all the same. */
static void late_hospitals_catch_up(void **state) {
  struct federation f;
  federation_init_audited(&f, 8, 7);
  federation_begin(&f, 1, 1);
  while (cns_coordinator_phase(f.coordinator) != CNS_PHASE_RESULT) {
    enum cns_phase phase = cns_coordinator_phase(f.coordinator);
    bool away = phase == CNS_PHASE_AUDIT || phase == CNS_PHASE_UPLOAD || phase == CNS_PHASE_AGREE;
    f.silent_from[2] = away ? CNS_PHASE_UPLOAD : CNS_PHASE_COUNT;
    f.silent_from[3] = phase == CNS_PHASE_AUDIT ? CNS_PHASE_AUDIT : CNS_PHASE_COUNT;
    for (size_t k = 5; k < 7; k++)
      f.silent_from[k] = CNS_PHASE_UNMASK;
    federation_play_phase(&f);
    attack_close(&f);
  }
  assert_int_equal(cns_coordinator_end(f.coordinator), CNS_END_COMPLETED);
  assert_true(federation_sum_is_exact(&f));
  assert_int_equal(attack_outcome(&f, 2), CNS_MISSING_UPLOAD);
  assert_int_equal(attack_outcome(&f, 3), CNS_MISSING_AUDIT);
  federation_deinit(&f);
}

/* A machine that computes wrongly says so, and nothing leaves it. */
static void a_faulty_machine_does_not_answer(void **state) {
  struct federation f;
  struct cns_hospital_audit a;
  const uint8_t *answer = NULL;
  size_t len = 0;
  struct cns_problem problem = {0};
  begin_at(&f, CNS_PHASE_AUDIT, 8);
  assert_int_equal(cns_hospital_audit(f.hospitals[2], &a), CNS_ERR_STATE);
  assert_int_equal(cns_hospital_audited(f.hospitals[2], NULL, NULL, NULL, &answer, &len, &problem),
                   CNS_ERR_STATE);
  struct attack_bytes request = attack_request(&f, 2);
  for (int again = 0; again < 2; again++)
    assert_int_equal(cns_hospital_handle(f.hospitals[2], request.data, request.len, &answer, &len, &problem),
                     CNS_HOSPITAL_AUDIT);
  attack_bytes_free(&request);
  assert_int_equal(cns_hospital_audit(f.hospitals[2], &a), 0);
  assert_int_equal(a.count, 8);
  assert_int_equal(a.partners[0], 2);
  uint32_t *masks = calloc(a.count * a.k, 4), of_y[CNS_SKETCH_MAX], of_x[CNS_SKETCH_MAX];
  assert_non_null(masks);
  assert_int_equal(cns_sketch_masks(&a.key, a.k, a.seeds, a.count, a.dim, (struct cns_parallel){0}, masks),
                   0);
  federation_sketch_of(&f, f.y[2], of_y);
  federation_sketch_of(&f, f.x[2], of_x);
  uint32_t *const wrong[] = {masks, masks + a.count * a.k - 1, of_y + 5, of_x + a.k - 1};
  for (size_t w = 0; w < sizeof wrong / sizeof wrong[0]; w++) {
    problem.text[0] = '\0';
    *wrong[w] ^= 1u << (7 * w);
    assert_int_equal(cns_hospital_audited(f.hospitals[2], masks, of_y, of_x, &answer, &len, &problem),
                     CNS_ERR_PROOF);
    assert_true(problem.text[0] != '\0');
    assert_int_equal(cns_hospital_answered(f.hospitals[2]), CNS_PHASE_UPLOAD);
    *wrong[w] ^= 1u << (7 * w);
  }
  assert_int_equal(cns_hospital_audited(f.hospitals[2], masks, of_y, of_x, &answer, &len, &problem), 0);
  struct attack_bytes first = attack_bytes_copy(answer, len);
  /* Once answered, the same bytes, whatever is said later. */
  masks[0] ^= 1;
  assert_int_equal(cns_hospital_audited(f.hospitals[2], masks, of_y, of_x, &answer, &len, &problem), 0);
  assert_int_equal(len, first.len);
  assert_memory_equal(answer, first.data, len);
  attack_bytes_free(&first);
  free(masks);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* A hospital that was restarted has no secrets: it repeats what it stored, and
 * is missing from then on. */
static void restart(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  const uint8_t *answer;
  size_t len;
  begin_at(&f, CNS_PHASE_AUDIT, 9);
  assert_int_equal(federation_answer(&f, 2, &answer, &len, &problem), 0);
  struct attack_bytes stored = attack_bytes_copy(answer, len), copy = attack_bytes_copy(answer, len);
  f.hospitals[2] = cns_hospital_free(f.hospitals[2]);
  assert_int_equal(attack_receive(&f, 2, stored, &problem), 0);
  assert_int_equal(attack_receive(&f, 2, copy, &problem), CNS_ANSWER_KNOWN);
  f.silent_from[2] = CNS_PHASE_AUDIT;
  attack_finish(&f, 0);
  assert_int_equal(attack_outcome(&f, 2), CNS_INCLUDED);
  federation_deinit(&f);
}

static void abandoned_rounds_are_not_audited(void **state) {
  struct federation f;
  struct cns_signature signature;
  begin_at(&f, CNS_PHASE_AUDIT, 10);
  assert_int_equal(cns_hospital_abandon(f.hospitals[2], &signature), 0);
  assert_int_equal(attack_refused(&f, 2, attack_request(&f, 2)), CNS_ERR_REFUSED);
  f.silent_from[2] = CNS_PHASE_AUDIT;
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- the decision ---- */

static void decisions(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  uint8_t decided[8] = {0};
  struct cns_writer writer;
  federation_init_audited(&f, 8, 11);
  f.policy.maximum_exclusions = 2;
  f.silent_from[0] = CNS_PHASE_AUDIT;
  federation_begin(&f, 1, 1);
  attack_play_until(&f, CNS_PHASE_AUDIT);
  assert_int_equal(cns_coordinator_decide(f.coordinator, NULL, &problem), CNS_ERR_STATE);
  federation_play_phase(&f);
  assert_int_equal(cns_coordinator_close(f.coordinator, &problem), CNS_ERR_STATE); /* no A*y yet */
  federation_sketch(&f);
  assert_int_equal(cns_coordinator_close(f.coordinator, &problem), 0);
  assert_true(cns_coordinator_is_undecided(f.coordinator));
  assert_null(cns_coordinator_agreement(f.coordinator));
  assert_null(cns_coordinator_sketch(f.coordinator, 0));
  cns_writer_init(&writer, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_coordinator_request(f.coordinator, 1, &writer), CNS_NOT_ASKED);
  assert_int_equal(cns_coordinator_close(f.coordinator, &problem), CNS_ERR_STATE);
  decided[1] = decided[2] = decided[3] = CNS_OUT_FLAGGED;
  assert_int_equal(cns_coordinator_decide(f.coordinator, decided, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "allows 2"));
  decided[0] = CNS_OUT_QUARANTINED; /* not there anyway */
  decided[2] = CNS_OUT_QUARANTINED;
  decided[3] = CNS_MISSING_KEYS; /* no decision: stays in */
  assert_int_equal(cns_coordinator_decide(f.coordinator, decided, &problem), 0);
  assert_int_equal(cns_coordinator_decide(f.coordinator, decided, &problem), CNS_ERR_STATE);
  attack_finish(&f, 0);
  static const uint8_t expected[8] = {CNS_MISSING_AUDIT, CNS_OUT_FLAGGED, CNS_OUT_QUARANTINED};
  for (size_t k = 0; k < 8; k++)
    assert_int_equal(attack_outcome(&f, k), expected[k]);
  federation_deinit(&f);
}

static void never_under_the_minimum(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  uint8_t decided[4] = {0, CNS_OUT_FLAGGED};
  federation_init_audited(&f, 4, 12);
  f.silent_from[0] = CNS_PHASE_AUDIT;
  federation_begin(&f, 1, 1);
  attack_play_until(&f, CNS_PHASE_AUDIT);
  federation_play_phase(&f);
  federation_sketch(&f);
  assert_int_equal(cns_coordinator_close(f.coordinator, &problem), 0);
  assert_int_equal(cns_coordinator_decide(f.coordinator, decided, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "3 are required"));
  assert_int_equal(cns_coordinator_decide(f.coordinator, NULL, &problem), 0);
  attack_finish(&f, 0);
  federation_deinit(&f);
}

/* ---- sizes, bounds ---- */

/* At most 1.25 KiB a neighbour and 4 KiB at 256 numbers, and everything fits. */
static void sizes_on_the_wire(void **state) {
  for (size_t n = 4; n <= CNS_HOSPITALS_MAX; n += 83)
    assert_true(cns_audit_answer_bytes(n, 256) <= (n - 1) * 1280 + 4096);
  assert_true(cns_audit_answer_bytes(1000, 256) <= CNS_ANSWER_BYTES_MAX);
  struct federation f;
  const uint8_t *answer;
  size_t len;
  struct cns_problem problem = {0};
  begin_at(&f, CNS_PHASE_AUDIT, 13);
  assert_int_equal(federation_answer(&f, 2, &answer, &len, &problem), 0);
  assert_int_equal(len, cns_audit_answer_bytes(8, FEDERATION_SKETCH));
  federation_deinit(&f);
}

/* The exact test against the mean of the blocks' squared norms in floating
 * point, around the bound; and numbers as large as they come. */
static void the_bound_is_what_it_is_said_to_be(void **state) {
  static const struct {
    uint32_t k;
    double factor;
  } cases[] = {{128, 1754}, {256, 1524}, {512, 1358}, {1024, 1254}};
  struct federation f;
  federation_init_audited(&f, 8, 14);
  federation_begin(&f, 1, 1);
  for (size_t c = 0; c < 4; c++) {
    struct cns_descriptor d = f.descriptor;
    uint32_t z[CNS_SKETCH_MAX] = {0};
    bool within;
    d.sketch = cases[c].k;
    /* theta of member 6, weight 7: 1.01 * 10 * 7 * 2^scale, rounded up. */
    double theta = 1.01 * 10 * 7;
    for (int b = 0; b < d.scale_log2; b++)
      theta *= 2;
    double limit = 8 * cases[c].factor / 1024 * theta * theta, row = limit / d.sketch;
    uint32_t value = 0;
    for (uint32_t bit = (uint32_t)1 << 30; bit; bit >>= 1)
      if ((double)(value + bit) * (double)(value + bit) < row) value += bit;
    for (uint32_t r = 0; r < d.sketch; r++)
      z[r] = r % 2 ? value : 0u - value;
    assert_int_equal(cns_audit_within_bound(&d, 6, z, &within), 0);
    assert_true(within);
    for (uint32_t r = 0; r < d.sketch; r++)
      z[r] = r % 2 ? value + 2 : 0u - value - 2;
    assert_int_equal(cns_audit_within_bound(&d, 6, z, &within), 0);
    assert_false(within);
    for (uint32_t r = 0; r < d.sketch; r++)
      z[r] = (uint32_t)1 << 31;
    assert_int_equal(cns_audit_within_bound(&d, 6, z, &within), 0);
    assert_false(within);
    memset(z, 0, sizeof z);
    assert_int_equal(cns_audit_within_bound(&d, 6, z, &within), 0);
    assert_true(within);
    z[d.sketch - 1] = (uint32_t)1 << 31;
    assert_int_equal(cns_audit_within_bound(&d, 6, z, &within), 0);
    assert_false(within);
  }
  federation_deinit(&f);
}

static void a_coordinator_without_the_nonce(void **state) {
  struct federation f;
  struct cns_coordinator *other = NULL;
  struct cns_problem problem = {0};
  begin_at(&f, CNS_PHASE_SHARES, 15);
  struct cns_coordinator_config config = f.coordinator->config;
  uint8_t nonce[CNS_SKETCH_NONCE_BYTES] = {1};
  config.nonce = NULL;
  assert_int_equal(cns_coordinator_begin(&config, &f.descriptor, &other, &problem), CNS_ERR_ARGUMENT);
  config.nonce = nonce;
  assert_int_equal(cns_coordinator_begin(&config, &f.descriptor, &other, &problem), CNS_ERR_ARGUMENT);
  assert_null(other);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(honest_rounds),
      cmocka_unit_test(losses_up_to_the_threshold),
      cmocka_unit_test(late_hospitals_catch_up),
      cmocka_unit_test(a_faulty_machine_does_not_answer),
      cmocka_unit_test(restart),
      cmocka_unit_test(abandoned_rounds_are_not_audited),
      cmocka_unit_test(decisions),
      cmocka_unit_test(never_under_the_minimum),
      cmocka_unit_test(sizes_on_the_wire),
      cmocka_unit_test(the_bound_is_what_it_is_said_to_be),
      cmocka_unit_test(a_coordinator_without_the_nonce),
  };
  return cmocka_run_group_tests_name("protocol audit", tests, NULL, NULL);
}
