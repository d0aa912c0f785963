/* SPDX-License-Identifier: Apache-2.0 */
/* What a kit's ledger says against its limits. Epsilon is compared with the closed form of
 * the Gaussian mechanism (Balle and Wang 2018, arXiv 1805.06530, theorem 8): rate 1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <time.h>

#include "cli/budget.h"
#include "cli/kit.h"
#include "cli/page.h"
#include "cli/verb_budget.h"
#include "store/folder.h"
#include "tests/store/scratch.h"

#define NOISE 4.0
#define DELTA 1e-5
#define ROUNDS 10

static const char study_text[] =
    "{\"name\":\"trial\",\"version\":1,\"task\":\"classification\",\"label\":{\"column\":\"y\","
    "\"classes\":[\"a\",\"b\"]},\"patient_id\":\"id\",\"features\":[{\"name\":\"x\",\"min\":0,\"max\":1,"
    "\"missing\":\"drop\"}],\"model\":{\"kind\":\"logistic\"},\"training\":{\"rounds\":10,"
    "\"local_epochs\":1,\"learning_rate\":0.1,\"momentum\":0,\"batch\":4,\"seed\":1,\"clip_norm\":2.5},"
    "\"privacy\":{\"noise_multiplier\":4,\"sampling_rate\":1},\"initial_model\":{\"seed\":1},"
    "\"weighting\":\"equal\",\"validation_share\":0.1}";

static const char *const names[] = {"a", "b", "c", "d", "e"};
static struct cns_problem problem;
static struct cns_budget_view view;
static struct cns_ledger *ledger;
static struct cns_identity *owner;
static struct cns_digest study;

static void done(int r) {
  if (r) fail_msg("%d: %s", r, problem.text);
}

static const char *kit_path(bool hospital) {
  return scratch_path(hospital ? "f/hospitals/b" : "f/coordinator");
}

/* Another policy in both kits that the tests look at. */
static void put_policy(void (*change)(struct cns_policy_privacy *privacy)) {
  struct cns_kit kit;
  struct cns_document document;
  struct cns_identity *officer = NULL;
  done(cns_kit_load(kit_path(false), CNS_KIT_COORDINATOR, (int64_t)time(NULL), &kit, &problem));
  change(&kit.policy.privacy);
  done(cns_policy_check(&kit.policy, &problem));
  done(cns_policy_to_document(&kit.policy, &document));
  done(cns_identity_load(scratch_path("f/officer/identity.key"), &officer, &problem));
  done(cns_document_sign("policy", &document, "officer", officer));
  for (int hospital = 0; hospital < 2; hospital++)
    done(cns_kit_document_save(kit_path(hospital), "policy.json", "policy", &document, &problem));
  cns_identity_free(officer);
  cns_document_deinit(&document);
  cns_kit_deinit(&kit);
}

static void make_federation(enum cns_noise_placement placement, double epsilon) {
  struct cns_identity_public authority;
  const char *path = scratch_path("study.json");
  done(cns_file_write(path, study_text, sizeof study_text - 1, 0644, &problem));
  const struct cns_federation_options options = {
      .study_path = path,
      .consortium = "A <b> & \"c\" | *d* [e](http://f)",
      .names = names,
      .name_count = 5,
      .now_seconds = (int64_t)time(NULL),
      .privacy = {.epsilon = epsilon, .delta = DELTA, .unit = CNS_UNIT_HOSPITAL, .placement = placement}};
  done(cns_kit_create_federation(scratch_path("f"), &options, &authority, &problem));
}

static void open_ledger(bool hospital) {
  struct cns_digest subject;
  char path[700];
  cns_study_digest("A <b> & \"c\" | *d* [e](http://f)", "trial", &study);
  subject = study;
  snprintf(path, sizeof path, "%s/%s", kit_path(hospital),
           hospital ? "data.csv.ledger" : "state/ledger.sqlite");
  if (hospital) {
    char key[720];
    snprintf(key, sizeof key, "%s.key", path);
    cns_site_ledger_subject(&subject);
    done(cns_identity_new(cns_rng_system(), &owner));
    done(cns_identity_save(owner, key, &problem));
  } else {
    done(cns_folder_create(scratch_path("f/coordinator/state"), &problem));
    done(cns_identity_load(scratch_path("f/coordinator/identity.key"), &owner, &problem));
  }
  done(cns_ledger_open(path, owner, &subject, &ledger, &problem));
}

/* Reserves a round and charges it; `own`: of the study, or of another. */
static struct cns_digest spend(uint64_t round, bool own) {
  struct cns_ledger_verdict verdict;
  struct cns_digest other = scratch_digest(999);
  struct cns_ledger_round r = {.study = own ? study : other,
                               .study_name = "trial",
                               .round = round,
                               .attempt = 1,
                               .descriptor = scratch_digest(round + (own ? 0 : 1000))};
  for (size_t o = 0; o < CNS_LEDGER_OBSERVERS; o++)
    r.costs[o] = (struct cns_budget_cost){NOISE, 1, 1, 0};
  if (own && view.next[CNS_LEDGER_COORDINATOR].rounds) r.costs[1] = view.next[1];
  int64_t now = (int64_t)time(NULL);
  done(cns_ledger_reserve(ledger, &r, NULL, 0, now, &verdict, &problem));
  done(cns_ledger_charge(ledger, &r.descriptor, now, &problem));
  return r.descriptor;
}

static void look(bool hospital) {
  cns_budget_view_deinit(&view);
  done(cns_budget_view_open(kit_path(hospital), &view, &problem));
}

static int set_up(void **state) {
  memset(&problem, 0, sizeof problem);
  return scratch_setup(state);
}

static int tear_down(void **state) {
  cns_budget_view_deinit(&view);
  view = (struct cns_budget_view){0};
  ledger = cns_ledger_free(ledger);
  owner = cns_identity_free(owner);
  return scratch_teardown(state);
}

static double phi(double x) {
  return erfc(-x / sqrt(2)) / 2;
}

/* What `rounds` rounds cost at epsilon, exactly. */
static double exact_delta(double rounds, double epsilon) {
  double mu = sqrt(rounds) / NOISE;
  return phi(mu / 2 - epsilon / mu) - exp(epsilon) * phi(-mu / 2 - epsilon / mu);
}

static void spent_is(const struct cns_budget_row *row, size_t rounds) {
  assert_int_equal(row->rounds, rounds);
  assert_true(exact_delta((double)rounds, row->spent) <= row->delta * (1 + 1e-9));
  assert_true(exact_delta((double)rounds, row->spent * 0.999) > row->delta);
}

static void nothing_is_spent_without_a_ledger(void **state) {
  make_federation(CNS_NOISE_DISTRIBUTED, 2);
  for (int hospital = 0; hospital < 2; hospital++) {
    look(hospital);
    assert_null(view.ledger);
    assert_false(view.lost);
    assert_int_equal(view.row_count, hospital ? 3 : 2);
    assert_true(view.rows[0].spent == 0 && view.rows[0].left == 2 && view.rows[0].limit == 2);
    assert_int_equal(view.rounds_to_come, ROUNDS);
    /* As many rounds as the closed form allows, and no more. */
    double left = (double)view.rounds_left;
    assert_in_range(view.rounds_left, 1, ROUNDS - 1);
    assert_true(exact_delta(left, 2) <= DELTA && exact_delta(left + 1, 2) > DELTA);
    cJSON *json = cns_budget_json(&view);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(json, "ledger_there")));
    cJSON_Delete(json);
  }
}

static void rounds_add_up_and_alerts_are_reached(void **state) {
  make_federation(CNS_NOISE_DISTRIBUTED, 3);
  open_ledger(false);
  look(false);
  double alerts[] = {0, 0, 0};
  for (size_t round = 1; round <= 5; round++) {
    struct cns_digest descriptor = spend(round, true);
    if (round < 5) done(cns_ledger_release(ledger, &descriptor, (int64_t)time(NULL), &problem));
    look(false); /* while it is open for writing here */
    spent_is(&view.rows[0], round);
    double share = view.rows[0].spent / 3;
    double alert = share >= 0.95 ? 0.95 : share >= 0.8 ? 0.8 : share >= 0.5 ? 0.5 : 0;
    assert_true(view.rows[0].alert == alert);
    if (alert > 0) alerts[0]++;
  }
  assert_true(alerts[0] > 0);
  assert_int_equal(view.rounds_done, 4);
  assert_int_equal(view.rounds_to_come, ROUNDS - 4);
  assert_int_equal(view.study.reserved, 5);
  assert_int_equal(view.study.charged, 5);
  assert_int_equal(view.study.released, 4);
  assert_int_equal(view.last.sequence, 14);
}

/* Cancelled and refunded rounds cost nothing; a refund to readers leaves the coordinator's. */
static void what_was_given_back_does_not_count(void **state) {
  int64_t now = (int64_t)time(NULL);
  struct cns_ledger_verdict verdict;
  make_federation(CNS_NOISE_DISTRIBUTED, 3);
  open_ledger(false);
  spend(1, true);
  struct cns_digest second = spend(2, true);
  done(cns_ledger_refund(ledger, &second, CNS_LEDGER_BIT(CNS_LEDGER_READERS), now, &problem));
  struct cns_ledger_round third = {
      .study = study, .study_name = "trial", .round = 3, .attempt = 1, .descriptor = scratch_digest(3)};
  third.costs[0] = third.costs[1] = (struct cns_budget_cost){NOISE, 1, 1, 0};
  done(cns_ledger_reserve(ledger, &third, NULL, 0, now, &verdict, &problem));
  done(cns_ledger_cancel(ledger, &third.descriptor, now, &problem));
  look(false);
  spent_is(&view.rows[0], 1);
  assert_int_equal(view.rows[1].observer, CNS_LEDGER_COORDINATOR);
  spent_is(&view.rows[1], 2);
  assert_int_equal(view.study.cancelled, 1);
  assert_int_equal(view.study.refunded, 1);
}

static void other_studies_count_for_the_data(void **state) {
  make_federation(CNS_NOISE_DISTRIBUTED, 3);
  open_ledger(true);
  spend(1, true);
  spend(1, false);
  spend(2, false);
  look(true);
  spent_is(&view.rows[0], 1);
  assert_int_equal(view.rows[1].scope, CNS_LEDGER_ALL);
  spent_is(&view.rows[1], 3);
  assert_true(view.rows[1].rounds_left < view.rows[0].rounds_left);
  assert_int_equal(view.rounds_left, view.rows[1].rounds_left);
  assert_int_equal(view.study.charged, 1);
  assert_int_equal(view.all.charged, 3);
}

static void set_all_limits(struct cns_policy_privacy *p) {
  p->epsilon_round = 1.2;
  p->epsilon_month = 2;
  p->epsilon_coordinator = 2.5;
}

static void every_limit_has_a_row(void **state) {
  make_federation(CNS_NOISE_DISTRIBUTED, 3);
  put_policy(set_all_limits);
  open_ledger(false);
  spend(1, true);
  look(false);
  assert_int_equal(view.row_count, 4);
  assert_int_equal(view.rows[1].which, CNS_BUDGET_ROUND);
  assert_true(exact_delta(1, view.rows[1].spent) <= DELTA * (1 + 1e-9) && view.rows[1].spent < 1.2);
  assert_int_equal(view.rows[1].rounds_left, ROUNDS);
  assert_int_equal(view.rows[2].which, CNS_BUDGET_MONTH);
  spent_is(&view.rows[2], 1);
  double left = (double)view.rows[2].rounds_left;
  assert_true(exact_delta(1 + left, 2) <= DELTA && exact_delta(2 + left, 2) > DELTA);
  assert_int_equal(view.rows[3].observer, CNS_LEDGER_COORDINATOR);
  assert_true(view.rows[3].limit == 2.5);
  assert_int_equal(view.rounds_left, view.rows[3].rounds_left); /* a month ends, the study's limits don't */
}

static void forbid_a_round(struct cns_policy_privacy *p) {
  p->epsilon_round = 0.5;
}

static void one_round_may_be_too_many(void **state) {
  make_federation(CNS_NOISE_DISTRIBUTED, 3);
  put_policy(forbid_a_round);
  look(false);
  assert_int_equal(view.rows[1].rounds_left, 0);
  assert_int_equal(view.rounds_left, 0);
  cJSON *json = cns_budget_json(&view);
  assert_true(cJSON_IsTrue(cJSON_GetObjectItem(json, "is_spent")));
  cJSON_Delete(json);
}

static void central_noise_protects_nobody_from_the_coordinator(void **state) {
  make_federation(CNS_NOISE_CENTRAL, 3);
  look(false);
  assert_true(view.rows[1].unprotected);
  open_ledger(false);
  spend(1, true);
  look(false);
  spent_is(&view.rows[0], 1);
  assert_false(view.rows[0].unprotected);
  assert_true(view.rows[1].unprotected && isinf(view.rows[1].spent));
  assert_true(view.rounds_left > 0); /* it has no limit */
  cJSON *json = cns_budget_json(&view), *row = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "limits"), 1);
  assert_true(cJSON_IsNull(cJSON_GetObjectItem(row, "spent")));
  assert_true(cJSON_IsTrue(cJSON_GetObjectItem(row, "unprotected")));
  cJSON_Delete(json);
}

static void damage_and_loss_are_said(void **state) {
  make_federation(CNS_NOISE_DISTRIBUTED, 3);
  open_ledger(true);
  spend(1, true);
  ledger = cns_ledger_free(ledger);
  char path[700], key[720];
  snprintf(path, sizeof path, "%s/data.csv.ledger", kit_path(true));
  snprintf(key, sizeof key, "%s.key", path);
  /* Without its owner's key it can't be checked. */
  assert_int_equal(rename(key, scratch_path("key")), 0);
  assert_int_equal(cns_budget_view_open(kit_path(true), &view, &problem), CNS_ERR_IO);
  assert_non_null(strstr(problem.text, "data.csv.ledger.key: is missing"));
  cns_budget_view_deinit(&view);
  assert_int_equal(rename(scratch_path("key"), key), 0);
  look(true);
  cns_budget_view_deinit(&view);
  /* A byte in the middle of what was signed. */
  size_t len = 0;
  uint8_t *data = scratch_read(path, &len);
  uint8_t *name = memmem(data, len, "trial", 5);
  assert_non_null(name);
  name[0] ^= 1;
  done(cns_file_write(path, data, len, 0600, &problem));
  free(data);
  assert_int_equal(cns_budget_view_open(kit_path(true), &view, &problem), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "the privacy ledger: "));
  cns_budget_view_deinit(&view);
  assert_int_equal(unlink(path), 0);
  look(true);
  assert_true(view.lost && !view.ledger);
}

/* Printed with four digits, spent is never less and left never more. */
static void figures_are_rounded_to_the_safe_side(void **state) {
  uint64_t x = 20261126;
  for (int k = 0; k < 20000; k++) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    double value = ldexp((double)(x >> 11), -53) * pow(10, (double)(x % 9) - 4);
    double up = strtod(cns_epsilon_up(value).text, NULL), down = strtod(cns_epsilon_down(value).text, NULL);
    if (!(up >= value && down <= value && up - down <= value * 1.01e-3))
      fail_msg("seed 20261126, %d: %.17g is %g to %g", k, value, down, up);
  }
  assert_string_equal(cns_epsilon_up(0).text, "0");
  assert_string_equal(cns_epsilon_up(2).text, "2");
  assert_string_equal(cns_epsilon_down(2).text, "2");
  assert_string_equal(cns_epsilon_up(2.0000001).text, "2.001");
  assert_string_equal(cns_epsilon_up(9.9999).text, "10");
  assert_string_equal(cns_epsilon_up(INFINITY).text, "infinite");
}

static char *statement(bool html) {
  char *text = NULL;
  size_t len = 0;
  struct cns_page page = {open_memstream(&text, &len), html};
  assert_non_null(page.out);
  done(cns_statement_write(&view, INT64_C(1795341600), &page, &problem));
  assert_int_equal(fclose(page.out), 0);
  return text;
}

/* The consortium's name is anybody's text. */
static void the_statement_escapes_what_it_is_given(void **state) {
  make_federation(CNS_NOISE_CENTRAL, 3);
  look(false);
  char *text = statement(true);
  assert_non_null(strstr(text, "A &lt;b&gt; &amp; &quot;c&quot; | *d* [e](http://f)"));
  assert_null(strstr(text, "<b>"));
  free(text);
  text = statement(false);
  assert_non_null(strstr(text, "A \\<b\\> \\& \"c\" \\| \\*d\\* \\[e\\](http://f)"));
  assert_non_null(strstr(text, "2026-11-22 10:00 UTC"));
  free(text);
}

/* The curve of a study that has begun, against the closed form. */
static void the_curve_is_that_of_the_rounds(void **state) {
  make_federation(CNS_NOISE_DISTRIBUTED, 3);
  open_ledger(true);
  spend(1, true);
  spend(2, true);
  spend(1, false);
  look(true);
  char *text = statement(false);
  static const double deltas[] = {1e-4, 1e-5, 1e-6, 1e-7, 1e-8};
  static const double rounds[] = {2, ROUNDS, 2, ROUNDS, 3};
  for (size_t k = 0; k < 5; k++) {
    char head[32];
    snprintf(head, sizeof head, "\n| %g | ", deltas[k]);
    char *at = strstr(text, head);
    assert_non_null(at);
    at += strlen(head);
    for (size_t column = 0; column < 5; column++) {
      double epsilon = strtod(at, &at);
      assert_true(exact_delta(rounds[column], epsilon) <= deltas[k]);
      assert_true(exact_delta(rounds[column], epsilon * 0.997) > deltas[k]);
      at += 3;
    }
  }
  free(text);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(nothing_is_spent_without_a_ledger),
      TEST(rounds_add_up_and_alerts_are_reached),
      TEST(what_was_given_back_does_not_count),
      TEST(other_studies_count_for_the_data),
      TEST(every_limit_has_a_row),
      TEST(one_round_may_be_too_many),
      TEST(central_noise_protects_nobody_from_the_coordinator),
      TEST(damage_and_loss_are_said),
      TEST(figures_are_rounded_to_the_safe_side),
      TEST(the_statement_escapes_what_it_is_given),
      TEST(the_curve_is_that_of_the_rounds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
