/* SPDX-License-Identifier: Apache-2.0 */
/* The privacy ledger: what counts, what may follow what, months, limits, heads. */
#include "ledger_support.h"

static void a_cost_counts_once_from_the_reservation_on(void **state) {
  struct cns_ledger *ledger = open_named("once");
  assert_int_equal(count_all(ledger), 0);
  assert_int_equal(reserve(ledger, 1), 0);
  assert_int_equal(count_all(ledger), 1);
  assert_int_equal(reserve(ledger, 1), 0); /* the same again, after a restart */
  assert_int_equal(charge(ledger, 1), 0);
  assert_int_equal(charge(ledger, 1), 0);
  assert_int_equal(reserve(ledger, 1), 0);
  assert_int_equal(release(ledger, 1), 0);
  assert_int_equal(release(ledger, 1), 0);
  assert_int_equal(charge(ledger, 1), 0);
  assert_int_equal(count_all(ledger), 1);
  assert_int_equal(entries_of(ledger), 3);
  assert_int_equal(reserve(ledger, 2), 0);
  assert_int_equal(cancel(ledger, 2), 0);
  assert_int_equal(cancel(ledger, 2), 0);
  assert_int_equal(count_all(ledger), 1);
  assert_int_equal(entries_of(ledger), 5);
  cns_ledger_free(ledger);
  ledger = open_named("once");
  assert_int_equal(count_all(ledger), 1);
  assert_int_equal(state_of(ledger, 1), CNS_LEDGER_RELEASED);
  assert_int_equal(state_of(ledger, 2), CNS_LEDGER_CANCELLED);
  assert_int_equal(state_of(ledger, 3), 0);
  cns_ledger_free(ledger);
}

static void what_may_not_follow_is_refused(void **state) {
  struct cns_ledger *ledger = open_named("order");
  /* Nothing reserved. */
  assert_int_equal(charge(ledger, 1), CNS_ERR_STATE);
  assert_non_null(strstr(problem.text, "never reserved"));
  assert_int_equal(cancel(ledger, 1), CNS_ERR_STATE);
  assert_int_equal(refund(ledger, 1, CNS_LEDGER_EVERYONE), CNS_ERR_STATE);
  assert_int_equal(release(ledger, 1), CNS_ERR_STATE);
  /* Reserved. */
  assert_int_equal(reserve(ledger, 1), 0);
  assert_int_equal(refund(ledger, 1, CNS_LEDGER_EVERYONE), CNS_ERR_STATE);
  assert_int_equal(release(ledger, 1), CNS_ERR_STATE);
  /* Charged: nothing is cancelled any more. */
  assert_int_equal(charge(ledger, 1), 0);
  assert_int_equal(cancel(ledger, 1), CNS_ERR_REFUSED);
  assert_string_equal(
      problem.text,
      "round 1, attempt 1, of study sepsis can't be cancelled in the privacy ledger: it is charged");
  /* Released: nothing is refunded any more. */
  assert_int_equal(release(ledger, 1), 0);
  assert_int_equal(refund(ledger, 1, CNS_LEDGER_EVERYONE), CNS_ERR_REFUSED);
  assert_int_equal(cancel(ledger, 1), CNS_ERR_REFUSED);
  /* Cancelled: never run after all. */
  assert_int_equal(reserve(ledger, 2), 0);
  assert_int_equal(cancel(ledger, 2), 0);
  assert_int_equal(reserve(ledger, 2), CNS_ERR_REFUSED);
  assert_int_equal(charge(ledger, 2), CNS_ERR_REFUSED);
  assert_int_equal(release(ledger, 2), CNS_ERR_REFUSED);
  assert_int_equal(refund(ledger, 2, CNS_LEDGER_EVERYONE), CNS_ERR_STATE);
  /* Refunded: never charged, and so never sent, after all. */
  assert_int_equal(reserve(ledger, 3), 0);
  assert_int_equal(charge(ledger, 3), 0);
  assert_int_equal(refund(ledger, 3, CNS_LEDGER_EVERYONE), 0);
  assert_int_equal(charge(ledger, 3), CNS_ERR_REFUSED);
  assert_int_equal(reserve(ledger, 3), CNS_ERR_REFUSED);
  assert_int_equal(release(ledger, 3), CNS_ERR_REFUSED);
  assert_int_equal(cancel(ledger, 3), CNS_ERR_REFUSED);
  assert_int_equal(entries_of(ledger), 8);
  assert_int_equal(count_all(ledger), 1);
  cns_ledger_free(ledger);
}

/* An audit was answered and the round abandoned: the readers saw nothing, the coordinator did. */
static void a_refund_leaves_what_was_seen(void **state) {
  struct cns_ledger *ledger = open_named("refund");
  uint8_t readers = CNS_LEDGER_BIT(CNS_LEDGER_READERS);
  for (int opened = 0; opened < 2; opened++) {
    assert_int_equal(reserve(ledger, 1), opened ? CNS_ERR_REFUSED : 0);
    if (!opened) assert_int_equal(charge(ledger, 1), 0);
    assert_int_equal(refund(ledger, 1, readers), 0);
    assert_int_equal(refund(ledger, 1, readers), 0);
    assert_int_equal(refund(ledger, 1, CNS_LEDGER_EVERYONE), CNS_ERR_REFUSED);
    assert_int_equal(refund(ledger, 1, 0), CNS_ERR_ARGUMENT);
    assert_int_equal(refund(ledger, 1, 4), CNS_ERR_ARGUMENT);
    assert_int_equal(count_costs(ledger, NULL, CNS_LEDGER_READERS, 0), 0);
    assert_int_equal(count_costs(ledger, NULL, CNS_LEDGER_COORDINATOR, 0), 1);
    assert_int_equal(entries_of(ledger), 3);
    cns_ledger_free(ledger);
    ledger = open_named("refund");
  }
  cns_ledger_free(ledger);
}

static void the_same_round_with_other_values_is_refused(void **state) {
  struct cns_ledger *ledger = open_named("values");
  struct cns_ledger_round round = make_round(&study_a, 1), changed;
  assert_int_equal(reserve(ledger, 1), 0);
  for (int k = 0; k < 7; k++) {
    changed = round;
    if (k == 0) changed.study = study_b;
    if (k == 1) changed.round = 2;
    if (k == 2) changed.attempt = 2;
    if (k == 3) changed.data_set = study_b;
    if (k == 4) changed.costs[CNS_LEDGER_READERS].noise_multiplier = 4.5;
    if (k == 5) changed.costs[CNS_LEDGER_COORDINATOR].extra_delta = 1e-9;
    if (k == 6) strcpy(changed.study_name, "other");
    assert_int_equal(cns_ledger_reserve(ledger, &changed, NULL, 0, JANUARY, NULL, &problem), CNS_ERR_REFUSED);
  }
  assert_int_equal(entries_of(ledger), 1);
  cns_ledger_free(ledger);
}

static void nonsense_is_refused(void **state) {
  struct cns_ledger *ledger = open_named("nonsense");
  struct cns_ledger_round round = make_round(&study_a, 1), wrong = round;
  wrong.study_name[0] = 0;
  assert_int_equal(cns_ledger_reserve(ledger, &wrong, NULL, 0, JANUARY, NULL, &problem), CNS_ERR_ARGUMENT);
  memset(wrong.study_name, 'x', sizeof(wrong.study_name)); /* no end */
  assert_int_equal(cns_ledger_reserve(ledger, &wrong, NULL, 0, JANUARY, NULL, &problem), CNS_ERR_ARGUMENT);
  wrong = round;
  wrong.costs[CNS_LEDGER_COORDINATOR] = (struct cns_budget_cost){0}; /* forgotten: not free of charge */
  assert_int_equal(cns_ledger_reserve(ledger, &wrong, NULL, 0, JANUARY, NULL, &problem), CNS_ERR_RANGE);
  wrong.costs[CNS_LEDGER_COORDINATOR] = (struct cns_budget_cost){NAN, 1, 1, 0};
  assert_int_equal(cns_ledger_reserve(ledger, &wrong, NULL, 0, JANUARY, NULL, &problem), CNS_ERR_RANGE);
  assert_int_equal(cns_ledger_reserve(ledger, &round, NULL, 0, -1, NULL, &problem), CNS_ERR_RANGE);
  assert_int_equal(cns_ledger_reserve(ledger, &round, NULL, 0, INT64_MAX, NULL, &problem), CNS_ERR_RANGE);
  assert_int_equal(entries_of(ledger), 0);
  cns_ledger_free(ledger);
}

/* ---- time ---- */

static void months(void **state) {
  assert_int_equal(cns_ledger_month(0), 197001);
  assert_int_equal(cns_ledger_month(JANUARY), 202601);
  assert_int_equal(cns_ledger_month(1769903999), 202601); /* 2026-01-31 23:59:59 */
  assert_int_equal(cns_ledger_month(1769904000), 202602);
  assert_int_equal(cns_ledger_month(1709164800), 202402); /* 29 February */
  assert_int_equal(cns_ledger_month(-1), 0);
  assert_int_equal(cns_ledger_month(CNS_LEDGER_TIME_MAX), 999912);
  assert_int_equal(cns_ledger_month(CNS_LEDGER_TIME_MAX + 1), 0);
}

static size_t in_month(struct cns_ledger *ledger, uint32_t month) {
  return count_costs(ledger, NULL, CNS_LEDGER_READERS, month);
}

static void a_clock_that_is_set_back_gives_nothing_back(void **state) {
  struct cns_ledger *ledger = open_named("clock");
  struct cns_problem sentence = {0};
  assert_int_equal(reserve_at(ledger, &study_a, 1, JANUARY), 0);
  assert_false(cns_ledger_clock_set_back(ledger, &sentence));
  /* Within what clocks are corrected by. */
  assert_int_equal(reserve_at(ledger, &study_a, 2, JANUARY - 600), 0);
  assert_false(cns_ledger_clock_set_back(ledger, &sentence));
  /* Set back to December: still January. */
  assert_int_equal(reserve_at(ledger, &study_a, 3, JANUARY - 30 * DAY), 0);
  assert_true(cns_ledger_clock_set_back(ledger, &sentence));
  assert_non_null(strstr(sentence.text, "was set back"));
  assert_int_equal(in_month(ledger, 202512), 0);
  assert_int_equal(in_month(ledger, 202601), 3);
  /* Forward to March and back: what was counted in January stays there, and what
   * comes now is March's, until it is March. */
  assert_int_equal(reserve_at(ledger, &study_a, 4, JANUARY + 50 * DAY), 0);
  assert_int_equal(reserve_at(ledger, &study_a, 5, JANUARY + DAY), 0);
  assert_true(cns_ledger_clock_set_back(ledger, &sentence));
  assert_int_equal(reserve_at(ledger, &study_a, 6, JANUARY + 20 * DAY), 0);
  assert_int_equal(in_month(ledger, 202601), 3);
  assert_int_equal(in_month(ledger, 202602), 0);
  assert_int_equal(in_month(ledger, 202603), 3);
  assert_int_equal(reserve_at(ledger, &study_a, 7, JANUARY + 80 * DAY), 0);
  assert_false(cns_ledger_clock_set_back(ledger, &sentence));
  assert_int_equal(in_month(ledger, 202604), 1);
  cns_ledger_free(ledger);
}

/* Reserved in January and charged in February is January's, whose limit it was checked against. */
static void a_cost_is_of_the_month_of_its_reservation(void **state) {
  struct cns_ledger *ledger = open_named("reservation");
  struct cns_digest descriptor = name_of(1);
  assert_int_equal(reserve_at(ledger, &study_a, 1, JANUARY), 0);
  assert_int_equal(cns_ledger_charge(ledger, &descriptor, JANUARY + 20 * DAY, &problem), 0);
  assert_int_equal(in_month(ledger, 202601), 1);
  assert_int_equal(in_month(ledger, 202602), 0);
  assert_int_equal(count_all(ledger), 1);
  cns_ledger_free(ledger);
}

/* ---- limits ---- */

static int reserve_within(struct cns_ledger *ledger, const struct cns_digest *study, uint64_t number,
                          const struct cns_ledger_limit *limits, size_t count, int64_t now,
                          struct cns_ledger_verdict *ret_verdict) {
  struct cns_ledger_round round = make_round(study, number);
  return cns_ledger_reserve(ledger, &round, limits, count, now, ret_verdict, &problem);
}

/* Epsilon of so many rounds of noise 4, or 2 towards the coordinator, and a little. */
static double epsilon_of(double noise, uint64_t rounds) {
  struct cns_dp_segment segment = {noise, 1, rounds};
  struct cns_dp_interval epsilon;
  assert_int_equal(cns_dp_epsilon(&segment, 1, 1e-6, NULL, &epsilon, NULL), 0);
  return epsilon.upper + 1e-9;
}

static struct cns_ledger_limit limit_of(enum cns_ledger_observer observer, enum cns_ledger_scope scope,
                                        uint64_t rounds) {
  struct cns_ledger_limit limit = {.observer = observer, .scope = scope};
  limit.limits.epsilon = epsilon_of(observer == CNS_LEDGER_READERS ? 4 : 2, rounds);
  limit.limits.delta = 1e-6;
  return limit;
}

static void two_studies_on_the_same_patients_add_up(void **state) {
  struct cns_ledger *ledger = open_named("limits");
  struct cns_ledger_verdict verdict;
  const struct cns_ledger_limit limits[] = {limit_of(CNS_LEDGER_READERS, CNS_LEDGER_STUDY, 3),
                                            limit_of(CNS_LEDGER_READERS, CNS_LEDGER_ALL, 5)};
  for (uint64_t k = 1; k <= 3; k++)
    assert_int_equal(reserve_within(ledger, &study_a, k, limits, 2, JANUARY, &verdict), 0);
  assert_int_equal(reserve_within(ledger, &study_a, 4, limits, 2, JANUARY, &verdict), CNS_BUDGET_EXCEEDED);
  assert_int_equal(verdict.scope, CNS_LEDGER_STUDY);
  assert_int_equal(verdict.budget.limit, CNS_BUDGET_TOTAL);
  assert_non_null(
      strstr(problem.text, "towards the readers of the models: this round would bring this study from"));
  assert_int_equal(reserve_within(ledger, &study_b, 1, limits, 2, JANUARY, &verdict), 0);
  assert_int_equal(reserve_within(ledger, &study_b, 2, limits, 2, JANUARY, &verdict), 0);
  assert_int_equal(reserve_within(ledger, &study_b, 3, limits, 2, JANUARY, &verdict), CNS_BUDGET_EXCEEDED);
  assert_int_equal(verdict.scope, CNS_LEDGER_ALL);
  assert_non_null(strstr(problem.text, "would bring all studies together from"));
  assert_int_equal(count_all(ledger), 5);
  assert_int_equal(count_costs(ledger, &study_a, CNS_LEDGER_READERS, 0), 3);
  assert_int_equal(count_costs(ledger, &study_b, CNS_LEDGER_READERS, 0), 2);
  assert_int_equal(entries_of(ledger), 5);
  /* What is on record needs no room; what is cancelled makes some. */
  assert_int_equal(reserve_within(ledger, &study_b, 2, limits, 2, JANUARY, &verdict), 0);
  assert_int_equal(cancel(ledger, 2), 0);
  assert_int_equal(reserve_within(ledger, &study_b, 3, limits, 2, JANUARY, &verdict), 0);
  cns_ledger_free(ledger);
}

static void each_observer_has_limits_of_its_own(void **state) {
  struct cns_ledger *ledger = open_named("observers");
  struct cns_ledger_verdict verdict;
  const struct cns_ledger_limit limits[] = {limit_of(CNS_LEDGER_READERS, CNS_LEDGER_ALL, 10),
                                            limit_of(CNS_LEDGER_COORDINATOR, CNS_LEDGER_ALL, 2)};
  assert_int_equal(reserve_within(ledger, &study_a, 1, limits, 2, JANUARY, &verdict), 0);
  assert_int_equal(reserve_within(ledger, &study_a, 2, limits, 2, JANUARY, &verdict), 0);
  assert_int_equal(reserve_within(ledger, &study_a, 3, limits, 2, JANUARY, NULL), CNS_BUDGET_EXCEEDED);
  assert_non_null(strstr(problem.text, "towards the coordinator"));
  assert_int_equal(reserve_within(ledger, &study_a, 3, limits, 2, JANUARY, &verdict), CNS_BUDGET_EXCEEDED);
  assert_int_equal(verdict.observer, CNS_LEDGER_COORDINATOR);
  cns_ledger_free(ledger);
}

static void a_months_limit_is_not_refilled_by_the_clock(void **state) {
  struct cns_ledger *ledger = open_named("month");
  struct cns_ledger_verdict verdict;
  struct cns_ledger_limit limit = limit_of(CNS_LEDGER_READERS, CNS_LEDGER_ALL, 100);
  limit.limits.epsilon_month = epsilon_of(4, 2);
  for (uint64_t k = 1; k <= 3; k++)
    assert_int_equal(reserve_within(ledger, &study_a, k, &limit, 1, JANUARY, &verdict),
                     k == 3 ? CNS_BUDGET_EXCEEDED : 0);
  assert_int_equal(verdict.budget.limit, CNS_BUDGET_MONTH);
  assert_int_equal(reserve_within(ledger, &study_a, 3, &limit, 1, JANUARY - 40 * DAY, &verdict),
                   CNS_BUDGET_EXCEEDED);
  for (uint64_t k = 4; k <= 6; k++) /* February's, early or not */
    assert_int_equal(reserve_within(ledger, &study_a, k, &limit, 1, JANUARY + 20 * DAY, &verdict),
                     k == 6 ? CNS_BUDGET_EXCEEDED : 0);
  assert_int_equal(reserve_within(ledger, &study_a, 7, &limit, 1, JANUARY, &verdict), CNS_BUDGET_EXCEEDED);
  assert_int_equal(count_all(ledger), 4);
  cns_ledger_free(ledger);
}

static void what_the_accountant_cant_answer_is_not_reserved(void **state) {
  struct cns_ledger *ledger = open_named("unanswered");
  struct cns_ledger_limit limit = limit_of(CNS_LEDGER_READERS, CNS_LEDGER_ALL, 100);
  struct cns_ledger_limit many[CNS_LEDGER_LIMITS_MAX + 1] = {limit};
  limit.limits.delta = NAN;
  assert_int_equal(reserve_within(ledger, &study_a, 1, &limit, 1, JANUARY, NULL), CNS_ERR_RANGE);
  limit.observer = 2;
  assert_int_equal(reserve_within(ledger, &study_a, 1, &limit, 1, JANUARY, NULL), CNS_ERR_ARGUMENT);
  assert_int_equal(reserve_within(ledger, &study_a, 1, many, CNS_LEDGER_LIMITS_MAX + 1, JANUARY, NULL),
                   CNS_ERR_LIMIT);
  assert_int_equal(count_all(ledger), 0);
  cns_ledger_free(ledger);
}

/* ---- reports ---- */

struct seen {
  uint64_t count, first;
  int kinds;
};

static int see(void *context, const struct cns_ledger_entry *entry) {
  struct seen *seen = context;
  if (seen->count++ == 0) seen->first = entry->sequence;
  seen->kinds = seen->kinds * 10 + (int)entry->kind;
  assert_string_equal(entry->round.study_name, "sepsis");
  assert_int_equal(entry->time, JANUARY);
  assert_true(entry->round.costs[CNS_LEDGER_COORDINATOR].noise_multiplier == 2);
  return seen->count == 5 ? CNS_ERR_NOT_FOUND : 0;
}

static void entries_are_handed_out_in_order(void **state) {
  struct seen all = {0}, late = {0};
  make_seven("entries");
  struct cns_ledger *ledger = open_named("entries");
  assert_int_equal(cns_ledger_entries(ledger, 4, see, &late, &problem), 0);
  assert_int_equal(late.count, 4);
  assert_int_equal(late.first, 4);
  assert_int_equal(late.kinds, 3124);
  assert_int_equal(cns_ledger_entries(ledger, 0, see, &all, &problem),
                   CNS_ERR_NOT_FOUND); /* the callback's */
  assert_int_equal(all.kinds, 12131);
  assert_string_equal(cns_ledger_kind_name(CNS_LEDGER_REFUNDED), "refunded");
  assert_string_equal(cns_ledger_kind_name(0), "nothing");
  cns_ledger_free(ledger);
}

static void a_reader_follows_the_writer(void **state) {
  struct cns_ledger *reader = NULL;
  const struct cns_identity_public *public = cns_identity_get_public(owner);
  assert_int_equal(cns_ledger_open_readonly(scratch_path("read"), public, &subject, &reader, &problem),
                   CNS_ERR_NOT_FOUND);
  struct cns_ledger *ledger = open_named("read");
  struct cns_ledger_head head;
  assert_int_equal(reserve(ledger, 1), 0);
  assert_int_equal(cns_ledger_open_readonly(scratch_path("read"), public, &subject, &reader, &problem), 0);
  assert_int_equal(count_all(reader), 1);
  assert_int_equal(reserve(ledger, 2), 0);
  assert_int_equal(count_all(reader), 2);
  assert_int_equal(cancel(ledger, 1), 0);
  assert_int_equal(state_of(reader, 1), CNS_LEDGER_CANCELLED);
  assert_int_equal(reserve(reader, 3), CNS_ERR_STATE);
  assert_int_equal(charge(reader, 2), CNS_ERR_STATE);
  assert_int_equal(cns_ledger_head(reader, &head, &problem), CNS_ERR_STATE);
  head = head_of(ledger);
  assert_int_equal(cns_ledger_check_witness(reader, &head, "the coordinator", &problem), 0);
  cns_ledger_free(ledger);
  assert_int_equal(count_all(reader), 1);
  cns_ledger_free(reader);
  assert_int_equal(cns_ledger_open_readonly(scratch_path("read"), public, &subject, &reader, &problem), 0);
  assert_int_equal(count_all(reader), 1);
  cns_ledger_free(reader);
}

static void another_owners_or_subjects_ledger_is_refused(void **state) {
  struct cns_ledger *ledger = open_named("mine");
  cns_ledger_free(ledger);
  ledger = NULL;
  assert_int_equal(cns_ledger_open(scratch_path("mine"), other, &subject, &ledger, &problem),
                   CNS_ERR_REFUSED);
  assert_int_equal(cns_ledger_open(scratch_path("mine"), owner, &study_a, &ledger, &problem),
                   CNS_ERR_REFUSED);
  assert_null(ledger);
}

/* ---- heads ---- */

static void heads_travel_as_bytes(void **state) {
  struct cns_ledger *ledger = open_named("head");
  struct cns_ledger_head head, back;
  uint8_t bytes[CNS_LEDGER_HEAD_BYTES + 1] = {0};
  const struct cns_identity_public *public = cns_identity_get_public(owner);
  for (uint64_t k = 0; k < 2; k++) {
    head = head_of(ledger);
    assert_int_equal(head.sequence, k);
    assert_int_equal(cns_ledger_head_verify(&head, public), 0);
    assert_int_equal(cns_ledger_head_verify(&head, cns_identity_get_public(other)), CNS_ERR_SIGNATURE);
    assert_int_equal(cns_ledger_head_encode(&head, bytes), 0);
    assert_int_equal(cns_ledger_head_decode(bytes, CNS_LEDGER_HEAD_BYTES, &back), 0);
    assert_int_equal(cns_ledger_head_verify(&back, public), 0);
    assert_int_equal(reserve(ledger, k + 1), 0);
  }
  for (size_t len = 0; len <= sizeof(bytes); len++)
    if (len != CNS_LEDGER_HEAD_BYTES)
      assert_int_equal(cns_ledger_head_decode(bytes, len, &back), CNS_ERR_FORMAT);
  for (size_t k = 0; k < 8 * CNS_LEDGER_HEAD_BYTES; k++) {
    bytes[k / 8] ^= (uint8_t)(1 << k % 8);
    int error = cns_ledger_head_decode(bytes, CNS_LEDGER_HEAD_BYTES, &back);
    if (!error) error = cns_ledger_head_verify(&back, public);
    assert_int_not_equal(error, 0);
    bytes[k / 8] ^= (uint8_t)(1 << k % 8);
  }
  cns_ledger_free(ledger);
}

static struct cns_ledger *open_of_other(const char *name) {
  struct cns_ledger *ledger = NULL;
  assert_int_equal(cns_ledger_open(scratch_path(name), other, &study_a, &ledger, &problem), 0);
  return ledger;
}

static void the_newest_head_of_others_is_kept(void **state) {
  struct cns_ledger *ledger = open_named("hospital"), *keeper = open_of_other("coordinator");
  struct cns_ledger_head first, second, kept, forged;
  const struct cns_identity_public *public = cns_identity_get_public(owner);
  assert_int_equal(cns_ledger_witness(keeper, public, &subject, &kept, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(reserve(ledger, 1), 0);
  first = head_of(ledger);
  assert_int_equal(charge(ledger, 1), 0);
  second = head_of(ledger);
  assert_int_equal(cns_ledger_accept_head(keeper, &first, &problem), 0);
  assert_int_equal(cns_ledger_accept_head(keeper, &first, &problem), 0);
  assert_int_equal(cns_ledger_accept_head(keeper, &second, &problem), 0);
  assert_int_equal(cns_ledger_accept_head(keeper, &first, &problem), CNS_ERR_REFUSED);
  assert_non_null(strstr(problem.text, "ends at entry 1, and it has signed entry 2"));
  forged = second;
  forged.sequence = 3;
  assert_int_equal(cns_ledger_accept_head(keeper, &forged, &problem), CNS_ERR_SIGNATURE);
  forged = second;
  forged.owner = *cns_identity_get_public(other);
  assert_int_equal(cns_ledger_accept_head(keeper, &forged, &problem), CNS_ERR_SIGNATURE);
  cns_ledger_free(keeper);
  keeper = open_of_other("coordinator");
  assert_int_equal(cns_ledger_witness(keeper, public, &subject, &kept, &problem), 0);
  assert_int_equal(kept.sequence, 2);
  assert_memory_equal(&kept.digest, &second.digest, sizeof(kept.digest));
  assert_int_equal(cns_ledger_witness(keeper, public, &study_b, &kept, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_ledger_check_witness(ledger, &kept, "the coordinator", &problem), 0);
  assert_int_equal(cns_ledger_check_witness(ledger, &first, "the coordinator", &problem), 0);
  cns_ledger_free(keeper);
  cns_ledger_free(ledger);
}

/* A ledger that forked: its owner signs two heads of one number. */
static void a_fork_is_told_by_whoever_keeps_heads(void **state) {
  struct cns_ledger *ledger = open_named("fork"), *keeper = open_of_other("fork-keeper");
  assert_int_equal(reserve(ledger, 1), 0);
  cns_ledger_free(ledger);
  copy_file("fork", "fork-copy");
  ledger = open_named("fork");
  assert_int_equal(charge(ledger, 1), 0);
  struct cns_ledger_head one = head_of(ledger), kept;
  assert_int_equal(cns_ledger_accept_head(keeper, &one, &problem), 0);
  struct cns_ledger *copy = open_named("fork-copy");
  assert_int_equal(reserve(copy, 2), 0);
  struct cns_ledger_head two = head_of(copy);
  assert_int_equal(cns_ledger_accept_head(keeper, &two, &problem), CNS_LEDGER_FORK);
  assert_non_null(strstr(problem.text, "two different privacy ledgers up to entry 2"));
  assert_int_equal(cns_ledger_witness(keeper, &one.owner, &subject, &kept, &problem), 0);
  assert_memory_equal(&kept.digest, &one.digest, sizeof(one.digest));
  /* And its owner is told too. */
  assert_int_equal(cns_ledger_check_witness(copy, &one, "the coordinator", &problem), CNS_ERR_FORMAT);
  assert_non_null(
      strstr(problem.text, "entry 2 of this privacy ledger is another one than the coordinator holds"));
  assert_int_equal(charge(copy, 2), CNS_ERR_STATE); /* the second history ends here */
  cns_ledger_free(copy);
  cns_ledger_free(ledger);
  cns_ledger_free(keeper);
}

static void a_witness_of_another_ledger_says_nothing(void **state) {
  struct cns_ledger *ledger = open_named("elsewhere"), *of_other = open_of_other("of-other"), *second = NULL;
  struct cns_ledger_head head = head_of(of_other);
  assert_int_equal(cns_ledger_check_witness(ledger, &head, "the coordinator", &problem), CNS_ERR_SIGNATURE);
  assert_int_equal(cns_ledger_open(scratch_path("second"), owner, &study_b, &second, &problem), 0);
  assert_int_equal(reserve(second, 1), 0);
  head = head_of(second);
  assert_int_equal(cns_ledger_check_witness(ledger, &head, "the coordinator", &problem), CNS_ERR_SIGNATURE);
  assert_int_equal(reserve(ledger, 1), 0);
  cns_ledger_free(second);
  cns_ledger_free(of_other);
  cns_ledger_free(ledger);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_cost_counts_once_from_the_reservation_on),
      cmocka_unit_test(what_may_not_follow_is_refused),
      cmocka_unit_test(a_refund_leaves_what_was_seen),
      cmocka_unit_test(the_same_round_with_other_values_is_refused),
      cmocka_unit_test(nonsense_is_refused),
      cmocka_unit_test(months),
      cmocka_unit_test(a_clock_that_is_set_back_gives_nothing_back),
      cmocka_unit_test(a_cost_is_of_the_month_of_its_reservation),
      cmocka_unit_test(two_studies_on_the_same_patients_add_up),
      cmocka_unit_test(each_observer_has_limits_of_its_own),
      cmocka_unit_test(a_months_limit_is_not_refilled_by_the_clock),
      cmocka_unit_test(what_the_accountant_cant_answer_is_not_reserved),
      cmocka_unit_test(entries_are_handed_out_in_order),
      cmocka_unit_test(a_reader_follows_the_writer),
      cmocka_unit_test(another_owners_or_subjects_ledger_is_refused),
      cmocka_unit_test(heads_travel_as_bytes),
      cmocka_unit_test(the_newest_head_of_others_is_kept),
      cmocka_unit_test(a_fork_is_told_by_whoever_keeps_heads),
      cmocka_unit_test(a_witness_of_another_ledger_says_nothing),
  };
  return cmocka_run_group_tests(tests, ledger_setup, ledger_teardown);
}
