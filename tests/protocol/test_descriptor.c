/* SPDX-License-Identifier: Apache-2.0 */
/* Announcements that a hospital must refuse, one rule at a time; descriptors of
 * bad shape; and the largest sums that the rules allow. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dp/quantize.h"
#include "tests/protocol/attack.h"

#define OWN 4

static void smaller_cohort(struct cns_descriptor *d, struct federation *f) {
  d->member_count = 3;
  d->threshold = cns_policy_threshold(3, d->colluders);
}
static void cohort_under_the_policys(struct cns_descriptor *d, struct federation *f) {
  f->policy.minimum_cohort = 7;
  d->member_count = 6;
  d->threshold = cns_policy_threshold(6, d->colluders);
}
static void lower_threshold(struct cns_descriptor *d, struct federation *f) {
  d->threshold--;
}
static void higher_threshold(struct cns_descriptor *d, struct federation *f) {
  d->threshold++;
}
static void fewer_colluders(struct cns_descriptor *d, struct federation *f) {
  d->colluders = 0;
  d->threshold = cns_policy_threshold(d->member_count, 0);
}
static void more_colluders(struct cns_descriptor *d, struct federation *f) {
  d->colluders = 2;
  d->threshold = cns_policy_threshold(d->member_count, 2);
}
static void too_many_colluders_for_the_cohort(struct cns_descriptor *d, struct federation *f) {
  f->policy.colluders = d->colluders = 3; /* 3c + 1 = 10 */
  d->threshold = cns_policy_threshold(d->member_count, 3);
}
static void fewer_included(struct cns_descriptor *d, struct federation *f) {
  f->policy.minimum_included = d->minimum_included = 2; /* c + 2 = 3 */
}
static void fewer_included_than_the_policys(struct cns_descriptor *d, struct federation *f) {
  f->policy.minimum_included = 5;
  d->minimum_included = 4;
}
static void more_included_than_there_are(struct cns_descriptor *d, struct federation *f) {
  d->minimum_included = 9;
}
static void invented_hospital(struct cns_descriptor *d, struct federation *f) {
  d->members[7].index = 9;
}
static void without_this_hospital(struct cns_descriptor *d, struct federation *f) {
  memmove(&d->members[OWN], &d->members[OWN + 1], (8 - OWN - 1) * sizeof *d->members);
  d->member_count = 7;
  d->threshold = cns_policy_threshold(7, d->colluders);
}
static void revoked_hospital(struct cns_descriptor *d, struct federation *f) {
  f->roster.hospitals[1].revoked = true;
}
static void larger_clip(struct cns_descriptor *d, struct federation *f) {
  d->clip_norm = 11;
}
static void smaller_clip(struct cns_descriptor *d, struct federation *f) {
  d->clip_norm = 9;
}
static void clip_over_the_policys(struct cns_descriptor *d, struct federation *f) {
  f->policy.clip_norm_max = 9.5;
}
static void step_that_wraps(struct cns_descriptor *d, struct federation *f) {
  d->scale_log2++;
}
static void step_that_wraps_altogether(struct cns_descriptor *d, struct federation *f) {
  d->scale_log2 = 127;
}
static void coarser_step(struct cns_descriptor *d, struct federation *f) {
  d->scale_log2--;
}
static void step_of_nothing(struct cns_descriptor *d, struct federation *f) {
  d->scale_log2 = -128;
}
static void another_model(struct cns_descriptor *d, struct federation *f) {
  d->parent.bytes[0] ^= 1;
}
static void another_plan(struct cns_descriptor *d, struct federation *f) {
  d->plan.bytes[31] ^= 1;
}
static void another_roster(struct cns_descriptor *d, struct federation *f) {
  d->roster.bytes[0] ^= 1;
}
static void another_policy(struct cns_descriptor *d, struct federation *f) {
  d->policy.bytes[0] ^= 1;
}
static void another_study(struct cns_descriptor *d, struct federation *f) {
  d->study.bytes[0] ^= 1;
}
static void a_round_too_early(struct cns_descriptor *d, struct federation *f) {
  d->round++;
}
static void another_length(struct cns_descriptor *d, struct federation *f) {
  d->dim++;
}
static void another_length_of_metrics(struct cns_descriptor *d, struct federation *f) {
  d->metrics_dim++;
}
static void fewer_bits(struct cns_descriptor *d, struct federation *f) {
  d->bits = 16;
}
static void audit_that_the_policy_has_not(struct cns_descriptor *d, struct federation *f) {
  d->audit_level = CNS_AUDIT_OPEN;
}
static void audit_of_a_later_version(struct cns_descriptor *d, struct federation *f) {
  f->policy.audit_level = CNS_AUDIT_NORM;
  d->audit_level = CNS_AUDIT_NORM;
}
static void noise_that_the_policy_has_not(struct cns_descriptor *d, struct federation *f) {
  d->noise_placement = CNS_NOISE_CENTRAL;
  d->noise_multiplier = d->sampling_rate = 1;
}
static void no_noise_where_the_policy_has_it(struct cns_descriptor *d, struct federation *f) {
  f->policy.noise_placement = CNS_NOISE_DISTRIBUTED;
}
static void another_unit(struct cns_descriptor *d, struct federation *f) {
  f->policy.unit = CNS_UNIT_PATIENT;
}
static void noise_that_the_study_has_not(struct cns_descriptor *d, struct federation *f) {
  f->policy.noise_placement = d->noise_placement = CNS_NOISE_DISTRIBUTED;
  d->noise_multiplier = d->sampling_rate = 1;
}
static void sketch_without_an_audit(struct cns_descriptor *d, struct federation *f) {
  d->sketch = 256;
}
static void another_weight_of_ours(struct cns_descriptor *d, struct federation *f) {
  d->members[OWN].weight++;
}
static void weight_over_the_cap(struct cns_descriptor *d, struct federation *f) {
  d->members[1].weight = f->policy.weight_cap + 1;
}
static void unequal_weights(struct cns_descriptor *d, struct federation *f) {
  f->policy.weights_mode = CNS_WEIGHTS_EQUAL;
}

/* Each rule is broken alone, and the sentence says that it was this one. */
static const struct rule {
  const char *name;
  void (*tamper)(struct cns_descriptor *d, struct federation *f);
  const char *words;
} rules[] = {
#define RULE(name, words)                                                                                    \
  { #name, name, words }
    RULE(smaller_cohort, "the cohort has 3 hospitals; at least 4 are required"),
    RULE(cohort_under_the_policys, "the cohort has 6 hospitals; at least 7 are required"),
    RULE(lower_threshold, "the threshold is 4; for 8 hospitals and 1 colluders it must be 5"),
    RULE(higher_threshold, "the threshold is 6; for 8 hospitals and 1 colluders it must be 5"),
    RULE(fewer_colluders, "the round tolerates 0 colluders, the policy says 1"),
    RULE(more_colluders, "the round tolerates 2 colluders, the policy says 1"),
    RULE(too_many_colluders_for_the_cohort, "3c+1 = 10"),
    RULE(fewer_included, "a sum of 2 updates; at least 3 are required"),
    RULE(fewer_included_than_the_policys, "a sum of 4 updates; at least 5 are required"),
    RULE(more_included_than_there_are, "needs 9 included of a cohort of 8"),
    RULE(invented_hospital, "names hospital 9, which is not in the roster"),
    RULE(without_this_hospital, "this hospital (index 5) is not in the cohort"),
    RULE(revoked_hospital, "hospital-2, which the roster revokes"),
    RULE(larger_clip, "the round's clip norm is 11"),
    RULE(smaller_clip, "the round's clip norm is 9"),
    RULE(clip_over_the_policys, "the policy allows 9.5 at the most"),
    RULE(step_that_wraps, "the round's step could wrap"),
    RULE(step_that_wraps_altogether, "the round's step could wrap"),
    RULE(coarser_step, "the round's step is 2^"),
    RULE(step_of_nothing, "the round's step is 2^"),
    RULE(another_model, "starts from another model"),
    RULE(another_plan, "another study file"),
    RULE(another_roster, "another roster"),
    RULE(another_policy, "another policy"),
    RULE(another_study, "another study than ours"),
    RULE(a_round_too_early, "round 2 was announced, but the next round after the accepted model is 1"),
    RULE(another_length, "asks for 51 parameters and 7 metrics"),
    RULE(another_length_of_metrics, "asks for 50 parameters and 8 metrics"),
    RULE(fewer_bits, "16-bit values are reserved"),
    RULE(audit_that_the_policy_has_not, "audit level is 1, the policy's is 0"),
    RULE(audit_of_a_later_version, "audit level 2 is reserved"),
    RULE(noise_that_the_policy_has_not, "unit and noise placement are 0 and 1, the policy's are 0 and 0"),
    RULE(no_noise_where_the_policy_has_it, "unit and noise placement are 0 and 0, the policy's are 0 and 2"),
    RULE(another_unit, "unit and noise placement are 0 and 0, the policy's are 1 and 0"),
    RULE(noise_that_the_study_has_not,
         "noise multiplier is 1 and its sampling rate 1; the study says 0 and 0"),
    RULE(sketch_without_an_audit, "a sketch of 256 numbers without an audit"),
    RULE(another_weight_of_ours, "this hospital's weight in the round is 6, the one it declared is 5"),
    RULE(weight_over_the_cap, "hospital-2 has weight 1001, above the policy's cap of 1000"),
    RULE(unequal_weights, "but the policy says equal weights"),
};

/* ---- under a policy with noise ---- */

static void less_noise(struct cns_descriptor *d, struct federation *f) {
  d->noise_multiplier = 1.5;
}
static void more_noise(struct cns_descriptor *d, struct federation *f) {
  d->noise_multiplier = 2.5;
}
static void larger_rate(struct cns_descriptor *d, struct federation *f) {
  d->sampling_rate = 0.5;
}
static void noise_under_the_floor(struct cns_descriptor *d, struct federation *f) {
  f->policy.privacy.multiplier_min = 2.25;
}
static void rate_over_the_policys(struct cns_descriptor *d, struct federation *f) {
  f->policy.privacy.rate_max = 0.2;
}
static void delta_of_one_patient(struct cns_descriptor *d, struct federation *f) {
  f->policy.privacy.delta = 0.05;
}
static void step_too_fine_for_the_noise(struct cns_descriptor *d, struct federation *f) {
  d->scale_log2 += 1;
}
static void step_too_coarse_for_the_noise(struct cns_descriptor *d, struct federation *f) {
  d->scale_log2 = -20;
}

static const struct rule noise_rules[] = {
    RULE(less_noise, "noise multiplier is 1.5 and its sampling rate 0.25; the study says 2 and 0.25"),
    RULE(more_noise, "noise multiplier is 2.5"),
    RULE(larger_rate, "sampling rate 0.5; the study says 2 and 0.25"),
    RULE(noise_under_the_floor, "allows no multiplier below 2.25"),
    RULE(rate_over_the_policys, "no rate above 0.2"),
    RULE(delta_of_one_patient, "the policy's delta is 0.05, above 1/29, one over the number of patients"),
    RULE(step_too_fine_for_the_noise, "the round's step could wrap"),
    RULE(step_too_coarse_for_the_noise,
         "the round's step is 2^20; for its clip norm, cohort, weights and noise it must be"),
};

static void noise_is_what_policy_and_study_say(void **state) {
  for (size_t k = 0; k < sizeof noise_rules / sizeof noise_rules[0]; k++) {
    const struct rule *rule = &noise_rules[k];
    struct federation f;
    struct cns_problem problem = {0};
    struct cns_descriptor d;
    federation_init(&f, 8, 50, 1);
    federation_begin(&f, 1, 1);
    cns_policy_set_privacy(&f.policy, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, 3, 1e-3);
    struct cns_hospital_config config = federation_hospital_config(&f, OWN);
    config.expectation.noise_multiplier = 2;
    config.expectation.sampling_rate = 0.25;
    assert_int_equal(cns_descriptor_copy(&f.descriptor, &d), 0);
    d.unit = CNS_UNIT_PATIENT;
    d.noise_placement = CNS_NOISE_DISTRIBUTED;
    d.noise_multiplier = 2;
    d.sampling_rate = 0.25;
    assert_int_equal(cns_descriptor_choose_scale(&d, &problem), 0);
    if (attack_announce(&f, &d, &config, &problem)) fail_msg("%s", problem.text);
    rule->tamper(&d, &f);
    if (!strstr(rule->name, "step")) assert_int_equal(cns_descriptor_choose_scale(&d, &problem), 0);
    int r = attack_announce(&f, &d, &config, &problem);
    if (r != CNS_ERR_REFUSED || !strstr(problem.text, rule->words))
      fail_msg("%s: %d: %s", rule->name, r, problem.text);
    cns_descriptor_deinit(&d);
    federation_deinit(&f);
  }
}

static void each_rule_is_kept(void **state) {
  for (size_t k = 0; k < sizeof rules / sizeof rules[0]; k++) {
    const struct rule *rule = &rules[k];
    struct federation f;
    struct cns_problem problem = {0};
    federation_init(&f, 8, 50, 1);
    federation_begin(&f, 1, 1);
    struct cns_hospital_config config = federation_hospital_config(&f, OWN);
    assert_int_equal(attack_announce(&f, &f.descriptor, &config, &problem), 0);
    struct cns_descriptor tampered;
    assert_int_equal(cns_descriptor_copy(&f.descriptor, &tampered), 0);
    rule->tamper(&tampered, &f);
    /* The step follows, so that it isn't what a hospital stumbles over. */
    if (!strstr(rule->words, "step")) assert_int_equal(cns_descriptor_choose_scale(&tampered, &problem), 0);
    int r = attack_announce(&f, &tampered, &config, &problem);
    if (r != CNS_ERR_REFUSED && r != CNS_ERR_UNSUPPORTED) fail_msg("%s: %d", rule->name, r);
    if (!strstr(problem.text, rule->words)) fail_msg("%s: %s", rule->name, problem.text);
    cns_descriptor_deinit(&tampered);
    federation_deinit(&f);
  }
}

/* A hospital's own floor counts whatever policy and coordinator say. */
static void the_hospitals_own_floor(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  federation_init(&f, 8, 50, 2);
  federation_begin(&f, 1, 1);
  const struct cns_floor met = {.cohort = 8, .threshold = 5, .included = f.descriptor.minimum_included};
  for (int which = 0; which < 4; which++) {
    struct cns_hospital_config config = federation_hospital_config(&f, OWN);
    config.expectation.floor = met;
    if (which == 1) config.expectation.floor.cohort++;
    if (which == 2) config.expectation.floor.threshold++;
    if (which == 3) config.expectation.floor.included++;
    assert_int_equal(attack_announce(&f, &f.descriptor, &config, &problem), which == 0 ? 0 : CNS_ERR_REFUSED);
  }
  federation_deinit(&f);
}

/* Rounds and attempts only grow: an old announcement, and a second one for the
 * same attempt, whose update may be spent. */
static void an_old_or_repeated_announcement(void **state) {
  static const struct {
    uint64_t round, last_round;
    uint32_t attempt, last_attempt;
    int expected;
  } cases[] = {
      {3, 3, 2, 1, 0},
      {3, 2, 1, 9, 0},
      {3, 3, 2, 2, CNS_ERR_REFUSED}, /* the same again */
      {3, 3, 1, 2, CNS_ERR_REFUSED}, /* a lower attempt */
      {3, 4, 9, 1, CNS_ERR_REFUSED}, /* a lower round */
      {3, UINT64_MAX, 9, UINT32_MAX, CNS_ERR_REFUSED},
  };
  struct federation f;
  federation_init(&f, 8, 50, 3);
  for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
    struct cns_problem problem = {0};
    federation_begin(&f, cases[k].round, cases[k].attempt);
    struct cns_hospital_config config = federation_hospital_config(&f, OWN);
    config.expectation.last_round = cases[k].last_round;
    config.expectation.last_attempt = cases[k].last_attempt;
    assert_int_equal(attack_announce(&f, &f.descriptor, &config, &problem), cases[k].expected);
  }
  federation_deinit(&f);
}

static void announcements_not_from_the_coordinator(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  struct cns_writer announcement;
  struct cns_hospital *hospital = NULL;
  federation_init(&f, 8, 50, 4);
  federation_begin(&f, 1, 1);
  struct cns_hospital_config config = federation_hospital_config(&f, OWN);
  const struct cns_identity *others[] = {f.identities[2], f.officer, f.authority};
  for (size_t k = 0; k < 3; k++) {
    cns_writer_init(&announcement, CNS_REQUEST_BYTES_MAX);
    assert_int_equal(cns_announcement_write(&announcement, &f.descriptor, others[k]), 0);
    assert_int_equal(cns_hospital_begin(&config, announcement.data, announcement.len, &hospital, &problem),
                     CNS_ERR_SIGNATURE);
    cns_writer_deinit(&announcement);
  }
  cns_writer_init(&announcement, CNS_REQUEST_BYTES_MAX);
  assert_int_equal(cns_announcement_write(&announcement, &f.descriptor, f.coordinator_identity), 0);
  for (size_t at = 0; at < announcement.len; at++) {
    announcement.data[at] ^= (uint8_t)(1 << at % 8);
    assert_true(cns_hospital_begin(&config, announcement.data, announcement.len, &hospital, &problem) < 0);
    announcement.data[at] ^= (uint8_t)(1 << at % 8);
  }
  for (size_t len = 0; len < announcement.len; len++)
    assert_int_equal(cns_hospital_begin(&config, announcement.data, len, &hospital, &problem),
                     CNS_ERR_FORMAT);
  cns_write_u8(&announcement, 0);
  assert_int_equal(cns_hospital_begin(&config, announcement.data, announcement.len, &hospital, &problem),
                   CNS_ERR_FORMAT);
  assert_null(hospital);
  config.expectation.index = 0; /* a caller's mistake, not a member of the cohort */
  announcement.len--;
  assert_int_equal(cns_hospital_begin(&config, announcement.data, announcement.len, &hospital, &problem),
                   CNS_ERR_ARGUMENT);
  cns_writer_deinit(&announcement);
  federation_deinit(&f);
}

/* ---- shape ---- */

/* One thing wrong, chosen by kind; 0 to 16, else nothing. */
static void misshape(struct cns_descriptor *d, int kind) {
  static const double clips[] = {NAN, INFINITY, 0, -1};
  if (kind == 0) d->round = 0;
  if (kind == 1) d->attempt = 0;
  if (kind == 2) d->dim = 0;
  if (kind == 3) d->dim = CNS_DIM_MAX + 1;
  if (kind == 4) d->metrics_dim = CNS_METRICS_DIM_MAX + 1;
  if (kind >= 5 && kind <= 8) d->clip_norm = clips[kind - 5];
  if (kind == 9) d->deadline_ms[3] = CNS_DEADLINE_MS_MAX + 1;
  if (kind == 10) d->members[3].index = d->members[2].index;
  if (kind == 11) d->members[3].index = 8;
  if (kind == 12) d->members[0].index = 0;
  if (kind == 13) d->members[7].index = CNS_HOSPITALS_MAX + 1;
  if (kind == 14) d->members[3].weight = 0;
  if (kind == 15) d->member_count = 7; /* and one member too many behind */
  if (kind == 16) d->member_count = 0;
}

static void descriptors_of_bad_shape(void **state) {
  struct federation f;
  federation_init(&f, 8, 50, 5);
  federation_begin(&f, 1, 1);
  for (int kind = 0; kind < 18; kind++) {
    struct cns_descriptor d, read;
    struct cns_writer writer;
    assert_int_equal(cns_descriptor_copy(&f.descriptor, &d), 0);
    misshape(&d, kind);
    cns_writer_init(&writer, CNS_DESCRIPTOR_BYTES_MAX);
    cns_descriptor_write(&writer, &d);
    if (kind == 15) cns_write_bytes(&writer, (const uint8_t[6]){8, 0, 1}, 6);
    int r = cns_descriptor_read(writer.data, writer.len, &read);
    if (r != (kind == 17 ? 0 : CNS_ERR_FORMAT)) fail_msg("kind %d: %d", kind, r);
    if (r == 0) cns_descriptor_deinit(&read);
    for (size_t len = 0; kind == 17 && len < writer.len; len++)
      assert_int_equal(cns_descriptor_read(writer.data, len, &read), CNS_ERR_FORMAT);
    cns_writer_deinit(&writer);
    cns_descriptor_deinit(&d);
  }
  federation_deinit(&f);
}

/* ---- wrapping ---- */

/* The largest cohort with the largest weights, every update as long as the clip
 * allows and all in one coordinate, colluders as far out as an audit would
 * leave them: the sum stays inside 32 bits. In a masked round (40 hospitals)
 * both extremes come out exactly. */
static void the_largest_sums_do_not_wrap(void **state) {
  struct cns_problem problem = {0};
  struct cns_mechanism_numbers numbers;
  struct cns_descriptor d = {.dim = 9, .clip_norm = 10, .colluders = 249, .member_count = CNS_HOSPITALS_MAX};
  d.members = calloc(d.member_count, sizeof *d.members);
  assert_non_null(d.members);
  for (size_t k = 0; k < d.member_count; k++)
    d.members[k] = (struct cns_member){.index = (uint16_t)(k + 1), .weight = CNS_QUANTIZE_WEIGHT_MAX};
  assert_int_equal(cns_descriptor_choose_scale(&d, &problem), 0);
  /* Independently of dp/: in floating point, from the definition. */
  double theta = ceil(1.01 * 10 * CNS_QUANTIZE_WEIGHT_MAX * ldexp(1, d.scale_log2));
  assert_true(CNS_HOSPITALS_MAX * theta + 249 * 2 * sqrt(8) * theta < 0x1p31);
  d.scale_log2++;
  theta = ceil(1.01 * 10 * CNS_QUANTIZE_WEIGHT_MAX * ldexp(1, d.scale_log2));
  assert_true(CNS_HOSPITALS_MAX * theta + 249 * 2 * sqrt(8) * theta >= 0x1p31);
  assert_int_equal(cns_descriptor_numbers(&d, &numbers, &problem), CNS_ERR_RANGE);
  cns_descriptor_deinit(&d);
}

static void the_largest_masked_sums_come_out_exactly(void **state) {
  struct federation f;
  struct cns_problem problem = {0};
  federation_init(&f, 40, 4, 6);
  federation_begin(&f, 1, 1);
  int64_t expected = 0;
  for (size_t k = 0; k < f.n; k++) {
    uint64_t theta;
    assert_int_equal(cns_quantize_theta(f.descriptor.clip_norm, f.descriptor.members[k].weight,
                                        f.descriptor.scale_log2, &theta),
                     0);
    expected += (int64_t)theta;
    f.x[k][0] = (uint32_t)theta;
    f.x[k][1] = (uint32_t) - (int64_t)theta;
  }
  assert_true(expected < INT32_MAX);
  attack_finish(&f, 0);
  uint32_t sum[2] = {0};
  const struct cns_mask_term *terms;
  size_t count;
  for (size_t k = 0; k < f.n; k++)
    for (size_t w = 0; w < 2; w++)
      sum[w] += f.y[k][w];
  assert_int_equal(cns_coordinator_unmasking(f.coordinator, &terms, &count), 0);
  assert_int_equal(cns_mask_apply(sum, 2, 0, terms, count), 0);
  assert_int_equal((int32_t)sum[0], expected);
  assert_int_equal((int32_t)sum[1], -expected);
  struct cns_mechanism_numbers numbers;
  assert_int_equal(cns_descriptor_numbers(&f.descriptor, &numbers, &problem), 0);
  federation_deinit(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_rule_is_kept),
      cmocka_unit_test(noise_is_what_policy_and_study_say),
      cmocka_unit_test(the_hospitals_own_floor),
      cmocka_unit_test(an_old_or_repeated_announcement),
      cmocka_unit_test(announcements_not_from_the_coordinator),
      cmocka_unit_test(descriptors_of_bad_shape),
      cmocka_unit_test(the_largest_sums_do_not_wrap),
      cmocka_unit_test(the_largest_masked_sums_come_out_exactly),
  };
  return cmocka_run_group_tests_name("protocol descriptor", tests, NULL, NULL);
}
