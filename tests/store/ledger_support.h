/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the privacy ledger share. */
#pragma once

#include <math.h>
#include <sqlite3.h>

#include "store/ledger.h"

#include "scratch.h"

#define DAY 86400
/* 2026-01-15 00:00 UTC */
#define JANUARY 1768435200

static struct cns_problem problem;
static struct cns_identity *owner, *other;
static struct cns_digest subject, study_a, study_b;

static inline struct cns_ledger_round make_round(const struct cns_digest *study, uint64_t number) {
  struct cns_ledger_round round = {.study = *study, .study_name = "sepsis", .round = number, .attempt = 1};
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 test digest");
  cns_hash_digest(&hash, study);
  cns_hash_u64(&hash, number);
  cns_hash_final(&hash, &round.descriptor);
  round.data_set = scratch_digest(77);
  round.costs[CNS_LEDGER_READERS] = (struct cns_budget_cost){4, 1, 1, 0};
  round.costs[CNS_LEDGER_COORDINATOR] = (struct cns_budget_cost){2, 1, 1, 0};
  return round;
}

static inline int try_open(const char *name, struct cns_ledger **ret_ledger) {
  return cns_ledger_open(scratch_path(name), owner, &subject, ret_ledger, &problem);
}

static inline struct cns_ledger *open_named(const char *name) {
  struct cns_ledger *ledger = NULL;
  int error = try_open(name, &ledger);
  if (error) print_error("%s: %s\n", cns_error_name(error), problem.text);
  assert_int_equal(error, 0);
  return ledger;
}

static inline int reserve_at(struct cns_ledger *ledger, const struct cns_digest *study, uint64_t number,
                             int64_t now) {
  struct cns_ledger_round round = make_round(study, number);
  return cns_ledger_reserve(ledger, &round, NULL, 0, now, NULL, &problem);
}

static inline int reserve(struct cns_ledger *ledger, uint64_t number) {
  return reserve_at(ledger, &study_a, number, JANUARY);
}

static inline struct cns_digest name_of(uint64_t number) {
  return make_round(&study_a, number).descriptor;
}

static inline int charge(struct cns_ledger *ledger, uint64_t number) {
  struct cns_digest descriptor = name_of(number);
  return cns_ledger_charge(ledger, &descriptor, JANUARY, &problem);
}

static inline int cancel(struct cns_ledger *ledger, uint64_t number) {
  struct cns_digest descriptor = name_of(number);
  return cns_ledger_cancel(ledger, &descriptor, JANUARY, &problem);
}

static inline int refund(struct cns_ledger *ledger, uint64_t number, uint8_t observers) {
  struct cns_digest descriptor = name_of(number);
  return cns_ledger_refund(ledger, &descriptor, observers, JANUARY, &problem);
}

static inline int release(struct cns_ledger *ledger, uint64_t number) {
  struct cns_digest descriptor = name_of(number);
  return cns_ledger_release(ledger, &descriptor, JANUARY, &problem);
}

static inline size_t count_costs(struct cns_ledger *ledger, const struct cns_digest *study,
                                 enum cns_ledger_observer observer, uint32_t month) {
  struct cns_budget_cost *costs = NULL;
  size_t count = 99;
  int error = cns_ledger_costs(ledger, study, observer, month, &costs, &count, &problem);
  if (error) print_error("%s: %s\n", cns_error_name(error), problem.text);
  assert_int_equal(error, 0);
  for (size_t k = 0; k < count; k++)
    assert_true(costs[k].noise_multiplier == (observer == CNS_LEDGER_READERS ? 4 : 2));
  free(costs);
  return count;
}

static inline size_t count_all(struct cns_ledger *ledger) {
  return count_costs(ledger, NULL, CNS_LEDGER_READERS, 0);
}

static inline enum cns_ledger_kind state_of(struct cns_ledger *ledger, uint64_t number) {
  struct cns_digest descriptor = name_of(number);
  enum cns_ledger_kind kind = 99;
  assert_int_equal(cns_ledger_state(ledger, &descriptor, &kind, &problem), 0);
  return kind;
}

static inline struct cns_ledger_head head_of(struct cns_ledger *ledger) {
  struct cns_ledger_head head;
  assert_int_equal(cns_ledger_head(ledger, &head, &problem), 0);
  return head;
}

static inline uint64_t entries_of(struct cns_ledger *ledger) {
  return head_of(ledger).sequence;
}

/* The seven steps of three rounds, one entry each. */
#define SEVEN 7
static inline int one_of_seven(struct cns_ledger *ledger, uint64_t step) {
  switch (step) {
  case 0:
    return reserve(ledger, 1);
  case 1:
    return charge(ledger, 1);
  case 2:
    return reserve(ledger, 2);
  case 3:
    return cancel(ledger, 2);
  case 4:
    return reserve(ledger, 3);
  case 5:
    return charge(ledger, 3);
  default:
    return refund(ledger, 3, CNS_LEDGER_BIT(CNS_LEDGER_READERS));
  }
}

/* What counts towards the readers and the coordinator after so many steps. */
static const size_t seven_readers[SEVEN + 1] = {0, 1, 1, 2, 1, 2, 2, 1};
static const size_t seven_coordinator[SEVEN + 1] = {0, 1, 1, 2, 1, 2, 2, 2};

static inline void expect_after(struct cns_ledger *ledger, uint64_t steps) {
  assert_int_equal(entries_of(ledger), steps);
  assert_int_equal(count_all(ledger), seven_readers[steps]);
  assert_int_equal(count_costs(ledger, NULL, CNS_LEDGER_COORDINATOR, 0), seven_coordinator[steps]);
}

static inline void make_seven(const char *name) {
  struct cns_ledger *ledger = open_named(name);
  for (uint64_t step = 0; step < SEVEN; step++)
    assert_int_equal(one_of_seven(ledger, step), 0);
  expect_after(ledger, SEVEN);
  cns_ledger_free(ledger);
}

static inline void copy_file(const char *from, const char *to) {
  size_t len = 0;
  uint8_t *data = scratch_read(scratch_path(from), &len);
  scratch_write(scratch_path(to), data, len);
  free(data);
}

static inline int ledger_setup(void **state) {
  static const uint8_t seeds[2][32] = {{1, 2, 3}, {4, 5, 6}};
  if (scratch_setup(state) != 0) return -1;
  subject = scratch_digest(1);
  study_a = scratch_digest(2);
  study_b = scratch_digest(3);
  return cns_identity_from_seed(seeds[0], &owner) || cns_identity_from_seed(seeds[1], &other) ? -1 : 0;
}

static inline int ledger_teardown(void **state) {
  owner = cns_identity_free(owner);
  other = cns_identity_free(other);
  return scratch_teardown(state);
}
