/* SPDX-License-Identifier: Apache-2.0 */
/* Announcements that a hospital must refuse under a policy with an audit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/protocol/attack.h"

#define OWN 4

/* Descriptors under a policy with an audit; see check_audited. */
static void another_sketch(struct cns_descriptor *d, struct cns_hospital_config *config) {
  d->sketch = 256;
}
static void no_sketch(struct cns_descriptor *d, struct cns_hospital_config *config) {
  d->sketch = 0;
}
static void too_few_parameters(struct cns_descriptor *d, struct cns_hospital_config *config) {
  d->dim = config->expectation.dim = 4095;
}
/* With SCAFFOLD a vector is twice as long as the model, and says no more. */
static void too_few_of_the_model(struct cns_descriptor *d, struct cns_hospital_config *config) {
  d->dim = config->expectation.dim = 2 * 4095;
  config->expectation.params = 4095;
}
static void a_number_too_many_for_the_model(struct cns_descriptor *d, struct cns_hospital_config *config) {
  d->dim = config->expectation.dim = 2 * 4096;
  config->expectation.params = 4096;
  config->expectation.sketch_spent = 256 - 128 + 1;
}
static void enough_left_for_the_model(struct cns_descriptor *d, struct cns_hospital_config *config) {
  a_number_too_many_for_the_model(d, config);
  config->expectation.sketch_spent = 128;
}
static void under_32_a_number(struct cns_descriptor *d, struct cns_hospital_config *config) {
  ((struct cns_policy *)config->policy)->sketch = d->sketch = 256; /* of 4096 */
}
static void a_number_too_many(struct cns_descriptor *d, struct cns_hospital_config *config) {
  config->expectation.sketch_spent = 256 - 128 + 1; /* a sixteenth of 4096 */
}
static void all_spent(struct cns_descriptor *d, struct cns_hospital_config *config) {
  config->expectation.sketch_spent = UINT64_MAX;
}
static void reserved_level(struct cns_descriptor *d, struct cns_hospital_config *config) {
  d->audit_level = CNS_AUDIT_NORM;
}
static void reserved_level_of_the_policy(struct cns_descriptor *d, struct cns_hospital_config *config) {
  ((struct cns_policy *)config->policy)->audit_level = CNS_AUDIT_DISTANCES;
  d->audit_level = CNS_AUDIT_DISTANCES;
}
static void unaudited(struct cns_descriptor *d, struct cns_hospital_config *config) {
  d->audit_level = CNS_AUDIT_NONE;
  d->sketch = 0;
}
static void unaudited_as_a_fallback(struct cns_descriptor *d, struct cns_hospital_config *config) {
  unaudited(d, config);
  ((struct cns_policy *)config->policy)->when_spent = CNS_SPENT_UNAUDITED;
  config->expectation.audited_parent = true;
}
static void unaudited_with_a_sketch(struct cns_descriptor *d, struct cns_hospital_config *config) {
  unaudited(d, config);
  ((struct cns_policy *)config->policy)->when_spent = CNS_SPENT_RANDOM;
  d->sketch = 128;
}
static void nothing_wrong(struct cns_descriptor *d, struct cns_hospital_config *config) {}
static void just_enough_left(struct cns_descriptor *d, struct cns_hospital_config *config) {
  config->expectation.sketch_spent = 128;
  config->expectation.audited_parent = true; /* a second audit of one parent may be */
}
static void unaudited_when_that_may_be(struct cns_descriptor *d, struct cns_hospital_config *config) {
  unaudited(d, config);
  ((struct cns_policy *)config->policy)->when_spent = CNS_SPENT_UNAUDITED;
}
static void unaudited_at_random(struct cns_descriptor *d, struct cns_hospital_config *config) {
  unaudited(d, config);
  ((struct cns_policy *)config->policy)->when_spent = CNS_SPENT_RANDOM;
}

static void each_rule_of_an_audit_is_kept(void **state) {
#define CASE(name, expected)                                                                                 \
  { #name, name, expected }
  static const struct {
    const char *name;
    void (*tamper)(struct cns_descriptor *d, struct cns_hospital_config *config);
    int expected;
  } rules[] = {
      CASE(nothing_wrong, 0),
      CASE(just_enough_left, 0),
      CASE(enough_left_for_the_model, 0),
      CASE(unaudited_when_that_may_be, 0),
      CASE(unaudited_at_random, 0),
      CASE(another_sketch, CNS_ERR_REFUSED),
      CASE(no_sketch, CNS_ERR_REFUSED),
      CASE(too_few_parameters, CNS_ERR_REFUSED),
      CASE(too_few_of_the_model, CNS_ERR_REFUSED),
      CASE(a_number_too_many_for_the_model, CNS_ERR_REFUSED),
      CASE(under_32_a_number, CNS_ERR_REFUSED),
      CASE(a_number_too_many, CNS_ERR_REFUSED),
      CASE(all_spent, CNS_ERR_REFUSED),
      CASE(reserved_level, CNS_ERR_REFUSED),
      CASE(reserved_level_of_the_policy, CNS_ERR_UNSUPPORTED),
      CASE(unaudited, CNS_ERR_REFUSED),
      CASE(unaudited_as_a_fallback, CNS_ERR_REFUSED),
      CASE(unaudited_with_a_sketch, CNS_ERR_REFUSED),
  };
  for (size_t k = 0; k < sizeof rules / sizeof rules[0]; k++) {
    struct federation f;
    struct cns_problem problem = {0};
    federation_init_audited(&f, 8, 9);
    f.policy.sketch_budget = 1.0 / 16;
    federation_begin(&f, 1, 1);
    struct cns_hospital_config config = federation_hospital_config(&f, OWN);
    rules[k].tamper(&f.descriptor, &config);
    int r = attack_announce(&f, &f.descriptor, &config, &problem);
    if (r != rules[k].expected) fail_msg("%s: %d %s", rules[k].name, r, problem.text);
    if (r < 0) assert_true(problem.text[0] != '\0');
    federation_deinit(&f);
  }
}

/* Shares of the noise are for the smallest sum that is announced: a larger one would leave
 * less noise before a single update's sketch. */
static void shares_of_the_noise_are_not_thinned(void **state) {
  for (uint16_t more = 0; more < 2; more++) {
    struct federation f;
    struct cns_problem problem = {0};
    federation_init_audited(&f, 8, 11);
    federation_begin(&f, 1, 1);
    cns_policy_set_privacy(&f.policy, CNS_UNIT_HOSPITAL, CNS_NOISE_DISTRIBUTED, 3, 1e-3);
    struct cns_hospital_config config = federation_hospital_config(&f, OWN);
    struct cns_descriptor *d = &f.descriptor;
    config.expectation.metrics_dim = d->metrics_dim;
    config.expectation.noise_multiplier = d->noise_multiplier = 2;
    config.expectation.sampling_rate = d->sampling_rate = 1;
    d->noise_placement = CNS_NOISE_DISTRIBUTED;
    d->minimum_included = (uint16_t)(f.policy.minimum_included + more);
    assert_int_equal(cns_descriptor_choose_scale(d, &problem), 0);
    int r = attack_announce(&f, d, &config, &problem);
    if (r != (more ? CNS_ERR_REFUSED : 0)) fail_msg("%u more: %d %s", more, r, problem.text);
    if (more) assert_non_null(strstr(problem.text, "each share of the noise is for so many"));
    federation_deinit(&f);
  }
}

/* The largest sketches from the largest cohorts don't fit into an answer: 1,000
 * hospitals can give 256 numbers each, 255 can give 1,024. */
static void sketches_that_fit_no_answer(void **state) {
  static const struct {
    size_t n;
    uint32_t k;
    int expected;
  } cases[] = {{1000, 256, 0}, {1000, 512, CNS_ERR_REFUSED}, {511, 512, 0}, {512, 512, CNS_ERR_REFUSED},
               {255, 1024, 0}, {256, 1024, CNS_ERR_REFUSED}};
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    struct federation f;
    struct cns_problem problem = {0};
    size_t n = cases[c].n;
    federation_init_audited(&f, 8, 10);
    federation_begin(&f, 1, 1);
    struct cns_descriptor d = f.descriptor;
    struct cns_hospital_config config = federation_hospital_config(&f, OWN);
    d.members = calloc(n, sizeof *d.members);
    f.roster.hospitals = realloc(f.roster.hospitals, n * sizeof *f.roster.hospitals);
    assert_non_null(d.members);
    assert_non_null(f.roster.hospitals);
    for (size_t k = 0; k < n; k++) {
      d.members[k] = (struct cns_member){.index = (uint16_t)(k + 1), .weight = (uint32_t)(k % 7 + 1)};
      f.roster.hospitals[k] = f.roster.hospitals[0];
      f.roster.hospitals[k].index = (uint16_t)(k + 1);
    }
    f.roster.hospital_count = d.member_count = (uint16_t)n;
    d.threshold = cns_policy_threshold(n, d.colluders);
    d.dim = config.expectation.dim = 1 << 16;
    d.sketch = f.policy.sketch = cases[c].k;
    assert_int_equal(cns_descriptor_choose_scale(&d, &problem), 0);
    int r = cns_descriptor_check(&d, &config.expectation, &problem);
    if (r != cases[c].expected) fail_msg("%zu hospitals, %u numbers: %d %s", n, cases[c].k, r, problem.text);
    free(d.members);
    federation_deinit(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_rule_of_an_audit_is_kept),
      cmocka_unit_test(shares_of_the_noise_are_not_thinned),
      cmocka_unit_test(sketches_that_fit_no_answer),
  };
  return cmocka_run_group_tests_name("protocol descriptor audit", tests, NULL, NULL);
}
