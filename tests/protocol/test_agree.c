/* SPDX-License-Identifier: Apache-2.0 */
/* How few updates a statement may have in the sum, rule by rule: policy,
 * descriptor, c + 2, the threshold, a hospital's own floor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/round.h"

#define N 8

struct statement {
  struct cns_member members[N];
  struct cns_entry lists[CNS_PHASE_COUNT][N];
  struct cns_round round;
  struct cns_policy policy;
  struct cns_floor floor;
};

/* Nothing is asked for but what a test adds; all have answered every phase. */
static void init(struct statement *s) {
  *s = (struct statement){.round.descriptor = {.member_count = N, .members = s->members}};
  for (size_t p = 0; p < CNS_PHASE_COUNT; p++) {
    s->round.entries[p] = s->lists[p];
    for (size_t k = 0; k < N; k++)
      s->lists[p][k].standing = CNS_PRESENT;
  }
  for (size_t k = 0; k < N; k++)
    s->members[k] = (struct cns_member){.index = (uint16_t)(k + 1), .weight = 1};
}

/* The true statement, with this many uploads. */
static int check(struct statement *s, size_t uploads, struct cns_problem *problem) {
  struct cns_agreement agreement;
  for (size_t k = 0; k < N; k++)
    s->lists[CNS_PHASE_UPLOAD][k].standing = k < uploads ? CNS_PRESENT : CNS_ABSENT;
  assert_int_equal(cns_agreement_derive(&s->round, &agreement), 0);
  assert_int_equal(cns_agreement_included(&agreement), uploads);
  int r = cns_agreement_check(&agreement, &s->round, &s->policy, &s->floor, problem);
  cns_agreement_deinit(&agreement);
  return r;
}

static void as_few_as_each_rule_allows(void **state) {
  for (int rule = 0; rule < 5; rule++) {
    struct statement s;
    struct cns_problem problem = {0};
    init(&s);
    if (rule == 0) s.policy.minimum_included = 6;
    if (rule == 1) s.round.descriptor.minimum_included = 6;
    if (rule == 2) s.round.descriptor.colluders = 4; /* c + 2 */
    if (rule == 3) s.round.descriptor.threshold = 6;
    if (rule == 4) s.floor.included = 6;
    for (size_t uploads = 0; uploads <= N; uploads++) {
      int r = check(&s, uploads, &problem);
      if (r != (uploads < 6 ? CNS_ERR_REFUSED : 0)) fail_msg("rule %d, %zu uploads: %d", rule, uploads, r);
    }
    assert_int_equal(check(&s, 5, &problem), CNS_ERR_REFUSED);
    assert_non_null(strstr(problem.text, rule == 3 ? "only 5 updates were uploaded; 6 are required"
                                                   : "only 5 updates would be in the sum; 6 are required"));
  }
}

/* Where a member fell out says what it is called, the first phase first. */
static void the_outcome_follows_from_the_lists(void **state) {
  struct statement s;
  struct cns_agreement agreement;
  init(&s);
  s.lists[CNS_PHASE_KEYS][1].standing = s.lists[CNS_PHASE_UPLOAD][1].standing = CNS_ABSENT;
  s.lists[CNS_PHASE_SHARES][2].standing = CNS_ABSENT;
  s.lists[CNS_PHASE_READY][3].standing = CNS_ABSENT;
  s.lists[CNS_PHASE_READY][4].standing = CNS_DISQUALIFIED;
  s.lists[CNS_PHASE_UPLOAD][5].standing = CNS_ABSENT;
  static const enum cns_outcome expected[N] = {CNS_INCLUDED,      CNS_MISSING_KEYS,     CNS_MISSING_SHARES,
                                               CNS_MISSING_READY, CNS_OUT_DISQUALIFIED, CNS_MISSING_UPLOAD,
                                               CNS_INCLUDED,      CNS_INCLUDED};
  assert_int_equal(cns_agreement_derive(&s.round, &agreement), 0);
  for (size_t k = 0; k < N; k++)
    assert_int_equal(agreement.outcomes[k], expected[k]);
  cns_agreement_deinit(&agreement);
  /* It is the coordinator's word, and is called so. */
  assert_string_equal(cns_outcome_text(CNS_OUT_DISQUALIFIED), "left out by the coordinator as disqualified");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(as_few_as_each_rule_allows),
      cmocka_unit_test(the_outcome_follows_from_the_lists),
  };
  return cmocka_run_group_tests_name("protocol agree", tests, NULL, NULL);
}
