/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator's own ledger: when a study waits, when it ends, and what is free again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "tests/coordinator/world.h"

static struct cns_member members[] = {{1, 100}, {2, 100}, {3, 100}, {4, 100}};
static char folder[64];

static void init(struct world *w, double epsilon, double month) {
  struct cns_problem problem = {0};
  world_init(w, 4, 100, 20267);
  snprintf(folder, sizeof folder, "/tmp/consilium-budget-XXXXXX");
  assert_non_null(mkdtemp(folder));
  cns_policy_set_privacy(&w->s.kit.policy, CNS_UNIT_PATIENT, CNS_NOISE_DISTRIBUTED, epsilon, 1e-5);
  w->s.kit.policy.privacy.epsilon_month = month;
  w->s.kit.config.state_path = folder;
  snprintf(w->s.plan.name, sizeof w->s.plan.name, "sepsis");
  if (cns_budget_open(&w->s, &problem)) fail_msg("%s", problem.text);
}

static void deinit(struct world *w) {
  char path[128];
  w->s.ledger = cns_ledger_free(w->s.ledger);
  free(w->s.heads);
  w->s.kit.config.state_path = NULL;
  snprintf(path, sizeof path, "%s/ledgers", folder);
  rmdir(path);
  snprintf(path, sizeof path, "%s/ledger.sqlite", folder);
  assert_int_equal(unlink(path), 0);
  rmdir(folder);
  world_deinit(w);
}

/* Multiplier 2, half of the patients: one round costs 1.36, two 1.84. */
static struct cns_descriptor describe(const struct world *w, uint64_t round, bool audited) {
  struct cns_descriptor d = {.study = w->f.study,
                             .round = round,
                             .attempt = 1,
                             .dim = 5000,
                             .clip_norm = 1,
                             .bits = 32,
                             .audit_level = audited ? CNS_AUDIT_OPEN : CNS_AUDIT_NONE,
                             .unit = CNS_UNIT_PATIENT,
                             .noise_placement = CNS_NOISE_DISTRIBUTED,
                             .noise_multiplier = 2,
                             .sampling_rate = 0.5,
                             .colluders = 1,
                             .minimum_included = 3,
                             .member_count = 4,
                             .members = members};
  assert_int_equal(cns_descriptor_choose_scale(&d, NULL), 0);
  return d;
}

static int reserve(struct world *w, uint64_t round, struct cns_problem *problem) {
  struct cns_descriptor d = describe(w, round, false);
  return cns_budget_reserve(&w->s, &d, problem);
}

static struct cns_digest charged(struct world *w, uint64_t round, bool audited) {
  struct cns_descriptor d = describe(w, round, audited);
  struct cns_digest digest;
  assert_int_equal(cns_descriptor_digest(&d, &digest), 0);
  assert_int_equal(cns_budget_reserve(&w->s, &d, NULL), 0);
  assert_int_equal(cns_ledger_charge(w->s.ledger, &digest, 1795341600, NULL), 0);
  return digest;
}

static size_t count(struct world *w, enum cns_ledger_observer observer) {
  struct cns_budget_cost *costs = NULL;
  size_t rounds = 0;
  assert_int_equal(cns_ledger_costs(w->s.ledger, NULL, observer, 0, &costs, &rounds, NULL), 0);
  free(costs);
  return rounds;
}

static void the_whole_budget_ends_the_study(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  (void)state;
  init(&w, 2, 0);
  (void)charged(&w, 1, false);
  (void)charged(&w, 2, false);
  assert_int_equal(reserve(&w, 3, &problem), CNS_ERR_BUDGET);
  assert_non_null(strstr(problem.text, "from epsilon 1.8"));
  deinit(&w);
}

static void a_months_budget_is_waited_for(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  (void)state;
  init(&w, 3, 1.5);
  (void)charged(&w, 1, false);
  assert_int_equal(reserve(&w, 2, &problem), CNS_BUDGET_WAIT);
  assert_non_null(strstr(problem.text, "month"));
  assert_int_equal(count(&w, CNS_LEDGER_READERS), 1);
  deinit(&w);
}

/* Reserved, and then a restart: free. Charged: not. */
static void a_restart_frees_what_was_only_reserved(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  (void)state;
  init(&w, 2, 0);
  (void)charged(&w, 1, false);
  assert_int_equal(reserve(&w, 2, &problem), 0);
  assert_int_equal(reserve(&w, 3, &problem), CNS_ERR_BUDGET);
  assert_int_equal(cns_budget_replayed(&w.s, &problem), 0);
  assert_int_equal(count(&w, CNS_LEDGER_READERS), 1);
  assert_int_equal(reserve(&w, 3, &problem), 0);
  deinit(&w);
}

/* The ledger has it, the journal hasn't: killed between the two. */
static void a_number_that_only_the_ledger_knows_is_not_used_again(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  (void)state;
  init(&w, 3, 0);
  for (uint32_t attempt = 1; attempt <= 3; attempt++) {
    struct cns_descriptor d = describe(&w, 1, false);
    assert_int_equal(cns_budget_choose_attempt(&w.s, &d, &problem), 0);
    assert_int_equal(d.attempt, attempt);
    assert_int_equal(cns_budget_reserve(&w.s, &d, &problem), 0);
    assert_int_equal(cns_budget_replayed(&w.s, &problem), 0);
  }
  assert_int_equal(count(&w, CNS_LEDGER_READERS), 0);
  deinit(&w);
}

/* Spent by an attempt that is abandoned after all. */
static void a_late_refund_lets_the_study_go_on(void **state) {
  struct world w;
  struct cns_problem problem = {0};
  (void)state;
  init(&w, 1.5, 0);
  w.s.plan.rounds = 9;
  w.s.plan.noise_multiplier = 2;
  w.s.plan.sampling_rate = 0.5;
  struct cns_descriptor d = describe(&w, 1, false);
  struct cns_digest digest = charged(&w, 1, false);
  assert_int_equal(cns_budget_look_ahead(&w.s, &problem), 0);
  assert_non_null(strstr(w.s.budget_spent.text, "is spent"));
  w.s.said_finished = true;
  assert_int_equal(cns_budget_refund(&w.s, &d, &digest, &problem), 0);
  assert_string_equal(w.s.budget_spent.text, "");
  assert_false(w.s.said_finished);
  assert_int_equal(reserve(&w, 2, &problem), 0);
  deinit(&w);
}

static void abandoned_rounds_are_free_for_those_who_saw_nothing(void **state) {
  struct world w;
  (void)state;
  for (int audited = 0; audited < 2; audited++) {
    init(&w, 3, 0);
    struct cns_descriptor d = describe(&w, 1, audited);
    struct cns_digest digest = charged(&w, 1, audited);
    for (int again = 0; again < 2; again++)
      assert_int_equal(cns_budget_refund(&w.s, &d, &digest, NULL), 0);
    assert_int_equal(count(&w, CNS_LEDGER_READERS), 0);
    assert_int_equal(count(&w, CNS_LEDGER_COORDINATOR), (size_t)audited);
    deinit(&w);
  }
}

/* A share of the noise so small that whether a patient's indicator is a step of the grid depends on
 * where the clip norm lies between two powers of two. */
static void clip_norms_that_the_grid_cant_hold_are_found_before_the_first_round(void **state) {
  static struct cns_member many[20];
  struct world w;
  struct cns_problem problem = {0};
  int fits = 0, all = 0, found = 0;
  (void)state;
  init(&w, 3, 0);
  for (uint16_t k = 0; k < 20; k++)
    many[k] = (struct cns_member){(uint16_t)(k + 1), 50000};
  w.s.plan.adaptive_clip = (struct cns_adaptive_clip){.quantile = 0.5, .rate = 0.2, .min = 0.5, .max = 2};
  for (int small = 0; small < 2; small++) {
    struct cns_descriptor d = describe(&w, 1, false);
    d.dim = 10001;
    d.members = many;
    d.member_count = 20;
    d.minimum_included = 20;
    d.sampling_rate = 1;
    d.indicator_share = w.s.plan.adaptive_clip.share = small ? 1e-6 : 1e-3;
    for (d.clip_norm = 0.5; small && d.clip_norm < 1; d.clip_norm *= 1.02, all++)
      fits += cns_descriptor_choose_scale(&d, NULL) == 0;
    d.clip_norm = 1;
    int r = cns_schedule_check_norms(&w.s, &d, &problem);
    assert_int_equal(r, small ? CNS_ERR_RANGE : 0);
    found += r < 0 && strstr(problem.text, "which the study's may come to") != NULL;
    w.s.completed = 1; /* later the norm is what it is */
    assert_int_equal(cns_schedule_check_norms(&w.s, &d, &problem), 0);
    w.s.completed = 0;
  }
  print_message("# %d of %d fit\n", fits, all);
  assert_true(found == 1 && fits > 0 && fits < all);
  deinit(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_whole_budget_ends_the_study),
      cmocka_unit_test(a_months_budget_is_waited_for),
      cmocka_unit_test(a_number_that_only_the_ledger_knows_is_not_used_again),
      cmocka_unit_test(a_late_refund_lets_the_study_go_on),
      cmocka_unit_test(a_restart_frees_what_was_only_reserved),
      cmocka_unit_test(clip_norms_that_the_grid_cant_hold_are_found_before_the_first_round),
      cmocka_unit_test(abandoned_rounds_are_free_for_those_who_saw_nothing),
  };
  if (cns_init() < 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
